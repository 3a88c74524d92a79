package optimizer

import "math"

// simplex is n+1 points with their objectives, kept as the best of them (Powell's pole) and the edges to the others. An
// objective of +Inf marks a failed evaluation.
type simplex struct {
	pole []float64   // [n]
	edge [][]float64 // [n][n]; edge[j] leads from the pole to vertex j
	dual [][]float64 // [n][n]; dual[j]·edge[k] is 1 if j = k, else 0: the gradient of vertex j's Lagrange polynomial
	f    []float64   // [n+1]; the pole's is last
}

// newSimplex returns the simplex around x whose edges have length rho along the axes; no vertex has an objective yet.
func newSimplex(x []float64, rho float64) simplex {
	n := len(x)
	s := simplex{pole: append([]float64(nil), x...), edge: newMatrix(n, n), dual: newMatrix(n, n), f: make([]float64, n+1)}
	for i := range n {
		s.edge[i][i] = rho
		s.f[i] = math.Inf(1)
	}
	s.f[n] = math.Inf(1)
	return s
}

func (s *simplex) poleF() float64 { return s.f[len(s.pole)] }

// at returns pole + d.
func (s *simplex) at(d []float64) []float64 {
	x := append([]float64(nil), s.pole...)
	axpy(1, d, x)
	return x
}

// rise returns how much worse vertex j is than the pole. A failed vertex counts as the worst that did not fail: the linear
// model then leads away from it without being drowned by it.
func (s *simplex) rise(j int) float64 {
	if !math.IsInf(s.f[j], 1) {
		return s.f[j] - s.poleF()
	}
	worst := 0.0
	for _, f := range s.f {
		if !math.IsInf(f, 1) {
			worst = max(worst, f-s.poleF())
		}
	}
	return worst
}

// gradient returns that of the linear function through all vertices.
func (s *simplex) gradient() []float64 {
	g := make([]float64, len(s.pole))
	if math.IsInf(s.poleF(), 1) {
		return g // every vertex failed
	}
	for j := range s.edge {
		axpy(s.rise(j), s.dual[j], g)
	}
	return g
}

// farthest returns the vertex with the longest edge, and the square of its length.
func (s *simplex) farthest() (vertex int, squared float64) {
	for j, e := range s.edge {
		if d := dot(e, e); d > squared {
			vertex, squared = j, d
		}
	}
	return vertex, squared
}

// near returns the objective of a vertex within tolerance of pole + d.
func (s *simplex) near(d []float64, tolerance float64) (f float64, ok bool) {
	n := len(s.pole)
	closest, at := dot(d, d), n
	for j, e := range s.edge {
		if q := squaredDistance(d, e); q < closest {
			closest, at = q, j
		}
	}
	return s.f[at], closest <= float64(tolerance*tolerance)
}

// replace puts pole + d with objective f in the place of vertex j (n for the pole itself), then makes the best vertex the
// pole. It is false when rounding has ruined the simplex.
func (s *simplex) replace(j int, d []float64, f float64) bool {
	n := len(s.pole)
	values := make([]float64, n) // of the Lagrange polynomials at d
	for k := range values {
		values[k] = dot(s.dual[k], d)
	}
	if j < n {
		copy(s.edge[j], d)
		scale := 1 / values[j]
		for i := range n {
			s.dual[j][i] *= scale
		}
		for k := range n {
			if k != j {
				axpy(-values[k], s.dual[j], s.dual[k])
			}
		}
	} else {
		axpy(1, d, s.pole)
		sum, rest := make([]float64, n), 1.0
		for k := range n {
			axpy(-1, d, s.edge[k])
			axpy(1, s.dual[k], sum)
			rest -= values[k]
		}
		for k := range n {
			axpy(values[k]/rest, sum, s.dual[k])
		}
	}
	s.f[j] = f
	return s.mend() && s.pick()
}

// pick makes the best vertex the pole.
func (s *simplex) pick() bool {
	n := len(s.pole)
	best := n
	for j, f := range s.f[:n] {
		if f < s.f[best] {
			best = j
		}
	}
	if best == n {
		return true
	}
	d := append([]float64(nil), s.edge[best]...)
	axpy(1, d, s.pole)
	clear(s.edge[best])
	sum := make([]float64, n)
	for k := range n {
		axpy(-1, d, s.edge[k])
		axpy(-1, s.dual[k], sum)
	}
	s.dual[best] = sum
	s.f[best], s.f[n] = s.f[n], s.f[best]
	return s.mend()
}

// mend recomputes dual from scratch when rounding has made it a poor inverse.
func (s *simplex) mend() bool {
	e := s.inverseError()
	if e <= 0.1 {
		return true
	}
	if s.invert(); s.inverseError() <= 1 {
		return true
	}
	return false
}

// invert computes dual from edge; if edge is singular dual stays as it is.
func (s *simplex) invert() {
	inv, ok := inverse(s.edge)
	if !ok {
		return
	}
	for i := range inv {
		for j := range inv {
			s.dual[j][i] = inv[i][j]
		}
	}
}

// inverseError returns the largest entry of |dual·edgeᵀ − 1|, NaN if there is one.
func (s *simplex) inverseError() float64 {
	largest := 0.0
	for j := range s.dual {
		for k := range s.edge {
			want := 0.0
			if j == k {
				want = 1
			}
			largest = max(largest, math.Abs(dot(s.dual[j], s.edge[k])-want))
		}
	}
	return largest
}
