package search

import (
	"slices"

	"github.com/medley-lora/medley/shared/fault"
)

// Ledger is the bookkeeping of an Optimizer: what was asked and not yet answered, the budget, the best point. It holds both sides to
// the interface's contract.
type Ledger struct {
	Problem Problem
	Asked   int         // candidates in all
	Pending [][]float64 // asked and not yet answered
	Lowest  []float64   // the candidate of the lowest finite objective told, the first of equals; nil before the first
	LowestF float64     // its objective
}

// NewLedger copies the slices of p.
func NewLedger(p Problem) Ledger {
	p.Lower, p.Upper, p.Groups = slices.Clone(p.Lower), slices.Clone(p.Upper), slices.Clone(p.Groups)
	return Ledger{Problem: p}
}

// Room returns how many of n candidates may be asked for now. It is an error to ask for fewer than one, or before all are answered.
func (l *Ledger) Room(n int) (int, error) {
	if n < 1 {
		return 0, fault.New(fault.Invalid, "n", "asked for %d candidates", n)
	}
	if len(l.Pending) > 0 {
		return 0, fault.New(fault.Invalid, "", "asked again before %d candidates were answered", len(l.Pending))
	}
	return min(n, l.Problem.Budget-l.Asked), nil
}

// Check says whether scores s may be told of x: one for each, of the right length and within the bounds.
func (l *Ledger) Check(x [][]float64, s []Score) error {
	if len(x) != len(s) {
		return fault.New(fault.Invalid, "", "told %d candidates with %d scores", len(x), len(s))
	}
	for i := range x {
		if len(x[i]) != l.Problem.Dim {
			return fault.New(fault.Invalid, "", "told a candidate of %d weights where there are %d", len(x[i]), l.Problem.Dim)
		}
		for j, v := range x[i] {
			if !(v >= l.Problem.Lower[j] && v <= l.Problem.Upper[j]) {
				return fault.New(fault.Invalid, "", "told a candidate whose weight %d is outside the bounds", j+1)
			}
		}
	}
	return nil
}

// Take notes one checked answer, and says whether it was asked for.
func (l *Ledger) Take(x []float64, s Score) (asked bool) {
	if i := slices.IndexFunc(l.Pending, func(p []float64) bool { return slices.Equal(p, x) }); i >= 0 {
		l.Pending = slices.Delete(l.Pending, i, i+1)
		asked = true
	}
	if f := s.Objective; finite(f) && (l.Lowest == nil || f < l.LowestF) {
		l.Lowest, l.LowestF = slices.Clone(x), f
	}
	return asked
}
