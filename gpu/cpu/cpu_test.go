//go:build cgo

package cpu

import (
	"context"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"

	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/gpu/backend/backendtest"
	"github.com/medley-lora/medley/shared/fault"
)

// available lists the instruction sets of this machine; the generic one is always there.
func available(t testing.TB) []string {
	t.Helper()
	var names []string
	for _, name := range []string{"avx512", "avx2", "generic"} {
		if findISA(name) == nil {
			t.Logf("this processor has no %s: not tested here", name)
			continue
		}
		names = append(names, name)
	}
	return names
}

func open(t testing.TB, opt Options) *native {
	t.Helper()
	b, err := New(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b.(*native)
}

func TestContract(t *testing.T) {
	for _, isa := range available(t) {
		t.Run(isa, func(t *testing.T) {
			backendtest.Run(t, func() (backend.Backend, error) { return New(Options{Threads: 3, Force: isa}) }, backendtest.Tolerance{})
		})
	}
}

func TestOptions(t *testing.T) {
	if _, err := New(Options{Threads: -1}); fault.CodeOf(err) != fault.Invalid {
		t.Errorf("-1 threads: %v", err)
	}
	if _, err := New(Options{Force: "avx1024"}); fault.CodeOf(err) != fault.Unsupported || !strings.Contains(err.Error(), Features()) {
		t.Errorf("unknown instruction set: %v", err)
	}
	info := open(t, Options{Threads: 1, Force: "generic"}).Info()
	if info.Name != "cpu" || info.Threads != 1 || !strings.HasSuffix(info.Device, "generic, 1 thread") {
		t.Errorf("info %+v", info)
	}
}

// layers is a small forward pass with every operation; large enough, with rows at 300, to be shared among threads.
func layers(t testing.TB, b *native, rows int) []float32 {
	t.Helper()
	const d, heads, vocabulary = 96, 3, 700
	w, gain := matrix(t, b, d, d), must(t)(b.Vector(normal(7, d)))
	head, u := matrix(t, b, vocabulary, d), &backend.Update{}
	for i := range 4 {
		u.Factors = append(u.Factors, must(t)(b.Factor(normal(uint64(10+i), 8*d), normal(uint64(20+i), 8*d), 8, d, d, 0.1)))
	}
	a := backend.Attention{Heads: heads, Scale: 0.1, Causal: true}
	for r := 0; r < rows; r += 60 {
		end := min(rows, r+60)
		u.Segments = append(u.Segments, backend.Segment{Row0: r, Row1: end, Product: r == 60, Terms: []backend.Term{{Module: r / 60 % 4, Weight: 0.5}, {Module: 3, Weight: 1}}})
		a.Spans = append(a.Spans, backend.Span{Q0: r, Q1: end, K0: r, K1: end})
	}
	p := b.Begin(context.Background())
	defer p.End()
	x := p.Embed(table(t, b, rows, d), ascending(rows))
	for range 3 {
		x = p.Scope(func() backend.Tensor {
			q := p.Linear(p.Norm(x, gain, 1e-6), w, backend.Linear{Update: u})
			mixed := p.Linear(p.Attend(q, q, q, a), w, backend.Linear{Residual: x, Update: u})
			return p.Gate(backend.GELUNew, mixed, x)
		})
	}
	x = p.Norm(x, gain, 1e-6)
	out, err := p.Read(p.LogProbs(x, head, make([]int32, rows)))
	if err != nil {
		t.Fatal(err)
	}
	p.End()
	if b.memory.live != 0 {
		t.Errorf("%d bytes in use after the pass", b.memory.live)
	}
	return out
}

// The number of threads must not show in a single bit.
func TestThreads(t *testing.T) {
	for _, isa := range available(t) {
		for _, rows := range []int{7, 300} {
			want := layers(t, open(t, Options{Threads: 1, Force: isa}), rows)
			for _, threads := range []int{2, 3, 8} {
				got := layers(t, open(t, Options{Threads: threads, Force: isa}), rows)
				for i := range want {
					if math.Float32bits(got[i]) != math.Float32bits(want[i]) || math.IsNaN(float64(got[i])) {
						t.Fatalf("%s, %d rows: with %d threads row %d is %g, with one %g", isa, rows, threads, i, got[i], want[i])
					}
				}
			}
		}
	}
}

// A row that holds NaN or infinity must not spoil the others.
func TestRowsApart(t *testing.T) {
	const rows, d = 40, 96
	for _, isa := range available(t) {
		b := open(t, Options{Threads: 2, Force: isa})
		w, gain := matrix(t, b, d, d), must(t)(b.Vector(normal(7, d)))
		factor := must(t)(b.Factor(normal(8, 4*d), normal(9, 4*d), 4, d, d, 1))
		run := func(spoilt float32) []float32 {
			data := normal(6, rows*d)
			data[5*d+3] = spoilt
			p := b.Begin(context.Background())
			defer p.End()
			x := p.Embed(must(t)(b.Table(data, rows, d)), ascending(rows))
			u := &backend.Update{Factors: []backend.Resident{factor}, Segments: []backend.Segment{{Row1: rows, Terms: []backend.Term{{Weight: 1}}}}}
			x = p.Linear(p.Norm(p.Gate(backend.SiLU, x, nil), gain, 1e-6), w, backend.Linear{Update: u, Residual: x})
			// Causal: the rows before the sixth do not see it.
			x = p.Attend(x, x, x, backend.Attention{Heads: 3, Scale: 0.1, Causal: true, Spans: []backend.Span{{Q1: 9, K1: 9}, {Q0: 9, Q1: rows, K0: 9, K1: rows}}})
			out, err := p.Read(p.LogProbs(x, w, make([]int32, rows)))
			if err != nil {
				t.Fatal(err)
			}
			return out
		}
		clean := run(0)
		for _, bad := range []float32{float32(math.NaN()), float32(math.Inf(1))} {
			spoilt := run(bad)
			for i := range clean {
				if sees := i >= 5 && i < 9; !sees && clean[i] != spoilt[i] {
					t.Errorf("%s: with %g in row 5, row %d is %g instead of %g", isa, bad, i, spoilt[i], clean[i])
				} else if sees && spoilt[i] == spoilt[i] && bad != bad {
					t.Errorf("%s: with NaN in row 5, row %d is %g", isa, i, spoilt[i])
				}
			}
		}
	}
}

// What other backends may let pass: tensors and residents used after their end, or in a pass that is not theirs.
func TestLifetimes(t *testing.T) {
	b, neighbour := open(t, Options{Threads: 2}), open(t, Options{Threads: 1})
	gain := must(t)(b.Vector(normal(1, 8)))
	freed := must(t)(b.Vector(normal(1, 8)))
	freed.Free()
	freed.Free()
	cases := map[string]func(p backend.Pass) backend.Tensor{
		"tensor of another pass": func(p backend.Pass) backend.Tensor {
			other := b.Begin(context.Background())
			defer other.End()
			return p.Norm(other.Zeros(2, 8), gain, 1)
		},
		"tensor of a scope that ended": func(p backend.Pass) backend.Tensor {
			var lost backend.Tensor
			p.Scope(func() backend.Tensor { lost = p.Zeros(2, 8); return nil })
			return p.Norm(lost, gain, 1)
		},
		"freed vector": func(p backend.Pass) backend.Tensor { return p.Norm(p.Zeros(2, 8), freed, 1) },
		"another backend's": func(p backend.Pass) backend.Tensor {
			return p.Norm(p.Zeros(2, 8), must(t)(neighbour.Vector(normal(1, 8))), 1)
		},
		"negative rows":     func(p backend.Pass) backend.Tensor { return p.Zeros(-1, 8) },
		"beyond any memory": func(p backend.Pass) backend.Tensor { return p.Zeros(math.MaxInt64/8, 1<<40) },
		"unknown gate":      func(p backend.Pass) backend.Tensor { return p.Gate(9, p.Zeros(2, 8), nil) },
		"positions that wrap round": func(p backend.Pass) backend.Tensor {
			x := p.Zeros(2, 8)
			return p.Attend(x, x, x, backend.Attention{Heads: 1, Causal: true, Spans: []backend.Span{{Q1: 2, K1: 2, QPos: math.MaxInt}}})
		},
		"bias that wraps round": func(p backend.Pass) backend.Tensor {
			x := p.Zeros(2, 8)
			return p.Attend(x, x, x, backend.Attention{Heads: 1, Bias: make([]float32, 4), BiasZero: math.MaxInt, Spans: []backend.Span{{Q1: 2, K1: 2}}})
		},
		"ended pass": func(p backend.Pass) backend.Tensor {
			p.End()
			return p.Zeros(2, 8)
		},
	}
	for name, run := range cases {
		p := b.Begin(context.Background())
		if _, err := p.Read(run(p)); err == nil {
			t.Errorf("%s: no error", name)
		}
		p.End()
		p.End()
	}
}

func TestClose(t *testing.T) {
	b := open(t, Options{Threads: 3})
	w := must(t)(b.Vector(normal(1, 8)))
	p := b.Begin(context.Background())
	x := p.Zeros(4, 8)
	for range 2 {
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := p.Read(p.Norm(x, w, 1)); err == nil {
		t.Error("an operation after Close")
	}
	p.End()
	if _, err := b.Vector(normal(1, 8)); err == nil {
		t.Error("an upload after Close")
	}
	w.Free()
	if b.memory.live != 0 || b.memory.idle != 0 {
		t.Errorf("%d bytes in use and %d kept after everything ended", b.memory.live, b.memory.idle)
	}
}

// Passes give everything back, use it again, and do not pile up batches of sizes that no longer come.
func TestMemory(t *testing.T) {
	b := open(t, Options{Threads: 2})
	gain := must(t)(b.Vector(normal(1, 512)))
	pass := func(rows int) {
		p := b.Begin(context.Background())
		defer p.End()
		x := p.Zeros(rows, 512)
		for range 20 {
			x = p.Scope(func() backend.Tensor { return p.Gate(backend.ReLU, p.Norm(x, gain, 1), nil) })
		}
		if _, err := p.Read(x); err != nil {
			t.Fatal(err)
		}
	}
	pass(1000)
	idle, peak := b.memory.idle, b.memory.peak
	// Each layer leaves its result and drops the other tensor: 41 without scopes.
	if most := int64(24 * 1000 * 512 * 4); peak > most {
		t.Errorf("a pass held %d bytes, more than %d", peak, most)
	}
	for range 10 {
		pass(1000)
	}
	if b.memory.idle != idle || b.memory.peak != peak {
		t.Errorf("after ten more passes %d bytes are kept and the peak is %d; after one %d and %d", b.memory.idle, b.memory.peak, idle, peak)
	}
	for rows := 1 << 20; rows < 20<<20; rows += 1 << 20 { // one tensor each, 4 to 80 MiB: 800 MiB if all were kept
		p := b.Begin(context.Background())
		p.Zeros(rows/32, 32)
		p.End()
	}
	if b.memory.live != 0 || b.memory.idle > max(b.memory.peak, alwaysKeep) {
		t.Errorf("%d bytes in use, %d kept, with a peak of %d", b.memory.live, b.memory.idle, b.memory.peak)
	}
}

func TestBytes(t *testing.T) {
	b := open(t, Options{Threads: 1})
	for name, c := range map[string]struct {
		r    backend.Resident
		want int64
	}{
		"matrix": {must(t)(b.Matrix(normal(1, 33*5), 33, 5)), 64 * 5 * 4},
		"table":  {must(t)(b.Table(normal(1, 6), 2, 3)), 0},
		"vector": {must(t)(b.Vector(normal(1, 3))), 32 * 4},
		"factor": {must(t)(b.Factor(normal(1, 2*3), normal(1, 2*4), 2, 3, 4, 1)), 2*32*4 + 32*2*4},
	} {
		if got := c.r.Bytes(); got != c.want {
			t.Errorf("%s: %d bytes, want %d", name, got, c.want)
		}
	}
}

// Residents may be freed while passes run: these get results or errors, never freed memory.
func TestFreeWhileRunning(t *testing.T) {
	b := open(t, Options{Threads: 2})
	var group sync.WaitGroup
	for i := range 4 {
		group.Go(func() {
			w, err := b.Matrix(normal(uint64(i), 256*256), 256, 256)
			if err != nil {
				t.Error(err)
				return
			}
			p := b.Begin(context.Background())
			defer p.End()
			x := p.Zeros(100, 256)
			freed := make(chan struct{})
			for n := range 200 {
				x = p.Linear(x, w, backend.Linear{Residual: x})
				if n == 100+i {
					go func() { w.Free(); close(freed) }()
				}
			}
			<-freed
			if out, err := p.Read(p.Linear(x, w, backend.Linear{})); err == nil {
				t.Errorf("pass %d read %d numbers computed with a freed matrix", i, len(out))
			}
		})
	}
	group.Wait()
}

// Threads come and go with their backend.
func TestManyBackends(t *testing.T) {
	for i := range 50 {
		b, err := New(Options{Threads: 4})
		if err != nil {
			t.Fatal(fmt.Errorf("backend %d: %w", i, err))
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
