package optimizer

import (
	"math"
	"slices"

	"github.com/medley-lora/medley/shared/search"
)

// coord is a coordinate search: a step along one weight at a time that grows where it helps and turns round, halved, where it
// does not (Rosenbrock, "An automatic method for finding the greatest or least value of a function", 1960, without its
// rotations), and after each sweep a pattern move along all that the sweep changed (Hooke and Jeeves, "Direct search solution of
// numerical and statistical problems", 1961). In batches, several weights are tried from one point, and what helped is tried
// together at the head of the next batch.
type coord struct {
	ledger
	base   []float64 // the point that steps are taken from
	baseF  float64   // infinite before the first answer
	before []float64 // the base of a sweep ago
	step   []float64 // [d] signed
	axis   int       // the weight to try next; Dim stands for the pattern move
	trials []trial   // under way
	helped []float64 // the base moved by all steps of the last batch that helped; nil unless several did
}

// trial is a candidate that moves the weight axis, or several weights if axis is negative.
type trial struct {
	x    []float64
	axis int
}

// A step is counted in thirds of a weight's range.
const (
	firstStep = 1.0
	leastStep = 1e-6
	growStep  = 1.5
	turnStep  = -0.5
)

func newCoord(p search.Problem) (search.Optimizer, error) {
	c := &coord{ledger: newLedger(p), baseF: math.Inf(1), base: make([]float64, p.Dim), step: make([]float64, p.Dim)}
	c.clip(c.base)
	c.before = slices.Clone(c.base)
	for i := range c.step {
		c.step[i] = firstStep * (p.Upper[i] - p.Lower[i]) / 3
	}
	return c, nil
}

// Ask returns 0 alone at first, and nothing once every step has become too small.
func (c *coord) Ask(n int) ([][]float64, error) {
	k, err := c.Room(n)
	if err != nil || k == 0 {
		return nil, err
	}
	c.trials = nil
	switch {
	case c.Asked == 0:
		c.trials = []trial{{slices.Clone(c.base), -1}}
	case c.helped != nil:
		c.try(c.helped, -1)
		c.helped = nil
	}
	for idle := 0; len(c.trials) < k && idle <= c.Problem.Dim; idle++ {
		if c.axis == c.Problem.Dim {
			c.axis = 0
			if c.pattern() {
				idle = 0
			}
			continue
		}
		if c.along(c.axis) {
			idle = 0
		}
		c.axis++
	}
	x := make([][]float64, len(c.trials))
	for i, t := range c.trials {
		x[i] = t.x
	}
	return c.propose(x...), nil
}

// along adds the trial of a step of weight i; false if there is none worth an evaluation.
func (c *coord) along(i int) bool {
	for range 2 { // at a bound the step turns round
		x := slices.Clone(c.base)
		x[i] += c.step[i]
		if c.try(x, i) {
			return true
		}
		c.step[i] = -c.step[i]
	}
	return false
}

// pattern adds the trial of the base moved again as the last sweep moved it.
func (c *coord) pattern() bool {
	x := slices.Clone(c.base)
	moved := 0
	for i := range x {
		if d := c.base[i] - c.before[i]; d != 0 {
			x[i] += d
			moved++
		}
	}
	c.before = slices.Clone(c.base)
	return moved > 1 && c.try(x, -1)
}

// try adds a trial at x if it is far enough from the base and not under way.
func (c *coord) try(x []float64, axis int) bool {
	c.clip(x)
	far := false
	for i := range x {
		far = far || math.Abs(x[i]-c.base[i]) > leastStep*(c.Problem.Upper[i]-c.Problem.Lower[i])/3
	}
	if !far || slices.ContainsFunc(c.trials, func(t trial) bool { return slices.Equal(t.x, x) }) {
		return false
	}
	c.trials = append(c.trials, trial{x, axis})
	return true
}

// Tell adapts the steps to their own trials. What was not asked for can only become the base.
func (c *coord) Tell(x [][]float64, s []search.Score) error {
	if err := c.Check(x, s); err != nil {
		return err
	}
	sum, successes := slices.Clone(c.base), 0
	for i := range x {
		asked := c.Take(x[i], s[i])
		at := slices.IndexFunc(c.trials, func(t trial) bool { return slices.Equal(t.x, x[i]) })
		if !asked || at < 0 || c.trials[at].axis < 0 {
			continue
		}
		axis := c.trials[at].axis
		if !(s[i].Objective < c.baseF) {
			c.step[axis] *= turnStep
			continue
		}
		sum[axis] = x[i][axis]
		successes++
		c.step[axis] = growStep * c.step[axis]
	}
	if successes > 1 {
		c.helped = sum
	}
	if c.Lowest != nil && c.LowestF < c.baseF {
		c.base, c.baseF = slices.Clone(c.Lowest), c.LowestF
	}
	return nil
}
