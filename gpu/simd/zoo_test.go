package simd_test

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/gpu/engine"
	"github.com/medley-lora/medley/gpu/engine/enginetest"
	"github.com/medley-lora/medley/gpu/simd"
	"github.com/medley-lora/medley/shared/peft"
	"github.com/medley-lora/medley/shared/task"
	"github.com/medley-lora/medley/shared/zoo/zootest"
)

// openZoo returns the zoo's base on this backend, and a function that turns names and weights into a composition.
func openZoo(t testing.TB) (*engine.Engine, func(names []string, weights []float64) engine.Composition) {
	t.Helper()
	b, err := simd.New(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	dir := zootest.Dir(t)
	e, err := engine.Open(t.Context(), filepath.Join(dir, "base"), b, engine.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close(); b.Close() })
	numbers := map[string]int{}
	return e, func(names []string, weights []float64) engine.Composition {
		t.Helper()
		var c engine.Composition
		for i, name := range names {
			if _, ok := numbers[name]; !ok {
				m, err := peft.Open(filepath.Join(dir, "modules", name), peft.OpenOptions{AllowPickle: true})
				if err != nil {
					t.Fatal(err)
				}
				a, err := m.Load()
				if err != nil {
					t.Fatal(err)
				}
				if numbers[name], err = e.AddModule(a); err != nil {
					t.Fatal(err)
				}
			}
			c.Terms = append(c.Terms, backend.Term{Module: numbers[name], Weight: float32(weights[i])})
		}
		return c
	}
}

// TestZoo holds whole models to the numbers of Transformers and PEFT, in whatever runs the kernels.
func TestZoo(t *testing.T) {
	e, compose := openZoo(t)
	for i, f := range zootest.LoadGolden(t).Forward {
		c := compose(f.Modules, f.Weights)
		c.Product = f.Method != "delta" // the goldens' "single" scales both factors, as product does
		examples := make([]task.Example, len(f.Examples))
		for j, x := range f.Examples {
			examples[j] = task.Example(x)
		}
		encoded, _ := e.Encode(examples)
		scores, err := e.Score(t.Context(), encoded, []engine.Composition{c})
		if err != nil {
			t.Fatal(err)
		}
		want := slices.Concat(f.TargetLogProbs...)
		if len(scores[0].LogProbs) != len(want) || len(want) == 0 {
			t.Fatalf("%d %s: %d log-probabilities, want %d", i, f.Method, len(scores[0].LogProbs), len(want))
		}
		for j, got := range scores[0].LogProbs {
			// The goldens are PyTorch's f32: run in f64, it moves by up to 2e-4 on log-probabilities of a few tens.
			if !(math.Abs(got-want[j]) <= 1e-4*max(1, math.Abs(want[j]))) {
				t.Errorf("%d %s: log-probability %d is %.6f, want %.6f", i, f.Method, j, got, want[j])
			}
		}
	}
}

// BenchmarkZoo is a search step: 20 weight vectors over 20 modules on the five examples of a task. It reports weight vectors per
// second, of the quickest step.
func BenchmarkZoo(b *testing.B) {
	e, compose := openZoo(b)
	dir := zootest.Dir(b)
	few, err := os.Open(filepath.Join(dir, "tasks", "together.few.jsonl"))
	if err != nil {
		b.Fatal(err)
	}
	defer few.Close()
	read, err := task.ReadExamples(few, task.Limits{})
	if err != nil {
		b.Fatal(err)
	}
	examples, _ := e.Encode(read)
	var all []engine.Composition
	for _, o := range zootest.LoadGolden(b).Objective[:20] {
		all = append(all, compose(o.Modules, o.Weights))
	}
	best := time.Duration(math.MaxInt64)
	for b.Loop() {
		start := time.Now()
		if _, err := e.Score(b.Context(), examples, all); err != nil {
			b.Fatal(err)
		}
		best = min(best, time.Since(start))
	}
	b.ReportMetric(float64(len(all))/best.Seconds(), "evaluations/s")
}

// TestCausal: decoder-only models give Transformers' numbers.
func TestCausal(t *testing.T) {
	b, err := simd.New(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	enginetest.Causal(t, b, 1e-4)
}
