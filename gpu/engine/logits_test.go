package engine

import (
	"math"
	"path/filepath"
	"testing"

	"github.com/medley-lora/medley/gpu/cpu"
	"github.com/medley-lora/medley/gpu/t5"
	"github.com/medley-lora/medley/shared/lora"
	"github.com/medley-lora/medley/shared/peft"
	"github.com/medley-lora/medley/shared/task"
	"github.com/medley-lora/medley/shared/zoo/zootest"
)

// TestGoldenFirstLogits compares the first logits of each golden case, which the log-probabilities of targets do not show one by one.
func TestGoldenFirstLogits(t *testing.T) {
	b, err := cpu.New(cpu.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	dir := zootest.Dir(t)
	e, err := Open(t.Context(), filepath.Join(dir, "base"), b, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	load := func(name string) (*lora.Adapter, error) {
		m, err := peft.Open(filepath.Join(dir, "modules", name), peft.OpenOptions{})
		if err != nil {
			return nil, err
		}
		return m.Load()
	}
	for i, g := range zootest.LoadGolden(t).Forward {
		method := lora.Product // the goldens' "single" scales both factors, as product does; "base" has weight 0
		if g.Method == "delta" {
			method = lora.Delta
		}
		m, err := NewMixer(e, method, g.Modules, load)
		if err != nil {
			t.Fatal(err)
		}
		c, err := m.Composition(g.Weights)
		if err != nil {
			t.Fatal(err)
		}
		got := e.firstLogits(t, task.Example(g.Examples[0]), c)
		for j, want := range g.FirstLogits {
			if d := math.Abs(float64(got[j]) - want); !(d <= 1e-4*max(1, math.Abs(want))) {
				t.Errorf("case %d, %s: logit %d is %.5f, want %.5f", i, g.Method, j, got[j], want)
			}
		}
		m.Close()
	}
}

// firstLogits runs one example's source and the start token.
func (e *Engine) firstLogits(t *testing.T, x task.Example, c Composition) []float32 {
	t.Helper()
	encoded, _ := e.Encode([]task.Example{x})
	var source, start t5.Packed
	source.Append(encoded[0].Source)
	start.Append([]int32{e.model.Config.StartID})
	var onSource, onStart segments
	onSource.extend(&c, len(source.IDs))
	onStart.extend(&c, 1)
	known := e.snapshot()
	p := e.backend.Begin(t.Context())
	defer p.End()
	hidden := e.model.Encode(p, t5.Stretch{In: source, Up: onSource.updates(known)})
	decoded := e.model.Decode(p, t5.Targets{In: start, Source: source, Encoded: hidden, Up: onStart.updates(known), SourceUp: onSource.updates(known)})
	logits, err := p.Read(e.model.Logits(p, decoded))
	if err != nil {
		t.Fatal(err)
	}
	return logits
}
