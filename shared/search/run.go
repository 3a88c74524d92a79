//go:build !wasip1

package search

import (
	"context"
	"math"
	"slices"

	"github.com/medley-lora/medley/shared/fault"
)

// Evaluator scores candidates.
type Evaluator interface {
	// Evaluate returns one score per candidate, in order. A candidate whose evaluation fails gets a NaN objective; an
	// error means that no candidate could be scored (or that ctx ended).
	Evaluate(ctx context.Context, x [][]float64) ([]Score, error)
}

// Evaluation is one scored candidate, as a run reports and a trace records it.
type Evaluation struct {
	Number    int // of the evaluation in the run, from 1
	Round     int // in which it was asked, from 1
	RoundSize int // candidates of that round: a round with fewer evaluations was cut off
	Candidate []float64
	Score     Score
	Best      float64 // lowest finite objective up to and including this evaluation; NaN if there is none yet
}

// Why a run ended.
const (
	StoppedBudget    = "budget"    // every evaluation was spent
	StoppedConverged = "converged" // the optimizer had nothing more to ask
	StoppedCanceled  = "canceled"  // the context ended
	StoppedFailed    = "failed"    // Run returned an error; the result is what was found until then
)

// Result is what a run found.
type Result struct {
	Best        []float64 // Optimizer.Best, within the bounds; nil if no evaluation succeeded
	Score       Score     // of Best as evaluated; its objective is NaN if the optimizer chose a point that never was
	Evaluations int       // including replayed ones
	Rounds      int       // including replayed ones
	Stopped     string
}

// RunOptions is ready to use when zero.
type RunOptions struct {
	// Observe is called for each new evaluation, in order, as soon as its round is scored. It is not called for replayed ones.
	Observe func(Evaluation)
	// Replay is the beginning of the same search, recorded earlier: it is told again instead of evaluated. An unfinished
	// round at its end is evaluated anew, so that the optimizer sees the batches that it would have seen.
	Replay []Evaluation
}

// Run drives optimizer against evaluator until the budget is spent, the optimizer converges or ctx ends. If ctx ends after
// some candidate was scored, that is a result and not an error. Errors are of three kinds: the problem or the replay is
// wrong (fault.Invalid), the optimizer or the evaluator breaks its contract (fault.Internal), or the evaluator fails, whose
// error is returned as it is. With an error the result holds what was found before it.
func Run(ctx context.Context, p Problem, optimizer Optimizer, evaluator Evaluator, o RunOptions) (Result, error) {
	if err := p.Check(); err != nil {
		return Result{Stopped: StoppedFailed}, err
	}
	r := run{problem: p, optimizer: optimizer, evaluator: evaluator, options: o, best: math.NaN()}
	stopped, err := r.loop(ctx)
	if err != nil {
		stopped = StoppedFailed
	}
	result, failure := r.result(stopped)
	if err == nil {
		err = failure
	}
	return result, err
}

type run struct {
	problem   Problem
	optimizer Optimizer
	evaluator Evaluator
	options   RunOptions

	rounds int
	best   float64
	seen   []Evaluation
}

func (r *run) loop(ctx context.Context) (reason string, err error) {
	for len(r.seen) < r.problem.Budget {
		if ctx.Err() != nil {
			return StoppedCanceled, nil
		}
		x, err := r.ask(min(r.problem.Batch, r.problem.Budget-len(r.seen)))
		if err != nil {
			return stopped(ctx, err)
		}
		if len(x) == 0 {
			if len(r.options.Replay) > len(r.seen) {
				return "", otherSearch(len(r.seen) + 1)
			}
			return StoppedConverged, nil
		}
		scores, replayed, err := r.recorded(x)
		if err != nil {
			return "", err
		}
		if !replayed {
			if scores, err = r.evaluate(ctx, x); err != nil {
				return stopped(ctx, err)
			}
		}
		r.record(x, scores, replayed)
		if err := r.optimizer.Tell(x, scores); err != nil {
			return stopped(ctx, err)
		}
	}
	if len(r.options.Replay) > len(r.seen) {
		return "", otherSearch(len(r.seen) + 1)
	}
	return StoppedBudget, nil
}

// stopped tells the end of ctx from another error.
func stopped(ctx context.Context, err error) (reason string, failure error) {
	if ctx.Err() != nil {
		return StoppedCanceled, nil
	}
	return "", err
}

// ask returns candidates that can be evaluated: finite, of the right length, within the bounds.
func (r *run) ask(n int) ([][]float64, error) {
	x, err := r.optimizer.Ask(n)
	if err != nil {
		return nil, err
	}
	if len(x) > n {
		return nil, fault.New(fault.Internal, "optimizer", "proposed %d candidates when asked for %d", len(x), n)
	}
	for i := range x {
		if err := r.fit(x[i]); err != nil {
			return nil, err
		}
	}
	return x, nil
}

// fit checks one candidate and clips it to the bounds in place.
func (r *run) fit(x []float64) error {
	if len(x) != r.problem.Dim {
		return fault.New(fault.Internal, "optimizer", "proposed %d weights where there are %d", len(x), r.problem.Dim)
	}
	for i, v := range x {
		if !finite(v) {
			return fault.New(fault.Internal, "optimizer", "proposed a weight that is not a finite number")
		}
		x[i] = min(max(v, r.problem.Lower[i]), r.problem.Upper[i])
	}
	return nil
}

func (r *run) evaluate(ctx context.Context, x [][]float64) ([]Score, error) {
	scores, err := r.evaluator.Evaluate(ctx, x)
	if err == nil && len(scores) != len(x) {
		err = fault.New(fault.Internal, "evaluator", "gave %d scores for %d candidates", len(scores), len(x))
	}
	return scores, err
}

func (r *run) record(x [][]float64, scores []Score, replayed bool) {
	r.rounds++
	for i := range x {
		if f := scores[i].Objective; finite(f) && !(r.best <= f) {
			r.best = f
		}
		e := Evaluation{
			Number: len(r.seen) + 1, Round: r.rounds, RoundSize: len(x), Candidate: slices.Clone(x[i]), Score: scores[i], Best: r.best,
		}
		r.seen = append(r.seen, e)
		if r.options.Observe != nil && !replayed {
			r.options.Observe(e)
		}
	}
}

func (r *run) result(stopped string) (Result, error) {
	result := Result{Evaluations: len(r.seen), Rounds: r.rounds, Stopped: stopped, Score: Score{Objective: math.NaN()}}
	best := slices.Clone(r.optimizer.Best())
	if best == nil || math.IsNaN(r.best) {
		if stopped == StoppedFailed {
			return result, nil // the error that ended the run says more
		}
		if stopped == StoppedCanceled {
			return result, fault.New(fault.Canceled, "", "the search was canceled before any candidate was scored")
		}
		return result, fault.New(fault.Invalid, "", "none of the %d evaluations succeeded", len(r.seen))
	}
	if err := r.fit(best); err != nil {
		return result, err
	}
	result.Best = best
	for _, e := range r.seen {
		if sameBits(e.Candidate, best) && finite(e.Score.Objective) {
			result.Score = e.Score
			break
		}
	}
	return result, nil
}
