//go:build cgo

package cpu

import (
	"context"
	"fmt"
	"math"
	"slices"
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
	for _, name := range []string{"amx", "avx512", "avx2", "neon", "generic"} {
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

// forms are the storages of weights, with what their rounding costs beside the reference's f32: differences are of the root mean
// square of a result, the largest of some ten thousand numbers being about four standard deviations out.
var forms = []struct {
	weights   string
	tolerance backendtest.Tolerance
}{
	{"f32", backendtest.Tolerance{}},
	// Both factors are rounded to 8 bits where there is a unit, 1.7e-3 each; an update rounds its hidden columns as well.
	{"bf16", backendtest.Tolerance{Linear: 0.03, Update: 0.06, LogProbs: 0.01}},
	// 7 bits and a sign of the largest in a row.
	{"int8", backendtest.Tolerance{Linear: 0.06, Update: 0.08, LogProbs: 0.03}},
}

func TestContract(t *testing.T) {
	for _, isa := range available(t) {
		for _, form := range forms {
			t.Run(isa+"/"+form.weights, func(t *testing.T) {
				backendtest.Run(t, func() (backend.Backend, error) { return New(Options{Threads: 3, Force: isa, Weights: form.weights}) }, form.tolerance)
			})
		}
	}
}

func TestOptions(t *testing.T) {
	if _, err := New(Options{Threads: -1}); fault.CodeOf(err) != fault.Invalid {
		t.Errorf("-1 threads: %v", err)
	}
	if _, err := New(Options{Force: "avx1024"}); fault.CodeOf(err) != fault.Unsupported || !strings.Contains(err.Error(), Features()) {
		t.Errorf("unknown instruction set: %v", err)
	}
	if _, err := New(Options{Weights: "f16"}); fault.CodeOf(err) != fault.Invalid || !strings.Contains(err.Error(), "bf16") {
		t.Errorf("unknown form of weights: %v", err)
	}
	for weights, want := range map[string]string{"": "generic, 1 thread", "bf16": "generic, bf16 weights as f32, 1 thread"} {
		info := open(t, Options{Threads: 1, Force: "generic", Weights: weights}).Info()
		if info.Name != "cpu" || info.Threads != 1 || !strings.HasSuffix(info.Device, want) {
			t.Errorf("weights %q: info %+v", weights, info)
		}
	}
}

// each runs a test on every instruction set with every form of weights.
func each(t *testing.T, test func(t *testing.T, opt Options)) {
	for _, isa := range available(t) {
		for _, form := range forms {
			t.Run(isa+"/"+form.weights, func(t *testing.T) { test(t, Options{Force: isa, Weights: form.weights}) })
		}
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
	each(t, func(t *testing.T, opt Options) {
		for _, rows := range []int{7, 300} {
			opt.Threads = 1
			want := layers(t, open(t, opt), rows)
			for _, opt.Threads = range []int{2, 3, 8} {
				got := layers(t, open(t, opt), rows)
				for i := range want {
					if math.Float32bits(got[i]) != math.Float32bits(want[i]) || math.IsNaN(float64(got[i])) {
						t.Fatalf("%d rows: with %d threads row %d is %g, with one %g", rows, opt.Threads, i, got[i], want[i])
					}
				}
			}
		}
	})
}

// Backends of all forms at once, each on threads of its own: what one leaves in the registers must not reach another.
func TestBackendsTogether(t *testing.T) {
	each(t, func(t *testing.T, opt Options) {
		opt.Threads = 2
		b := open(t, opt)
		want := layers(t, b, 150)
		t.Parallel()
		for range 10 {
			if got := layers(t, b, 150); !slices.Equal(got, want) {
				t.Fatal("other numbers beside other backends")
			}
		}
	})
}

// A row that holds NaN or infinity must not spoil the others.
func TestRowsApart(t *testing.T) {
	const rows, d = 40, 96
	each(t, func(t *testing.T, opt Options) {
		opt.Threads = 2
		b := open(t, opt)
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
					t.Errorf("with %g in row 5, row %d is %g instead of %g", bad, i, spoilt[i], clean[i])
				} else if sees && spoilt[i] == spoilt[i] && bad != bad {
					t.Errorf("with NaN in row 5, row %d is %g", i, spoilt[i])
				}
			}
		}
	})
}

// Numbers too small to be normal count as zero, and cost no more than others; a row of them is no reason for NaN.
func TestDenormals(t *testing.T) {
	const rows, d = 20, 64
	each(t, func(t *testing.T, opt Options) {
		b := open(t, opt)
		tiny := make([]float32, rows*d)
		for i := range tiny {
			tiny[i] = math.SmallestNonzeroFloat32 * float32(1+i%1000)
		}
		copy(tiny[3*d:], normal(5, d))
		p := b.Begin(context.Background())
		defer p.End()
		x := p.Embed(must(t)(b.Table(tiny, rows, d)), ascending(rows))
		for name, w := range map[string][]float32{"normal": normal(6, d*d), "denormal": slices.Repeat(tiny[:d], d)} {
			got, err := p.Read(p.Linear(x, must(t)(b.Matrix(w, d, d)), backend.Linear{}))
			if err != nil {
				t.Fatal(err)
			}
			for i, v := range got {
				if zero := i/d != 3 || name == "denormal"; zero && v != 0 || !zero && !(math.Abs(float64(v)) < 1000) {
					t.Fatalf("%s weights: [%d] is %g", name, i, v)
				}
			}
		}
	})
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

func TestNarrowBytes(t *testing.T) {
	for weights, want := range map[string]int64{"bf16": 64 * 96 * 2, "int8": 64*128 + 64*4} { // 33 outputs and 65 inputs, padded
		if got := must(t)(open(t, Options{Threads: 1, Weights: weights}).Matrix(normal(1, 33*65), 33, 65)).Bytes(); got != want {
			t.Errorf("%s: %d bytes, want %d", weights, got, want)
		}
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
