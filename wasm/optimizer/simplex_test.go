package optimizer

import (
	"math"
	"math/rand/v2"
	"testing"
)

// linear fills the objectives of s with slope·x.
func linear(s *simplex, slope []float64) {
	for j, e := range s.edge {
		s.f[j] = dot(slope, s.at(e))
	}
	s.f[len(s.pole)] = dot(slope, s.pole)
}

// However vertices are replaced, the model of a linear function is that function, and the pole is the best vertex.
func TestSimplexModelsLinearFunctions(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 4))
	slope := []float64{1, -2, 0.5, 3}
	s := newSimplex([]float64{0.1, 0.2, 0.3, 0.4}, 1)
	linear(&s, slope)
	s.invert()
	for i := range 50 {
		d := gaussians(r, 1, 4, 0.5)[0]
		f := dot(slope, s.at(d))
		vertex := i % 5
		if vertex == 4 && f > s.poleF() {
			continue // the pole is only given up for a better point
		}
		if !s.replace(vertex, d, f) {
			t.Fatalf("replacement %d ruins the simplex", i)
		}
		if gap := maxDistance(s.gradient(), slope); gap > 1e-6 {
			t.Fatalf("after replacement %d the gradient is %v off", i, gap)
		}
		for j, f := range s.f {
			if f < s.poleF() {
				t.Fatalf("after replacement %d vertex %d is better than the pole", i, j)
			}
		}
	}
}

func TestSimplexMends(t *testing.T) {
	s := newSimplex([]float64{0, 0}, 1)
	s.dual = [][]float64{{math.NaN(), 0}, {0, 7}}
	if !s.mend() || s.dual[0][0] != 1 || s.dual[1][1] != 1 {
		t.Errorf("a wrong inverse is mended to %v", s.dual)
	}
	s.edge[1] = []float64{2, 0}
	if s.mend() {
		t.Error("a flat simplex is mended")
	}
}

// A point that a vertex stands on is not evaluated again.
func TestCOBYLAKnowsItsVertices(t *testing.T) {
	made, err := newCOBYLA(problem(2, 20, 1.5))
	if err != nil {
		t.Fatal(err)
	}
	c := made.(*cobyla)
	c.simplex = newSimplex([]float64{0, 0}, 1)
	linear(&c.simplex, []float64{3, 4})
	c.evaluate(judging, []float64{0, 1 + 1e-11})
	if c.query != nil || c.value != 4 {
		t.Errorf("asks for %v, value %v", c.query, c.value)
	}
	c.evaluate(judging, []float64{0, 1.01})
	if c.query == nil {
		t.Error("does not ask for a new point")
	}
}
