package optimizer

import (
	"math"
	"math/rand/v2"
	"testing"
)

func TestExp(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for range 100_000 {
		x := 1416*r.Float64() - 708
		if got, want := exp(x), math.Exp(x); math.Abs(got-want) > 4e-16*want {
			t.Fatalf("exp(%v) is %v, not %v", x, got, want)
		}
	}
	for x, want := range map[float64]float64{0: 1, 710: math.Inf(1), -710: 0, math.Inf(1): math.Inf(1), math.Inf(-1): 0} {
		if got := exp(x); got != want {
			t.Errorf("exp(%v) is %v", x, got)
		}
	}
	if !math.IsNaN(exp(math.NaN())) {
		t.Error("exp(NaN) is a number")
	}
}

func TestLog(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 100_000 {
		x := math.Exp(200*r.Float64() - 100)
		if got, want := log(x), math.Log(x); math.Abs(got-want) > 1e-15*max(1, math.Abs(want)) {
			t.Fatalf("log(%v) is %v, not %v", x, got, want)
		}
		x = min(1, x)
		if got, want := log1p(x), math.Log1p(x); math.Abs(got-want) > 1e-15*want {
			t.Fatalf("log1p(%v) is %v, not %v", x, got, want)
		}
	}
}

func TestLogit(t *testing.T) {
	for _, z := range []float64{-14, -3, -0.1, 0, 2, 7, 11} {
		loss, slope := negLogSigmoid(z)
		if got := logit(-loss); math.Abs(got-z) > 1e-9*(1+exp(z)) {
			t.Errorf("logit of the log-probability at %v is %v", z, got)
		}
		ahead, _ := negLogSigmoid(z + 1e-6)
		if math.Abs((ahead-loss)/1e-6-slope) > 1e-5 {
			t.Errorf("slope at %v is %v", z, slope)
		}
	}
	for p, want := range map[float64]float64{0: maxLogit, math.Inf(-1): minLogit, -1000: minLogit, -1e-12: maxLogit} {
		if got := logit(p); got != want {
			t.Errorf("logit(%v) is %v, want %v", p, got, want)
		}
	}
}
