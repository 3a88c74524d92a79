package compose

import (
	"context"
	"math"
	"slices"

	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/search"
	"github.com/medley-lora/medley/shared/task"
)

// scored is a weight vector over all modules with its score on the examples searched with.
type scored struct {
	weights []float64
	score   search.Score
}

// run is a job under way.
type run struct {
	Job
	model      Model
	search     []task.Example // searched with
	tokens     []int          // target tokens of each
	held       []task.Example // held out
	heldTokens []int
	all        []int               // modules searched with
	before     []scored            // by narrowing: zero weights, then every module of all alone
	history    []search.Evaluation // by the search, over the modules of all
	result     Result
}

// score scores weight vectors over all modules on the examples searched with, as many at once as the model takes.
func (r *run) score(ctx context.Context, weights [][]float64) ([]search.Score, error) {
	return r.scoreOn(ctx, r.search, r.tokens, weights)
}

func (r *run) scoreOn(ctx context.Context, examples []task.Example, tokens []int, weights [][]float64) ([]search.Score, error) {
	var all []search.Score
	for batch := range slices.Chunk(weights, r.Batch) {
		scores, err := r.model.Score(ctx, examples, batch)
		if err != nil {
			return nil, err
		}
		if len(scores) != len(batch) {
			return nil, fault.New(fault.Internal, "evaluator", "gave %d scores for %d candidates", len(scores), len(batch))
		}
		for i := range scores {
			if err := complete(&scores[i], r.Objective, tokens, batch[i]); err != nil {
				return nil, err
			}
		}
		all = append(all, scores...)
	}
	return all, nil
}

// complete checks the losses of a score and fills what follows from them. A score with a loss that is not finite has failed.
func complete(s *search.Score, o task.Objective, tokens []int, weights []float64) error {
	if len(s.Examples) != len(tokens) {
		return fault.New(fault.Internal, "evaluator", "gave the losses of %d examples for %d", len(s.Examples), len(tokens))
	}
	if s.LogProbs != nil {
		if _, err := task.ExampleLosses(s.LogProbs, tokens); err != nil {
			return fault.Wrap(err, fault.Internal, "evaluator", "gave scores that do not fit: %v", err)
		}
	}
	s.Loss = task.TokenMean(s.Examples, tokens)
	s.Objective = o.Value(s.Examples, tokens, weights)
	if !finite(s.Objective) {
		s.Objective = math.NaN()
	}
	return nil
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

// expand gives candidates over the modules searched with a zero for every other module.
func (r *run) expand(x []float64) []float64 {
	weights := make([]float64, len(r.Modules))
	for k, i := range r.all {
		weights[i] = x[k]
	}
	return weights
}

// single is module i alone.
func (r *run) single(i int) []float64 {
	weights := make([]float64, len(r.Modules))
	weights[i] = r.alone()
	return weights
}

// whichSingle returns the module that weights are alone, or -1.
func (r *run) whichSingle(weights []float64) int {
	which := -1
	for i, w := range weights {
		if w == 0 {
			continue
		}
		if which >= 0 || w != r.alone() {
			return -1
		}
		which = i
	}
	return which
}

func isZero(weights []float64) bool {
	return !slices.ContainsFunc(weights, func(w float64) bool { return w != 0 })
}

// evaluator is what the search sees: the modules searched with, and the objective.
type evaluator struct{ *run }

// Evaluate is search.Evaluator's.
func (e evaluator) Evaluate(ctx context.Context, x [][]float64) ([]search.Score, error) {
	weights := make([][]float64, len(x))
	for i := range x {
		weights[i] = e.expand(x[i])
	}
	return e.score(ctx, weights)
}
