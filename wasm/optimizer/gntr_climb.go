package optimizer

import (
	"slices"

	"github.com/medley-lora/medley/shared/search"
)

// climb is another course of gntr, for an objective that is itself the goal. It begins as COBYLA builds its first simplex: in random order each
// weight is raised by climbStep, from the best point so far and not from 0. Where no module alone is a good start this gets farther
// than the modules alone, and where they are the trust region finds them later. A region that has shrunk to nothing is given up, and
// the climb starts over in another order, as TuRBO restarts. What is learned from one candidate is worth more than asking several at once, so
// it asks for one at a time, however many the evaluator takes.
type climb struct {
	begun  bool
	scalar bool  // the model is of the objective alone
	order  []int // weights still to be raised
}

const (
	climbStep  = 0.5 // coordinates
	shakeWidth = 1.0 // of the trust region when the rest of the budget is too small to start over
)

func newClimbingGNTR(p search.Problem) (search.Optimizer, error) {
	g := makeGNTR(p)
	g.climb = &climb{}
	return g, nil
}

// ascend returns the next candidate of the climb; none once every weight was raised.
func (g *gntr) ascend() [][]float64 {
	root := make([]float64, g.Problem.Dim)
	if centre, ok := g.centre(); ok {
		for i, v := range centre.x {
			root[i] = v * g.scale[i]
		}
	}
	g.clip(root)
	if !g.climb.begun {
		g.climb.begun = true
		room := max(1, int(designShare*float64(g.Problem.Budget-g.Asked))-1)
		g.climb.order = g.rng.Perm(g.Problem.Dim)[:min(g.Problem.Dim, room)]
		if !g.tried(g.coordinates(root)) {
			return [][]float64{root}
		}
	}
	for len(g.climb.order) > 0 {
		x := slices.Clone(root)
		i := g.climb.order[0]
		g.climb.order = g.climb.order[1:]
		x[i] += float64(climbStep * g.scale[i])
		g.clip(x)
		if !g.tried(g.coordinates(x)) {
			return [][]float64{x}
		}
	}
	return nil
}

// restart gives up the region: for a new climb if there is budget for twice its length, else for a wide region around the same point.
// The model that led into a dead end gives way to one of the objective alone.
func (g *gntr) restart() {
	if g.Problem.Budget-g.Asked < 2*g.Problem.Dim {
		g.radius = shakeWidth
		return
	}
	g.radius = firstRadius
	g.from = len(g.seen)
	g.climb.begun, g.climb.scalar = false, true
	for i := range g.seen {
		g.seen[i].logits = nil
	}
}
