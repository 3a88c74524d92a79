package backendtest

import (
	"fmt"
	"testing"

	"github.com/medley-lora/medley/gpu/backend"
)

// What decoder-only models need beside the rest: biases, rotations, norms of heads, and attention with fewer heads of keys and a window.

func (s *suite) bias(t *testing.T) {
	for _, n := range []struct{ rows, in, out int }{{1, 1, 1}, {7, 33, 65}, {97, 64, 129}, {200, 16, 33}} {
		t.Run(fmt.Sprintf("%dx%dx%d", n.rows, n.in, n.out), func(t *testing.T) {
			s.compare(t, s.tolerance.Update, func(m maker, p backend.Pass) []backend.Tensor {
				x, w := m.input(p, normal(110, n.rows*n.in), n.rows, n.in), m.matrix(normal(111, n.in*n.out), n.out, n.in)
				bias := m.keep(m.b.Vector(normal(112, n.out)))
				residual := m.input(p, normal(113, n.rows*n.out), n.rows, n.out)
				u := &backend.Update{Factors: factors(m, n.in, n.out, 0.25, 3), Segments: []backend.Segment{{Row1: n.rows, Terms: []backend.Term{{Weight: 1}}}}}
				return []backend.Tensor{p.Linear(x, w, backend.Linear{Bias: bias}), p.Linear(x, w, backend.Linear{Bias: bias, Residual: residual, Update: u})}
			})
		})
	}
}

func (s *suite) headNorm(t *testing.T) {
	for _, n := range []struct{ rows, heads, width int }{{1, 2, 4}, {5, 3, 12}, {9, 2, 32}, {7, 5, 20}, {3, 4, 64}, {17, 2, 128}} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			s.compare(t, s.tolerance.Norm, func(m maker, p backend.Pass) []backend.Tensor {
				x := m.input(p, scaled(114, n.rows*n.heads*n.width, 3), n.rows, n.heads*n.width)
				y := p.Norm(x, m.keep(m.b.Vector(normal(115, n.width))), 1e-6)
				// A norm of whole rows sees whether the columns beyond the last are still zeros.
				return []backend.Tensor{y, p.Norm(y, m.keep(m.b.Vector(normal(116, n.heads*n.width))), 1e-6)}
			})
		})
	}
}

func (s *suite) rotate(t *testing.T) {
	for _, n := range []struct{ rows, heads, width int }{{1, 1, 2}, {3, 1, 6}, {5, 3, 10}, {33, 2, 32}, {17, 3, 64}, {40, 2, 80}, {2, 5, 128}} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			s.compare(t, s.tolerance.Gate, func(m maker, p backend.Pass) []backend.Tensor {
				x := m.input(p, normal(117, n.rows*n.heads*n.width), n.rows, n.heads*n.width)
				y := p.Rotate(x, m.input(p, normal(118, n.rows*n.width), n.rows, n.width), n.heads)
				return []backend.Tensor{y, p.Norm(y, m.keep(m.b.Vector(normal(119, n.heads*n.width))), 1e-6)}
			})
		})
	}
}

func (s *suite) grouped(t *testing.T) {
	span := func(q0, q1, k0, k1, position int) backend.Span {
		return backend.Span{Q0: q0, Q1: q1, K0: k0, K1: k1, QPos: position}
	}
	cases := []struct {
		name                 string
		queries, keys        int
		heads, shared, width int
		window               int
		spans                []backend.Span
	}{
		{"pairs", 97, 97, 4, 2, 32, 0, []backend.Span{span(0, 33, 0, 33, 0), span(33, 97, 33, 97, 0)}},
		{"one for all", 40, 40, 3, 1, 16, 0, []backend.Span{span(0, 40, 0, 40, 0)}},
		{"odd head", 40, 40, 6, 2, 7, 0, []backend.Span{span(0, 19, 0, 19, 0), span(19, 40, 19, 40, 0)}},
		{"odd width", 21, 21, 9, 3, 33, 0, []backend.Span{span(0, 21, 0, 21, 0)}},
		{"window", 97, 97, 2, 2, 32, 5, []backend.Span{span(0, 60, 0, 60, 0), span(60, 97, 60, 97, 0)}},
		{"window of one", 33, 33, 2, 1, 16, 1, []backend.Span{span(0, 33, 0, 33, 0)}},
		{"window of a panel", 150, 150, 4, 2, 16, 32, []backend.Span{span(0, 150, 0, 150, 0)}},
		{"window beyond", 20, 20, 2, 1, 8, 1000, []backend.Span{span(0, 20, 0, 20, 0)}},
		{"window of an odd head", 150, 150, 4, 2, 10, 50, []backend.Span{span(0, 150, 0, 150, 0)}},
		{"continued", 6, 290, 4, 1, 32, 40, []backend.Span{span(0, 1, 0, 200, 199), span(1, 3, 200, 250, 48), span(3, 6, 250, 290, 37)}},
		{"more tasks than one", 300, 300, 2, 1, 16, 70, []backend.Span{span(0, 300, 0, 300, 0)}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			for _, scale := range []float32{0.3, 40} {
				// With scores of hundreds as in attend.
				s.compare(t, s.tolerance.Attend*max(1, float64(scale)*2.5), func(m maker, p backend.Pass) []backend.Tensor {
					d, e := c.heads*c.width, c.shared*c.width
					k, v := m.input(p, normal(121, c.keys*e), c.keys, e), m.input(p, normal(122, c.keys*e), c.keys, e)
					return []backend.Tensor{p.Attend(m.input(p, normal(120, c.queries*d), c.queries, d), k, v, backend.Attention{
						Heads: c.heads, KVHeads: c.shared, Scale: scale, Causal: true, Window: c.window, Spans: c.spans,
					})}
				})
			}
		})
	}
}

// causalInvariance runs these operations on a batch and on parts of it: the bits must agree.
func (s *suite) causalInvariance(t *testing.T) {
	const rows, heads, shared, width = 300, 4, 2, 24
	x, angles, bias := normal(123, rows*heads*width), normal(124, rows*width), normal(125, 40)
	w := normal(126, 40*heads*width)
	run := func(from, to int) [][]float32 {
		return execute(t, s.backend, func(m maker, p backend.Pass) []backend.Tensor {
			n, d := to-from, heads*width
			in := m.input(p, x[from*d:to*d], n, d)
			keys := m.input(p, x[:rows*shared*width], rows, shared*width)
			turned := p.Rotate(in, m.input(p, angles[from*width:to*width], n, width), heads)
			return []backend.Tensor{
				turned, p.Norm(in, m.keep(m.b.Vector(normal(127, width))), 1e-6),
				p.Linear(in, m.matrix(w, 40, d), backend.Linear{Bias: m.keep(m.b.Vector(bias))}),
				p.Attend(turned, keys, keys, backend.Attention{
					Heads: heads, KVHeads: shared, Scale: 0.2, Causal: true, Window: 45, Spans: []backend.Span{{Q1: n, K1: rows, QPos: from}},
				}),
			}
		})
	}
	whole := run(0, rows)
	for _, part := range [][2]int{{0, 1}, {0, 7}, {44, 46}, {45, 46}, {127, 131}, {120, 299}, {299, 300}} {
		for i, got := range run(part[0], part[1]) {
			cols := len(whole[i]) / rows
			if err := differ(got, whole[i][part[0]*cols:part[1]*cols], 0); err != nil {
				t.Errorf("result %d of rows [%d, %d) differs from the whole batch's: %v", i, part[0], part[1], err)
			}
		}
	}
}
