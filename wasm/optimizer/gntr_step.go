package optimizer

import (
	"cmp"
	"math"
	"slices"

	"github.com/medley-lora/medley/shared/search"
)

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

// coordinates returns the scaled coordinates of weights w.
func (g *gntr) coordinates(w []float64) []float64 {
	x := make([]float64, len(w))
	for i := range w {
		x[i] = w[i] / g.scale[i]
	}
	return x
}

// weights turns coordinates into weights, in place.
func (g *gntr) weights(x [][]float64) [][]float64 {
	for _, c := range x {
		for i := range c {
			c[i] *= g.scale[i]
		}
	}
	return x
}

// penalty returns the L1 term at x.
func (g *gntr) penalty(x []float64) float64 {
	sum := 0.0
	for i, v := range x {
		sum += float64(g.l1[i] * math.Abs(v))
	}
	return sum
}

// box returns the bounds, cut to those within radius of x; what is not active stays where it is.
func (g *gntr) box(x []float64, radius float64) (lower, upper []float64) {
	lower, upper = make([]float64, len(x)), make([]float64, len(x))
	for i, v := range x {
		lower[i] = max(g.Problem.Lower[i]/g.scale[i], v-radius)
		upper[i] = min(g.Problem.Upper[i]/g.scale[i], v+radius)
		if g.active != nil && !g.active[i] {
			lower[i], upper[i] = v, v
		}
	}
	return lower, upper
}

// centre returns the observation of the best point since the last restart.
func (g *gntr) centre() (observation, bool) {
	here := g.seen[g.from:]
	if len(here) == 0 {
		return observation{}, false
	}
	best := 0
	for i, o := range here {
		if o.objective < here[best].objective {
			best = i
		}
	}
	return here[best], true
}

// model returns the surrogate around centre, choosing hyperparameters only once the data has grown.
func (g *gntr) model(centre observation) *surrogate {
	known := g.known
	if float64(len(g.seen)) >= refit*float64(g.chosen) {
		known = nil
	}
	m := newSurrogate(g.seen, centre, g.outputs.weights, known)
	if m != nil && m.weights != nil {
		g.unit = m.scale
	}
	if m != nil && known == nil {
		g.known, g.chosen = m.gp, len(g.seen)
	}
	return m
}

// step returns the minimum of the model within radius of centre, searched from start and from the centre.
func (g *gntr) step(m *surrogate, centre, start []float64, radius float64) []float64 {
	lower, upper := g.box(centre, radius)
	x, value := minimise(m.smooth, g.l1, lower, upper, centre, descentSteps)
	if maxDistance(start, centre) == 0 {
		return x
	}
	from := append([]float64(nil), start...)
	for i := range from {
		from[i] = min(max(from[i], lower[i]), upper[i])
	}
	if y, other := minimise(m.smooth, g.l1, lower, upper, from, descentSteps); other < value {
		return y
	}
	return x
}

// overfits says whether the lowest objective is to be distrusted: it is known to be that of a few examples.
func (g *gntr) overfits() bool { return len(g.Problem.Groups) > 0 && len(g.seen) > 0 }

// singles returns the observations of zero and of modules alone, the best first.
func (g *gntr) singles() []observation {
	var singles []observation
	for _, o := range g.seen {
		if nonzero(o.x) <= 1 {
			singles = append(singles, o)
		}
	}
	slices.SortStableFunc(singles, byObjective)
	return singles
}

func byObjective(a, b observation) int { return cmp.Compare(a.objective, b.objective) }

// promising marks the modules that did best alone, as many as there are examples and no fewer than pairs are made of; nil stands for all.
func (g *gntr) promising() []bool {
	most := max(pairedSingles, len(g.Problem.Groups))
	if !g.overfits() || most >= g.Problem.Dim {
		return nil
	}
	active, count := make([]bool, g.Problem.Dim), 0
	for _, o := range g.singles() {
		for i, v := range o.x {
			if v != 0 && !active[i] && count < most {
				active[i] = true
				count++
			}
		}
	}
	if count < most { // too few were tried alone to choose among
		return nil
	}
	return active
}

// nats turns a difference of objectives into one of the log-likelihood of all target tokens. Without log-probabilities an objective is
// taken to be in nats per token, as all but LoraHub's are.
func (g *gntr) nats(difference float64) float64 {
	tokens := 0
	for _, n := range g.Problem.Groups {
		tokens += n
	}
	return difference / g.unit * float64(tokens)
}

// average returns the mean of the points, each weighted by its likelihood and prior, as a new candidate; nil if it was tried. Points
// twenty times less likely than the best are left out (Occam's window; Madigan and Raftery, 1994), lest every module have some weight.
func (g *gntr) average() []float64 {
	x := make([]float64, g.Problem.Dim)
	total := 0.0
	for _, o := range g.seen {
		weight := exp(-g.nats(o.objective - g.LowestF))
		if weight < 1.0/20 {
			continue
		}
		axpy(weight, o.x, x)
		total += weight
	}
	for i := range x {
		x[i] /= total
	}
	if g.tried(x) {
		return nil
	}
	return g.weights([][]float64{x})[0]
}

// pairs returns up to k sums of two of the best modules alone, the one at weight 1 and the other at 0.6: those that the model
// thinks best.
func (g *gntr) pairs(m *surrogate, k int) [][]float64 {
	singles := slices.DeleteFunc(g.singles(), func(o observation) bool { return nonzero(o.x) == 0 })
	singles = singles[:min(len(singles), pairedSingles)]
	type pair struct {
		x         []float64
		objective float64
	}
	var pairs []pair
	for i, a := range singles {
		for j, b := range singles {
			if i == j {
				continue
			}
			x := append([]float64(nil), a.x...)
			axpy(0.6, b.x, x)
			lower, upper := g.box(x, math.Inf(1))
			for d := range x {
				x[d] = min(max(x[d], lower[d]), upper[d])
			}
			value := a.objective + b.objective
			if m != nil {
				value = m.smooth(x, nil) + g.penalty(x)
			}
			pairs = append(pairs, pair{x, value})
		}
	}
	slices.SortStableFunc(pairs, func(a, b pair) int { return cmp.Compare(a.objective, b.objective) })
	var batch [][]float64
	for _, p := range pairs {
		if len(batch) < k && !g.tried(p.x) && !among(batch, p.x) {
			batch = append(batch, p.x)
		}
	}
	return batch
}

const pairedSingles = 4 // the best modules alone, of which pairs are made

// fill grows batch to n points that are new: x if it is, else points around it within radius that differ in a few weights,
// else points anywhere. It gives up when chance finds none, as it must where all weights are fixed.
func (g *gntr) fill(batch [][]float64, n int, x []float64, radius float64) [][]float64 {
	const attempts = 32
	for try := 0; len(batch) < n && try < attempts*n; try++ {
		var y []float64
		switch {
		case x == nil || try > attempts/2:
			y = make([]float64, g.Problem.Dim)
			g.uniform(y)
			y = g.coordinates(y)
		default:
			y = append([]float64(nil), x...)
			if try > 0 {
				g.disturb(y, radius)
			}
		}
		if !g.tried(y) && !among(batch, y) {
			batch = append(batch, y)
		}
	}
	return batch
}

// disturb moves up to three weights of x by up to radius.
func (g *gntr) disturb(x []float64, radius float64) {
	lower, upper := g.box(x, radius)
	for range 1 + g.rng.IntN(3) {
		i := g.rng.IntN(len(x))
		x[i] = lower[i] + float64(g.rng.Float64()*(upper[i]-lower[i]))
	}
}

// tried tells whether a point as good as x was told.
func (g *gntr) tried(x []float64) bool {
	return among(g.failed, x) || slices.ContainsFunc(g.seen, func(o observation) bool { return maxDistance(o.x, x) < sameCoord })
}

func among(points [][]float64, x []float64) bool {
	return slices.ContainsFunc(points, func(y []float64) bool { return maxDistance(x, y) < sameCoord })
}

func nonzero(x []float64) int {
	n := 0
	for _, v := range x {
		if v != 0 {
			n++
		}
	}
	return n
}

// spread returns the i-th of n factors for the radius, in geometric progression from 0.35 to 2.2.
func spread(i, n int) float64 {
	const low, high = 0.35, 2.2
	return low * exp(log(high/low)*float64(i)/float64(n-1))
}
