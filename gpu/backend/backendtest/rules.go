package backendtest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/medley-lora/medley/gpu/backend"
)

// residents checks what uploads refuse, and that a backend says what it is.
func (s *suite) residents(t *testing.T) {
	if i := s.backend.Info(); i.Name == "" || i.Device == "" {
		t.Errorf("info %+v leaves the name or the device out", i)
	}
	bad := map[string]func(backend.Backend) (backend.Resident, error){
		"matrix too short": func(b backend.Backend) (backend.Resident, error) { return b.Matrix(make([]float32, 5), 2, 3) },
		"matrix too long":  func(b backend.Backend) (backend.Resident, error) { return b.Matrix(make([]float32, 7), 2, 3) },
		"empty matrix":     func(b backend.Backend) (backend.Resident, error) { return b.Matrix(nil, 0, 3) },
		"negative matrix":  func(b backend.Backend) (backend.Resident, error) { return b.Matrix(make([]float32, 6), -2, -3) },
		"table too short":  func(b backend.Backend) (backend.Resident, error) { return b.Table(make([]float32, 5), 2, 3) },
		"empty vector":     func(b backend.Backend) (backend.Resident, error) { return b.Vector(nil) },
		"factor of rank 0": func(b backend.Backend) (backend.Resident, error) { return b.Factor(nil, nil, 0, 3, 2, 1) },
		"factor, a short": func(b backend.Backend) (backend.Resident, error) {
			return b.Factor(make([]float32, 2), make([]float32, 2), 1, 3, 2, 1)
		},
		"factor, b short": func(b backend.Backend) (backend.Resident, error) {
			return b.Factor(make([]float32, 3), make([]float32, 1), 1, 3, 2, 1)
		},
	}
	for name, upload := range bad {
		if r, err := upload(s.backend); err == nil {
			t.Errorf("%s: uploaded", name)
			r.Free()
		}
	}
	w := normal(40, 6)
	r, err := s.backend.Matrix(w, 2, 3)
	if err != nil {
		t.Fatal(err)
	}
	if r.Bytes() < 24 {
		t.Errorf("a matrix of 6 numbers holds %d bytes", r.Bytes())
	}
	r.Free()
	s.copied(t)
}

// copied checks that matrices, vectors and factors do not look at the caller's slice again.
func (s *suite) copied(t *testing.T) {
	s.compare(t, s.tolerance.Update, func(m maker, p backend.Pass) []backend.Tensor {
		w, v, a, b := normal(41, 6), normal(42, 3), normal(43, 3), normal(44, 2)
		x := m.input(p, normal(45, 9), 3, 3)
		matrix, gain := m.matrix(w, 2, 3), m.keep(m.b.Vector(v))
		factor := m.keep(m.b.Factor(a, b, 1, 3, 2, 1))
		for _, slice := range [][]float32{w, v, a, b} {
			clear(slice)
		}
		u := &backend.Update{Factors: []backend.Resident{factor}, Segments: []backend.Segment{{Row1: 3, Terms: []backend.Term{{Weight: 1}}}}}
		return []backend.Tensor{p.Linear(p.Norm(x, gain, 1), matrix, backend.Linear{Update: u})}
	})
}

// stickyErrors checks that a wrong argument is reported by Read, whatever follows it.
func (s *suite) stickyErrors(t *testing.T) {
	m := maker{t, s.backend}
	table, gain := m.keep(m.b.Table(normal(50, 40), 10, 4)), m.keep(m.b.Vector(normal(51, 4)))
	w, factor := m.matrix(normal(52, 12), 3, 4), m.keep(m.b.Factor(normal(53, 8), normal(54, 6), 2, 4, 3, 1))
	other := m.keep(m.b.Factor(normal(53, 4), normal(54, 3), 1, 4, 3, 1))
	wrong := m.keep(m.b.Factor(normal(53, 8), normal(54, 8), 2, 4, 4, 1))
	foreign := s.reference.Begin(context.Background()).Zeros(3, 4)
	segment := func(row0, row1, module int) backend.Segment {
		return backend.Segment{Row0: row0, Row1: row1, Terms: []backend.Term{{Module: module, Weight: 1}}}
	}
	updated := func(p backend.Pass, x backend.Tensor, factors []backend.Resident, segments ...backend.Segment) backend.Tensor {
		return p.Linear(x, w, backend.Linear{Update: &backend.Update{Factors: factors, Segments: segments}})
	}
	attend := func(p backend.Pass, x backend.Tensor, a backend.Attention, spans ...backend.Span) backend.Tensor {
		a.Spans = spans
		return p.Attend(x, x, x, a)
	}
	product := segment(0, 3, 0)
	product.Product, product.Terms = true, []backend.Term{{Module: 0, Weight: 1}, {Module: 1, Weight: 1}}
	one := []backend.Resident{factor}
	cases := map[string]func(p backend.Pass, x backend.Tensor) backend.Tensor{ // x is [3, 4]
		"id too large":      func(p backend.Pass, _ backend.Tensor) backend.Tensor { return p.Embed(table, []int32{10}) },
		"id negative":       func(p backend.Pass, _ backend.Tensor) backend.Tensor { return p.Embed(table, []int32{0, -1}) },
		"nil table":         func(p backend.Pass, _ backend.Tensor) backend.Tensor { return p.Embed(nil, []int32{0}) },
		"factor as a table": func(p backend.Pass, _ backend.Tensor) backend.Tensor { return p.Embed(factor, []int32{0}) },
		"nil tensor":        func(p backend.Pass, _ backend.Tensor) backend.Tensor { return p.Norm(nil, gain, 1) },
		"nil gain":          func(p backend.Pass, x backend.Tensor) backend.Tensor { return p.Norm(x, nil, 1) },
		"gain too wide":     func(p backend.Pass, _ backend.Tensor) backend.Tensor { return p.Norm(p.Zeros(3, 3), gain, 1) },
		"weight of another width": func(p backend.Pass, _ backend.Tensor) backend.Tensor {
			return p.Linear(p.Zeros(3, 3), w, backend.Linear{})
		},
		"nil weight": func(p backend.Pass, x backend.Tensor) backend.Tensor { return p.Linear(x, nil, backend.Linear{}) },
		"residual too narrow": func(p backend.Pass, x backend.Tensor) backend.Tensor {
			return p.Linear(x, w, backend.Linear{Residual: p.Zeros(3, 2)})
		},
		"residual too short": func(p backend.Pass, x backend.Tensor) backend.Tensor {
			return p.Linear(x, w, backend.Linear{Residual: p.Zeros(2, 3)})
		},
		"segment past the end": func(p backend.Pass, x backend.Tensor) backend.Tensor { return updated(p, x, one, segment(0, 4, 0)) },
		"segment negative":     func(p backend.Pass, x backend.Tensor) backend.Tensor { return updated(p, x, one, segment(-1, 2, 0)) },
		"segment backwards":    func(p backend.Pass, x backend.Tensor) backend.Tensor { return updated(p, x, one, segment(2, 1, 0)) },
		"segments overlap": func(p backend.Pass, x backend.Tensor) backend.Tensor {
			return updated(p, x, one, segment(0, 2, 0), segment(1, 3, 0))
		},
		"unknown module":  func(p backend.Pass, x backend.Tensor) backend.Tensor { return updated(p, x, one, segment(0, 3, 1)) },
		"negative module": func(p backend.Pass, x backend.Tensor) backend.Tensor { return updated(p, x, one, segment(0, 3, -1)) },
		"factor of another map": func(p backend.Pass, x backend.Tensor) backend.Tensor {
			return updated(p, x, []backend.Resident{wrong}, segment(0, 3, 0))
		},
		"matrix as a factor": func(p backend.Pass, x backend.Tensor) backend.Tensor {
			return updated(p, x, []backend.Resident{w}, segment(0, 3, 0))
		},
		"product of two ranks": func(p backend.Pass, x backend.Tensor) backend.Tensor {
			return updated(p, x, []backend.Resident{factor, other}, product)
		},
		"no heads": func(p backend.Pass, x backend.Tensor) backend.Tensor { return attend(p, x, backend.Attention{}) },
		"heads do not divide": func(p backend.Pass, x backend.Tensor) backend.Tensor {
			return attend(p, x, backend.Attention{Heads: 3})
		},
		"keys too narrow": func(p backend.Pass, x backend.Tensor) backend.Tensor {
			return p.Attend(x, p.Zeros(3, 2), x, backend.Attention{Heads: 2})
		},
		"values too short": func(p backend.Pass, x backend.Tensor) backend.Tensor {
			return p.Attend(x, x, p.Zeros(2, 4), backend.Attention{Heads: 2})
		},
		"queries past the end": func(p backend.Pass, x backend.Tensor) backend.Tensor {
			return attend(p, x, backend.Attention{Heads: 2}, backend.Span{Q1: 4, K1: 3})
		},
		"keys past the end": func(p backend.Pass, x backend.Tensor) backend.Tensor {
			return attend(p, x, backend.Attention{Heads: 2}, backend.Span{Q1: 3, K1: 4})
		},
		"keys backwards": func(p backend.Pass, x backend.Tensor) backend.Tensor {
			return attend(p, x, backend.Attention{Heads: 2}, backend.Span{Q1: 3, K0: 2, K1: 1})
		},
		"pages past the end": func(p backend.Pass, _ backend.Tensor) backend.Tensor {
			return attend(p, p.Zeros(backend.PageRows+3, 4), backend.Attention{Heads: 2}, backend.Span{Q1: 3, K1: 3, Pages: []int32{1}})
		},
		"page negative": func(p backend.Pass, _ backend.Tensor) backend.Tensor {
			return attend(p, p.Zeros(backend.PageRows, 4), backend.Attention{Heads: 2}, backend.Span{Q1: 3, K1: 3, Pages: []int32{-1}})
		},
		"keys past their pages": func(p backend.Pass, _ backend.Tensor) backend.Tensor {
			return attend(p, p.Zeros(2*backend.PageRows, 4), backend.Attention{Heads: 2}, backend.Span{Q1: 3, K1: backend.PageRows + 1, Pages: []int32{1}})
		},
		"keys in the middle of pages": func(p backend.Pass, _ backend.Tensor) backend.Tensor {
			return attend(p, p.Zeros(backend.PageRows, 4), backend.Attention{Heads: 2}, backend.Span{Q1: 3, K0: 1, K1: 3, Pages: []int32{0}})
		},
		"queries overlap": func(p backend.Pass, x backend.Tensor) backend.Tensor {
			return attend(p, x, backend.Attention{Heads: 2}, backend.Span{Q1: 2, K1: 3}, backend.Span{Q0: 1, Q1: 3, K1: 3})
		},
		"negative position": func(p backend.Pass, x backend.Tensor) backend.Tensor {
			return attend(p, x, backend.Attention{Heads: 2, Causal: true}, backend.Span{Q1: 3, K1: 3, QPos: -1})
		},
		"bias too short above": func(p backend.Pass, x backend.Tensor) backend.Tensor {
			return attend(p, x, backend.Attention{Heads: 2, Bias: make([]float32, 8), BiasZero: 2}, backend.Span{Q1: 3, K1: 3})
		},
		"bias too short below": func(p backend.Pass, x backend.Tensor) backend.Tensor {
			return attend(p, x, backend.Attention{Heads: 2, Bias: make([]float32, 20), BiasZero: 1}, backend.Span{Q1: 3, K1: 3})
		},
		"queries do not share keys": func(p backend.Pass, x backend.Tensor) backend.Tensor {
			return p.Attend(p.Zeros(3, 6), p.Zeros(3, 4), p.Zeros(3, 4), backend.Attention{Heads: 3, KVHeads: 2})
		},
		"window without order": func(p backend.Pass, x backend.Tensor) backend.Tensor {
			return attend(p, x, backend.Attention{Heads: 2, Window: 2}, backend.Span{Q1: 3, K1: 3})
		},
		"window negative": func(p backend.Pass, x backend.Tensor) backend.Tensor {
			return attend(p, x, backend.Attention{Heads: 2, Causal: true, Window: -1}, backend.Span{Q1: 3, K1: 3})
		},
		"window past the keys": func(p backend.Pass, x backend.Tensor) backend.Tensor {
			return attend(p, x, backend.Attention{Heads: 2, Causal: true, Window: 2}, backend.Span{Q1: 3, K1: 3, QPos: 2})
		},
		"bias too long": func(p backend.Pass, x backend.Tensor) backend.Tensor {
			return p.Linear(x, w, backend.Linear{Bias: gain})
		},
		"factor as a bias": func(p backend.Pass, x backend.Tensor) backend.Tensor {
			return p.Linear(x, w, backend.Linear{Bias: factor})
		},
		"gain of a part":        func(p backend.Pass, _ backend.Tensor) backend.Tensor { return p.Norm(p.Zeros(3, 6), gain, 1) },
		"rotation of odd heads": func(p backend.Pass, x backend.Tensor) backend.Tensor { return p.Rotate(x, p.Zeros(3, 1), 4) },
		"angles too few":        func(p backend.Pass, x backend.Tensor) backend.Tensor { return p.Rotate(x, p.Zeros(2, 2), 2) },
		"angles too wide":       func(p backend.Pass, x backend.Tensor) backend.Tensor { return p.Rotate(x, p.Zeros(3, 4), 2) },
		"gate of two shapes":    func(p backend.Pass, x backend.Tensor) backend.Tensor { return p.Gate(backend.SiLU, x, p.Zeros(3, 3)) },
		"gather past the end":   func(p backend.Pass, x backend.Tensor) backend.Tensor { return p.Gather(x, []int32{0, 3}) },
		"gather negative":       func(p backend.Pass, x backend.Tensor) backend.Tensor { return p.Gather(x, []int32{-1}) },
		"scatter past the end": func(p backend.Pass, x backend.Tensor) backend.Tensor {
			p.Scatter(p.Zeros(3, 4), x, []int32{0, 1, 3})
			return x
		},
		"scatter to one row": func(p backend.Pass, x backend.Tensor) backend.Tensor {
			p.Scatter(p.Zeros(3, 4), x, []int32{0, 1, 1})
			return x
		},
		"scatter too few": func(p backend.Pass, x backend.Tensor) backend.Tensor {
			p.Scatter(p.Zeros(3, 4), x, []int32{0, 1})
			return x
		},
		"scatter too wide": func(p backend.Pass, x backend.Tensor) backend.Tensor {
			p.Scatter(p.Zeros(3, 3), x, []int32{0, 1, 2})
			return x
		},
		"target too large": func(p backend.Pass, x backend.Tensor) backend.Tensor { return p.LogProbs(x, w, []int32{0, 1, 3}) },
		"target negative":  func(p backend.Pass, x backend.Tensor) backend.Tensor { return p.LogProbs(x, w, []int32{0, 1, -1}) },
		"too few targets":  func(p backend.Pass, x backend.Tensor) backend.Tensor { return p.LogProbs(x, w, []int32{0, 1}) },
	}
	if s.backend.Info().Name != s.reference.Info().Name {
		cases["tensor of another backend"] = func(p backend.Pass, _ backend.Tensor) backend.Tensor { return p.Norm(foreign, gain, 1) }
	}
	for name, call := range cases {
		t.Run(name, func(t *testing.T) {
			p := s.backend.Begin(context.Background())
			defer p.End()
			x := p.Embed(table, []int32{1, 2, 3})
			if _, err := p.Read(x); err != nil {
				t.Fatal(err)
			}
			call(p, x)
			_, first := p.Read(x)
			if first == nil {
				t.Fatal("no error")
			}
			// A pass that has failed goes on quietly, keeps shapes, and keeps its error.
			y := p.Linear(p.Norm(p.Embed(table, []int32{1, 1}), gain, 1), w, backend.Linear{})
			if rows, cols := y.Dims(); rows != 2 || cols != 3 {
				t.Errorf("after the error a result is [%d, %d], want [2, 3]", rows, cols)
			}
			p.Embed(table, []int32{-5})
			if _, err := p.Read(y); !errors.Is(err, first) {
				t.Errorf("then %v, at first %v", err, first)
			}
		})
	}
}

func (s *suite) cancel(t *testing.T) {
	m := maker{t, s.backend}
	table, gain := m.keep(m.b.Table(normal(60, 8), 2, 4)), m.keep(m.b.Vector(normal(61, 4)))
	ctx, stop := context.WithCancel(context.Background())
	p := s.backend.Begin(ctx)
	defer p.End()
	x := p.Embed(table, []int32{0, 1})
	if _, err := p.Read(x); err != nil {
		t.Fatal(err)
	}
	stop()
	y := p.Norm(x, gain, 1)
	if rows, cols := y.Dims(); rows != 2 || cols != 4 {
		t.Errorf("after the cancellation a result is [%d, %d], want [2, 4]", rows, cols)
	}
	for _, result := range []backend.Tensor{y, x} {
		if _, err := p.Read(result); !errors.Is(err, context.Canceled) {
			t.Errorf("read: %v, want the context's error", err)
		}
	}
}

// scope checks that what a scope returns stays, nested ones included, and that what was made before it is not touched.
func (s *suite) scope(t *testing.T) {
	s.compare(t, s.tolerance.Norm, func(m maker, p backend.Pass) []backend.Tensor {
		gain := m.keep(m.b.Vector(normal(70, 40)))
		before := m.input(p, normal(71, 5*40), 5, 40)
		x := before
		for range 4 {
			x = p.Scope(func() backend.Tensor {
				for range 3 {
					p.Gate(backend.ReLU, x, nil) // dropped
				}
				inner := p.Scope(func() backend.Tensor {
					p.Zeros(5, 40)
					return p.Norm(x, gain, 1)
				})
				p.Zeros(5, 40)
				return p.Gate(backend.SiLU, inner, before)
			})
		}
		same := p.Scope(func() backend.Tensor { p.Zeros(5, 40); return before })
		p.Scope(func() backend.Tensor { p.Zeros(5, 40); return nil })
		return []backend.Tensor{before, x, same, p.Norm(x, gain, 1)}
	})
}

// concurrent runs passes side by side: a backend is safe for concurrent use and none may see another's numbers.
func (s *suite) concurrent(t *testing.T) {
	const passes, rows, d = 6, 40, 128
	m := maker{t, s.backend}
	w, gain := m.matrix(scaled(80, d*d, 0.1), d, d), m.keep(m.b.Vector(normal(81, d)))
	table := m.keep(m.b.Table(normal(82, rows*d), rows, d))
	layers := func(first int) ([]float32, error) {
		p := s.backend.Begin(context.Background())
		defer p.End()
		x := p.Embed(table, count(rows)[first:])
		for range 20 {
			x = p.Scope(func() backend.Tensor { return p.Linear(p.Norm(x, gain, 1), w, backend.Linear{Residual: x}) })
		}
		return p.Read(x)
	}
	var results [passes][]float32
	var failures [passes]error
	var group sync.WaitGroup
	for i := range passes {
		group.Go(func() { results[i], failures[i] = layers(i) })
	}
	group.Wait()
	for i, got := range results {
		if failures[i] != nil {
			t.Fatal(failures[i])
		}
		want, err := layers(i)
		if err != nil {
			t.Fatal(err)
		}
		if err := differ(got, want, 0); err != nil {
			t.Error(fmt.Errorf("pass %d beside others: %w", i, err))
		}
	}
}
