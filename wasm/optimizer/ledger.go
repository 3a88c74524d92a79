package optimizer

import (
	"math"
	"math/rand/v2"
	"slices"

	"github.com/medley-lora/medley/shared/search"
)

// ledger is the bookkeeping that every optimizer shares, and its chance.
type ledger struct {
	search.Ledger
	rng *rand.Rand
}

func newLedger(p search.Problem) ledger {
	return ledger{search.NewLedger(p), rand.New(rand.NewPCG(p.Seed, 0x6d65646c6579))}
}

// propose clips x to the bounds, notes the candidates as asked and returns a copy for the caller.
func (l *ledger) propose(x ...[]float64) [][]float64 {
	out := make([][]float64, len(x))
	for i := range x {
		l.clip(x[i])
		l.Pending = append(l.Pending, x[i])
		out[i] = slices.Clone(x[i])
	}
	l.Asked += len(x)
	return out
}

func (l *ledger) clip(x []float64) {
	for i := range x {
		x[i] = min(max(x[i], l.Problem.Lower[i]), l.Problem.Upper[i]) + 0 // + 0 turns -0 into 0
	}
}

// settle checks what is told, strikes it off the pending candidates and keeps the best. Nothing changes on an error.
func (l *ledger) settle(x [][]float64, s []search.Score) error {
	if err := l.Check(x, s); err != nil {
		return err
	}
	for i := range x {
		l.Take(x[i], s[i])
	}
	return nil
}

// Best returns the candidate with the lowest finite objective told, the first of equals.
func (l *ledger) Best() []float64 { return slices.Clone(l.Lowest) }

func isFinite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }
