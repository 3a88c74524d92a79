package host

import (
	"math"
	"slices"

	"github.com/medley-lora/medley/shared/search"
)

// ledger adds to the books of a search what makes a guest's candidates fit for use, so that a guest needs to keep no books and can
// break none.
type ledger struct{ search.Ledger }

// ask notes candidates that were fitted.
func (l *ledger) ask(x [][]float64) {
	for _, c := range x {
		l.Pending = append(l.Pending, slices.Clone(c))
	}
	l.Asked += len(x)
}

// tolerance is how far a candidate may be outside its bounds, relative to them: what rounding explains is clipped.
const tolerance = 1e-9

// fit checks a candidate of the guest and clips it in place; wrong says what is wrong with it.
func (l *ledger) fit(x []float64) (wrong string, weight int) {
	if len(x) != l.Problem.Dim {
		return "a wrong number of weights", len(x)
	}
	for i, v := range x {
		lower, upper := l.Problem.Lower[i], l.Problem.Upper[i]
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

// tell strikes off what was answered and keeps the best.
func (l *ledger) tell(x [][]float64, s []search.Score) {
	for i := range x {
		l.Take(x[i], s[i])
	}
}
