package optimizer

import (
	"math"

	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/search"
)

// cobyla proposes what LoraHub's optimizer proposes: nevergrad's NGOpt, which for up to 30 weights and one worker is COBYLA
// (Powell, "A direct search optimization method that models the objective and constraint functions by linear
// interpolation", 1994) without constraints, in the revision of PRIMA (Zhang, 2023) that SciPy runs since 1.16. It asks one
// candidate at a time, and is deterministic: the seed is not used.
//
// It works in u = w/σ with σ a sixth of the range, as nevergrad does, knows nothing of the bounds, and every u that it asks
// for is bounced off them once. A search that converges before the budget is spent starts again from the best point. Unlike
// PRIMA, which gives a failed evaluation the value 1e30, it counts a failed vertex as the worst of the others.
type cobyla struct {
	ledger
	sigma []float64 // [n] weight per unit of u
	simplex

	rho, delta float64 // resolution, and trust-region radius, rho at least
	iterations int     // without a restart
	limit      int     // of iterations

	stage  stage     // what happens when the value of the point under evaluation is known
	vertex int       // stage building: the vertex it becomes; stage shaping: the vertex it replaces
	step   []float64 // stages judging and shaping: from the pole to it
	query  []float64 // the point under evaluation; nil while none is
	value  float64

	adequate  bool    // the simplex was small enough for the radius when the step was computed
	predicted float64 // reduction by the step

	bestU []float64 // where a restart begins: u of the lowest objective since the start, which no bounce has changed
	bestQ float64
}

type stage int

const (
	building stage = iota // the first simplex
	stepping              // compute a trust-region step; needs no value
	judging               // a trust-region step
	shaping               // a step that mends the shape of the simplex
)

const (
	maxCOBYLA = 2000  // weights; it keeps two matrices of that size squared
	rhoBegin  = 1     // in u
	rhoEnd    = 1e-6  // what PRIMA falls back to for nevergrad's tolerance of 0
	sameness  = 1e-10 // distance in u at which a vertex's value is taken for a point's
)

func newCOBYLA(p search.Problem) (search.Optimizer, error) {
	if p.Dim > maxCOBYLA {
		return nil, fault.New(fault.Unsupported, "dim", "cobyla takes up to %d weights, got %d", maxCOBYLA, p.Dim)
	}
	c := &cobyla{ledger: newLedger(p), sigma: make([]float64, p.Dim)}
	for i := range c.sigma {
		c.sigma[i] = (p.Upper[i] - p.Lower[i]) / 6
	}
	return c, nil
}

func (c *cobyla) Ask(n int) ([][]float64, error) {
	k, err := c.Room(n)
	if err != nil || k == 0 {
		return nil, err
	}
	if c.pole == nil {
		c.begin()
	}
	for c.query == nil {
		c.advance()
	}
	return c.propose(c.weights(c.query)), nil
}

func (c *cobyla) Tell(x [][]float64, s []search.Score) error {
	var asked []float64
	if len(c.Pending) > 0 {
		asked = c.Pending[0]
	}
	if err := c.settle(x, s); err != nil {
		return err
	}
	if asked == nil || len(c.Pending) > 0 {
		return nil // a warm start only
	}
	for i := range x {
		if maxDistance(x[i], asked) == 0 {
			c.know(s[i].Objective)
			return nil
		}
	}
	return nil
}

// know takes the objective of the point under evaluation.
func (c *cobyla) know(f float64) {
	if !isFinite(f) {
		f = math.Inf(1)
	}
	if f < c.bestQ {
		c.bestQ, c.bestU = f, c.query
	}
	c.value, c.query = f, nil
}

// weights maps u to the box, bouncing once.
func (c *cobyla) weights(u []float64) []float64 {
	w := make([]float64, len(u))
	for i := range u {
		raw := float64(u[i] * c.sigma[i])
		w[i] = min(max(raw, c.Problem.Lower[i]), c.Problem.Upper[i])
		w[i] = 2*w[i] - raw
	}
	c.clip(w)
	return w
}

// begin starts from the best point told so far, 0 if there is none.
func (c *cobyla) begin() {
	c.bestU, c.bestQ = make([]float64, c.Problem.Dim), math.Inf(1)
	for i, w := range c.Lowest {
		if c.sigma[i] > 0 {
			c.bestU[i] = w / c.sigma[i]
		}
	}
	c.restart()
}

// restart builds a simplex of the first size around the best point.
func (c *cobyla) restart() {
	c.simplex = newSimplex(c.bestU, rhoBegin)
	c.rho, c.delta = rhoBegin, rhoBegin
	c.iterations, c.limit = 0, 10*max(c.Problem.Budget-c.Asked, c.Problem.Dim+2)
	c.stage, c.vertex = building, -1
	c.query = c.bestU
}

// advance does the work up to the next value that is needed, or a part of it.
func (c *cobyla) advance() {
	switch c.stage {
	case building:
		c.build()
	case stepping:
		c.propel()
	case judging:
		c.judge()
	case shaping:
		if !c.replace(c.vertex, c.step, c.value) {
			c.restart()
			return
		}
		c.stage = stepping
	}
}

// evaluate moves on to stage s with the value of pole + d, which a vertex may already have.
func (c *cobyla) evaluate(s stage, d []float64) {
	c.stage, c.step = s, d
	if f, ok := c.near(d, sameness); ok {
		c.value = f
		return
	}
	c.query = c.at(d)
}

// build gives a vertex of the first simplex its value and goes on to the next: each is one step along one axis from the
// best vertex so far.
func (c *cobyla) build() {
	n := len(c.pole)
	if j := c.vertex; j < 0 {
		c.f[n] = c.value
	} else if c.f[j] = c.value; c.value < c.f[n] {
		c.pole[j] += rhoBegin
		c.f[j], c.f[n] = c.f[n], c.f[j]
		for k := range j + 1 {
			c.edge[k][j] = -rhoBegin
		}
	}
	c.vertex++
	if c.vertex < n {
		d := make([]float64, n)
		d[c.vertex] = rhoBegin
		c.query = c.at(d)
		return
	}
	c.invert()
	c.stage = stepping
}

// propel takes the trust-region step of the linear model.
func (c *cobyla) propel() {
	if c.iterations++; c.iterations > c.limit || !c.mend() {
		c.restart()
		return
	}
	_, length := c.farthest()
	c.adequate = length <= 4*c.delta*c.delta
	g := c.gradient()
	slope := norm(g)
	d := make([]float64, len(g))
	if slope > 0 && isFinite(slope) {
		axpy(-c.delta/slope, g, d)
	}
	c.predicted = -dot(d, g)
	if !(c.predicted > 1e-6*epsilon*c.rho) { // PRIMA's threshold when there are no constraints to weigh
		length := min(c.delta, norm(d))
		c.delta = c.settleRadius(0.1 * c.delta)
		c.refine(true, length)
		return
	}
	c.evaluate(judging, d)
}

const epsilon = 0x1p-52

// judge updates the radius by how far the step kept its promise, and puts its end into the simplex.
func (c *cobyla) judge() {
	length := min(c.delta, norm(c.step))
	actual := c.poleF() - c.value
	if math.IsNaN(actual) { // both failed
		actual = 0
	}
	ratio := actual / c.predicted
	switch {
	case ratio <= 0.1:
		c.delta = 0.5 * length
	case ratio <= 0.7:
		c.delta = max(0.5*c.delta, length)
	default:
		c.delta = max(0.5*c.delta, 2*length)
	}
	c.delta = c.settleRadius(c.delta)
	if !c.replace(c.worst(c.step, actual > 0), c.step, c.value) {
		c.restart()
		return
	}
	c.refine(ratio <= 0, length)
}

// settleRadius keeps the radius at rho unless it is clearly above.
func (c *cobyla) settleRadius(delta float64) float64 {
	if delta <= 1.5*c.rho {
		return c.rho
	}
	return delta
}

// worst returns the vertex (n for the pole) that pole + d should replace: far from the pole-to-be, and with a Lagrange
// polynomial that is large there.
func (c *cobyla) worst(d []float64, improved bool) int {
	n := len(c.pole)
	scale := max(c.rho, c.delta/10)
	best, at, rest := 0.0, -1, 1.0
	farthest, away := 0, -1.0
	for j := range c.edge {
		distance := dot(c.edge[j], c.edge[j])
		if improved {
			distance = squaredDistance(c.edge[j], d)
		}
		value := dot(c.dual[j], d)
		rest -= value
		if score := max(1, distance/(scale*scale)) * math.Abs(value); score > best {
			best, at = score, j
		}
		if distance > away {
			farthest, away = j, distance
		}
	}
	if improved {
		if max(1, dot(d, d)/(scale*scale))*math.Abs(rest) > best {
			at = n
		}
	}
	if at < 0 {
		return farthest
	}
	return at
}

// refine decides what follows a step of the given length: after a bad one the simplex is mended or, when its shape is not
// to blame, the resolution refined, at whose end the search has converged.
func (c *cobyla) refine(bad bool, length float64) {
	c.stage = stepping
	if !bad {
		return
	}
	if !c.adequate {
		vertex, squared := c.farthest()
		if squared > 4*c.delta*c.delta {
			c.shape(vertex)
		}
		return
	}
	if max(c.delta, length) > c.rho {
		return
	}
	if c.rho <= rhoEnd {
		c.restart()
		return
	}
	old := c.rho
	c.rho = nextRho(old)
	c.delta = max(0.5*old, c.rho)
}

// shape replaces vertex by a point half a radius from the pole, perpendicular to the opposite face, on the side that the
// model prefers.
func (c *cobyla) shape(vertex int) {
	d := make([]float64, len(c.pole))
	axpy(c.delta/2/norm(c.dual[vertex]), c.dual[vertex], d)
	if dot(d, c.gradient()) > 0 {
		for i := range d {
			d[i] = -d[i]
		}
	}
	c.vertex = vertex
	c.evaluate(shaping, d)
}

func nextRho(rho float64) float64 {
	switch ratio := rho / rhoEnd; {
	case ratio > 250:
		return 0.1 * rho
	case ratio <= 16:
		return rhoEnd
	default:
		return math.Sqrt(ratio) * rhoEnd
	}
}
