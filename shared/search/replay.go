//go:build !wasip1

package search

import (
	"math"

	"github.com/medley-lora/medley/shared/fault"
)

// recorded returns the scores of the round x from the replay, if it holds the whole round.
func (r *run) recorded(x [][]float64) (scores []Score, ok bool, err error) {
	if len(r.seen) >= len(r.options.Replay) {
		return nil, false, nil
	}
	rest := r.options.Replay[len(r.seen):]
	for i := range x[:min(len(x), len(rest))] {
		if !sameBits(x[i], rest[i].Candidate) {
			return nil, false, otherSearch(len(r.seen) + i + 1)
		}
		scores = append(scores, rest[i].Score)
	}
	return scores, len(scores) == len(x), nil
}

func otherSearch(number int) error {
	return fault.New(fault.Invalid, "trace", "evaluation %d does not follow from this search: "+
		"the trace belongs to another one (the seed, the budget, the modules, the examples, the optimizer or its version changed)", number)
}

// sameBits tells 0 from -0 too: an optimizer may.
func sameBits(a, b []float64) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if math.Float64bits(a[i]) != math.Float64bits(b[i]) {
			return false
		}
	}
	return true
}
