package lora

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// The expected numbers are what peft.utils.merge_utils of PEFT 0.21.2 (torch 2.15.0) gives for these tensors and weights.
// They tell total from frequency, zeros from votes, and votes before from votes after weighting.
func TestMergesAsPEFT(t *testing.T) {
	tensors := [][]float64{
		{3, -1, 0.5, 0, -2, 2, 1, -4},
		{-1, -2, 0.25, 0, 5, -2, -1.5, -3},
		{-1, 4, -1.25, 0, -4.5, 0, 1.5, 6},
	}
	weights := []float64{1, -0.5, 2}
	for _, c := range []struct {
		method   Method
		density  float64
		majority string
		want     []float64
	}{
		{MagnitudePrune, 1, "", []float64{1.5, 8, -2.125, 0, -13.5, 3, 4.75, 9.5}},
		{MagnitudePrune, 0.5, "", []float64{3, 9, 0, 0, -13.5, 3, 3, 9.5}},
		{MagnitudePrune, 0.3, "", []float64{3, 0, 0, 0, -11.5, 0, 0, 9.5}},
		{MagnitudePrune, 0.1, "", make([]float64, 8)},
		{TIES, 1, "total", []float64{3, 8, -2.5, 0, -5.5, 2, 2, -1.25}},
		{TIES, 1, "frequency", []float64{-0.75, 0, 0.1875, 0, -5.5, 2, 2, -1.25}},
		{TIES, 0.5, "", []float64{3, 8, 0, 0, -5.5, 2, 3, -1.25}},
		{TIES, 0.5, "frequency", []float64{3, 8, 0, 0, -5.5, 2, 3, -1.25}},
		{TIES, 0.3, "total", []float64{3, 0, 0, 0, -2.5, 0, 0, -1.25}},
		{TIES, 0.1, "total", make([]float64, 8)},
		// Nothing is dropped, so DARE is not random.
		{DARELinear, 1, "", []float64{1.5, 8, -2.125, 0, -13.5, 3, 4.75, 9.5}},
		{DARETIES, 1, "frequency", []float64{-0.75, 0, 0.1875, 0, -5.5, 2, 2, -1.25}},
	} {
		x := make([][]float64, len(tensors))
		for i, v := range tensors {
			x[i] = slices.Clone(v)
		}
		got := rules[c.method].merge(x, weights, Options{Density: c.density, MajoritySign: c.majority}, rand.New(rand.NewPCG(1, 1)))
		if !slices.Equal(got, c.want) {
			t.Errorf("%s %v %s: %v, want %v", c.method, c.density, c.majority, got, c.want)
		}
	}
}

func TestKeepLargestOfEqualMagnitudes(t *testing.T) {
	for _, c := range []struct {
		x       []float64
		density float64
		want    []float64
	}{
		{[]float64{1, -1, 1, 1}, 0.5, []float64{1, -1, 0, 0}},
		{[]float64{1, -2, -1, 1}, 0.5, []float64{1, -2, 0, 0}},
		{[]float64{-1, 1, 3, 2}, 0.75, []float64{-1, 0, 3, 2}},
		{[]float64{0, 0, 0, 1}, 0.5, []float64{0, 0, 0, 1}},
		{[]float64{1, 2, 3}, 0.99, []float64{0, 2, 3}}, // ⌊2.97⌋
	} {
		got := slices.Clone(c.x)
		keepLargest(got, c.density, nil)
		if !slices.Equal(got, c.want) {
			t.Errorf("%v at %v: %v, want %v", c.x, c.density, got, c.want)
		}
	}
}

// Of n ones a share density stays, as 1/density: the sum is n in expectation, with standard deviation √(n·(1-density)/density).
func TestDropRandomKeepsTheExpectation(t *testing.T) {
	const n = 100_000
	for _, density := range []float64{0.1, 0.5, 0.9} {
		x := slices.Repeat([]float64{1}, n)
		dropRandom(x, density, rand.New(rand.NewPCG(1, 1)))
		kept, sum := 0, 0.0
		for _, v := range x {
			if v != 0 {
				kept++
			}
			if v != 0 && v != 1/density {
				t.Fatalf("density %v: an entry became %v", density, v)
			}
			sum += v
		}
		if sigma := math.Sqrt(n * density * (1 - density)); math.Abs(float64(kept)-n*density) > 4*sigma {
			t.Errorf("density %v: kept %d of %d", density, kept, n)
		}
		if sigma := math.Sqrt(n * (1 - density) / density); math.Abs(sum-n) > 4*sigma {
			t.Errorf("density %v: the sum is %v, not near %d", density, sum, n)
		}
	}
}

// A site's draws depend on the seed and on its target, not on the other sites, and differ between modules and factors.
func TestDARESeeds(t *testing.T) {
	ones := func(targets ...string) *Adapter {
		a := &Adapter{}
		for _, target := range targets {
			a.Layers = append(a.Layers, Layer{Target: target, In: 40, Out: 40, Rank: 1, Scale: 1,
				A: slices.Repeat([]float32{1}, 40), B: slices.Repeat([]float32{1}, 40)})
		}
		return a
	}
	draw := func(seed uint64, targets ...string) *Layer {
		a, err := Compose(DARELinear, []*Adapter{ones(targets...), ones(targets...)}, []float64{1, 9}, Options{Density: 0.5, Seed: seed})
		if err != nil {
			t.Fatal(err)
		}
		return a.Layer("q")
	}
	q := draw(1, "q")
	if again := draw(1, "k", "q", "v"); !slices.Equal(q.A, again.A) || !slices.Equal(q.B, again.B) {
		t.Error("other sites change the draw")
	}
	if other := draw(2, "q"); slices.Equal(q.A, other.A) || slices.Equal(q.B, other.B) {
		t.Error("the seed does not change the draw")
	}
	if slices.Equal(q.A, q.B) {
		t.Error("both factors got one draw")
	}
	seen := map[float32]bool{}
	for _, v := range q.A {
		seen[v] = true
	}
	if len(seen) != 4 { // 0, 2, 6 and 8: each module kept or dropped on its own
		t.Errorf("entries take the values %v", seen)
	}
}
