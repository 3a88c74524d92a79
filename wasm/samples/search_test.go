package samples

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/medley-lora/medley/shared/search"
	"github.com/medley-lora/medley/shared/search/searchtest"
	"github.com/medley-lora/medley/wasm/guest/guesttest"
	"github.com/medley-lora/medley/wasm/optimizer"
)

// start returns the plugin of a language on a problem.
func start(t testing.TB, language string, interpreter bool, p search.Problem) search.Optimizer {
	t.Helper()
	g, err := compile(t, language, interpreter).New(t.Context(), p, nil)
	if err != nil {
		t.Fatalf("%s: %v", language, err)
	}
	t.Cleanup(func() { g.Close() })
	return g
}

func native(t testing.TB, p search.Problem) search.Optimizer {
	t.Helper()
	o, err := optimizer.New("es", p)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// problems are searches of every size and batch, with the seeds at both ends and bounds that clip, that pin a weight and that touch 0
// from either side.
func problems() map[string]search.Problem {
	all := guesttest.Problems()
	for i, dim := range []int{1, 3, 20, 200} {
		for j, batch := range []int{1, 8, 64} {
			lower, upper := search.Box(dim, 1.5)
			all[fmt.Sprintf("%d weights, batch %d", dim, batch)] = search.Problem{
				Dim: dim, Lower: lower, Upper: upper, Budget: 2*batch + 21, Batch: batch, Seed: []uint64{0, 1, 1 << 63, math.MaxUint64}[(i+j)%4],
			}
		}
	}
	all["bounds"] = search.Problem{
		Dim: 6, Lower: []float64{math.Copysign(0, -1), -1, 0.25, -0.3, 1e-9, -1e6}, Upper: []float64{1, 0, 3, -0.1, 1e-9, 2.5e7}, Budget: 60, Batch: 4, Seed: 5,
	}
	return all
}

// Every sample asks for the candidates of the built-in algorithm, bit for bit, whatever runs it.
func TestSameCandidates(t *testing.T) {
	for name, p := range problems() {
		c := guesttest.Record(t, name, "es", p, native(t, p))
		if len(c.Rounds) < 3 {
			t.Fatalf("%s: %d rounds", name, len(c.Rounds))
		}
		for _, language := range Languages() {
			t.Run(language+" "+name, func(t *testing.T) {
				c.Replay(t, start(t, language, false, p))
				c.Replay(t, start(t, language, false, p)) // in another instance
				if p.Dim <= 20 {                          // enough for an engine that takes ten times as long
					c.Replay(t, start(t, language, true, p))
				}
			})
		}
	}
}

// TestIrregular tells what hosts may: points before the first candidate, answers in another order and in parts, points that nobody asked
// for between them, a point twice, and failures.
func TestIrregular(t *testing.T) {
	for _, language := range Languages() {
		for _, interpreter := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s interpreter=%v", language, interpreter), func(t *testing.T) {
				lower, upper := search.Box(5, 2)
				p := search.Problem{Dim: 5, Lower: lower, Upper: upper, Budget: 150, Batch: 8, Seed: 99}
				want, got := native(t, p), start(t, language, interpreter, p)
				r := rand.New(rand.NewPCG(3, 4))
				improved := irregular(t, r, p, want, got)
				if !slices.Equal(want.Best(), got.Best()) {
					t.Errorf("best is %v, want %v", got.Best(), want.Best())
				}
				if improved < 5 {
					t.Errorf("only %d improvements, which says little", improved)
				}
			})
		}
	}
}

// TestWidth drives the width of the mutations to its most by successes alone, and to its least by objectives that equal the best.
func TestWidth(t *testing.T) {
	lower, upper := search.Box(2, 100)
	p := search.Problem{Dim: 2, Lower: lower, Upper: upper, Budget: 200, Batch: 1, Seed: 11}
	for _, language := range Languages() {
		want, got := native(t, p), start(t, language, false, p)
		for i := range p.Budget {
			x, err := want.Ask(1)
			if err != nil {
				t.Fatal(err)
			}
			y, err := got.Ask(1)
			if err != nil {
				t.Fatal(err)
			}
			if !sameBits(x, y) {
				t.Fatalf("%s: candidate %d is %v, want %v", language, i+1, y, x)
			}
			score := []search.Score{{Objective: -float64(min(i, 20))}}
			if err := errors.Join(want.Tell(x, score), got.Tell(x, score)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// irregular searches with two optimizers at once and returns how often the best changed.
func irregular(t *testing.T, r *rand.Rand, p search.Problem, want, got search.Optimizer) (improved int) {
	t.Helper()
	tell := func(x [][]float64) {
		t.Helper()
		s := make([]search.Score, len(x))
		for i := range x {
			s[i].Objective = objective(r, x[i])
		}
		before := want.Best()
		if err := want.Tell(x, s); err != nil {
			t.Fatal(err)
		}
		if err := got.Tell(x, s); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(before, want.Best()) {
			improved++
		}
	}
	stranger := func() [][]float64 {
		x := make([]float64, p.Dim)
		for i := range x {
			x[i] = 4*r.Float64() - 2
		}
		x[0] = math.Copysign(0, -1)
		return [][]float64{x, x}
	}
	tell(stranger())
	for {
		x, err := want.Ask(1 + r.IntN(2*p.Batch))
		if err != nil {
			t.Fatal(err)
		}
		y, err := got.Ask(max(1, len(x)))
		if err != nil {
			t.Fatal(err)
		}
		if !sameBits(x, y) {
			t.Fatalf("candidates %v, want %v", y, x)
		}
		if len(x) == 0 {
			return improved
		}
		r.Shuffle(len(x), func(i, j int) { x[i], x[j] = x[j], x[i] })
		part := r.IntN(len(x) + 1)
		tell(x[:part])
		tell(stranger())
		tell(x[part:])
	}
}

// objective is a bowl with a failure here and there.
func objective(r *rand.Rand, x []float64) float64 {
	switch r.IntN(10) {
	case 0:
		return math.NaN()
	case 1:
		return math.Inf(1 - 2*r.IntN(2))
	}
	sum := 0.0
	for _, v := range x {
		sum += (v - 1) * (v - 1)
	}
	return sum
}

func sameBits(x, y [][]float64) bool {
	bit := func(a, b float64) bool { return math.Float64bits(a) == math.Float64bits(b) }
	return slices.EqualFunc(x, y, func(a, b []float64) bool { return slices.EqualFunc(a, b, bit) })
}

// The samples are held to the contract that every optimizer is held to.
func TestContract(t *testing.T) {
	for _, language := range Languages() {
		t.Run(language, func(t *testing.T) {
			create := func(p search.Problem) (search.Optimizer, error) { return start(t, language, false, p), nil }
			searchtest.Run(t, create)
			searchtest.ReturnsLowest(t, create)
		})
	}
}

// BenchmarkSearch reports the time that a sample takes per candidate of 20 weights, the host's checks and the evaluator's microseconds
// included.
func BenchmarkSearch(b *testing.B) {
	p := searchtest.Problem(20, 400, 8)
	for _, language := range append(Languages(), "native") {
		b.Run(language, func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				o := native(b, p)
				if language != "native" {
					o = start(b, language, false, p)
				}
				b.StartTimer()
				if _, err := search.Run(b.Context(), p, o, &searchtest.Evaluator{Problem: p}, search.RunOptions{}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*p.Budget), "ns/candidate")
		})
	}
}
