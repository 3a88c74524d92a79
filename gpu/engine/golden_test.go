package engine_test

import (
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"testing"

	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/gpu/cpu"
	"github.com/medley-lora/medley/gpu/engine"
	"github.com/medley-lora/medley/gpu/reference"
	"github.com/medley-lora/medley/shared/lora"
	"github.com/medley-lora/medley/shared/peft"
	"github.com/medley-lora/medley/shared/task"
	"github.com/medley-lora/medley/shared/zoo/zootest"
)

// tolerance is for numbers of about 1, and relative for larger ones. The goldens are PyTorch's f32: run in f64, PyTorch itself moves by up
// to 2e-4 on log-probabilities of a few tens, to where gpu/reference is.
const tolerance = 1e-4

var backends = map[string]func(testing.TB) backend.Backend{
	"reference": func(testing.TB) backend.Backend { return reference.New() },
	"cpu": func(t testing.TB) backend.Backend {
		b, err := cpu.New(cpu.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return b
	},
}

// eachBackend runs a test on the zoo, loaded on every backend.
func eachBackend(t *testing.T, test func(t *testing.T, z *zooEngine)) {
	for name, open := range backends {
		t.Run(name, func(t *testing.T) { test(t, openZoo(t, open(t), engine.Options{})) })
	}
}

// zooEngine is the zoo's base with the modules that a test has asked for.
type zooEngine struct {
	*engine.Engine
	dir     string
	numbers map[string]int
}

func openZoo(t testing.TB, b backend.Backend, o engine.Options) *zooEngine {
	t.Helper()
	dir := zootest.Dir(t)
	e, err := engine.Open(t.Context(), filepath.Join(dir, "base"), b, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close(); b.Close() })
	return &zooEngine{Engine: e, dir: dir, numbers: map[string]int{}}
}

// module registers modules/NAME or variants/NAME once.
func (z *zooEngine) module(t testing.TB, folder, name string) int {
	t.Helper()
	if n, ok := z.numbers[name]; ok {
		return n
	}
	n, err := z.AddModule(z.adapter(t, folder, name))
	if err != nil {
		t.Fatal(err)
	}
	z.numbers[name] = n
	return n
}

// adapter reads modules/NAME or variants/NAME.
func (z *zooEngine) adapter(t testing.TB, folder, name string) *lora.Adapter {
	t.Helper()
	m, err := peft.Open(filepath.Join(z.dir, folder, name), peft.OpenOptions{AllowPickle: true})
	if err != nil {
		t.Fatal(err)
	}
	a, err := m.Load()
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func (z *zooEngine) composition(t testing.TB, method string, names []string, weights []float64) engine.Composition {
	t.Helper()
	c := engine.Composition{Product: method != "delta"} // the goldens' "single" scales both factors, as product does
	if method == "base" {
		return c
	}
	for i, name := range names {
		c.Terms = append(c.Terms, backend.Term{Module: z.module(t, "modules", name), Weight: float32(weights[i])})
	}
	return c
}

func (z *zooEngine) encode(examples []zootest.Example) []engine.Example {
	converted := make([]task.Example, len(examples))
	for i, x := range examples {
		converted[i] = task.Example(x)
	}
	encoded, _ := z.Encode(converted)
	return encoded
}

func (z *zooEngine) checkForward(t *testing.T, f zootest.Forward, c engine.Composition) {
	t.Helper()
	examples := z.encode(f.Examples)
	scores, err := z.Score(t.Context(), examples, []engine.Composition{c})
	if err != nil {
		t.Fatal(err)
	}
	near(t, "loss", scores[0].Loss, f.LossMeanToken)
	near(t, "log-probabilities", scores[0].LogProbs, slices.Concat(f.TargetLogProbs...))
	if f.GreedyIDs == nil {
		return
	}
	requests := make([]engine.Request, len(examples))
	for i, x := range examples {
		requests[i] = engine.Request{Source: x.Source, Composition: &c}
	}
	longest := len(f.GreedyIDs[0]) - 1
	outputs, err := z.Generate(t.Context(), requests, engine.Sampling{MaxTokens: longest}, engine.Listener{})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range f.GreedyIDs {
		if got := framed(outputs[i], longest); !slices.Equal(got, want) {
			t.Errorf("greedy ids of example %d: %v, want %v", i, got, want)
		}
	}
}

// framed adds the start token, the end token if there is room, and padding, as Transformers returns them.
func framed(ids []int32, longest int) []int32 {
	row := append([]int32{0}, ids...)
	if len(row) <= longest {
		row = append(row, 1)
	}
	for len(row) <= longest {
		row = append(row, 0)
	}
	return row
}

func near(t *testing.T, what string, got, want any) {
	t.Helper()
	g, ok := got.([]float64)
	if !ok {
		g, want = []float64{got.(float64)}, []float64{want.(float64)}
	}
	w := want.([]float64)
	if len(g) != len(w) {
		t.Fatalf("%s: %d numbers, want %d", what, len(g), len(w))
	}
	for i := range w {
		if !(math.Abs(g[i]-w[i]) <= tolerance*max(1, math.Abs(w[i]))) {
			t.Errorf("%s %d: %.6f, want %.6f", what, i, g[i], w[i])
		}
	}
}

func TestGoldenForward(t *testing.T) {
	golden := zootest.LoadGolden(t)
	eachBackend(t, func(t *testing.T, z *zooEngine) {
		for i, f := range golden.Forward {
			t.Run(fmt.Sprintf("%d %s of %d", i, f.Method, len(f.Modules)), func(t *testing.T) {
				z.checkForward(t, f, z.composition(t, f.Method, f.Modules, f.Weights))
			})
		}
	})
}

func TestGoldenVariants(t *testing.T) {
	variants := zootest.LoadVariants(t)
	eachBackend(t, func(t *testing.T, z *zooEngine) {
		for _, f := range variants {
			t.Run(f.Adapter, func(t *testing.T) {
				number := z.module(t, "variants", f.Adapter)
				z.checkForward(t, f, engine.Composition{Terms: []backend.Term{{Module: number, Weight: 1}}})
			})
		}
	})
}

func TestGoldenObjective(t *testing.T) {
	golden := zootest.LoadGolden(t)
	eachBackend(t, func(t *testing.T, z *zooEngine) {
		for i, o := range golden.Objective {
			t.Run(fmt.Sprintf("%d %s", i, o.Task), func(t *testing.T) {
				for method, want := range map[string]struct{ LoraHub, Mean float64 }{"product": o.Product, "delta": o.Delta} {
					got := z.objectives(t, o, method)
					near(t, method+" lorahub", got[0], want.LoraHub)
					near(t, method+" mean", got[1], want.Mean)
				}
			})
		}
	})
}
