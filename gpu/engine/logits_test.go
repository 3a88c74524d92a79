package engine

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/medley-lora/medley/gpu/cpu"
	"github.com/medley-lora/medley/gpu/model"
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
	m := e.model.(seq2seq)
	var source, start model.Packed
	source.Append(encoded[0].Source)
	start.Append([]int32{m.Config.StartID})
	var onSource, onStart segments
	onSource.extend(&c, len(source.IDs))
	onStart.extend(&c, 1)
	known := e.snapshot()
	p := e.backend.Begin(t.Context())
	defer p.End()
	hidden := m.Encode(p, model.Stretch{In: source, Up: onSource.updates(known)})
	decoded := m.Decode(p, t5.Targets{In: start, Source: source, Encoded: hidden, Up: onStart.updates(known), SourceUp: onSource.updates(known)})
	logits, err := p.Read(m.Logits(p, decoded))
	if err != nil {
		t.Fatal(err)
	}
	return logits
}

// nextLogits takes a source in as Generate does.
func (e *Engine) nextLogits(t *testing.T, source []int32) []float32 {
	t.Helper()
	p := e.backend.Begin(t.Context())
	defer p.End()
	d, known := e.model.decode(), e.snapshot()
	s := &sequence{call: newCall(t.Context(), []Request{{Source: source}}, Sampling{MaxTokens: 1})}
	d.prepare(s)
	feeds := []feed{{s, s.pending, d.cache().Extend(&s.target, s.pending), true}}
	d.take(p, feeds, known, 0)
	d.cache().Fit(p, 0)
	next, err := d.step(p, feeds, nil)
	if err != nil {
		t.Fatal(err)
	}
	logits, err := p.Read(next)
	if err != nil {
		t.Fatal(err)
	}
	return logits
}

// TestGoldenCausalLogits compares the logits after the first source with those of Transformers, for every branch of decoder-only models.
func TestGoldenCausalLogits(t *testing.T) {
	b, err := cpu.New(cpu.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	data, err := os.ReadFile(filepath.Join("testdata", "causal", "expected.json"))
	if err != nil {
		t.Fatal(err)
	}
	var expected struct {
		Encoded []struct{ Source []int32 }
		Models  map[string]struct {
			FirstLogits []float64 `json:"first_logits"`
		}
	}
	if err := json.Unmarshal(data, &expected); err != nil {
		t.Fatal(err)
	}
	for name, want := range expected.Models {
		dir := t.TempDir()
		for _, from := range []string{filepath.Join("testdata", "causal", name), filepath.Join("..", "tokenizer", "testdata", "bpe", "llama3")} {
			if err := os.CopyFS(dir, os.DirFS(from)); err != nil {
				t.Fatal(err)
			}
		}
		e, err := Open(t.Context(), dir, b, Options{})
		if err != nil {
			t.Fatal(err)
		}
		got := e.nextLogits(t, expected.Encoded[0].Source)
		if len(got) != len(want.FirstLogits) {
			t.Fatalf("%s: %d logits", name, len(got))
		}
		for i, w := range want.FirstLogits {
			if d := math.Abs(float64(got[i]) - w); !(d <= 1e-4*max(1, math.Abs(w))) {
				t.Errorf("%s: logit %d is %.5f, want %.5f", name, i, got[i], w)
			}
		}
		e.Close()
	}
}
