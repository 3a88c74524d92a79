package engine_test

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/gpu/engine"
	"github.com/medley-lora/medley/gpu/reference"
	"github.com/medley-lora/medley/shared/lora"
	"github.com/medley-lora/medley/shared/search"
	"github.com/medley-lora/medley/shared/task"
	"github.com/medley-lora/medley/shared/zoo/zootest"
)

// few returns the encoded examples of a task of the zoo.
func (z *zooEngine) few(t testing.TB, name string) (examples []engine.Example, tokens []int) {
	t.Helper()
	f, err := os.Open(filepath.Join(z.Dir, "tasks", name+".few.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	read, err := task.ReadExamples(f, task.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	examples, warnings := z.Encode(read)
	if len(warnings) > 0 {
		t.Fatal(warnings)
	}
	for _, x := range examples {
		tokens = append(tokens, len(x.Target))
	}
	return examples, tokens
}

// objectives returns the lorahub and the mean objective of one golden weight vector.
func (z *zooEngine) objectives(t *testing.T, o zootest.Objective, method string) [2]float64 {
	t.Helper()
	examples, tokens := z.few(t, o.Task)
	scores, err := z.Score(t.Context(), examples, []engine.Composition{z.Composition(t, method, o.Modules, o.Weights)})
	if err != nil {
		t.Fatal(err)
	}
	var values [2]float64
	for i, name := range []string{task.LoraHub, task.Mean} {
		objective, err := task.ParseObjective(name)
		if err != nil {
			t.Fatal(err)
		}
		values[i] = objective.Value(scores[0].Examples, tokens, o.Weights)
	}
	return values
}

// twenty returns 20 compositions of the zoo's first modules, some bare, some with one module, half of them products.
func (z *zooEngine) twenty(t testing.TB) []engine.Composition {
	t.Helper()
	golden := zootest.LoadGolden(t)
	all := make([]engine.Composition, 20)
	for i := range all {
		o := golden.Objective[i]
		method := []string{"delta", "product"}[i%2]
		all[i] = z.Composition(t, method, o.Modules[:i], o.Weights[:i])
	}
	return all
}

func logProbs(scores []search.Score) []float64 {
	var all []float64
	for _, s := range scores {
		all = append(all, s.LogProbs...)
	}
	return all
}

// TestBatchInvariance holds the promise that resuming rests on: a score does not depend on what is scored beside it, bit for bit.
func TestBatchInvariance(t *testing.T) {
	eachBackend(t, func(t *testing.T, z *zooEngine) {
		examples, _ := z.few(t, "together")
		all := z.twenty(t)
		together, err := z.Score(t.Context(), examples, all)
		if err != nil {
			t.Fatal(err)
		}
		for i, c := range all {
			alone, err := z.Score(t.Context(), examples, []engine.Composition{c})
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(alone[0].LogProbs, together[i].LogProbs) {
				t.Errorf("composition %d: alone %v, in a batch %v", i, alone[0].LogProbs, together[i].LogProbs)
			}
		}
		for i := range examples {
			alone, err := z.Score(t.Context(), examples[i:i+1], all[19:])
			if err != nil {
				t.Fatal(err)
			}
			if alone[0].Loss != together[19].Examples[i] {
				t.Errorf("example %d: alone %v, in a batch %v", i, alone[0].Loss, together[19].Examples[i])
			}
		}
	})
}

// TestMemoryBoundSplits checks that a batch beyond the planned memory is split without changing a number.
func TestMemoryBoundSplits(t *testing.T) {
	whole := openZoo(t, backends["cpu"](t), engine.Options{})
	split := openZoo(t, backends["cpu"](t), engine.Options{Memory: 1})
	examples, _ := whole.few(t, "opinion")
	a, err := whole.Score(t.Context(), examples, whole.twenty(t))
	if err != nil {
		t.Fatal(err)
	}
	b, err := split.Score(t.Context(), examples, split.twenty(t))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(logProbs(a), logProbs(b)) {
		t.Error("splitting changed the numbers")
	}
	var outputs [2][][]int32
	for i, z := range []*zooEngine{whole, split} {
		requests := make([]engine.Request, len(examples))
		for j, x := range examples {
			requests[j] = engine.Request{Source: x.Source}
		}
		if outputs[i], err = z.Generate(t.Context(), requests, engine.Sampling{MaxTokens: 8, Temperature: 1.5, Seed: 3}, engine.Listener{}); err != nil {
			t.Fatal(err)
		}
	}
	for j := range outputs[0] {
		if !slices.Equal(outputs[0][j], outputs[1][j]) {
			t.Errorf("request %d: %v in one batch, %v in several", j, outputs[0][j], outputs[1][j])
		}
	}
}

// TestProductIsEven: negating every weight negates both sums, so the model is the same, exactly.
func TestProductIsEven(t *testing.T) {
	eachBackend(t, func(t *testing.T, z *zooEngine) {
		o := zootest.LoadGolden(t).Objective[1]
		examples, _ := z.few(t, o.Task)
		negative := make([]float64, len(o.Weights))
		for i, w := range o.Weights {
			negative[i] = -w
		}
		scores, err := z.Score(t.Context(), examples, []engine.Composition{
			z.Composition(t, "product", o.Modules, o.Weights), z.Composition(t, "product", o.Modules, negative),
		})
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(scores[0].LogProbs, scores[1].LogProbs) {
			t.Errorf("w gives %v, −w gives %v", scores[0].LogProbs, scores[1].LogProbs)
		}
	})
}

// TestZeroIsTheBase: modules at weight 0 and unused modules leave the base's numbers as they are.
func TestZeroIsTheBase(t *testing.T) {
	eachBackend(t, func(t *testing.T, z *zooEngine) {
		examples, _ := z.few(t, "several")
		bare, err := z.Score(t.Context(), examples, []engine.Composition{{}})
		if err != nil {
			t.Fatal(err)
		}
		zero, err := z.Score(t.Context(), examples, []engine.Composition{
			{Terms: []backend.Term{{Module: z.Module(t, "modules", "plural")}}},
			z.Composition(t, "product", []string{"plural", "french"}, []float64{0, 0}),
		})
		if err != nil {
			t.Fatal(err)
		}
		for i := range zero {
			if !slices.Equal(zero[i].LogProbs, bare[0].LogProbs) {
				t.Errorf("composition %d differs from the base", i)
			}
		}
	})
}

func TestScoreStopsWithItsContext(t *testing.T) {
	eachBackend(t, func(t *testing.T, z *zooEngine) {
		examples, _ := z.few(t, "opinion")
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := z.Score(ctx, examples, make([]engine.Composition, 3)); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
	})
}

func TestAddModuleRefusesWhatDoesNotFit(t *testing.T) {
	z := openZoo(t, reference.New(), engine.Options{})
	layer := lora.Layer{Target: "encoder.block.0.layer.0.SelfAttention.q", In: 128, Out: 128, Rank: 1, Scale: 1,
		A: make([]float32, 128), B: make([]float32, 128)}
	other, wide := layer, layer
	other.Target = "model.layers.0.self_attn.q_proj"
	wide.In, wide.A = 256, make([]float32, 256)
	for want, l := range map[string]lora.Layer{"no such linear map": other, "updates a map of 256 to 128": wide} {
		if _, err := z.AddModule(&lora.Adapter{Name: "m", Layers: []lora.Layer{l}}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
}

func TestEncodeCutsLongExamples(t *testing.T) {
	z := openZoo(t, reference.New(), engine.Options{MaxSource: 4, MaxTarget: 2})
	encoded, warnings := z.Encode([]task.Example{{Input: "the the the", Output: "the"}, {Input: "the the the the the", Output: "the the the"}})
	if got := encoded[1]; !slices.Equal(got.Source, []int32{5, 5, 5, 1}) || !slices.Equal(got.Target, []int32{5, 1}) {
		t.Errorf("cut to %v", got)
	}
	if want := []string{"example 2: input cut from 6 to 4 tokens", "example 2: output cut from 4 to 2 tokens"}; !slices.Equal(warnings, want) {
		t.Errorf("warnings %q, want %q", warnings, want)
	}
}

func TestScoreWithoutExamples(t *testing.T) {
	z := openZoo(t, reference.New(), engine.Options{})
	if _, err := z.Score(t.Context(), nil, []engine.Composition{{}}); err == nil {
		t.Error("no error")
	}
}

func TestLossesAreMeansOverTokens(t *testing.T) {
	z := openZoo(t, reference.New(), engine.Options{})
	examples, tokens := z.few(t, "versus")
	scores, err := z.Score(t.Context(), examples, []engine.Composition{{}})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := scores[0].Loss, task.TokenMean(scores[0].Examples, tokens); math.Abs(got-want) > 1e-12 {
		t.Errorf("loss %v, from the examples %v", got, want)
	}
}
