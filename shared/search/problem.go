package search

import (
	"math"

	"github.com/medley-lora/medley/shared/fault"
)

// The bounds that Problem.Check sets, so that a wrong number in a request cannot ask for the memory of the machine.
const (
	MaxDim    = 10_000
	MaxBudget = 100_000
)

// Check returns a fault.Error that names the first field which no search could work with.
func (p Problem) Check() error {
	switch {
	case p.Dim < 1 || p.Dim > MaxDim:
		return fault.New(fault.Invalid, "dim", "must be from 1 to %d, got %d", MaxDim, p.Dim)
	case p.Budget < 1 || p.Budget > MaxBudget:
		return fault.New(fault.Invalid, "budget", "must be from 1 to %d, got %d", MaxBudget, p.Budget)
	case p.Batch < 1:
		return fault.New(fault.Invalid, "batch", "must be at least 1, got %d", p.Batch)
	case len(p.Lower) != p.Dim:
		return fault.New(fault.Invalid, "lower", "has %d values for %d weights", len(p.Lower), p.Dim)
	case len(p.Upper) != p.Dim:
		return fault.New(fault.Invalid, "upper", "has %d values for %d weights", len(p.Upper), p.Dim)
	case !finite(p.L1) || p.L1 < 0:
		return fault.New(fault.Invalid, "l1", "must be a finite number, 0 or more")
	}
	for i := range p.Lower {
		switch {
		case !finite(p.Lower[i]):
			return fault.New(fault.Invalid, "lower", "value %d is not finite", i+1)
		case !finite(p.Upper[i]):
			return fault.New(fault.Invalid, "upper", "value %d is not finite", i+1)
		case p.Lower[i] > p.Upper[i]:
			return fault.New(fault.Invalid, "lower", "value %d is above the upper bound", i+1)
		}
	}
	for i, n := range p.Groups {
		if n < 0 {
			return fault.New(fault.Invalid, "groups", "example %d has %d tokens", i+1, n)
		}
	}
	return nil
}

// Box returns n equal bounds from -w to w, the search space of the original being Box(n, 1.5).
func Box(n int, w float64) (lower, upper []float64) {
	lower, upper = make([]float64, n), make([]float64, n)
	for i := range lower {
		lower[i], upper[i] = -w, w
	}
	return lower, upper
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }
