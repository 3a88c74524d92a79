// Package compose is the whole job: from modules, a model and a few examples to the weights of one adapter and the evidence
// that it is better. It knows neither files nor devices: the command line and the job worker bring those.
package compose

import (
	"context"

	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/search"
	"github.com/medley-lora/medley/shared/task"
)

// Model is a base model with the modules of a job loaded, composed by one weight per module, in the order of Job.Modules.
type Model interface {
	// Tokens returns the number of target tokens of each example, at least 1. It is where examples that the model cannot
	// take are refused.
	Tokens(examples []task.Example) ([]int, error)
	// Score returns one score per weight vector: Examples, and LogProbs unless unknown. Loss and Objective are not read.
	Score(ctx context.Context, examples []task.Example, weights [][]float64) ([]search.Score, error)
	// Generate returns the model's answer to each input. progress is told how many are done; it is never nil.
	Generate(ctx context.Context, inputs []string, weights []float64, progress func(done int)) ([]string, error)
}

// Job is what to compose and how. Fields without a comment on zero must be set.
type Job struct {
	Modules   []string       // unique names
	Examples  []task.Example // to search with; the last Holdout of them are held out
	Eval      []task.Example // to measure accuracy on; may be empty
	Holdout   int            // 0 estimates the held-out loss by leaving one out
	Objective task.Objective
	Budget    int // evaluations in all, an evaluation being one weight vector scored on every example
	Batch     int // evaluations that the model takes at once
	Seed      uint64
	Bound     float64 // weights are within ±Bound; 0 is 1.5, as LoraHub has it
	KeepAll   bool    // never narrow, however many modules there are

	// NewOptimizer makes the search algorithm.
	NewOptimizer func(search.Problem) (search.Optimizer, error)
	// Sketch returns a fingerprint of module i's update (see narrow.Options); nil if there is none.
	Sketch func(i int) ([]float64, error)
	// Begin, if set, is called with the problem that is searched and the modules it is about (fewer than Job.Modules after
	// narrowing). It returns the beginning of this very search if it was recorded before, and what records the rest; either
	// may be nil. Narrowing is not recorded: it is done again, with the same outcome.
	Begin func(p search.Problem, modules []string) (replay []search.Evaluation, record func(search.Evaluation), err error)
	// Observe, if set, is told of progress.
	Observe func(Progress)
}

// Stage is a part of a job, in the order in which they come.
type Stage string

// The stages of a job.
const (
	Narrowing  Stage = "narrowing"  // choosing modules to search with; counted in evaluations
	Searching  Stage = "searching"  // counted in evaluations
	Checking   Stage = "checking"   // scoring what the search did not; counted in evaluations
	Generating Stage = "generating" // answers; counted in inputs
)

// Progress is how far a stage is.
type Progress struct {
	Stage       Stage
	Done, Total int
	Evaluation  *search.Evaluation // the newest, while searching; its candidate has one weight per module searched with
}

func (j *Job) observe(p Progress) {
	if j.Observe != nil {
		j.Observe(p)
	}
}

// check refuses a job that cannot be run and sets defaults.
func (j *Job) check() error {
	seen := map[string]bool{}
	for _, name := range j.Modules {
		if seen[name] {
			return fault.New(fault.Invalid, "modules", "%q occurs twice", name)
		}
		seen[name] = true
	}
	switch {
	case len(j.Modules) == 0:
		return fault.New(fault.Invalid, "modules", "there is none to compose")
	case len(j.Examples) == 0:
		return fault.New(fault.Invalid, "examples", "there is none to search with")
	case j.Budget < 1:
		return fault.New(fault.Invalid, "budget", "is %d; at least 1 is expected", j.Budget)
	case j.Batch < 1:
		return fault.New(fault.Invalid, "batch", "is %d; at least 1 is expected", j.Batch)
	}
	if j.Bound == 0 {
		j.Bound = 1.5
	}
	if !(j.Bound > 0) || j.Bound > 1e6 { // also NaN and infinity
		return fault.New(fault.Invalid, "bound", "is %v; a number above 0 is expected", j.Bound)
	}
	return nil
}

// alone is the weight of a module that is scored by itself.
func (j *Job) alone() float64 { return min(1, j.Bound) }
