package simd

import (
	"context"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/medley-lora/medley/gpu/backend"
)

// measure runs one operation per iteration and reports the rate of the quickest: on a shared machine the mean measures the
// neighbours.
func measure(b *testing.B, s *simd, rows, cols int, flops float64, op func(backend.Pass, backend.Tensor) backend.Tensor) {
	b.Helper()
	p := s.Begin(context.Background())
	defer p.End()
	x := p.Embed(must(b)(s.Table(normal(1, rows*cols), rows, cols)), ascending(rows))
	run := func() { p.Scope(func() backend.Tensor { op(p, x); return nil }) }
	run()
	best := time.Duration(math.MaxInt64)
	b.ResetTimer()
	for range b.N {
		start := time.Now()
		run()
		best = min(best, time.Since(start))
	}
	b.StopTimer()
	b.ReportMetric(flops/best.Seconds()/1e9, "GFLOP/s")
	if _, err := p.Read(x); err != nil {
		b.Fatal(err)
	}
}

func BenchmarkLinear(b *testing.B) {
	for _, n := range []struct{ rows, out, in int }{{256, 1024, 1024}, {760, 2048, 768}, {800, 128, 128}, {40, 128, 128}, {5, 768, 768}, {1, 768, 768}} {
		b.Run(fmt.Sprintf("%dx%dx%d", n.rows, n.out, n.in), func(b *testing.B) {
			s := open(b)
			w := must(b)(s.Matrix(normal(2, n.out*n.in), n.out, n.in))
			measure(b, s, n.rows, n.in, 2*float64(n.rows)*float64(n.out)*float64(n.in), func(p backend.Pass, x backend.Tensor) backend.Tensor {
				return p.Linear(x, w, backend.Linear{})
			})
		})
	}
}

// BenchmarkUpdate is a search step: 20 candidates, each a segment of its own over 20 modules; GFLOP/s counts the base product too.
func BenchmarkUpdate(b *testing.B) {
	const width, segments, rows, rank, modules = 128, 20, 40, 8, 20
	s := open(b)
	w := must(b)(s.Matrix(normal(2, width*width), width, width))
	u := &backend.Update{}
	for range modules {
		u.Factors = append(u.Factors, must(b)(s.Factor(normal(3, rank*width), normal(4, rank*width), rank, width, width, 1)))
	}
	for i := range segments {
		g := backend.Segment{Row0: i * rows, Row1: (i + 1) * rows}
		for m := range modules {
			g.Terms = append(g.Terms, backend.Term{Module: m, Weight: 0.5})
		}
		u.Segments = append(u.Segments, g)
	}
	flops := 2 * float64(segments*rows) * float64(width*width+2*width*rank*modules)
	measure(b, s, segments*rows, width, flops, func(p backend.Pass, x backend.Tensor) backend.Tensor {
		return p.Linear(x, w, backend.Linear{Update: u})
	})
}

func BenchmarkAttend(b *testing.B) {
	const spans, rows, heads, width = 20, 40, 4, 32
	a := backend.Attention{Heads: heads, Scale: 0.1, Bias: normal(5, 2*rows*heads), BiasZero: rows}
	for i := range spans {
		a.Spans = append(a.Spans, backend.Span{Q0: i * rows, Q1: (i + 1) * rows, K0: i * rows, K1: (i + 1) * rows})
	}
	measure(b, open(b), spans*rows, heads*width, 4*float64(spans*rows*rows*heads*width), func(p backend.Pass, x backend.Tensor) backend.Tensor {
		return p.Attend(x, x, x, a)
	})
}

func BenchmarkLogProbs(b *testing.B) {
	const rows, vocabulary, in = 100, 704, 128
	s := open(b)
	w := must(b)(s.Matrix(normal(2, vocabulary*in), vocabulary, in))
	measure(b, s, rows, in, 2*float64(rows*vocabulary*in), func(p backend.Pass, x backend.Tensor) backend.Tensor {
		return p.LogProbs(x, w, make([]int32, rows))
	})
}

// BenchmarkPointwise counts one operation per number.
func BenchmarkPointwise(b *testing.B) {
	const rows, d = 800, 128
	b.Run("gelu", func(b *testing.B) {
		measure(b, open(b), rows, d, rows*d, func(p backend.Pass, x backend.Tensor) backend.Tensor { return p.Gate(backend.GELUNew, x, x) })
	})
	b.Run("norm", func(b *testing.B) {
		s := open(b)
		gain := must(b)(s.Vector(normal(6, d)))
		measure(b, s, rows, d, rows*d, func(p backend.Pass, x backend.Tensor) backend.Tensor { return p.Norm(x, gain, 1e-6) })
	})
}
