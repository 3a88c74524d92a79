package engine_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/gpu/engine"
	"github.com/medley-lora/medley/gpu/reference"
	"github.com/medley-lora/medley/shared/lora"
	"github.com/medley-lora/medley/shared/task"
)

// TestMixerGivesItsModulesBack: searches that follow each other neither grow the engine nor see each other's modules.
func TestMixerGivesItsModulesBack(t *testing.T) {
	eachBackend(t, func(t *testing.T, z *zooEngine) {
		examples := []task.Example{{Input: "one berry , several", Output: "berries"}}
		score := func(name string, uses int) []float64 {
			t.Helper()
			reads := 0
			m, err := engine.NewMixer(z.Engine, lora.Delta, []string{name, "french"}, func(name string) (*lora.Adapter, error) {
				reads++
				return z.Adapter(t, "modules", name), nil
			})
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			var all []float64
			for range uses {
				scores, err := m.Score(t.Context(), examples, [][]float64{{1, 0}, {0.5, 0}})
				if err != nil {
					t.Fatal(err)
				}
				all = logProbs(scores)
			}
			if reads != 1 || m.Read() != 1 {
				t.Errorf("%d reads, %d modules, want 1: the other has weight 0", reads, m.Read())
			}
			return all
		}
		first, other, again := score("plural", 1), score("spanish", 2), score("plural", 3)
		if !slices.Equal(first, again) || slices.Equal(first, other) {
			t.Errorf("plural %v, spanish %v, plural again %v", first, other, again)
		}
		number, err := z.AddModule(z.Adapter(t, "modules", "add"))
		if err != nil || number != 0 {
			t.Errorf("the next module got number %d, error %v; want the one that was given back", number, err)
		}
	})
}

func TestMixerCounts(t *testing.T) {
	z := openZoo(t, reference.New(), engine.Options{MaxTarget: 8})
	m, err := engine.NewMixer(z.Engine, lora.Delta, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	long := task.Example{Input: "one berry , several", Output: strings.Repeat("berries ", 20)}
	c, err := m.Count(t.Context(), []task.Example{{Input: "the the", Output: "one berry , several"}, long})
	if err != nil {
		t.Fatal(err)
	}
	if c.Inputs[0] != 3 || c.Outputs[1] != 8 || len(c.Warnings) != 1 {
		t.Errorf("%+v", c)
	}
	if text := strings.Join(c.Pieces[0], ""); text != "one berry , several" || len(c.Pieces[0]) != c.Outputs[0] || c.Pieces[0][c.Outputs[0]-1] != "" {
		t.Errorf("pieces %q of %d tokens", c.Pieces[0], c.Outputs[0])
	}
	// Pieces end where they would be too many, numbers do not.
	many, err := m.Count(t.Context(), slices.Repeat([]task.Example{long}, task.MostPieces/8+5))
	if err != nil || len(many.Pieces) != task.MostPieces/8 || len(many.Outputs) != len(many.Pieces)+5 {
		t.Errorf("pieces of %d examples of %d, error %v", len(many.Pieces), len(many.Outputs), err)
	}
}

func TestMixerRefuses(t *testing.T) {
	z := openZoo(t, backends["reference"](t), engine.Options{})
	load := func(name string) (*lora.Adapter, error) {
		if name == "rslora_r4" {
			return z.Adapter(t, "variants", name), nil
		}
		return z.Adapter(t, "modules", name), nil
	}
	if _, err := engine.NewMixer(z.Engine, lora.TIES, []string{"add"}, load); err == nil {
		t.Error("a static merge was taken")
	}
	m, err := engine.NewMixer(z.Engine, lora.Product, []string{"add", "rslora_r4"}, load)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if _, err := m.Composition([]float64{1}); err == nil {
		t.Error("too few weights were taken")
	}
	if _, err := m.Composition([]float64{1, 1}); err == nil {
		t.Error("a product of different ranks was taken")
	}
	if c, err := m.Composition([]float64{1, 0}); err != nil || len(c.Terms) != 1 || c.Terms[0] != (backend.Term{Weight: 1}) {
		t.Errorf("composition %+v, error %v", c, err)
	}
}
