package narrow

import (
	"math"
	"math/rand/v2"

	"github.com/medley-lora/medley/shared/fault"
)

// nearDuplicate is the distance of unit vectors (0 to 2) below which two updates count as the same: a cosine above 0.98. Modules
// trained independently are nearly orthogonal (distance 1.4); a module and the same one trained a little longer are not.
const nearDuplicate = 0.2

// sketchAll returns every module's sketch at length 1, nil if there is no sketch function.
func sketchAll(o Options) ([][]float64, error) {
	if o.Sketch == nil {
		return nil, nil
	}
	all := make([][]float64, o.Modules)
	for i := range all {
		s, err := o.Sketch(i)
		if err != nil {
			return nil, err
		}
		if i > 0 && len(s) != len(all[0]) {
			return nil, fault.New(fault.Internal, "sketch", "of module %d has %d numbers, the first one's %d", i+1, len(s), len(all[0]))
		}
		all[i] = unit(s)
	}
	return all, nil
}

// unit returns v at length 1; without direction (all zero, or not finite) it returns zeros.
func unit(v []float64) []float64 {
	largest := 0.0
	for _, x := range v {
		largest = max(largest, math.Abs(x)) // NaN if any is
	}
	u := make([]float64, len(v))
	if !(largest > 0) || math.IsInf(largest, 1) {
		return u
	}
	sum := 0.0
	for i, x := range v {
		u[i] = x / largest // the squares of very large or small numbers would leave the range
		sum += u[i] * u[i]
	}
	norm := math.Sqrt(sum)
	for i := range u {
		u[i] /= norm
	}
	return u
}

func distance(a, b []float64) float64 {
	sum := 0.0
	for i := range a {
		sum += (a[i] - b[i]) * (a[i] - b[i])
	}
	return math.Sqrt(sum)
}

// draw orders modules for narrowing, those first that should be tried if not all can be. With sketches it is a farthest-point
// traversal from a random start (Gonzalez, "Clustering to minimize the maximum intercluster distance", 1985), which ends when
// all that is left nearly repeats what was drawn; without, a random order.
func draw(rng *rand.Rand, modules int, sketches [][]float64) []int {
	if sketches == nil {
		return rng.Perm(modules)
	}
	next := rng.IntN(modules)
	nearest := make([]float64, modules) // to any module drawn
	for i := range nearest {
		nearest[i] = math.Inf(1)
	}
	var drawn []int
	for len(drawn) < modules && nearest[next] >= nearDuplicate {
		drawn = append(drawn, next)
		from := sketches[next]
		for i := range nearest {
			nearest[i] = min(nearest[i], distance(from, sketches[i]))
		}
		for i := range nearest {
			if nearest[i] > nearest[next] {
				next = i
			}
		}
	}
	return drawn
}
