//go:build cgo

package cpu

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/medley-lora/medley/gpu/backend"
)

func normal(seed uint64, n int) []float32 {
	r := rand.New(rand.NewPCG(seed, 0))
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	return x
}

// must takes what an upload returns, and frees it when the test ends.
func must(tb testing.TB) func(backend.Resident, error) backend.Resident {
	return func(r backend.Resident, err error) backend.Resident {
		tb.Helper()
		if err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(r.Free)
		return r
	}
}

func matrix(tb testing.TB, b backend.Backend, out, in int) backend.Resident {
	tb.Helper()
	return must(tb)(b.Matrix(normal(1, out*in), out, in))
}

func table(tb testing.TB, b backend.Backend, rows, cols int) backend.Resident {
	tb.Helper()
	return must(tb)(b.Table(normal(2, rows*cols), rows, cols))
}

func ascending(n int) []int32 {
	ids := make([]int32, n)
	for i := range ids {
		ids[i] = int32(i)
	}
	return ids
}

// measure runs one operation per iteration and reports the rate of the quickest: on a shared machine the mean measures the
// neighbours.
func measure(b *testing.B, native backend.Backend, rows, cols int, flops float64, op func(backend.Pass, backend.Tensor) backend.Tensor) {
	b.Helper()
	p := native.Begin(context.Background())
	defer p.End()
	x := p.Embed(table(b, native, rows, cols), ascending(rows))
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

func forEach(b *testing.B, run func(*testing.B, *native)) {
	for _, isa := range available(b) {
		for _, threads := range []int{1, 2} {
			b.Run(fmt.Sprintf("%s/threads=%d", isa, threads), func(b *testing.B) { run(b, open(b, Options{Threads: threads, Force: isa})) })
		}
	}
}

// forForms is forEach for what depends on the form of the weights.
func forForms(b *testing.B, run func(*testing.B, *native)) {
	for _, isa := range available(b) {
		for _, form := range forms {
			b.Run(isa+"/"+form.weights, func(b *testing.B) { run(b, open(b, Options{Threads: 2, Force: isa, Weights: form.weights})) })
		}
	}
}

func BenchmarkLinear(b *testing.B) {
	for _, n := range []struct{ rows, out, in int }{
		{760, 768, 768}, {760, 2048, 768}, {760, 768, 2048}, {15200, 768, 768}, {15200, 2048, 768}, {100, 768, 768}, {20, 32128, 768},
		{5, 768, 768}, {1, 768, 768}, {40, 128, 128}, {40, 256, 128}, {40, 128, 256}, {800, 128, 128}, {10, 128, 128}, {1, 32, 32},
	} {
		b.Run(fmt.Sprintf("%dx%dx%d", n.rows, n.out, n.in), func(b *testing.B) {
			forForms(b, func(b *testing.B, native *native) {
				w := matrix(b, native, n.out, n.in)
				measure(b, native, n.rows, n.in, 2*float64(n.rows)*float64(n.out)*float64(n.in), func(p backend.Pass, x backend.Tensor) backend.Tensor {
					return p.Linear(x, w, backend.Linear{})
				})
			})
		})
	}
}

// BenchmarkUpdate is a search step: 20 candidates, each a segment of its own over 20 modules; GFLOP/s counts the base product too.
func BenchmarkUpdate(b *testing.B) {
	for _, n := range []struct{ width, segments, rows, rank, modules int }{
		{128, 20, 40, 8, 20}, {128, 100, 5, 8, 20}, {768, 20, 150, 16, 20}, {768, 20, 150, 16, 1}, {768, 600, 5, 16, 1},
	} {
		b.Run(fmt.Sprintf("d=%d,%dx%d rows,%d of rank %d", n.width, n.segments, n.rows, n.modules, n.rank), func(b *testing.B) {
			forForms(b, func(b *testing.B, native *native) {
				w := matrix(b, native, n.width, n.width)
				u := &backend.Update{}
				for range n.modules {
					u.Factors = append(u.Factors, must(b)(native.Factor(normal(3, n.rank*n.width), normal(4, n.rank*n.width), n.rank, n.width, n.width, 1)))
				}
				for s := range n.segments {
					g := backend.Segment{Row0: s * n.rows, Row1: (s + 1) * n.rows}
					for m := range n.modules {
						g.Terms = append(g.Terms, backend.Term{Module: m, Weight: 0.5})
					}
					u.Segments = append(u.Segments, g)
				}
				rows := n.segments * n.rows
				flops := 2 * float64(rows) * (float64(n.width*n.width) + float64(2*n.width*n.rank*n.modules))
				measure(b, native, rows, n.width, flops, func(p backend.Pass, x backend.Tensor) backend.Tensor {
					return p.Linear(x, w, backend.Linear{Update: u})
				})
			})
		})
	}
}

func BenchmarkAttend(b *testing.B) {
	for _, n := range []struct{ spans, rows, heads, width int }{{20, 40, 4, 32}, {20, 150, 12, 64}, {2, 512, 12, 64}} {
		b.Run(fmt.Sprintf("%dx%d,%d heads of %d", n.spans, n.rows, n.heads, n.width), func(b *testing.B) {
			forEach(b, func(b *testing.B, native *native) {
				a := backend.Attention{Heads: n.heads, Scale: 1, Bias: normal(5, 2*n.rows*n.heads), BiasZero: n.rows}
				for s := range n.spans {
					a.Spans = append(a.Spans, backend.Span{Q0: s * n.rows, Q1: (s + 1) * n.rows, K0: s * n.rows, K1: (s + 1) * n.rows})
				}
				rows, d := n.spans*n.rows, n.heads*n.width
				measure(b, native, rows, d, 4*float64(rows*n.rows*d), func(p backend.Pass, x backend.Tensor) backend.Tensor { return p.Attend(x, x, x, a) })
			})
		})
	}
}

func BenchmarkDecodeAttend(b *testing.B) {
	const sequences, keys, heads, width = 20, 512, 12, 64
	forEach(b, func(b *testing.B, native *native) {
		a := backend.Attention{Heads: heads, Scale: 1}
		for s := range sequences {
			a.Spans = append(a.Spans, backend.Span{Q0: s, Q1: s + 1, K0: s * keys, K1: (s + 1) * keys})
		}
		query := ascending(sequences)
		few := table(b, native, sequences, heads*width)
		measure(b, native, sequences*keys, heads*width, 4*float64(sequences*keys*heads*width), func(p backend.Pass, x backend.Tensor) backend.Tensor {
			return p.Attend(p.Embed(few, query), x, x, a)
		})
	})
}

// BenchmarkDecodeGrouped is a step of one sequence of SmolLM2-135M, its keys in one stretch and in pages that are not in order.
func BenchmarkDecodeGrouped(b *testing.B) {
	const keys, heads, shared, width = 512, 9, 3, 64
	var pages []int32
	for i := range int32(keys / backend.PageRows) {
		pages = append(pages, i*5%(keys/backend.PageRows))
	}
	for name, pages := range map[string][]int32{"stretch": nil, "pages": pages} {
		b.Run(name, func(b *testing.B) {
			forEach(b, func(b *testing.B, native *native) {
				a := backend.Attention{Heads: heads, KVHeads: shared, Scale: 1, Causal: true, Spans: []backend.Span{{Q1: 1, K1: keys, QPos: keys - 1, Pages: pages}}}
				few := table(b, native, 1, heads*width)
				measure(b, native, keys, shared*width, 4*float64(keys*heads*width), func(p backend.Pass, x backend.Tensor) backend.Tensor {
					return p.Attend(p.Embed(few, []int32{0}), x, x, a)
				})
			})
		})
	}
}

func BenchmarkLogProbs(b *testing.B) {
	for _, n := range []struct{ rows, vocabulary, in int }{{20, 32128, 768}, {400, 32128, 768}, {100, 704, 128}} {
		b.Run(fmt.Sprintf("%dx%dx%d", n.rows, n.vocabulary, n.in), func(b *testing.B) {
			forForms(b, func(b *testing.B, native *native) {
				w := matrix(b, native, n.vocabulary, n.in)
				targets := make([]int32, n.rows)
				measure(b, native, n.rows, n.in, 2*float64(n.rows)*float64(n.vocabulary)*float64(n.in), func(p backend.Pass, x backend.Tensor) backend.Tensor {
					return p.LogProbs(x, w, targets)
				})
			})
		})
	}
}

func BenchmarkPointwise(b *testing.B) {
	for _, rows := range []int{40, 3000} {
		const d = 768
		b.Run(fmt.Sprintf("gelu/%d", rows), func(b *testing.B) {
			forEach(b, func(b *testing.B, native *native) {
				measure(b, native, rows, d, float64(rows*d), func(p backend.Pass, x backend.Tensor) backend.Tensor { return p.Gate(backend.GELUNew, x, x) })
			})
		})
		b.Run(fmt.Sprintf("norm/%d", rows), func(b *testing.B) {
			forEach(b, func(b *testing.B, native *native) {
				gain := must(b)(native.Vector(normal(6, d)))
				measure(b, native, rows, d, float64(rows*d), func(p backend.Pass, x backend.Tensor) backend.Tensor { return p.Norm(x, gain, 1e-6) })
			})
		})
	}
}
