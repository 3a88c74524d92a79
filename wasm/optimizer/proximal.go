package optimizer

import "math"

// minimise descends from start to a local minimum of f(x) + Σ l1_i·|x_i| within the box, by the accelerated proximal gradient
// method with backtracking (Beck and Teboulle, "A fast iterative shrinkage-thresholding algorithm", 2009), whose steps make
// weights exactly 0; the acceleration starts over when the value rises, as f need not be convex. f fills grad.
func minimise(f func(x, grad []float64) float64, l1, lower, upper, start []float64, steps int) (x []float64, value float64) {
	n := len(start)
	grad, next := make([]float64, n), make([]float64, n)
	penalty := func(x []float64) float64 {
		sum := 0.0
		for i, v := range x {
			sum += float64(l1[i] * math.Abs(v))
		}
		return sum
	}
	x = append([]float64(nil), start...)
	ahead := append([]float64(nil), start...) // where the gradient is taken
	value = f(x, grad) + penalty(x)
	momentum, curvature := 1.0, 1.0
	for range steps {
		here := f(ahead, grad)
		var smooth float64
		for {
			bound := here
			for i := range next {
				next[i] = shrink(ahead[i]-grad[i]/curvature, l1[i]/curvature, lower[i], upper[i])
				d := next[i] - ahead[i]
				bound += float64(grad[i]*d) + float64(0.5*curvature*d*d)
			}
			if smooth = f(next, nil); smooth <= bound+float64(1e-12*math.Abs(bound)) || curvature > 1e12 {
				break
			}
			curvature *= 2
		}
		if total := smooth + penalty(next); total < value {
			moved := maxDistance(x, next)
			following := (1 + math.Sqrt(1+float64(4*momentum*momentum))) / 2
			for i := range x {
				ahead[i] = min(max(next[i]+float64((momentum-1)/following*(next[i]-x[i])), lower[i]), upper[i])
			}
			copy(x, next)
			value, momentum = total, following
			if moved < 1e-5 {
				break
			}
		} else if momentum > 1 {
			momentum = 1
			copy(ahead, x)
		} else {
			break
		}
		curvature *= 0.7
	}
	return x, value
}

// shrink moves v towards 0 by threshold, then into [lower, upper].
func shrink(v, threshold, lower, upper float64) float64 {
	switch {
	case v > threshold:
		v -= threshold
	case v < -threshold:
		v += threshold
	default:
		v = 0
	}
	return min(max(v, lower), upper)
}
