package engine_test

import (
	"math"
	"path/filepath"
	"testing"

	"github.com/medley-lora/medley/gpu/engine"
	"github.com/medley-lora/medley/gpu/engine/enginetest"
	"github.com/medley-lora/medley/gpu/reference"
	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/zoo/zootest"
)

// TestQuantise: integers of 8 and of 4 bits take the memory that they should, move the loss a little, and say by how much each weight is off.
func TestQuantise(t *testing.T) {
	dir := filepath.Join(zootest.Dir(t), "base")
	b := backends["cpu"](t)
	defer b.Close()
	score := func(o engine.Options) (loss float64, bytes int64, changes []engine.Quantised) {
		t.Helper()
		e, err := engine.Open(t.Context(), dir, b, o)
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close()
		z := &zooEngine{&enginetest.Zoo{Engine: e, Dir: zootest.Dir(t)}}
		examples, _ := z.few(t, "in_paris")
		scores, err := e.Score(t.Context(), examples, []engine.Composition{{}})
		if err != nil {
			t.Fatal(err)
		}
		return scores[0].Loss, e.Model().Bytes(), e.Quantised()
	}
	exact, whole, none := score(engine.Options{})
	if len(none) > 0 {
		t.Errorf("%d weights were changed unasked", len(none))
	}
	for _, c := range []struct {
		option           string
		share, off, loss float64
	}{{"q8", 0.4, 0.01, 0.02}, {"q4", 0.3, 0.12, 0.3}} {
		loss, bytes, changes := score(engine.Options{Quantise: c.option})
		if share := float64(bytes) / float64(whole); share > c.share || len(changes) < 40 {
			t.Errorf("%s: %d weights, %.2f of the memory", c.option, len(changes), share)
		}
		for _, q := range changes {
			if !(q.Error > 0 && q.Error < c.off) || q.Name == "" {
				t.Errorf("%s: %s is off by %g", c.option, q.Name, q.Error)
			}
		}
		if d := math.Abs(loss - exact); !(d > 0 && d < c.loss*max(1, exact)) {
			t.Errorf("%s: loss %g, exact %g", c.option, loss, exact)
		}
	}
	if _, err := engine.Open(t.Context(), dir, b, engine.Options{Quantise: "q3"}); fault.CodeOf(err) != fault.Invalid {
		t.Errorf("q3: %v", err)
	}
	if _, err := engine.Open(t.Context(), dir, reference.New(), engine.Options{Quantise: "q4"}); fault.CodeOf(err) != fault.Unsupported {
		t.Errorf("on a backend that keeps none: %v", err)
	}
}

// TestAdmit: what is said to be needed is about what is needed, also of weights in blocks; tables and tied heads of models so small make the rest.
func TestAdmit(t *testing.T) {
	b := backends["cpu"](t)
	defer b.Close()
	llama := filepath.Join("testdata", "causal", "llama2.gguf")
	zoo := filepath.Join(zootest.Dir(t), "base")
	for _, c := range []struct{ path, quantise string }{{zoo, ""}, {zoo, "q8"}, {zoo, "q4"}, {llama, ""}, {filepath.Join("testdata", "causal", "yarn.gguf"), ""}} {
		var said int64
		e, err := engine.Open(t.Context(), c.path, b, engine.Options{Quantise: c.quantise, Admit: func(parameters, packed int64) error {
			said = 4*parameters + packed
			return nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		if took := e.Bytes(); float64(said) < 0.7*float64(took) || float64(said) > 1.3*float64(took) {
			t.Errorf("%s %s takes %d bytes, and %d were asked for", filepath.Base(c.path), c.quantise, took, said)
		}
		e.Close()
	}
}
