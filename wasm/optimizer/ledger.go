package optimizer

import (
	"math"
	"math/rand/v2"
	"slices"

	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/search"
)

// ledger is the bookkeeping that every optimizer shares: what was asked and not yet answered, the budget, the best point.
type ledger struct {
	problem search.Problem
	rng     *rand.Rand
	asked   int
	pending [][]float64
	best    []float64 // nil before the first finite objective
	bestF   float64
}

func newLedger(p search.Problem) ledger {
	p.Lower, p.Upper, p.Groups = slices.Clone(p.Lower), slices.Clone(p.Upper), slices.Clone(p.Groups)
	return ledger{problem: p, rng: rand.New(rand.NewPCG(p.Seed, 0x6d65646c6579))}
}

// room returns how many of n candidates may be proposed now.
func (l *ledger) room(n int) (int, error) {
	if n < 1 {
		return 0, fault.New(fault.Invalid, "n", "asked for %d candidates", n)
	}
	if len(l.pending) > 0 {
		return 0, fault.New(fault.Invalid, "", "asked again before %d candidates were answered", len(l.pending))
	}
	return min(n, l.problem.Budget-l.asked), nil
}

// propose clips x to the bounds, notes the candidates as asked and returns a copy for the caller.
func (l *ledger) propose(x ...[]float64) [][]float64 {
	out := make([][]float64, len(x))
	for i := range x {
		l.clip(x[i])
		l.pending = append(l.pending, x[i])
		out[i] = slices.Clone(x[i])
	}
	l.asked += len(x)
	return out
}

func (l *ledger) clip(x []float64) {
	for i := range x {
		x[i] = min(max(x[i], l.problem.Lower[i]), l.problem.Upper[i]) + 0 // + 0 turns -0 into 0
	}
}

// settle checks what is told, strikes it off the pending candidates and keeps the best. Nothing changes on an error.
func (l *ledger) settle(x [][]float64, s []search.Score) error {
	if err := l.check(x, s); err != nil {
		return err
	}
	for i := range x {
		l.take(x[i], s[i])
	}
	return nil
}

// check says whether scores s may be told of x.
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

// take notes one checked answer, and says whether it was asked for.
func (l *ledger) take(x []float64, s search.Score) (asked bool) {
	if i := slices.IndexFunc(l.pending, func(p []float64) bool { return slices.Equal(p, x) }); i >= 0 {
		l.pending = slices.Delete(l.pending, i, i+1)
		asked = true
	}
	if f := s.Objective; isFinite(f) && (l.best == nil || f < l.bestF) {
		l.best, l.bestF = slices.Clone(x), f
	}
	return asked
}

// Best returns the candidate with the lowest finite objective told, the first of equals.
func (l *ledger) Best() []float64 { return slices.Clone(l.best) }

func isFinite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }
