package engine_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/gpu/engine"
	"github.com/medley-lora/medley/shared/lora"
)

// counter counts the rows that go through the encoder's layers: of all attention, theirs alone has a bias and sees both ways.
type counter struct {
	backend.Backend
	rows int
}

func (c *counter) Begin(ctx context.Context) backend.Pass {
	return countingPass{c.Backend.Begin(ctx), c}
}

type countingPass struct {
	backend.Pass
	counter *counter
}

func (p countingPass) Attend(q, k, v backend.Tensor, a backend.Attention) backend.Tensor {
	if a.Bias != nil && !a.Causal {
		rows, _ := q.Dims()
		p.counter.rows += rows
	}
	return p.Pass.Attend(q, k, v, a)
}

// only keeps the layers of an adapter whose target has one of the prefixes.
func only(a *lora.Adapter, prefixes ...string) *lora.Adapter {
	a.Layers = slices.DeleteFunc(a.Layers, func(l lora.Layer) bool {
		return !slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(l.Target, p) })
	})
	return a
}

// TestEncoderIsShared: an encoder layer runs once per example until compositions differ, and no number changes by it.
func TestEncoderIsShared(t *testing.T) {
	count := &counter{Backend: backends["cpu"](t)}
	z := openZoo(t, count, engine.Options{})
	examples, _ := z.few(t, "in_paris")
	layers := z.Model().Layers()
	tokens := 0
	for _, x := range examples {
		tokens += len(x.Source)
	}
	add := func(name string, prefixes ...string) int {
		number, err := z.AddModule(only(z.Adapter(t, "modules", name), prefixes...))
		if err != nil {
			t.Fatal(err)
		}
		return number
	}
	late, decoder, everywhere := add("add", "encoder.block.1."), add("plural", "decoder."), add("french", "encoder.", "decoder.")
	term := func(module int, weight float32) []backend.Term {
		return []backend.Term{{Module: module, Weight: weight}}
	}
	for name, c := range map[string]struct {
		terms [][]backend.Term
		rows  int // of the encoder's layers, in units of all examples' tokens
	}{
		"one":              {[][]backend.Term{term(everywhere, 1)}, layers},
		"bare":             {[][]backend.Term{nil, nil, nil}, layers},
		"the same":         {[][]backend.Term{term(everywhere, 1), term(everywhere, 1)}, layers},
		"from the start":   {[][]backend.Term{term(everywhere, 1), term(everywhere, 0.5), nil}, 3 * layers},
		"from layer 1":     {[][]backend.Term{term(late, 1), term(late, 0.5), nil}, 1 + 3*(layers-1)},
		"only the decoder": {[][]backend.Term{term(decoder, 1), term(decoder, 0.5), nil}, layers},
		"mixed":            {[][]backend.Term{term(decoder, 1), term(late, 0.5), nil, term(everywhere, 1), term(late, 0.5)}, 2 + 3*(layers-1)},
	} {
		t.Run(name, func(t *testing.T) {
			compositions := make([]engine.Composition, len(c.terms))
			for i, terms := range c.terms {
				compositions[i].Terms = terms
			}
			count.rows = 0
			got, err := z.Score(t.Context(), examples, compositions)
			if err != nil {
				t.Fatal(err)
			}
			if want := c.rows * tokens; count.rows != want {
				t.Errorf("%d rows of encoder layers, want %d", count.rows, want)
			}
			for i := range compositions {
				alone, err := z.Score(t.Context(), examples, compositions[i:i+1])
				if err != nil {
					t.Fatal(err)
				}
				if !slices.Equal(alone[0].LogProbs, got[i].LogProbs) {
					t.Errorf("composition %d: %v in the batch, %v alone", i, got[i].LogProbs, alone[0].LogProbs)
				}
			}
		})
	}
}
