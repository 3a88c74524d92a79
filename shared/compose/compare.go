package compose

import (
	"context"
	"slices"

	"github.com/medley-lora/medley/shared/fault"
)

// compare settles the three points of the result, scoring those that the search did not, and the history.
func (r *run) compare(ctx context.Context, found []float64) error {
	points := r.points()
	seen := len(points) // what follows was not part of the search
	points, err := r.addMissing(ctx, points, found)
	if err != nil {
		return err
	}
	zero := make([]float64, len(r.Modules))
	r.result.ZeroShot = r.point(points, zero)
	if r.result.ZeroShot == nil && ctx.Err() == nil {
		r.warn("The model's loss at zero weights is not a number; there is nothing to compare with.")
	}

	var singles []scored
	for _, p := range points {
		if r.whichSingle(p.weights) >= 0 {
			singles = append(singles, p)
		}
	}
	if best := lowest(singles); best != nil {
		r.result.BestSingle = r.point(points, best.weights)
		r.result.BestSingle.Module = r.Modules[r.whichSingle(best.weights)]
	}
	if r.result.Composed = r.point(points, found); r.result.Composed == nil {
		best := lowest(points[:seen])
		if best == nil {
			return fault.New(fault.Invalid, "", "none of the %d evaluations succeeded", r.result.Evaluations)
		}
		r.result.Composed = r.point(points, best.weights)
	}
	r.guard(points[:seen])
	r.result.Weights = make(map[string]float64, len(r.Modules))
	for i, name := range r.Modules {
		r.result.Weights[name] = r.result.Composed.Weights[i]
	}
	r.tell(points[:seen], singles)
	return nil
}

// addMissing scores what the comparison needs and the search left out: zero weights, the modules alone if they are no more
// than the budget, and a recommendation that is not among the evaluated points.
func (r *run) addMissing(ctx context.Context, points []scored, found []float64) ([]scored, error) {
	if ctx.Err() != nil {
		return points, nil
	}
	var missing [][]float64
	want := func(weights []float64) {
		if _, ok := lookup(points, weights); !ok {
			missing = append(missing, weights)
		}
	}
	want(make([]float64, len(r.Modules)))
	if len(r.all) <= r.Budget {
		for _, i := range r.all {
			want(r.single(i))
		}
	} else {
		r.warn("Not every module was tried alone: there are %d, more than the budget of %d evaluations.", len(r.all), r.Budget)
	}
	if found != nil && r.whichSingle(found) < 0 && !isZero(found) {
		want(found)
	}
	for batch := range slices.Chunk(missing, r.Batch) {
		scores, err := r.score(ctx, batch)
		if ctx.Err() != nil {
			return points, nil
		}
		if err != nil {
			return nil, err
		}
		for i := range batch {
			points = append(points, scored{batch[i], scores[i]})
		}
		r.result.ExtraEvaluations += len(batch)
		r.observe(Progress{Stage: Checking, Done: r.result.ExtraEvaluations, Total: len(missing)})
	}
	return points, nil
}

// point returns the point at weights, nil if it was not scored or failed.
func (r *run) point(points []scored, weights []float64) *Point {
	score, ok := lookup(points, weights)
	if !ok || !finite(score.Objective) {
		return nil
	}
	return &Point{Objective: score.Objective, Loss: score.Loss, Weights: weights}
}

// guard sees to it that a search which tried every module alone does not end with less than the best of them, whatever its
// algorithm recommends.
func (r *run) guard(points []scored) {
	single := r.result.BestSingle
	if single == nil || single.Objective >= r.result.Composed.Objective {
		return
	}
	for _, i := range r.all {
		if _, ok := lookup(points, r.single(i)); !ok {
			r.warn("%q alone has a lower objective than what the search found, which did not try it alone.", single.Module)
			return
		}
	}
	r.warn("The search recommended weights with a higher objective than %q alone; that module alone is taken instead.", single.Module)
	composed := *single
	composed.Module = ""
	r.result.Composed = &composed
}

// tell writes the history and, if no examples are held out, the leave-one-out estimates.
func (r *run) tell(points, singles []scored) {
	estimate := newLeaveOneOut(r.Objective, r.tokens)
	for _, p := range points[:len(r.before)] {
		estimate.add(p)
	}
	spent := 0
	if r.result.Narrowed != nil {
		spent = r.result.Narrowed.Evaluations
	}
	for k, e := range r.history {
		upTo := points[:len(r.before)+k+1]
		estimate.add(upTo[len(upTo)-1])
		step := Step{Number: spent + e.Number, Round: e.Round, Objective: known(e.Score.Objective)}
		if best := lowest(upTo); best != nil {
			step.Best = &best.score.Objective
		}
		if r.result.HeldOutBy == ByLeaveOneOut {
			step.HeldOut = estimate.estimate()
		}
		r.result.History = append(r.result.History, step)
	}
	if r.result.HeldOutBy != ByLeaveOneOut || len(r.tokens) < 2 {
		return
	}
	r.result.Composed.HeldOut = estimate.estimate()
	if zero := r.result.ZeroShot; zero != nil {
		zero.HeldOut = known(zero.Loss)
	}
	if single := r.result.BestSingle; single != nil {
		alone := newLeaveOneOut(r.Objective, r.tokens)
		for _, p := range singles {
			alone.add(p)
		}
		single.HeldOut = alone.estimate()
	}
}

// holdOut measures the loss on the examples held out: of the three points, and of what was best after each evaluation.
func (r *run) holdOut(ctx context.Context) error {
	if len(r.held) == 0 || ctx.Err() != nil {
		return nil
	}
	points := r.points()
	var incumbents [][]float64 // after each evaluation
	for k := range r.history {
		var weights []float64
		if best := lowest(points[:len(r.before)+k+1]); best != nil {
			weights = best.weights
		}
		incumbents = append(incumbents, weights)
	}
	var distinct [][]float64
	add := func(weights []float64) {
		if weights != nil && !slices.ContainsFunc(distinct, func(w []float64) bool { return slices.Equal(w, weights) }) {
			distinct = append(distinct, weights)
		}
	}
	three := []*Point{r.result.ZeroShot, r.result.BestSingle, r.result.Composed}
	for _, p := range three {
		if p != nil {
			add(p.Weights)
		}
	}
	for _, weights := range incumbents {
		add(weights)
	}
	scores, err := r.scoreOn(ctx, r.held, r.heldTokens, distinct)
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return err
	}
	heldOut := func(weights []float64) *float64 {
		for i := range distinct {
			if slices.Equal(distinct[i], weights) {
				return known(scores[i].Loss)
			}
		}
		return nil
	}
	for _, p := range three {
		if p != nil {
			p.HeldOut = heldOut(p.Weights)
		}
	}
	for k, weights := range incumbents {
		r.result.History[k].HeldOut = heldOut(weights)
	}
	return nil
}
