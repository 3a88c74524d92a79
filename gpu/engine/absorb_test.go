package engine_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/gpu/engine"
	"github.com/medley-lora/medley/shared/lora"
	"github.com/medley-lora/medley/shared/search"
)

// projecting is a backend that does not split heads: engines on it make the keys and values of cross-attention.
type projecting struct{ backend.Backend }

// crossAdapter updates every map of cross-attention.
func crossAdapter(z *zooEngine, name string, seed uint64) *lora.Adapter {
	r := rand.New(rand.NewPCG(seed, 0))
	numbers := func(n int) []float32 {
		x := make([]float32, n)
		for i := range x {
			x[i] = float32(r.NormFloat64() / 8)
		}
		return x
	}
	a := &lora.Adapter{Name: name}
	for target, m := range z.Model().Maps() {
		if _, ok := z.Model().Transposed(target); ok || target == "decoder.block.0.layer.1.EncDecAttention.v" {
			const rank = 3
			a.Layers = append(a.Layers, lora.Layer{Target: target, In: m.In, Out: m.Out, Rank: rank, Scale: 2, A: numbers(rank * m.In), B: numbers(rank * m.Out)})
		}
	}
	return a
}

// TestAbsorbing: cross-attention over the encoder's own rows scores as over keys and values made from them, with modules that update
// their maps, composed either way.
func TestAbsorbing(t *testing.T) {
	var scores [2][]search.Score
	absorbing := openZoo(t, backends["cpu"](t), engine.Options{})
	var adapters []*lora.Adapter
	for i, name := range []string{"one", "two"} {
		adapters = append(adapters, crossAdapter(absorbing, name, uint64(i)))
	}
	if len(adapters[0].Layers) < 2 {
		t.Fatalf("an adapter of %d layers: the engine does not absorb", len(adapters[0].Layers))
	}
	for i, z := range []*zooEngine{absorbing, openZoo(t, projecting{backends["cpu"](t)}, engine.Options{})} {
		examples, _ := z.few(t, "in_paris")
		if _, ok := z.Model().Transposed("decoder.block.0.layer.1.EncDecAttention.k"); ok != (i == 0) {
			t.Fatalf("engine %d: absorbs is %v", i, ok)
		}
		for _, a := range adapters {
			if _, err := z.AddModule(a); err != nil {
				t.Fatal(err)
			}
		}
		both := []backend.Term{{Module: 0, Weight: 0.7}, {Module: 1, Weight: -0.4}}
		var err error
		scores[i], err = z.Score(t.Context(), examples, []engine.Composition{{}, {Terms: both}, {Terms: both, Product: true}, {Terms: both[:1]}})
		if err != nil {
			t.Fatal(err)
		}
	}
	for c := range scores[0] {
		for i, got := range scores[0][c].LogProbs {
			if want := scores[1][c].LogProbs[i]; math.Abs(got-want) > 1e-4 {
				t.Errorf("composition %d, token %d: %v; with keys and values %v", c, i, got, want)
			}
		}
	}
	if scores[0][0].Loss == scores[0][1].Loss || scores[0][1].Loss == scores[0][2].Loss {
		t.Errorf("losses %v, %v, %v: the modules change nothing", scores[0][0].Loss, scores[0][1].Loss, scores[0][2].Loss)
	}
}
