package probe

import (
	"context"
	"math"
	"math/rand/v2"
	"time"

	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/gpu/reference"
	"github.com/medley-lora/medley/shared/fault"
)

// f32Tolerance is the default of Candidate.Tolerance. f32 kernels differ from the float64 reference by about 1e-6 at these sizes; a
// kernel that is wrong differs by far more.
const f32Tolerance = 1e-4

// Sizes are odd on purpose: one past a tile, one past a vector; and a sequence of more keys than kernels take at a time (32).
const (
	rows, width, wide, heads, vocabulary = 57, 66, 97, 3, 131
	rank                                 = 5
)

// SelfTest runs every operation on small inputs with known answers and returns the worst relative difference, with an error naming the
// first operation that is wrong. tolerance is as Candidate.Tolerance.
func SelfTest(ctx context.Context, b backend.Backend, tolerance float64) (float64, error) {
	if tolerance == 0 {
		tolerance = f32Tolerance
	}
	known, err := answers(ctx, reference.New())
	if err != nil {
		return 0, err
	}
	got, err := answersOf(ctx, b)
	if err != nil {
		return 0, err
	}
	worst := 0.0
	for i, want := range known {
		d := difference(got[i].values, want.values)
		worst = max(worst, d)
		if !(d <= tolerance) {
			return worst, fault.New(fault.Internal, want.operation, "the self-test gave wrong numbers (relative difference %.2g)", d)
		}
	}
	return worst, nil
}

type answer struct {
	operation string
	values    []float32
}

// answersOf turns a panic of a backend into an error: a broken one must not end the program.
func answersOf(ctx context.Context, b backend.Backend) (got []answer, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fault.New(fault.Internal, "self-test", "panicked: %v", r)
		}
	}()
	return answers(ctx, b)
}

// answers runs the operations in the order in which a model does.
func answers(ctx context.Context, b backend.Backend) ([]answer, error) {
	s := newSetup(b)
	defer s.free()
	if s.err != nil {
		return nil, s.err
	}
	p := b.Begin(ctx)
	defer p.End()
	ids, targets := make([]int32, rows), make([]int32, rows)
	for i := range ids {
		ids[i], targets[i] = int32(i*29%vocabulary), int32((i*53+7)%vocabulary)
	}
	x := p.Embed(s.table, ids)
	h := p.Norm(x, s.gain, 1e-6)
	q := p.Linear(h, s.square, backend.Linear{Update: s.update(false)})
	k := p.Linear(h, s.square, backend.Linear{Update: s.update(true)})
	spans := []backend.Span{{Q0: 0, Q1: 20, K0: 0, K1: 20}, {Q0: 20, Q1: rows, K0: 20, K1: rows}}
	bias := s.numbers(2*rows*heads, 1)
	full := p.Attend(q, k, h, backend.Attention{Heads: heads, Scale: 0.2, Spans: spans, Bias: bias, BiasZero: rows})
	causal := p.Attend(q, k, h, backend.Attention{Heads: heads, Scale: 1, Causal: true, Spans: spans})
	third := p.Linear(h, s.third, backend.Linear{})
	turned := p.Rotate(q, third, heads)
	window := p.Attend(turned, third, third, backend.Attention{Heads: heads, KVHeads: 1, Scale: 1, Causal: true, Window: 34, Spans: spans})
	biased := p.Linear(h, s.square, backend.Linear{Bias: s.gain})
	sum := p.Linear(full, s.square, backend.Linear{Residual: x})
	up := p.Linear(sum, s.up, backend.Linear{})
	up4 := p.Linear(sum, s.even, backend.Linear{})
	gelu, relu, silu := p.Gate(backend.GELUNew, up, up), p.Gate(backend.ReLU, up, nil), p.Gate(backend.SiLU, up, nil)
	cache := p.Zeros(rows+3, width)
	order := make([]int32, rows)
	for i := range order {
		order[i] = int32(rows + 2 - i)
	}
	p.Scatter(cache, sum, order)
	outcomes := []struct {
		operation string
		tensor    backend.Tensor
	}{
		{"embedding", x}, {"norm", h}, {"low-rank update", q}, {"low-rank product", k}, {"attention", full}, {"causal attention", causal},
		{"rotation", turned}, {"window of attention", window}, {"bias", biased}, {"norm of heads", p.Norm(up4, s.quarter, 1e-6)},
		{"residual product", sum}, {"product", up}, {"gelu", gelu}, {"relu", relu}, {"silu", silu}, {"scatter", cache}, {"gather", p.Gather(cache, order)},
		{"log-probabilities", p.LogProbs(sum, s.head, targets)},
	}
	all := make([]answer, len(outcomes))
	for i, o := range outcomes {
		values, err := p.Read(o.tensor)
		if err != nil {
			return nil, fault.In(o.operation, err)
		}
		all[i] = answer{o.operation, values}
	}
	return all, nil
}

// setup uploads the same pseudo-random residents to any backend.
type setup struct {
	random                        *rand.Rand
	backend                       backend.Backend
	table, head, gain, square, up backend.Resident
	third, even, quarter          backend.Resident // maps to one head and to twelve columns, and a gain for each four of these
	factors                       []backend.Resident
	all                           []backend.Resident
	err                           error
}

func newSetup(b backend.Backend) *setup {
	s := &setup{random: rand.New(rand.NewPCG(20, 23)), backend: b}
	table := s.numbers(vocabulary*width, 1)
	s.table = s.keep(b.Table(table, vocabulary, width))
	s.head = s.keep(b.Matrix(table, vocabulary, width))
	s.gain = s.keep(b.Vector(s.numbers(width, 1)))
	s.square = s.keep(b.Matrix(s.numbers(width*width, 0.1), width, width))
	s.up = s.keep(b.Matrix(s.numbers(wide*width, 0.1), wide, width))
	s.third = s.keep(b.Matrix(s.numbers(width/heads*width, 0.1), width/heads, width))
	s.even, s.quarter = s.keep(b.Matrix(s.numbers(12*width, 0.1), 12, width)), s.keep(b.Vector(s.numbers(4, 1)))
	for range 3 {
		s.factors = append(s.factors, s.keep(b.Factor(s.numbers(rank*width, 0.2), s.numbers(width*rank, 0.2), rank, width, width, 0.5)))
	}
	s.factors = append(s.factors, nil) // a module that leaves the map alone
	return s
}

func (s *setup) numbers(n int, scale float32) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = scale * float32(s.random.NormFloat64())
	}
	return v
}

func (s *setup) keep(r backend.Resident, err error) backend.Resident {
	if err != nil && s.err == nil {
		s.err = err
	}
	if err == nil {
		s.all = append(s.all, r)
	}
	return r
}

func (s *setup) free() {
	for _, r := range s.all {
		r.Free()
	}
}

// update leaves some rows without a segment and some modules without a row.
func (s *setup) update(product bool) *backend.Update {
	return &backend.Update{Factors: s.factors, Segments: []backend.Segment{
		{Row0: 1, Row1: 9, Terms: []backend.Term{{Module: 2, Weight: -0.7}}, Product: product},
		{Row0: 9, Row1: 30, Terms: []backend.Term{{Module: 0, Weight: 1.25}, {Module: 1, Weight: 0.5}, {Module: 3, Weight: 9}}, Product: product},
	}}
}

func difference(got, want []float32) float64 {
	if len(got) != len(want) {
		return math.Inf(1)
	}
	worst, largest := 0.0, 0.0
	for i := range want {
		d := math.Abs(float64(got[i]) - float64(want[i]))
		if math.IsNaN(d) {
			return math.Inf(1)
		}
		worst, largest = max(worst, d), max(largest, math.Abs(float64(want[i])))
	}
	return worst / max(largest, 1e-30)
}

// speed measures the matrix product that dominates a forward pass, in GFLOP/s: the best of a quarter of a second.
func speed(ctx context.Context, b backend.Backend) (float64, error) {
	n := 512
	if b.Info().Name == "reference" {
		n = 64
	}
	s := setup{random: rand.New(rand.NewPCG(1, 1)), backend: b}
	defer s.free()
	w := s.keep(b.Matrix(s.numbers(n*n, 0.1), n, n))
	x := s.keep(b.Table(s.numbers(n*n, 1), n, n))
	if s.err != nil {
		return 0, s.err
	}
	ids := make([]int32, n)
	best := math.Inf(1)
	for start := time.Now(); time.Since(start) < 250*time.Millisecond; {
		const repeats = 4
		p := b.Begin(ctx)
		in := p.Embed(x, ids)
		before := time.Now()
		for range repeats {
			in = p.Linear(in, w, backend.Linear{})
		}
		_, err := p.Read(in)
		best = min(best, time.Since(before).Seconds()/repeats)
		p.End()
		if err != nil {
			return 0, err
		}
	}
	return 2 * math.Pow(float64(n), 3) / best / 1e9, nil
}
