package optimizer

import (
	"math"
	"testing"

	"github.com/medley-lora/medley/shared/search"
)

// TestESWidth: a success widens the mutations and four failures undo it; what was not asked for says nothing of the width.
func TestESWidth(t *testing.T) {
	o, err := New("es", problem(3, 20, 1.5))
	if err != nil {
		t.Fatal(err)
	}
	e := o.(*es)
	tell := func(objective float64) {
		t.Helper()
		x, err := e.Ask(1)
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Tell(x, []search.Score{{Objective: objective}}); err != nil {
			t.Fatal(err)
		}
	}
	tell(1) // 0
	if e.sigma != firstSigma {
		t.Errorf("width %v after the first point", e.sigma)
	}
	tell(0.5)
	if math.Abs(e.sigma-firstSigma*widen) > 1e-12 {
		t.Errorf("width %v after a success", e.sigma)
	}
	for _, f := range []float64{2, math.NaN(), 0.5, math.Inf(1)} {
		tell(f)
	}
	if math.Abs(e.sigma-firstSigma) > 1e-12 {
		t.Errorf("width %v after a success and four failures", e.sigma)
	}
	before := e.sigma
	if err := e.Tell([][]float64{{1, 1, 1}}, []search.Score{{Objective: 0.1}}); err != nil || e.sigma != before {
		t.Errorf("width %v after a warm start, %v", e.sigma, err)
	}
}

// SplitMix64's first numbers from seed 1234567, as its authors' code prints them: plugins in other languages are held to the same.
func TestSplitMix(t *testing.T) {
	s := splitMix(1234567)
	for _, want := range []uint64{6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821} {
		if got := s.next(); got != want {
			t.Errorf("%d, expected %d", got, want)
		}
	}
	sum, square := 0.0, 0.0
	for range 100_000 {
		v := s.normal()
		sum += v
		square += v * v
	}
	if math.Abs(sum/1e5) > 0.02 || math.Abs(square/1e5-1) > 0.02 {
		t.Errorf("mean %v, variance %v", sum/1e5, square/1e5)
	}
}
