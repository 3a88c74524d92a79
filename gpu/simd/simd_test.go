package simd

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/gpu/backend/backendtest"
	"github.com/medley-lora/medley/shared/fault"
)

func TestContract(t *testing.T) {
	backendtest.Run(t, func() (backend.Backend, error) { return New(t.Context()) }, backendtest.Tolerance{})
}

func open(t testing.TB) *simd {
	t.Helper()
	b, err := New(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b.(*simd)
}

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

func ascending(n int) []int32 {
	ids := make([]int32, n)
	for i := range ids {
		ids[i] = int32(i)
	}
	return ids
}

// layers returns a small forward pass with every operation.
func layers(t testing.TB, b *simd) func(rows int) []float32 {
	t.Helper()
	const d, heads, vocabulary, most = 96, 3, 700, 100
	w, gain := must(t)(b.Matrix(normal(1, d*d), d, d)), must(t)(b.Vector(normal(2, d)))
	head, table := must(t)(b.Matrix(normal(3, vocabulary*d), vocabulary, d)), must(t)(b.Table(normal(4, most*d), most, d))
	u := &backend.Update{}
	for i := range uint64(4) {
		u.Factors = append(u.Factors, must(t)(b.Factor(normal(10+i, 8*d), normal(20+i, 8*d), 8, d, d, 0.1)))
	}
	bias := normal(5, 2*most*heads)
	return func(rows int) []float32 {
		t.Helper()
		u.Segments = []backend.Segment{{Row1: rows, Product: rows%2 == 0, Terms: []backend.Term{{Module: rows % 4, Weight: 0.5}, {Module: 3, Weight: 1}}}}
		a := backend.Attention{Heads: heads, Scale: 0.1, Causal: true, Bias: bias, BiasZero: most, Spans: []backend.Span{{Q1: rows, K1: rows}}}
		p := b.Begin(context.Background())
		defer p.End()
		x := p.Embed(table, ascending(rows))
		cache := p.Zeros(rows+5, d)
		for range 3 {
			x = p.Scope(func() backend.Tensor {
				q := p.Linear(p.Norm(x, gain, 1e-6), w, backend.Linear{Update: u})
				p.Scatter(cache, q, ascending(rows))
				mixed := p.Linear(p.Attend(q, cache, cache, a), w, backend.Linear{Residual: x, Update: u})
				return p.Gate(backend.GELUNew, p.Gather(mixed, ascending(rows)), x)
			})
		}
		out, err := p.Read(p.LogProbs(p.Norm(x, gain, 1e-6), head, make([]int32, rows)))
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
}

// Passes of changing sizes give back what they take: memory that has grown serves all that follow.
func TestPassesLeaveNothing(t *testing.T) {
	b := open(t)
	run := layers(t, b)
	b.mu.Lock()
	_, start := b.host.extent()
	b.mu.Unlock()
	want := run(100)
	live, end := b.memory.live, b.memory.end
	if end <= start {
		t.Errorf("the memory ends at %d, at first at %d: this test should make it grow", end, start)
	}
	for i := range 1000 {
		run(1 + i*37%100)
	}
	if b.memory.live != live || b.memory.end != end {
		t.Errorf("%d bytes in use of %d after 1000 passes, %d of %d before", b.memory.live, b.memory.end, live, end)
	}
	for i, got := range run(100) {
		if math.Float32bits(got) != math.Float32bits(want[i]) || math.IsNaN(float64(got)) {
			t.Fatalf("row %d is %g after 1000 passes, %g before", i, got, want[i])
		}
	}
}

// What is in the memory stays when it grows, and what is freed is used again.
func TestGrowth(t *testing.T) {
	b := open(t)
	const d = 64
	w := make([]float32, d*d)
	for i := range d {
		w[i*d+i] = float32(i + 1)
	}
	diagonal := must(t)(b.Matrix(w, d, d))
	ones := make([]float32, d)
	for i := range ones {
		ones[i] = 1
	}
	table := must(t)(b.Table(ones, 1, d))
	p := b.Begin(context.Background())
	defer p.End()
	x := p.Embed(table, []int32{0})
	p.Linear(x, diagonal, backend.Linear{}) // takes the scratch, which stays
	var end int64
	for round := range 3 {
		big, err := b.Matrix(normal(6, 3000*1025), 3000, 1025) // not a whole number of the pieces that it is packed in
		if err != nil {
			t.Fatal(err)
		}
		if bytes := floatBytes(1025, 3000); big.Bytes() < bytes || big.Bytes() >= bytes+alignment {
			t.Errorf("a packed matrix holds %d bytes, want %d", big.Bytes(), bytes)
		}
		if round == 0 {
			end = b.memory.end
		}
		big.Free()
		big.Free()
		y, err := p.Read(p.Linear(x, diagonal, backend.Linear{}))
		if err != nil {
			t.Fatal(err)
		}
		for i, got := range y {
			if got != float32(i+1) {
				t.Fatalf("round %d: column %d is %g", round, i, got)
			}
		}
	}
	if b.memory.end != end {
		t.Errorf("the memory ends at %d after the same matrix three times, at %d after the first", b.memory.end, end)
	}
}

// What does not fit is refused, and what comes after runs.
func TestTooLarge(t *testing.T) {
	b := open(t)
	run := layers(t, b)
	want := run(7)
	for _, shape := range [][2]int{{1 << 20, 1 << 10}, {1 << 40, 1}, {1, 1 << 40}, {1 << 31, 1 << 31}, {math.MaxInt, math.MaxInt}, {math.MaxInt, 0}} {
		p := b.Begin(context.Background())
		if _, err := p.Read(p.Zeros(shape[0], shape[1])); fault.CodeOf(err) != fault.TooLarge {
			t.Errorf("%v: %v, want %s", shape, err, fault.TooLarge)
		}
		p.End()
	}
	for i, got := range run(7) {
		if got != want[i] {
			t.Errorf("afterwards row %d is %g, before %g", i, got, want[i])
		}
	}
}

// failing is an instance whose kernels fail from some call on.
type failing struct {
	instance
	calls int
}

var errTrap = errors.New("unreachable")

func (f *failing) call(name string, args ...any) (float64, error) {
	if f.calls--; f.calls < 0 {
		return 0, errTrap
	}
	return f.instance.call(name, args...)
}

// After a kernel has failed, its memory is not trusted again.
func TestKernelFails(t *testing.T) {
	b := open(t)
	table := must(t)(b.Table(normal(7, 32), 1, 32))
	b.host = &failing{b.host, 1}
	p := b.Begin(context.Background())
	defer p.End()
	x := p.Gate(backend.SiLU, p.Embed(table, []int32{0}), nil)
	if _, err := p.Read(x); err != nil {
		t.Fatal(err)
	}
	y := p.Gate(backend.SiLU, x, nil)
	for _, result := range []backend.Tensor{y, x} {
		if _, err := p.Read(result); !errors.Is(err, errTrap) {
			t.Errorf("after a kernel failed: %v", err)
		}
	}
	other := b.Begin(context.Background())
	defer other.End()
	if _, err := other.Read(other.Embed(table, []int32{0})); !errors.Is(err, errTrap) {
		t.Errorf("another pass: %v", err)
	}
	if _, err := b.Vector([]float32{1}); !errors.Is(err, errTrap) {
		t.Errorf("an upload: %v", err)
	}
}

func TestClosed(t *testing.T) {
	b := open(t)
	table := must(t)(b.Table(normal(8, 4), 1, 4))
	p := b.Begin(context.Background())
	x := p.Embed(table, []int32{0})
	for range 2 {
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := p.Read(x); !errors.Is(err, errClosed) {
		t.Errorf("read: %v", err)
	}
	p.End()
	if _, err := b.Matrix([]float32{1}, 1, 1); !errors.Is(err, errClosed) {
		t.Errorf("upload: %v", err)
	}
}

func TestInfo(t *testing.T) {
	want := backend.Info{Name: "simd", Device: "WebAssembly SIMD, 1 thread", Threads: 1}
	if got := open(t).Info(); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// WebAssembly cannot flush denormals, and one among the inputs of a product slows it several times: an activation is 0 long before
// the numbers get that small.
func TestNoDenormals(t *testing.T) {
	b := open(t)
	x := make([]float32, 1024)
	for i := range x {
		x[i] = -float32(i) / 8
	}
	table := must(t)(b.Table(x, 1, len(x)))
	p := b.Begin(context.Background())
	defer p.End()
	for act := backend.ReLU; act <= backend.SiLU; act++ {
		y, err := p.Read(p.Gate(act, p.Embed(table, []int32{0}), nil))
		if err != nil {
			t.Fatal(err)
		}
		for i, got := range y {
			if got != 0 && math.Abs(float64(got)) < 1e-25 {
				t.Errorf("activation %d of %g is %g, want 0", act, x[i], got)
			}
		}
	}
}

// A position far along, as in a long conversation: the bias is addressed by differences of large numbers.
func TestFarPosition(t *testing.T) {
	b := open(t)
	const d, far = 32, 1 << 39
	table := must(t)(b.Table(normal(9, 6*d), 6, d))
	run := func(at int) []float32 {
		p := b.Begin(context.Background())
		defer p.End()
		x := p.Embed(table, ascending(6))
		y, err := p.Read(p.Attend(x, x, x, backend.Attention{
			Heads: 1, Scale: 0.1, Bias: normal(10, 40), BiasZero: 20 + at, Spans: []backend.Span{{Q1: 6, K1: 6, QPos: at}},
		}))
		if err != nil {
			t.Fatal(err)
		}
		return y
	}
	if near, there := run(0), run(far); fmt.Sprint(near) != fmt.Sprint(there) {
		t.Errorf("at position 0 %v, at %d %v", near[:4], far, there[:4])
	}
}
