package optimizer

import (
	"math"
	"slices"

	"github.com/medley-lora/medley/shared/search"
)

// climb is another course of gntr, for an objective that is itself the goal. It begins as COBYLA builds its first simplex: in random order each
// weight is raised by climbStep, from the best point so far and not from 0. Where no module alone is a good start this gets farther
// than the modules alone, and where they are the trust region finds them later. A region that has shrunk to nothing is given up, and
// the climb starts over in another order, as TuRBO restarts. What is learned from one candidate is worth more than asking several at once, so
// rounds stay small however much the evaluator takes: 2 candidates of 40, 5 of 200.
type climb struct {
	width int // of a round, at most
	begun bool
	order []int // weights still to be raised
	lost  bool
}

const (
	climbStep  = 0.5 // coordinates
	shakeWidth = 1.0 // of the trust region when the rest of the budget is too small to start over
)

func newClimbingGNTR(p search.Problem) (search.Optimizer, error) {
	g := makeGNTR(p)
	g.climb = &climb{width: max(1, int(math.Sqrt(float64(p.Budget)/8)))}
	return g, nil
}

// ascend returns the next round of the climb, at most k candidates; none once every weight was raised.
func (g *gntr) ascend(k int) [][]float64 {
	root := make([]float64, g.problem.Dim)
	if centre, ok := g.centre(); ok {
		for i, v := range centre.x {
			root[i] = v * g.scale[i]
		}
	}
	g.clip(root)
	var round [][]float64
	add := func(x []float64) {
		if !g.tried(g.coordinates(x)) && !slices.ContainsFunc(round, func(y []float64) bool { return slices.Equal(x, y) }) {
			round = append(round, slices.Clone(x))
		}
	}
	if !g.climb.begun {
		g.climb.begun = true
		room := max(1, int(designShare*float64(g.problem.Budget-g.asked))-1)
		g.climb.order = g.rng.Perm(g.problem.Dim)[:min(g.problem.Dim, room)]
		add(root)
	}
	for len(round) < k && len(g.climb.order) > 0 {
		x := slices.Clone(root)
		i := g.climb.order[0]
		g.climb.order = g.climb.order[1:]
		x[i] += climbStep * g.scale[i]
		g.clip(x)
		add(x)
	}
	return round
}

// restart gives up the region: for a new climb if there is budget for twice its length, else for a wide region around the same point.
func (g *gntr) restart() {
	if g.problem.Budget-g.asked < 2*g.problem.Dim {
		g.radius = shakeWidth
		return
	}
	g.radius = firstRadius
	g.from = len(g.seen)
	g.climb.begun = false
}

func (g *gntr) geometry(m *surrogate, centre []float64, radius float64) []float64 {
	d := len(centre)
	near := nearestN(g.seen, centre, d)
	var basis [][]float64
	for _, o := range near {
		v := slices.Clone(o.x)
		axpy(-1, centre, v)
		size := norm(v)
		if size == 0 {
			continue
		}
		for range 2 {
			for _, b := range basis {
				axpy(-dot(b, v), b, v)
			}
		}
		if rest := norm(v); rest > 0.1*size && len(basis) < d-1 {
			for i := range v {
				v[i] /= rest
			}
			basis = append(basis, v)
		}
	}
	u := make([]float64, d)
	for i := range u {
		u[i] = float64(2*g.rng.Float64()) - 1
	}
	for range 2 {
		for _, b := range basis {
			axpy(-dot(b, u), b, u)
		}
	}
	largest := maxDistance(u, make([]float64, d))
	lower, upper := g.box(centre, math.Inf(1))
	best, value := []float64(nil), math.Inf(1)
	for _, sign := range []float64{1, -1} {
		x := slices.Clone(centre)
		axpy(sign*radius/largest, u, x)
		for i := range x {
			x[i] = min(max(x[i], lower[i]), upper[i])
		}
		if f := m.smooth(x, nil) + g.penalty(x); f < value {
			best, value = x, f
		}
	}
	return best
}

func nearestN(seen []observation, x []float64, n int) []observation {
	sorted := slices.Clone(seen)
	slices.SortStableFunc(sorted, func(a, b observation) int {
		da, db := squaredDistance(a.x, x), squaredDistance(b.x, x)
		switch {
		case da < db:
			return -1
		case da > db:
			return 1
		}
		return 0
	})
	return sorted[:min(n, len(sorted))]
}
