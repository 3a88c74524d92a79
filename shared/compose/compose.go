package compose

import (
	"context"
	"math"
	"slices"
	"time"

	"github.com/medley-lora/medley/shared/compose/narrow"
	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/search"
	"github.com/medley-lora/medley/shared/task"
)

// Narrowing happens when zero weights and the modules alone would take more than singlesShare of the budget, which is what the
// default algorithm gives them at most, and takes no more than that itself. It leaves at most maxKept modules and at most
// keptShare of the budget.
const (
	singlesShare = 0.6
	keptShare    = 0.4
	maxKept      = 20
	leastBudget  = 4 // zero weights, one module, and something to search with
)

// Run does the job: narrow, search, compare with zero weights and the best single module, answer. If ctx ends after something
// was scored, the result says what is known until then (Result.Stopped, or a warning) and there is no error. Errors are
// faults of the job (Invalid), the model's own, and Internal where model or optimizer break their contracts.
func Run(ctx context.Context, model Model, job Job) (Result, error) {
	start := time.Now()
	r, err := prepare(model, job)
	if err != nil {
		return Result{}, err
	}
	if err := r.narrow(ctx); err != nil {
		return Result{}, canceled(ctx, err)
	}
	found, err := r.find(ctx)
	if err != nil {
		return Result{}, err
	}
	r.result.SearchSeconds = time.Since(start).Seconds()
	if err := r.compare(ctx, found); err != nil {
		return Result{}, err
	}
	if err := r.holdOut(ctx); err != nil {
		return Result{}, err
	}
	if err := r.answer(ctx); err != nil {
		return Result{}, err
	}
	r.warnAbout()
	r.result.Seconds = time.Since(start).Seconds()
	return r.result, nil
}

// canceled gives an error that the end of ctx caused its code.
func canceled(ctx context.Context, err error) error {
	if ctx.Err() == nil || fault.CodeOf(err) == fault.Canceled {
		return err
	}
	return fault.Wrap(err, fault.Canceled, "", "canceled before the search began")
}

func prepare(model Model, job Job) (*run, error) {
	if err := job.check(); err != nil {
		return nil, err
	}
	r := &run{Job: job, model: model}
	var err error
	if r.search, r.held, err = task.Split(job.Examples, job.Holdout); err != nil {
		return nil, err
	}
	tokens, err := model.Tokens(job.Examples)
	if err != nil {
		return nil, err
	}
	if len(tokens) != len(job.Examples) || slices.Min(tokens) < 1 {
		return nil, fault.New(fault.Internal, "model", "counted target tokens %d for %d examples", tokens, len(job.Examples))
	}
	r.tokens, r.heldTokens = tokens[:len(r.search)], tokens[len(r.search):]
	for i := range job.Modules {
		r.all = append(r.all, i)
	}
	r.result = Result{
		Modules: job.Modules, Objective: job.Objective, HeldOutBy: ByLeaveOneOut, Examples: len(r.search), Holdout: len(r.held),
		Few: []Prediction{}, Eval: []Prediction{}, History: []Step{}, Warnings: []string{},
	}
	if job.Holdout > 0 {
		r.result.HeldOutBy = ByHoldout
	}
	return r, nil
}

// narrow leaves in r.all what the budget can search with, scored alone, if that is not every module.
func (r *run) narrow(ctx context.Context) error {
	share := int(singlesShare * float64(r.Budget))
	if r.KeepAll || len(r.Modules)+1 <= share || r.Budget < leastBudget {
		return nil
	}
	zero := make([]float64, len(r.Modules))
	scores, err := r.score(ctx, [][]float64{zero})
	if err != nil {
		return err
	}
	r.before = []scored{{zero, scores[0]}}
	left, err := narrow.Run(ctx, narrow.Options{
		Modules: len(r.Modules), Tokens: r.tokens, Evaluations: share - 1, Seed: r.Seed, Sketch: r.Sketch,
		Keep: max(1, min(maxKept, int(keptShare*float64(r.Budget)))),
		Progress: func(done, total int) {
			n := len(r.tokens)
			r.observe(Progress{Stage: Narrowing, Done: 1 + (done+n-1)/n, Total: 1 + (total+n-1)/n})
		},
	}, func(ctx context.Context, modules, examples []int) ([]search.Score, error) {
		some, tokens := make([]task.Example, len(examples)), make([]int, len(examples))
		for i, e := range examples {
			some[i], tokens[i] = r.search[e], r.tokens[e]
		}
		weights := make([][]float64, len(modules))
		for k, i := range modules {
			weights[k] = r.single(i)
		}
		return r.scoreOn(ctx, some, tokens, weights)
	})
	if err != nil {
		return err
	}
	r.all = left.Kept
	narrowed := Narrowed{From: len(r.Modules), To: r.names(), Evaluations: 1 + left.Evaluations, Rounds: left.Rounds}
	for k, i := range left.Kept {
		weights := r.single(i)
		if err := complete(&left.Scores[k], r.Objective, r.tokens, weights); err != nil {
			return err
		}
		r.before = append(r.before, scored{weights, left.Scores[k]})
	}
	r.result.Narrowed, r.result.Evaluations = &narrowed, narrowed.Evaluations
	return nil
}

// names lists the modules searched with.
func (r *run) names() []string {
	names := make([]string, len(r.all))
	for k, i := range r.all {
		names[k] = r.Modules[i]
	}
	return names
}

// find searches and returns the weights that the optimizer recommends, over all modules.
func (r *run) find(ctx context.Context) ([]float64, error) {
	problem := search.Problem{
		Dim: len(r.all), Budget: r.Budget - r.result.Evaluations, Batch: r.Batch, Seed: r.Seed,
		L1: r.Objective.L1(len(r.Modules)), Groups: r.tokens,
	}
	problem.Lower, problem.Upper = search.Box(problem.Dim, r.Bound)
	if err := problem.Check(); err != nil {
		return nil, err
	}
	optimizer, err := r.optimizer(problem)
	if err != nil {
		return nil, err
	}
	var record func(search.Evaluation)
	options := search.RunOptions{}
	if r.Begin != nil {
		if options.Replay, record, err = r.Begin(problem, r.names()); err != nil {
			return nil, err
		}
	}
	options.Observe = func(e search.Evaluation) {
		if len(r.history) == 0 { // what was replayed is not observed
			r.history = slices.Clone(options.Replay[:e.Number-1])
		}
		r.history = append(r.history, e)
		if record != nil {
			record(e)
		}
		r.observe(Progress{Stage: Searching, Done: e.Number, Total: problem.Budget, Evaluation: &e})
	}
	r.observe(Progress{Stage: Searching, Total: problem.Budget}) // the first batch may take long
	found, err := search.Run(ctx, problem, optimizer, evaluator{r}, options)
	if err != nil && (len(r.before) == 0 || fault.CodeOf(err) != fault.Canceled) {
		return nil, err
	}
	if len(r.history) == 0 {
		r.history = options.Replay[:found.Evaluations]
	}
	r.result.Evaluations += found.Evaluations
	r.result.Rounds, r.result.Stopped = found.Rounds, found.Stopped
	if found.Best == nil {
		return nil, nil
	}
	return r.expand(found.Best), nil
}

// optimizer makes the search algorithm and tells it what narrowing found, as a warm start.
func (r *run) optimizer(p search.Problem) (search.Optimizer, error) {
	var x [][]float64
	var s []search.Score
	for _, b := range r.before {
		restricted := make([]float64, len(r.all))
		for k, i := range r.all {
			restricted[k] = b.weights[i]
		}
		x, s = append(x, restricted), append(s, b.score)
	}
	optimizer, err := r.NewOptimizer(p)
	if err != nil || len(x) == 0 {
		return optimizer, err
	}
	return optimizer, optimizer.Tell(x, s)
}

// points are all that was scored for the search, in order.
func (r *run) points() []scored {
	points := slices.Clone(r.before)
	for _, e := range r.history {
		points = append(points, scored{r.expand(e.Candidate), e.Score})
	}
	return points
}

// lookup returns the score of weights among points.
func lookup(points []scored, weights []float64) (search.Score, bool) {
	i := slices.IndexFunc(points, func(p scored) bool { return slices.Equal(p.weights, weights) })
	if i < 0 {
		return search.Score{Objective: math.NaN()}, false
	}
	return points[i].score, true
}

// lowest returns the point of the lowest objective, the first of equals; nil if none is finite.
func lowest(points []scored) *scored {
	var best *scored
	for i := range points {
		if f := points[i].score.Objective; finite(f) && (best == nil || f < best.score.Objective) {
			best = &points[i]
		}
	}
	return best
}
