package host

import (
	"math"
	"slices"

	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/search"
)

// ledger holds both sides to the contract of search.Optimizer, so that a guest needs to keep no books and can break none.
type ledger struct {
	problem search.Problem
	asked   int
	pending [][]float64
	best    []float64 // lowest finite objective told; nil before the first
	bestF   float64
}

func newLedger(p search.Problem) ledger {
	p.Lower, p.Upper, p.Groups = slices.Clone(p.Lower), slices.Clone(p.Upper), slices.Clone(p.Groups)
	return ledger{problem: p}
}

// room returns how many of n candidates may be asked for now.
func (l *ledger) room(n int) (int, error) {
	if n < 1 {
		return 0, fault.New(fault.Invalid, "n", "asked for %d candidates", n)
	}
	if len(l.pending) > 0 {
		return 0, fault.New(fault.Invalid, "", "asked again before %d candidates were answered", len(l.pending))
	}
	return min(n, l.problem.Budget-l.asked), nil
}

// ask notes candidates that were fitted.
func (l *ledger) ask(x [][]float64) {
	for _, c := range x {
		l.pending = append(l.pending, slices.Clone(c))
	}
	l.asked += len(x)
}

// tolerance is how far a candidate may be outside its bounds, relative to them: what rounding explains is clipped.
const tolerance = 1e-9

// fit checks a candidate of the guest and clips it in place; wrong says what is wrong with it.
func (l *ledger) fit(x []float64) (wrong string, weight int) {
	if len(x) != l.problem.Dim {
		return "a wrong number of weights", len(x)
	}
	for i, v := range x {
		lower, upper := l.problem.Lower[i], l.problem.Upper[i]
		slack := tolerance * (1 + max(math.Abs(lower), math.Abs(upper)))
		switch {
		case math.IsNaN(v) || math.IsInf(v, 0):
			return "not a finite number", i + 1
		case v < lower-slack || v > upper+slack:
			return "outside its bounds", i + 1
		}
		x[i] = min(max(v, lower), upper)
	}
	return "", 0
}

// check holds what is told to the contract.
func (l *ledger) check(x [][]float64, s []search.Score) error {
	if len(x) != len(s) {
		return fault.New(fault.Invalid, "", "told %d candidates with %d scores", len(x), len(s))
	}
	for i := range x {
		if len(x[i]) != l.problem.Dim {
			return fault.New(fault.Invalid, "", "told a candidate of %d weights where there are %d", len(x[i]), l.problem.Dim)
		}
		for j, v := range x[i] {
			if !(v >= l.problem.Lower[j] && v <= l.problem.Upper[j]) {
				return fault.New(fault.Invalid, "", "told a candidate whose weight %d is outside the bounds", j+1)
			}
		}
	}
	return nil
}

// tell strikes off what was answered and keeps the best.
func (l *ledger) tell(x [][]float64, s []search.Score) {
	for i := range x {
		if j := slices.IndexFunc(l.pending, func(p []float64) bool { return slices.Equal(p, x[i]) }); j >= 0 {
			l.pending = slices.Delete(l.pending, j, j+1)
		}
		if f := s[i].Objective; !math.IsNaN(f) && !math.IsInf(f, 0) && (l.best == nil || f < l.bestF) {
			l.best, l.bestF = slices.Clone(x[i]), f
		}
	}
}
