package optimizer

import "math"

// exp returns eˣ from sums and products alone: the math package's is assembly on some machines and differs from
// WebAssembly's in the last bit.
func exp(x float64) float64 {
	switch {
	case math.IsNaN(x):
		return x
	case x > 709:
		return math.Inf(1)
	case x < -708: // below the normal numbers
		return 0
	}
	const ln2High, ln2Low = 6.93147180369123816490e-01, 1.90821492927058770002e-10
	k := math.Floor(float64(x*math.Log2E) + 0.5)
	r := x - float64(k*ln2High)
	r -= float64(k * ln2Low)
	sum := 0.0
	for _, c := range inverseFactorials {
		sum = c + float64(r*sum)
	}
	return sum * math.Float64frombits(uint64(1023+int64(k))<<52) // 2ᵏ
}

// inverseFactorials are the coefficients of the exponential's Taylor series, the last first. For |r| < 0.35 the next one is
// below the last bit.
var inverseFactorials = [...]float64{
	1. / 87178291200, 1. / 6227020800, 1. / 479001600, 1. / 39916800, 1. / 3628800, 1. / 362880, 1. / 40320, 1. / 5040,
	1. / 720, 1. / 120, 1. / 24, 1. / 6, 1. / 2, 1, 1,
}

// log returns the natural logarithm of a positive finite x, and log1p that of 1+x for x in [0, 1]; both as exp above, for
// the math package's products are fused on some machines.
func log(x float64) float64 {
	m, k := math.Frexp(x)
	if m < math.Sqrt2/2 {
		m, k = 2*m, k-1
	}
	return float64(float64(k)*math.Ln2) + twiceAtanh((m-1)/(m+1))
}

func log1p(x float64) float64 { return twiceAtanh(x / (2 + x)) }

// twiceAtanh returns log((1+s)/(1-s)) for |s| up to 1/3 by its series, whose 17th term is below the last bit.
func twiceAtanh(s float64) float64 {
	sum, square := 0.0, float64(s*s)
	for i := 33; i > 0; i -= 2 {
		sum = 1/float64(i) + float64(square*sum)
	}
	return float64(2 * s * sum) // or it would be fused into a caller's sum
}

// The logits that are told apart: beyond them a token is as good as certain, or as hopeless as it needs to be.
const minLogit, maxLogit = -15.0, 12.0

// logit turns the logarithm of a probability into its log odds, clipped.
func logit(logProb float64) float64 {
	if logProb < minLogit {
		return minLogit
	}
	return min(max(logProb-log(1-exp(min(logProb, -1e-7))), minLogit), maxLogit)
}

// negLogSigmoid returns -log(1/(1+e⁻ᶻ)), the cross-entropy of a token with log odds z, and its derivative.
func negLogSigmoid(z float64) (value, slope float64) {
	if z > 0 {
		e := exp(-z)
		return log1p(e), -e / (1 + e)
	}
	e := exp(z)
	return log1p(e) - z, -1 / (1 + e)
}
