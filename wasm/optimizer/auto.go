package optimizer

import "github.com/medley-lora/medley/shared/search"

// longBudget is where the coordinate search, which asks cheaply, has overtaken the model: on 20 weights as on 1,000 (`medley bench
// optimizers --family synthetic --budget 1000`).
const longBudget = 500

// newAuto returns the algorithm that did best on problems like p. Where p says how many examples the objective is of, that is gntr,
// which holds back accordingly, with log-probabilities or without. Where it says nothing, the objective itself is the goal: a short search
// climbs with gntr's model, a long one goes weight by weight.
func newAuto(p search.Problem) (search.Optimizer, error) {
	switch {
	case len(p.Groups) > 0:
		return newGNTR(p)
	case p.Budget > longBudget:
		return newCoord(p)
	}
	return newClimbingGNTR(p)
}
