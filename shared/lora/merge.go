package lora

import (
	"math"
	"math/rand/v2"
	"slices"
)

// merge combines one tensor per module, given flat, into one: each is thinned out in place, then they are summed with the
// weights, or, with an election, averaged over the modules that agree with the elected sign of each entry.
func (r rule) merge(x [][]float64, weights []float64, o Options, random *rand.Rand) []float64 {
	if r.sparsify != nil && o.Density < 1 {
		for _, t := range x {
			r.sparsify(t, o.Density, random)
		}
	}
	merged := make([]float64, len(x[0]))
	if !r.elect {
		for i, t := range x {
			for e, v := range t {
				merged[e] += weights[i] * v
			}
		}
		return merged
	}
	for e := range merged {
		majority := electSign(x, e, o.MajoritySign == "frequency")
		agree := 0
		for i, t := range x {
			if sign(t[e]) == majority {
				merged[e] += weights[i] * t[e]
				agree++
			}
		}
		merged[e] /= float64(max(agree, 1))
	}
	return merged
}

// electSign returns the sign of entry e on which the unweighted tensors agree most, by their sum or by their number; a
// draw is +1.
func electSign(x [][]float64, e int, byNumber bool) float64 {
	votes := 0.0
	for _, t := range x {
		if byNumber {
			votes += sign(t[e])
		} else {
			votes += t[e]
		}
	}
	if votes >= 0 {
		return 1
	}
	return -1
}

func sign(v float64) float64 {
	switch {
	case v > 0:
		return 1
	case v < 0:
		return -1
	}
	return 0
}

// keepLargest sets all entries to 0 but the ⌊density·n⌋ of largest magnitude; of equal ones the first.
func keepLargest(x []float64, density float64, _ *rand.Rand) {
	k := int(density * float64(len(x)))
	if k == 0 {
		clear(x)
		return
	}
	sorted := make([]float64, len(x))
	for i, v := range x {
		sorted[i] = math.Abs(v)
	}
	slices.Sort(sorted)
	largest := sorted[len(sorted)-k:]
	edge, atEdge := largest[0], 0 // atEdge: how many of magnitude edge may stay
	for _, m := range largest {
		if m == edge {
			atEdge++
		}
	}
	for i, v := range x {
		switch m := math.Abs(v); {
		case m < edge, m == edge && atEdge == 0:
			x[i] = 0
		case m == edge:
			atEdge--
		}
	}
}

// dropRandom keeps every entry with probability density, divided by density so that its expectation stays.
func dropRandom(x []float64, density float64, random *rand.Rand) {
	for i := range x {
		if random.Float64() < density {
			x[i] /= density
		} else {
			x[i] = 0
		}
	}
}
