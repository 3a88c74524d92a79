package backendtest

import (
	"fmt"
	"testing"

	"github.com/medley-lora/medley/gpu/backend"
)

func (s *suite) attend(t *testing.T) {
	span := func(q0, q1, k0, k1, position int) backend.Span {
		return backend.Span{Q0: q0, Q1: q1, K0: k0, K1: k1, QPos: position}
	}
	cases := []struct {
		name             string
		queries, keys    int
		heads, width     int
		causal, distance bool
		spans            []backend.Span
	}{
		{"one", 1, 1, 1, 1, false, false, []backend.Span{span(0, 1, 0, 1, 0)}},
		{"ragged", 97, 97, 4, 32, false, true, []backend.Span{span(0, 33, 0, 33, 0), span(33, 34, 33, 34, 0), span(34, 97, 34, 97, 0)}},
		{"causal", 97, 97, 3, 16, true, true, []backend.Span{span(0, 50, 0, 50, 0), span(50, 97, 50, 97, 0)}},
		{"causal without bias", 70, 70, 2, 64, true, false, []backend.Span{span(0, 70, 0, 70, 0)}},
		{"cross", 12, 80, 2, 64, false, false, []backend.Span{span(0, 5, 0, 33, 0), span(5, 12, 33, 80, 0)}},
		{"shared keys", 12, 40, 2, 32, false, false, []backend.Span{span(0, 5, 0, 40, 0), span(5, 12, 0, 40, 0)}},
		{"odd head", 40, 40, 5, 7, true, true, []backend.Span{span(0, 19, 0, 19, 0), span(19, 40, 19, 40, 0)}},
		{"wide head", 9, 150, 1, 129, false, true, []backend.Span{span(0, 9, 0, 150, 0)}},
		{"odd width", 17, 17, 3, 33, false, false, []backend.Span{span(0, 17, 0, 17, 0)}},
		{"head of 80", 21, 21, 2, 80, true, false, []backend.Span{span(0, 21, 0, 21, 0)}},
		{"no keys, gaps", 30, 20, 2, 16, false, true, []backend.Span{span(2, 7, 3, 3, 0), span(9, 12, 0, 20, 0), span(15, 15, 0, 5, 0), span(16, 20, 5, 9, 0)}},
		{"continued", 6, 60, 2, 32, true, true, []backend.Span{span(0, 1, 0, 30, 29), span(1, 3, 30, 50, 18), span(3, 6, 50, 60, 40)}},
		{"keys ahead of queries", 3, 50, 2, 16, true, true, []backend.Span{span(0, 3, 0, 50, 2)}},
		{"long", 3, 1030, 2, 16, false, false, []backend.Span{span(0, 3, 0, 1030, 0)}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			attention := func(m maker, p backend.Pass, scale float32) []backend.Tensor {
				d := c.heads * c.width
				a := backend.Attention{Heads: c.heads, Scale: scale, Causal: c.causal, Spans: c.spans}
				if c.distance {
					a.Bias, a.BiasZero = normal(20, 301*c.heads), 150
				}
				q := m.input(p, normal(21, c.queries*d), c.queries, d)
				k := m.input(p, normal(22, c.keys*d), c.keys, d)
				v := m.input(p, normal(23, c.keys*d), c.keys, d)
				return []backend.Tensor{p.Attend(q, k, v, a)}
			}
			s.compare(t, s.tolerance.Attend, func(m maker, p backend.Pass) []backend.Tensor { return attention(m, p, 0.3) })
			// With scores of hundreds an exponential without subtracting the largest would overflow. One rounding of such a score
			// moves its weight by 3e-5, some hundred times more than one of about 10.
			s.compare(t, 100*s.tolerance.Attend, func(m maker, p backend.Pass) []backend.Tensor { return attention(m, p, 40) })
		})
	}
}

// cache decodes two sequences step by step, with keys and values in caches that fill up.
func (s *suite) cache(t *testing.T) {
	const heads, width, steps, room = 2, 32, 7, 10
	bias := normal(24, 2*room*heads)
	s.compare(t, s.tolerance.Attend, func(m maker, p backend.Pass) []backend.Tensor {
		keys, values := p.Zeros(2*room, heads*width), p.Zeros(2*room, heads*width)
		var results []backend.Tensor
		for step := range steps {
			results = append(results, p.Scope(func() backend.Tensor {
				x := m.input(p, normal(uint64(25+step), 2*heads*width), 2, heads*width)
				rows := []int32{int32(step), int32(room + step)}
				p.Scatter(keys, x, rows)
				p.Scatter(values, p.Gate(backend.SiLU, x, nil), rows)
				return p.Attend(x, keys, values, backend.Attention{Heads: heads, Scale: 0.5, Causal: true, Bias: bias, BiasZero: room, Spans: []backend.Span{
					{Q0: 0, Q1: 1, K0: 0, K1: step + 1, QPos: step},
					{Q0: 1, Q1: 2, K0: room, K1: room + step + 1, QPos: step},
				}})
			}))
		}
		return append(results, keys, values)
	})
}

// heads is for backends that have the operations, as engines look for them.
func (s *suite) heads(t *testing.T) {
	for _, c := range []struct{ rows, heads, width int }{{1, 1, 1}, {3, 2, 32}, {5, 3, 7}} {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			s.compare(t, 0, func(m maker, p backend.Pass) []backend.Tensor {
				split := p.(backend.HeadSplitter)
				x := m.input(p, normal(26, c.rows*c.heads*c.width), c.rows, c.heads*c.width)
				apart := split.SplitHeads(x, c.heads)
				all := m.input(p, normal(27, c.rows*c.heads*c.heads*c.width), c.rows*c.heads, c.heads*c.width)
				return []backend.Tensor{apart, split.JoinHeads(apart, c.heads), split.JoinHeads(all, c.heads)}
			})
		})
	}
}

// invariance runs every operation on a batch, on single rows and on parts of it at other offsets: the bits must agree.
func (s *suite) invariance(t *testing.T) {
	const rows, in, out, heads, vocabulary = 500, 96, 160, 3, 300
	x, w, head := normal(30, rows*in), normal(31, in*out), normal(32, vocabulary*in)
	targets := ids(33, rows, vocabulary)
	run := func(from, to int, product, causal bool) [][]float32 {
		return execute(t, s.backend, func(m maker, p backend.Pass) []backend.Tensor {
			n := to - from
			tensor := m.input(p, x[from*in:to*in], n, in)
			gain := m.keep(m.b.Vector(normal(34, in)))
			u := &backend.Update{Factors: factors(m, in, out, 0.5, 8, 8, 8)}
			// Three segments of the whole batch, clipped to the part.
			for i, g := range []backend.Segment{
				{Row0: 0, Row1: 5, Terms: []backend.Term{{Module: 0, Weight: 1}}},
				{Row0: 6, Row1: 300, Terms: []backend.Term{{Module: 0, Weight: 1}, {Module: 2, Weight: -0.5}}},
				{Row0: 300, Row1: 500, Terms: []backend.Term{{Module: 1, Weight: 0.25}}},
			} {
				g.Row0, g.Row1 = min(max(g.Row0-from, 0), n), min(max(g.Row1-from, 0), n)
				g.Product = product && i > 0
				g.Tokens = 100 * i * i // the last has rows enough for a weight of its own
				u.Segments = append(u.Segments, g)
			}
			// Each query row is a sequence of its own over the same keys, so that rows can be left out.
			keys := m.input(p, x[:50*in], 50, in)
			a := backend.Attention{Heads: heads, Scale: 0.2, Causal: causal}
			if causal { // one sequence: row from+i at position from+i
				a.Spans = []backend.Span{{Q0: 0, Q1: n, K0: 0, K1: 50, QPos: from}}
			} else {
				for i := range n {
					a.Spans = append(a.Spans, backend.Span{Q0: i, Q1: i + 1, K0: 0, K1: 1 + (from+i)%50})
				}
			}
			y := p.Linear(tensor, m.matrix(w, out, in), backend.Linear{Update: u})
			return []backend.Tensor{
				y, p.Linear(tensor, m.matrix(w, out, in), backend.Linear{Update: u, Residual: y}), p.Norm(tensor, gain, 1e-6),
				p.Gate(backend.GELUNew, tensor, tensor), p.Attend(tensor, keys, keys, a), p.LogProbs(tensor, m.matrix(head, vocabulary, in), targets[from:to]),
			}
		})
	}
	for _, mode := range []bool{false, true} {
		whole := run(0, rows, mode, mode)
		for _, part := range [][2]int{{0, 1}, {0, 7}, {3, 4}, {5, 6}, {6, 13}, {293, 301}, {299, 300}, {499, 500}, {100, 297}, {17, 467}} {
			for i, got := range run(part[0], part[1], mode, mode) {
				cols := len(whole[i]) / rows
				want := whole[i][part[0]*cols : part[1]*cols]
				if err := differ(got, want, 0); err != nil {
					t.Errorf("mode %v, result %d of rows [%d, %d) differs from the whole batch's: %v", mode, i, part[0], part[1], err)
				}
			}
		}
		if err := differ(whole[0], make([]float32, len(whole[0])), 0); err == nil {
			t.Error(fmt.Errorf("the whole batch came out as zeros"))
		}
	}
}
