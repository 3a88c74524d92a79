package optimizer

import (
	"math"
	"slices"

	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/search"
)

// cma is the evolution strategy with covariance matrix adaptation (Hansen, "The CMA evolution strategy: a tutorial", 2016), for
// thousands of evaluations. Mutations are drawn through a Cholesky factor of the covariance, which also leads the step-size path,
// as in Krause, Arbonès and Igel, "CMA-ES with optimal covariance update and storage complexity", 2016: no eigenvectors are
// needed. The separable form keeps the diagonal alone and learns it faster (Ros and Hansen, "A simple modification in CMA-ES
// achieving linear time and space complexity", 2008).
//
// It works in coordinates in which every range has length 3. A mutation beyond the bounds is clipped, and learned from as clipped.
type cma struct {
	ledger
	chance    splitMix
	separable bool
	scale     []float64 // [d] weight per coordinate

	weights                          []float64 // [μ] of the better half, falling, of sum 1
	mass                             float64   // 1/Σ weights²
	rate, damping                    float64   // of the step-size path and of the step size
	pathRate, rankOne, rankMu, usual float64   // of the covariance; usual is the length of a Gaussian vector

	sigma      float64
	mean       []float64   // [d]
	covariance [][]float64 // [d][d], or [1][d] its diagonal
	factor     [][]float64 // [d][d] lower triangle, or [1][d]
	stepPath   []float64   // [d]
	path       []float64   // [d]
	decay      float64     // of the step-size path's start
	generation []offspring
	sent, told int // of the generation
}

// offspring is one candidate of a generation.
type offspring struct {
	x    []float64 // as proposed
	z, y []float64 // [d] Gaussian, and the step from the mean in units of sigma
	f    float64   // infinite if the evaluation failed
	told bool
}

const (
	maxCMA        = 200 // weights: the factor costs their cube
	firstCMASigma = 0.3
)

func newCMA(p search.Problem) (search.Optimizer, error) {
	if p.Dim > maxCMA {
		return nil, fault.New(fault.Unsupported, "optimizer", "cma takes at most %d weights, there are %d: use sep-cma", maxCMA, p.Dim)
	}
	return makeCMA(p, false), nil
}

func newSeparableCMA(p search.Problem) (search.Optimizer, error) { return makeCMA(p, true), nil }

// makeCMA sets the parameters to the tutorial's defaults, with generations that fill batches.
func makeCMA(p search.Problem, separable bool) *cma {
	n := float64(p.Dim)
	size := 4 + int(3*log(n))
	if p.Batch <= 2*size {
		size = (size + p.Batch - 1) / p.Batch * p.Batch
	} else {
		size *= 2
	}
	c := &cma{ledger: newLedger(p), chance: splitMix(p.Seed), separable: separable, sigma: firstCMASigma, decay: 1}
	half := size / 2
	total, square := 0.0, 0.0
	for i := range half {
		w := log(float64(half)+0.5) - log(float64(i+1))
		c.weights = append(c.weights, w)
		total += w
	}
	for i := range c.weights {
		c.weights[i] /= total
		square += float64(c.weights[i] * c.weights[i])
	}
	c.mass = 1 / square
	c.rate = (c.mass + 2) / (n + c.mass + 5)
	c.damping = 1 + float64(2*max(0, math.Sqrt((c.mass-1)/(n+1))-1)) + c.rate
	c.pathRate = (4 + c.mass/n) / (n + 4 + 2*c.mass/n)
	c.rankOne = 2 / (float64((n+1.3)*(n+1.3)) + c.mass)
	c.rankMu = min(1-c.rankOne, 2*(c.mass-2+1/c.mass)/(float64((n+2)*(n+2))+c.mass))
	if separable {
		c.rankOne = min(1, c.rankOne*(n+2)/3)
		c.rankMu = min(1-c.rankOne, c.rankMu*(n+2)/3)
	}
	c.usual = math.Sqrt(n) * (1 - 1/(4*n) + 1/float64(21*n*n))
	c.generation = make([]offspring, size)
	c.sent = size
	c.mean, c.path, c.stepPath = make([]float64, p.Dim), make([]float64, p.Dim), make([]float64, p.Dim)
	c.scale = thirds(p)
	rows := p.Dim
	if separable {
		rows = 1
	}
	c.covariance, c.factor = newMatrix(rows, p.Dim), newMatrix(rows, p.Dim)
	for i := range p.Dim {
		row := min(i, rows-1)
		c.covariance[row][i], c.factor[row][i] = 1, 1
	}
	return c
}

// thirds returns what a coordinate is worth in which every range has length 3; 1 for a fixed weight.
func thirds(p search.Problem) []float64 {
	scale := make([]float64, p.Dim)
	for i := range scale {
		if scale[i] = (p.Upper[i] - p.Lower[i]) / 3; scale[i] == 0 {
			scale[i] = 1
		}
	}
	return scale
}

// Ask returns what is left of the generation; the very first candidate is the mean, which is 0 or the best point of a warm start.
func (c *cma) Ask(n int) ([][]float64, error) {
	k, err := c.room(n)
	if err != nil || k == 0 {
		return nil, err
	}
	if c.sent == len(c.generation) {
		c.spawn()
	}
	k = min(k, len(c.generation)-c.sent)
	x := make([][]float64, k)
	for i := range x {
		x[i] = c.generation[c.sent+i].x
	}
	c.sent += k
	return c.propose(x...), nil
}

// spawn draws a generation.
func (c *cma) spawn() {
	if c.asked == 0 {
		start := make([]float64, c.problem.Dim)
		copy(start, c.best)
		c.clip(start)
		for i, v := range start {
			c.mean[i] = v / c.scale[i]
		}
	}
	for k := range c.generation {
		o := offspring{x: make([]float64, c.problem.Dim), z: make([]float64, c.problem.Dim)}
		if c.asked+k > 0 {
			for i := range o.z {
				o.z[i] = c.chance.normal()
			}
		}
		o.y = c.correlate(o.z)
		for i := range o.x {
			o.x[i] = (c.mean[i] + float64(c.sigma*o.y[i])) * c.scale[i]
		}
		c.clip(o.x)
		for i := range o.y {
			o.y[i] = (o.x[i]/c.scale[i] - c.mean[i]) / c.sigma
		}
		c.generation[k] = o
	}
	c.sent, c.told = 0, 0
}

// correlate returns the factor times z.
func (c *cma) correlate(z []float64) []float64 {
	y := make([]float64, len(z))
	for i := range y {
		if c.separable {
			y[i] = c.factor[0][i] * z[i]
		} else {
			y[i] = dot(c.factor[i][:i+1], z[:i+1])
		}
	}
	return y
}

func (c *cma) Tell(x [][]float64, s []search.Score) error {
	if err := c.check(x, s); err != nil {
		return err
	}
	for i := range x {
		if !c.take(x[i], s[i]) {
			continue
		}
		at := slices.IndexFunc(c.generation[:c.sent], func(o offspring) bool { return !o.told && slices.Equal(o.x, x[i]) })
		o := &c.generation[at]
		o.told, o.f = true, s[i].Objective
		c.told++
		if !isFinite(o.f) {
			o.f = math.Inf(1)
		}
	}
	if c.told == len(c.generation) && c.best != nil {
		c.learn()
	}
	return nil
}

// learn moves the mean to the better half of the generation, and adapts the step size and the covariance.
func (c *cma) learn() {
	slices.SortStableFunc(c.generation, func(a, b offspring) int {
		switch {
		case a.f < b.f:
			return -1
		case a.f > b.f:
			return 1
		}
		return 0
	})
	n := c.problem.Dim
	z, y := make([]float64, n), make([]float64, n)
	for k, w := range c.weights {
		axpy(w, c.generation[k].z, z)
		axpy(w, c.generation[k].y, y)
	}
	axpy(c.sigma, y, c.mean)
	c.follow(c.stepPath, c.rate, z)
	c.decay *= (1 - c.rate) * (1 - c.rate)
	length := norm(c.stepPath)
	still := length/math.Sqrt(1-c.decay) > (1.4+2/float64(n+1))*c.usual // the path is long: the step size lags behind
	direction := y
	if still {
		direction = make([]float64, n)
	}
	c.follow(c.path, c.pathRate, direction)
	lost := 0.0
	if still {
		lost = c.rankOne * c.pathRate * (2 - c.pathRate)
	}
	for i, row := range c.covariance {
		c.adapt(row, i, 1-c.rankOne-c.rankMu+lost)
	}
	c.sigma = min(c.sigma*exp(min(1, c.rate/c.damping*(length/c.usual-1))), 1)
	c.refactor()
}

// follow lets a path forget at rate and take in step.
func (c *cma) follow(path []float64, rate float64, step []float64) {
	gain := math.Sqrt(rate * (2 - rate) * c.mass)
	for i := range path {
		path[i] = float64((1-rate)*path[i]) + float64(gain*step[i])
	}
}

// adapt updates row i of the covariance, or the diagonal, of which kept stays.
func (c *cma) adapt(row []float64, i int, kept float64) {
	for j := range row {
		row[j] *= kept
	}
	add := func(rate float64, v []float64) {
		for j := range row {
			if c.separable {
				i = j
			}
			row[j] += float64(rate * v[i] * v[j])
		}
	}
	add(c.rankOne, c.path)
	for k, w := range c.weights {
		add(c.rankMu*w, c.generation[k].y)
	}
}

// refactor computes the factor of the covariance; one that has none any more starts over as the unit matrix.
func (c *cma) refactor() {
	ok := true
	for i, row := range c.covariance {
		copy(c.factor[i], row)
	}
	if c.separable {
		for j, v := range c.factor[0] {
			c.factor[0][j] = math.Sqrt(v)
			ok = ok && v > 0 && isFinite(v)
		}
	} else {
		ok = cholesky(c.factor)
	}
	if ok {
		return
	}
	for i, row := range c.covariance {
		for j := range row {
			row[j], c.factor[i][j] = 0, 0
			if c.separable || i == j {
				row[j], c.factor[i][j] = 1, 1
			}
		}
	}
}
