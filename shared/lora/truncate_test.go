package lora_test

import (
	"math"
	"reflect"
	"testing"

	"github.com/medley-lora/medley/shared/lora"
	"gonum.org/v1/gonum/mat"
)

// The least error at a rank is the root of the sum of the squares of the singular values left out (Eckart and Young
// 1936), here from a decomposition of the dense sum.
func TestTruncationIsTheClosest(t *testing.T) {
	modules := []*lora.Adapter{ // at q the ranks add up to less than the matrix has, at k to more
		module("one", 1, "k:6:7:11", "q:3"), module("two", 2, "k:3:7:11", "q:2"), module("three", 3, "q:2"),
	}
	w := []float64{0.5, -1.5, 0.25}
	for _, m := range []lora.Method{lora.Delta, lora.SVD} {
		for rank := 1; rank <= 7; rank++ {
			o := lora.Options{Rank: rank}
			a := compose(t, m, modules, w, o)
			layers, _, err := lora.Difference(a, m, modules, w, o)
			if err != nil {
				t.Fatal(err)
			}
			for i, l := range a.Layers {
				if l.Rank != rank {
					t.Errorf("%s, rank %d: %s has rank %d", m, rank, l.Target, l.Rank)
				}
				if got, want := layers[i].Relative, leastError(t, l.Out, l.In, bySum(l.Target, modules, w), rank); math.Abs(got-want) > 1e-6 {
					t.Errorf("%s, rank %d: %s lost %v, the least is %v", m, rank, l.Target, got, want)
				}
			}
		}
	}
}

func leastError(t *testing.T, out, in int, x []float64, rank int) float64 {
	t.Helper()
	var svd mat.SVD
	if !svd.Factorize(mat.NewDense(out, in, x), mat.SVDNone) {
		t.Fatal("no decomposition")
	}
	lost, all := 0.0, 0.0
	for i, v := range svd.Values(nil) {
		all += v * v
		if i >= rank {
			lost += v * v
		}
	}
	return math.Sqrt(lost / all)
}

func TestRankOfTheResult(t *testing.T) {
	modules := []*lora.Adapter{module("one", 1, "k:2:7:11", "q:3"), module("two", 2, "q:4"), module("none", 3, "q:6", "t:6:5:4")}
	for _, c := range []struct {
		name   string
		method lora.Method
		o      lora.Options
		want   map[string]int
	}{
		{"delta cuts only what is above", lora.Delta, lora.Options{Rank: 5}, map[string]int{"k": 2, "q": 5}},
		{"delta with more than there is", lora.Delta, lora.Options{Rank: 4}, map[string]int{"k": 2, "q": 4}},
		{"svd takes the largest rank", lora.SVD, lora.Options{}, map[string]int{"k": 2, "q": 6}},
		{"dense svd takes what fits", lora.MagnitudePruneSVD, lora.Options{Density: 1}, map[string]int{"k": 6, "q": 6, "t": 4}},
	} {
		got := ranks(compose(t, c.method, modules, []float64{1, -1, 0}, c.o))
		if !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: ranks are %v, want %v", c.name, got, c.want)
		}
	}
}

// With everything kept, the dense methods are the sum.
func TestDenseMethodsWithoutPruning(t *testing.T) {
	modules := raggedModules()
	w := []float64{0.5, -1.5, 0.25}
	for _, m := range []lora.Method{lora.MagnitudePruneSVD, lora.DARELinearSVD} {
		a := compose(t, m, modules, w, lora.Options{Density: 1, Rank: 7})
		for _, l := range a.Layers {
			if d := farthest(l.Update(), bySum(l.Target, modules, w)); d > 1e-5 {
				t.Errorf("%s: %s is off by %v", m, l.Target, d)
			}
		}
	}
}
