// Package searchcheck is the contract of search.Optimizer as functions that return errors: package searchtest makes tests of them, and a
// program can hold an optimizer of somebody else to them while it runs.
package searchcheck

import (
	"context"
	"math"
	"slices"

	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/search"
)

// Make returns a new optimizer for p.
type Make func(p search.Problem) (search.Optimizer, error)

// Suite holds the optimizers that Make returns to the contract. Each of its checks makes new ones and returns the first thing that is
// wrong, fault.Invalid if it is against the contract, or the optimizer's own error.
type Suite struct {
	Make   Make
	MaxDim int // the most weights that Make takes; 0 is no limit. Larger problems are cut to it
}

// Check is one part of the contract.
type Check struct {
	Name string // of the optimizer: "keeps the bounds"
	Run  func() error
}

// Checks returns the whole contract, which does not say that Best is what has the lowest objective: see ReturnsLowest.
func (s Suite) Checks() []Check {
	return []Check{
		{"keeps the bounds", s.KeepsBounds},
		{"asks no more than it may", s.KeepsBudget},
		{"is deterministic", s.IsDeterministic},
		{"refuses wrong calls", s.RefusesWrongCalls},
		{"takes candidates it did not ask for", s.TakesStrangers},
		{"takes scores in any order", s.TakesAnyOrder},
		{"survives failed evaluations", s.SurvivesFailures},
		{"returns a candidate no worse than one module", s.ReturnsGood},
		{"resumes by replay", s.Resumes},
		{"owns nothing of the caller's", s.OwnsNothing},
	}
}

// Problem is a problem of n weights within ±1.5 whose scores carry six log-probabilities, of two examples.
func Problem(n, budget, batch int) search.Problem {
	lower, upper := search.Box(n, 1.5)
	return search.Problem{
		Dim: n, Lower: lower, Upper: upper, Budget: budget, Batch: batch, Seed: 7, L1: 0.05, Groups: []int{2, 4},
	}
}

// problem is Problem with as many weights as the optimizers take.
func (s Suite) problem(n, budget, batch int) search.Problem {
	if s.MaxDim > 0 {
		n = min(n, s.MaxDim)
	}
	return Problem(n, budget, batch)
}

// Evaluator scores candidates of Problem: token t is the more probable the nearer a sum of weights of its own comes to 1.
// Fails tells which evaluations, counted from 0, fail; nil means none.
type Evaluator struct {
	Problem search.Problem
	Fails   func(i int) bool
	Failure float64 // the objective of an evaluation that fails, if it is infinite; NaN otherwise
	calls   int
}

// Evaluate never returns an error.
func (e *Evaluator) Evaluate(_ context.Context, x [][]float64) ([]search.Score, error) {
	return e.score(x), nil
}

func (e *Evaluator) score(x [][]float64) []search.Score {
	scores := make([]search.Score, len(x))
	for i, w := range x {
		e.calls++
		if e.Fails != nil && e.Fails(e.calls-1) {
			scores[i] = search.Score{Objective: math.NaN(), Loss: math.NaN()}
			if math.IsInf(e.Failure, 0) {
				scores[i].Objective = e.Failure
			}
			continue
		}
		s := &scores[i]
		for t := range 6 {
			sum := 0.0
			for j, v := range w {
				sum += v * math.Cos(float64(1+t+3*j))
			}
			s.LogProbs = append(s.LogProbs, -0.1-(sum-1)*(sum-1))
			s.Loss -= s.LogProbs[t] / 6
		}
		s.Examples = []float64{-(s.LogProbs[0] + s.LogProbs[1]) / 2, -(s.LogProbs[2] + s.LogProbs[3] + s.LogProbs[4] + s.LogProbs[5]) / 4}
		s.Objective = s.Loss
		for _, v := range w {
			s.Objective += e.Problem.L1 * math.Abs(v)
		}
	}
	return scores
}

// drive searches until the budget is spent or the optimizer converges, and returns all that was asked, round by round.
func (s Suite) drive(p search.Problem, e *Evaluator) (search.Optimizer, [][][]float64, error) {
	o, err := s.Make(p)
	if err != nil {
		return nil, nil, err
	}
	var rounds [][][]float64
	err = eachRound(o, p, func(x [][]float64) error {
		rounds = append(rounds, x)
		return o.Tell(x, e.score(x))
	})
	return o, rounds, err
}

// eachRound asks until the budget is spent or the optimizer converges.
func eachRound(o search.Optimizer, p search.Problem, answer func(x [][]float64) error) error {
	for left := p.Budget; left > 0; {
		x, err := ask(o, p, min(p.Batch, left))
		if err != nil || len(x) == 0 {
			return err
		}
		left -= len(x)
		if err := answer(x); err != nil {
			return err
		}
	}
	return nil
}

// ask looks at what is asked before anything else can go wrong with it.
func ask(o search.Optimizer, p search.Problem, n int) ([][]float64, error) {
	x, err := o.Ask(n)
	if err != nil {
		return nil, err
	}
	if len(x) > n {
		return nil, wrong("%d candidates where %d were asked for", len(x), n)
	}
	for _, w := range x {
		if err := within(p, w); err != nil {
			return nil, err
		}
	}
	return x, nil
}

func within(p search.Problem, w []float64) error {
	if len(w) != p.Dim {
		return wrong("a candidate of %d weights, expected %d", len(w), p.Dim)
	}
	for i, v := range w {
		if !(v >= p.Lower[i] && v <= p.Upper[i]) {
			return wrong("weight %d is %v, outside [%v, %v]", i+1, v, p.Lower[i], p.Upper[i])
		}
	}
	return nil
}

func equal(a, b [][]float64) bool { return slices.EqualFunc(a, b, sameBits) }

// sameBits tells 0 from -0 too, as a replay does.
func sameBits(a, b []float64) bool {
	return slices.EqualFunc(a, b, func(v, w float64) bool { return math.Float64bits(v) == math.Float64bits(w) })
}

func wrong(format string, args ...any) error { return fault.New(fault.Invalid, "", format, args...) }
