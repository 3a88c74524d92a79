package backendtest

import (
	"fmt"
	"slices"
	"testing"

	"github.com/medley-lora/medley/gpu/backend"
)

// rowCounts and widths are 1, odd, a tile and one past it, for tiles of 14, 16, 32 and 64.
var (
	rowCounts = []int{1, 2, 5, 7, 14, 15, 33, 65, 97, 200}
	widths    = []int{1, 3, 16, 31, 32, 33, 64, 129}
)

func (s *suite) embed(t *testing.T) {
	for _, d := range widths {
		t.Run(fmt.Sprint(d), func(t *testing.T) {
			s.compare(t, 0, func(m maker, p backend.Pass) []backend.Tensor {
				table := m.keep(m.b.Table(normal(1, 50*d), 50, d))
				return []backend.Tensor{p.Embed(table, ids(2, 77, 50)), p.Embed(table, []int32{49})}
			})
		})
	}
}

func (s *suite) norm(t *testing.T) {
	for _, d := range append([]int{768, 1025}, widths...) {
		for _, rows := range []int{1, 17, 97} {
			t.Run(fmt.Sprintf("%dx%d", rows, d), func(t *testing.T) {
				s.compare(t, s.tolerance.Norm, func(m maker, p backend.Pass) []backend.Tensor {
					x := m.input(p, scaled(3, rows*d, 5), rows, d)
					gain := m.keep(m.b.Vector(normal(4, d)))
					zero := p.Zeros(rows, d)
					return []backend.Tensor{p.Norm(x, gain, 1e-6), p.Norm(x, gain, 100), p.Norm(zero, gain, 1e-6)}
				})
			})
		}
	}
}

func (s *suite) linear(t *testing.T) {
	type shape struct{ rows, in, out int }
	var shapes []shape
	for i, rows := range rowCounts {
		for j := range 3 { // every width as input and as output
			shapes = append(shapes, shape{rows, widths[(i+3*j)%len(widths)], widths[(3*i+j)%len(widths)]})
		}
	}
	shapes = append(shapes, shape{1, 768, 300}, shape{40, 128, 384}, shape{97, 768, 33}, shape{193, 128, 257}, shape{20, 2049, 65}, shape{450, 64, 64})
	for _, n := range shapes {
		t.Run(fmt.Sprintf("%dx%dx%d", n.rows, n.in, n.out), func(t *testing.T) {
			s.compare(t, s.tolerance.Linear, func(m maker, p backend.Pass) []backend.Tensor {
				x := m.input(p, normal(5, n.rows*n.in), n.rows, n.in)
				w := m.matrix(normal(6, n.in*n.out), n.out, n.in)
				residual := m.input(p, normal(7, n.rows*n.out), n.rows, n.out)
				return []backend.Tensor{p.Linear(x, w, backend.Linear{}), p.Linear(x, w, backend.Linear{Residual: residual})}
			})
		})
	}
}

// factors makes modules of the given ranks; 0 stands for a module that leaves the map alone.
func factors(m maker, in, out int, scale float32, ranks ...int) []backend.Resident {
	m.t.Helper()
	made := make([]backend.Resident, len(ranks))
	for i, r := range ranks {
		if r > 0 {
			made[i] = m.keep(m.b.Factor(normal(uint64(100+i), r*in), normal(uint64(200+i), out*r), r, in, out, scale))
		}
	}
	return made
}

func (s *suite) update(t *testing.T) {
	everything := func(row0, row1, modules int) backend.Segment {
		g := backend.Segment{Row0: row0, Row1: row1}
		for i := range modules {
			g.Terms = append(g.Terms, backend.Term{Module: i, Weight: float32(i%5) - 1.5})
		}
		return g
	}
	product := func(g backend.Segment) backend.Segment { g.Product = true; return g }
	long := func(g backend.Segment) backend.Segment { g.Tokens = 4096; return g }
	var short []backend.Segment // five rows each, with a gap after each
	for r := 0; r+5 <= 97; r += 6 {
		g := everything(r, r+5, 4)
		g.Terms = g.Terms[r%4:]
		short = append(short, g)
	}
	cases := []struct {
		name          string
		rows, in, out int
		ranks         []int
		segments      []backend.Segment
	}{
		{"one row", 1, 33, 65, []int{1}, []backend.Segment{everything(0, 1, 1)}},
		{"odd ranks", 97, 129, 33, []int{1, 3, 8, 17, 0, 33}, []backend.Segment{everything(0, 97, 6)}},
		{"gaps", 97, 64, 64, []int{8, 4, 0, 16}, short},
		{"no terms", 40, 32, 32, []int{4}, []backend.Segment{{Row0: 3, Row1: 20}, everything(20, 20, 1), everything(21, 40, 1)}},
		{"all absent", 10, 32, 32, []int{0, 0}, []backend.Segment{everything(0, 10, 2)}},
		{"zero weight", 10, 32, 32, []int{4}, []backend.Segment{{Row1: 10, Terms: []backend.Term{{Module: 0}}}}},
		{"module twice", 10, 32, 32, []int{4}, []backend.Segment{{Row1: 10, Terms: []backend.Term{{Module: 0, Weight: 1}, {Module: 0, Weight: 2}}}}},
		{"wide rank", 30, 16, 40, []int{700, 5}, []backend.Segment{everything(2, 30, 2)}},
		{"many modules", 45, 128, 128, slices.Repeat([]int{8}, 90), []backend.Segment{everything(0, 20, 90), everything(20, 45, 45)}},
		{"across blocks", 450, 48, 32, []int{8, 8}, []backend.Segment{everything(10, 190, 2), everything(190, 440, 1)}},
		{"product", 97, 65, 33, []int{5, 5, 0, 5}, []backend.Segment{product(everything(0, 30, 4)), everything(30, 60, 2), product(everything(61, 97, 2))}},
		{"product of one", 20, 32, 32, []int{16}, []backend.Segment{product(everything(0, 20, 1))}},
		{"one of many rows", 1, 33, 65, []int{3, 5}, []backend.Segment{long(everything(0, 1, 2))}},
		{"many rows", 450, 257, 65, []int{8, 0, 17}, []backend.Segment{long(everything(3, 190, 3)), everything(190, 200, 2), long(everything(210, 450, 1))}},
		{"many rows, wide rank", 30, 16, 40, []int{700, 5}, []backend.Segment{long(everything(2, 30, 2))}},
		{"many rows, many modules", 45, 128, 128, slices.Repeat([]int{8}, 90), []backend.Segment{long(everything(0, 20, 90)), long(everything(20, 45, 45))}},
		{"many rows, product", 97, 65, 33, []int{5, 5, 0, 5}, []backend.Segment{long(product(everything(0, 30, 4))), long(everything(30, 60, 2))}},
		{"wide product", 9, 16, 40, []int{600, 600}, []backend.Segment{product(everything(1, 9, 2))}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s.compare(t, s.tolerance.Update, func(m maker, p backend.Pass) []backend.Tensor {
				x := m.input(p, normal(8, c.rows*c.in), c.rows, c.in)
				w := m.matrix(normal(9, c.in*c.out), c.out, c.in)
				residual := m.input(p, normal(10, c.rows*c.out), c.rows, c.out)
				u := &backend.Update{Factors: factors(m, c.in, c.out, 0.25, c.ranks...), Segments: c.segments}
				return []backend.Tensor{p.Linear(x, w, backend.Linear{Update: u}), p.Linear(x, w, backend.Linear{Update: u, Residual: residual})}
			})
		})
	}
}

func (s *suite) gate(t *testing.T) {
	for _, d := range []int{1, 33, 2100} {
		for act := backend.ReLU; act <= backend.SiLU; act++ {
			t.Run(fmt.Sprintf("%d/%d", act, d), func(t *testing.T) {
				s.compare(t, s.tolerance.Gate, func(m maker, p backend.Pass) []backend.Tensor {
					a, b := m.input(p, scaled(11, 9*d, 4), 9, d), m.input(p, normal(12, 9*d), 9, d)
					far := m.input(p, []float32{-1e4, -200, -88, -20, 0, 20, 88, 200, 1e4}, 9, 1)
					return []backend.Tensor{p.Gate(act, a, b), p.Gate(act, a, nil), p.Gate(act, far, nil)}
				})
			})
		}
	}
}

func (s *suite) gather(t *testing.T) {
	for _, d := range []int{1, 32, 33} {
		t.Run(fmt.Sprint(d), func(t *testing.T) {
			s.compare(t, 0, func(m maker, p backend.Pass) []backend.Tensor {
				x := m.input(p, normal(95, 9*d), 9, d)
				return []backend.Tensor{p.Gather(x, []int32{8, 0, 0, 3, 8}), p.Gather(x, nil), p.Gather(x, ids(96, 70, 9))}
			})
		})
	}
}

func (s *suite) scatter(t *testing.T) {
	for _, d := range []int{1, 31, 64} {
		t.Run(fmt.Sprint(d), func(t *testing.T) {
			s.compare(t, 0, func(m maker, p backend.Pass) []backend.Tensor {
				cache, x := p.Zeros(40, d), m.input(p, normal(13, 5*d), 5, d)
				p.Scatter(cache, x, []int32{39, 0, 7, 8, 20})
				p.Scatter(cache, x, []int32{1, 2, 3, 39, 5}) // row 39 a second time, in another call
				p.Scatter(cache, p.Zeros(0, d), nil)
				return []backend.Tensor{cache}
			})
		})
	}
}

func (s *suite) logProbs(t *testing.T) {
	for _, n := range []struct{ rows, in, vocabulary int }{{1, 1, 1}, {1, 5, 3}, {20, 64, 255}, {33, 32, 257}, {3, 1100, 513}, {97, 16, 704}, {210, 8, 1000}} {
		t.Run(fmt.Sprintf("%dx%dx%d", n.rows, n.in, n.vocabulary), func(t *testing.T) {
			s.compare(t, s.tolerance.LogProbs, func(m maker, p backend.Pass) []backend.Tensor {
				x := m.input(p, normal(14, n.rows*n.in), n.rows, n.in)
				plain := m.matrix(normal(15, n.vocabulary*n.in), n.vocabulary, n.in)
				// Logits of some hundreds: an exponential without subtracting the largest would overflow.
				steep := m.matrix(scaled(16, n.vocabulary*n.in, 100), n.vocabulary, n.in)
				targets := ids(17, n.rows, n.vocabulary)
				return []backend.Tensor{p.LogProbs(x, plain, targets), p.LogProbs(x, steep, targets)}
			})
		})
	}
}

func (s *suite) noRows(t *testing.T) {
	s.compare(t, 0, func(m maker, p backend.Pass) []backend.Tensor {
		w := m.matrix(normal(18, 6), 3, 2)
		none := p.Embed(m.keep(m.b.Table(normal(19, 4), 2, 2)), nil)
		gain := m.keep(m.b.Vector([]float32{1, 1}))
		u := &backend.Update{Factors: factors(m, 2, 3, 1, 1), Segments: []backend.Segment{{Terms: []backend.Term{{Module: 0, Weight: 1}}}}}
		return []backend.Tensor{
			none, p.Norm(none, gain, 1), p.Linear(none, w, backend.Linear{Update: u}), p.Gate(backend.SiLU, none, none),
			p.Attend(none, none, none, backend.Attention{Heads: 2}), p.LogProbs(none, w, nil), p.Zeros(0, 5),
		}
	})
}
