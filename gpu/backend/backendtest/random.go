package backendtest

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/medley-lora/medley/gpu/backend"
)

// randomLinear draws shapes and updates that nobody thought of. Results have 64 numbers or more, so that their root mean square
// is not small by accident.
func (s *suite) randomLinear(t *testing.T) {
	for seed := range uint64(80) {
		r := rand.New(rand.NewPCG(seed, 1))
		rows, in, out := 8+r.IntN(120), 1+r.IntN(140), 8+r.IntN(140)
		product := r.IntN(2) == 0
		ranks := make([]int, 1+r.IntN(6))
		for i := range ranks {
			if ranks[i] = r.IntN(40); product && ranks[i] > 0 {
				ranks[i] = 7
			}
		}
		var segments []backend.Segment
		for row := 0; row < rows; {
			g := backend.Segment{Row0: row + r.IntN(3), Product: product && r.IntN(2) == 0, Tokens: r.IntN(200)}
			g.Row1 = min(rows, g.Row0+r.IntN(40))
			if g.Row0 > g.Row1 {
				break
			}
			for range r.IntN(5) {
				g.Terms = append(g.Terms, backend.Term{Module: r.IntN(len(ranks)), Weight: float32(r.NormFloat64())})
			}
			segments, row = append(segments, g), g.Row1+1
		}
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			s.compare(t, s.tolerance.Update, func(m maker, p backend.Pass) []backend.Tensor {
				x, w := m.input(p, normal(90+seed, rows*in), rows, in), m.matrix(normal(91+seed, in*out), out, in)
				u := &backend.Update{Factors: factors(m, in, out, 0.25, ranks...), Segments: segments}
				return []backend.Tensor{p.Linear(x, w, backend.Linear{Update: u})}
			})
		})
	}
}

// randomAttend does the same for attention.
func (s *suite) randomAttend(t *testing.T) {
	for seed := range uint64(80) {
		r := rand.New(rand.NewPCG(seed, 2))
		const longest = 60
		heads, width := 1+r.IntN(5), 1+r.IntN(70)
		a := backend.Attention{Heads: heads, Scale: 0.3, Causal: r.IntN(2) == 0}
		if r.IntN(2) == 0 {
			a.Bias, a.BiasZero = normal(92+seed, 6*longest*heads), 3*longest
		}
		queries, keys := 0, 0
		for range 1 + r.IntN(4) {
			span := backend.Span{Q0: queries + r.IntN(3), K0: keys, QPos: r.IntN(longest)}
			span.Q1, span.K1 = span.Q0+1+r.IntN(longest), span.K0+r.IntN(longest)
			a.Spans, queries, keys = append(a.Spans, span), span.Q1, span.K1
		}
		queries, keys = queries+r.IntN(3), keys+1
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			s.compare(t, s.tolerance.Attend, func(m maker, p backend.Pass) []backend.Tensor {
				d := heads * width
				k, v := m.input(p, normal(93+seed, keys*d), keys, d), m.input(p, normal(94+seed, keys*d), keys, d)
				return []backend.Tensor{p.Attend(m.input(p, normal(95+seed, queries*d), queries, d), k, v, a)}
			})
		})
	}
}
