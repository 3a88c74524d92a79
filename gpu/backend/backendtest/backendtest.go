// Package backendtest is the contract of backend.Backend as tests. Every backend runs it and is compared with gpu/reference.
//
// To add an operation: write a program (a function from a backend and a pass to tensors), and compare it at shapes of 1, odd
// sizes and one past a tile, with the tolerance that its field of Tolerance states.
package backendtest

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/gpu/reference"
)

// Tolerance is, for each operation, the largest difference from the reference that passes, divided by the root mean square of
// the reference's result (so a number that is small by cancellation is not held to more digits than its terms had). The
// reference computes in float64 and rounds once. A field of zero stands for the default.
type Tolerance struct {
	Linear   float64 // default 1e-5: a sum of up to 800 products in f32, whose rounding grows like its root
	Update   float64 // default 2e-5: two such sums, one of them rounded in between
	Norm     float64 // default 2e-6: one sum of squares and a root
	Gate     float64 // default 2e-6: one exponential and a division
	Attend   float64 // default 1e-5: two sums, and an exponential of scores of about 10
	LogProbs float64 // default 5e-6: logits of about 10 and a logarithm
}

func (t Tolerance) withDefaults() Tolerance {
	set := func(field *float64, value float64) {
		if *field == 0 {
			*field = value
		}
	}
	set(&t.Linear, 1e-5)
	set(&t.Update, 2e-5)
	set(&t.Norm, 2e-6)
	set(&t.Gate, 2e-6)
	set(&t.Attend, 1e-5)
	set(&t.LogProbs, 5e-6)
	return t
}

// Run holds the backend that open returns to the contract. open is called once; Run closes what it returned.
func Run(t *testing.T, open func() (backend.Backend, error), tolerance Tolerance) {
	t.Helper()
	b, err := open()
	if err != nil {
		t.Fatalf("opening the backend: %v", err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Errorf("closing the backend: %v", err)
		}
	})
	s := &suite{backend: b, reference: reference.New(), tolerance: tolerance.withDefaults()}
	t.Run("embed", s.embed)
	t.Run("norm", s.norm)
	t.Run("linear", s.linear)
	t.Run("update", s.update)
	t.Run("attend", s.attend)
	t.Run("cache", s.cache)
	t.Run("pages", s.pages)
	t.Run("free", s.free)
	t.Run("gate", s.gate)
	t.Run("gather", s.gather)
	t.Run("scatter", s.scatter)
	t.Run("log-probabilities", s.logProbs)
	t.Run("bias", s.bias)
	t.Run("norm of heads", s.headNorm)
	t.Run("rotate", s.rotate)
	t.Run("grouped attention", s.grouped)
	t.Run("random linear", s.randomLinear)
	t.Run("random attend", s.randomAttend)
	if backend.SplitsHeads(b) {
		t.Run("heads", s.heads)
	}
	if _, ok := s.backend.(backend.Packer); ok {
		t.Run("packed", s.packed)
	}
	t.Run("no rows", s.noRows)
	t.Run("residents", s.residents)
	t.Run("sticky errors", s.stickyErrors)
	t.Run("cancel", s.cancel)
	t.Run("scope", s.scope)
	t.Run("concurrent passes", s.concurrent)
	t.Run("batch invariance", s.invariance)
	t.Run("batch invariance of causal operations", s.causalInvariance)
}

type suite struct {
	backend, reference backend.Backend
	tolerance          Tolerance
}

// program is a piece of a forward pass. It must do the same on any backend: what is random in it comes from a seed.
type program func(m maker, p backend.Pass) []backend.Tensor

// compare runs a program on the backend and on the reference.
func (s *suite) compare(t *testing.T, tolerance float64, run program) {
	t.Helper()
	got, want := execute(t, s.backend, run), execute(t, s.reference, run)
	for i := range want {
		if err := differ(got[i], want[i], tolerance); err != nil {
			t.Errorf("result %d: %v", i, err)
		}
	}
}

// execute runs a program in a pass of its own and reads what it returns.
func execute(t *testing.T, b backend.Backend, run program) [][]float32 {
	t.Helper()
	p := b.Begin(context.Background())
	defer p.End()
	results := run(maker{t, b}, p)
	read := make([][]float32, len(results))
	for i, r := range results {
		var err error
		if read[i], err = p.Read(r); err != nil {
			t.Fatalf("%s: result %d: %v", b.Info().Name, i, err)
		}
		if rows, cols := r.Dims(); len(read[i]) != rows*cols {
			t.Fatalf("%s: result %d has %d numbers for [%d, %d]", b.Info().Name, i, len(read[i]), rows, cols)
		}
	}
	return read
}

// differ reports the worst difference if it exceeds tolerance times the root mean square of want.
func differ(got, want []float32, tolerance float64) error {
	if len(got) != len(want) {
		return fmt.Errorf("%d numbers, want %d", len(got), len(want))
	}
	squares, worst, at := 0.0, 0.0, -1
	for i, w := range want {
		squares += float64(w) * float64(w)
		d := math.Abs(float64(got[i]) - float64(w))
		if math.IsNaN(d) {
			return fmt.Errorf("[%d] is %g, want %g", i, got[i], w)
		}
		if d > worst {
			worst, at = d, i
		}
	}
	scale := math.Sqrt(squares / float64(max(1, len(want))))
	if worst > tolerance*scale {
		return fmt.Errorf("[%d] is %g, want %g: off by %.2g of the root mean square %.3g, tolerance %.2g",
			at, got[at], want[at], worst/scale, scale, tolerance)
	}
	return nil
}

// maker uploads residents, which live as long as the test.
type maker struct {
	t *testing.T
	b backend.Backend
}

func (m maker) keep(r backend.Resident, err error) backend.Resident {
	m.t.Helper()
	if err != nil {
		m.t.Fatalf("%s: upload: %v", m.b.Info().Name, err)
	}
	m.t.Cleanup(r.Free)
	return r
}

func (m maker) matrix(w []float32, out, in int) backend.Resident {
	m.t.Helper()
	return m.keep(m.b.Matrix(w, out, in))
}

// input makes a tensor out of numbers, through the one door that there is: a table and its rows.
func (m maker) input(p backend.Pass, data []float32, rows, cols int) backend.Tensor {
	m.t.Helper()
	return p.Embed(m.keep(m.b.Table(data, rows, cols)), count(rows))
}

// count is 0, 1, … n-1.
func count(n int) []int32 {
	ids := make([]int32, n)
	for i := range ids {
		ids[i] = int32(i)
	}
	return ids
}

// normal draws n numbers from the standard normal distribution; the seed is the test's own, so a failure repeats.
func normal(seed uint64, n int) []float32 {
	r := rand.New(rand.NewPCG(seed, 0x6d65646c6579))
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	return x
}

// scaled is the normal numbers times a factor.
func scaled(seed uint64, n int, factor float32) []float32 {
	x := normal(seed, n)
	for i := range x {
		x[i] *= factor
	}
	return x
}

func ids(seed uint64, n, below int) []int32 {
	r := rand.New(rand.NewPCG(seed, 0x6d65646c6579))
	x := make([]int32, n)
	for i := range x {
		x[i] = int32(r.IntN(below))
	}
	return x
}
