// Package enginetest opens the zoo on a backend and holds it to the golden numbers of shared/zoo/zootest.
package enginetest

import (
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"testing"

	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/gpu/engine"
	"github.com/medley-lora/medley/shared/lora"
	"github.com/medley-lora/medley/shared/peft"
	"github.com/medley-lora/medley/shared/task"
	"github.com/medley-lora/medley/shared/zoo/zootest"
)

// Zoo is the zoo's base with the modules that a test has asked for.
type Zoo struct {
	*engine.Engine
	Dir     string // where it lies
	numbers map[string]int
}

// Open loads the zoo on b; the test closes both.
func Open(t testing.TB, b backend.Backend, o engine.Options) *Zoo {
	t.Helper()
	dir := zootest.Dir(t)
	e, err := engine.Open(t.Context(), filepath.Join(dir, "base"), b, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close(); b.Close() })
	return &Zoo{Engine: e, Dir: dir, numbers: map[string]int{}}
}

// Module registers modules/NAME or variants/NAME once.
func (z *Zoo) Module(t testing.TB, folder, name string) int {
	t.Helper()
	if n, ok := z.numbers[name]; ok {
		return n
	}
	n, err := z.AddModule(z.Adapter(t, folder, name))
	if err != nil {
		t.Fatal(err)
	}
	z.numbers[name] = n
	return n
}

// Adapter reads modules/NAME or variants/NAME.
func (z *Zoo) Adapter(t testing.TB, folder, name string) *lora.Adapter {
	t.Helper()
	m, err := peft.Open(filepath.Join(z.Dir, folder, name), peft.OpenOptions{AllowPickle: true})
	if err != nil {
		t.Fatal(err)
	}
	a, err := m.Load()
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// Composition is the weighted modules under a method of the goldens.
func (z *Zoo) Composition(t testing.TB, method string, names []string, weights []float64) engine.Composition {
	t.Helper()
	c := engine.Composition{Product: method != "delta"} // the goldens' "single" scales both factors, as product does
	if method == "base" {
		return c
	}
	for i, name := range names {
		c.Terms = append(c.Terms, backend.Term{Module: z.Module(t, "modules", name), Weight: float32(weights[i])})
	}
	return c
}

// EncodeGolden turns golden examples into tokens.
func (z *Zoo) EncodeGolden(examples []zootest.Example) []engine.Example {
	converted := make([]task.Example, len(examples))
	for i, x := range examples {
		converted[i] = task.Example(x)
	}
	encoded, _ := z.Encode(converted)
	return encoded
}

func (z *Zoo) check(t *testing.T, f zootest.Forward, c engine.Composition, tolerance float64) {
	t.Helper()
	examples := z.EncodeGolden(f.Examples)
	scores, err := z.Score(t.Context(), examples, []engine.Composition{c})
	if err != nil {
		t.Fatal(err)
	}
	Near(t, "loss", scores[0].Loss, f.LossMeanToken, tolerance)
	Near(t, "log-probabilities", scores[0].LogProbs, slices.Concat(f.TargetLogProbs...), tolerance)
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
		if got := Framed(outputs[i], longest); !slices.Equal(got, want) {
			t.Errorf("greedy ids of example %d: %v, want %v", i, got, want)
		}
	}
}

// Framed adds the start token, the end token if there is room, and padding, as Transformers returns them.
func Framed(ids []int32, longest int) []int32 {
	row := append([]int32{0}, ids...)
	if len(row) <= longest {
		row = append(row, 1)
	}
	for len(row) <= longest {
		row = append(row, 0)
	}
	return row
}

// Near holds numbers, or one, to the golden ones: tolerance is for numbers of about 1, and relative for larger ones.
func Near(t *testing.T, what string, got, want any, tolerance float64) {
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

// Forward runs the forward cases of golden.json: losses, log-probabilities and greedy answers.
func (z *Zoo) Forward(t *testing.T, tolerance float64) {
	for i, f := range zootest.LoadGolden(t).Forward {
		t.Run(fmt.Sprintf("%d %s of %d", i, f.Method, len(f.Modules)), func(t *testing.T) {
			z.check(t, f, z.Composition(t, f.Method, f.Modules, f.Weights), tolerance)
		})
	}
}

// Variants runs variants.json: adapters of other ranks, scales and targets.
func (z *Zoo) Variants(t *testing.T, tolerance float64) {
	for _, f := range zootest.LoadVariants(t) {
		t.Run(f.Adapter, func(t *testing.T) {
			number := z.Module(t, "variants", f.Adapter)
			z.check(t, f, engine.Composition{Terms: []backend.Term{{Module: number, Weight: 1}}}, tolerance)
		})
	}
}
