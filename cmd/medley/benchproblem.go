package main

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"

	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/lora"
	"github.com/medley-lora/medley/shared/pyrandom"
	"github.com/medley-lora/medley/shared/search"
	"github.com/medley-lora/medley/shared/task"
	"github.com/medley-lora/medley/shared/zoo"
	"github.com/medley-lora/medley/wasm/optimizer"
	"github.com/medley-lora/medley/wasm/optimizer/synthetic"
)

// The families of problems. The zoo's are ranked by what is measured on examples that no search has seen, the synthetic ones by the objective itself.
const (
	zooFamily       = "zoo"
	syntheticFamily = "synthetic"
)

// drawnModules is how many of the zoo's modules a search is over, and the dimension of the synthetic problems.
const drawnModules = 20

// benchProblem is what contenders are compared on: searched with evaluate, then measured.
type benchProblem struct {
	family, name string
	draw         int
	left         int            // the example left out, from 0; -1 if none was
	problem      search.Problem // without budget, batch and seed
	evaluator    search.Evaluator
	measure      func(ctx context.Context, x []float64) (accuracy, loss float64, err error) // nil if the objective is the goal itself
}

// suite opens the problems of a draw.
type suite struct {
	base        *base
	modules     []module
	method      lora.Method
	objective   task.Objective
	leaveOneOut bool
	families    []string
	close       func()
}

// made are the synthetic problems, as functions of the seed.
var made = []func(seed uint64) synthetic.Composition{
	func(s uint64) synthetic.Composition { return synthetic.Quadratic(s, drawnModules) },
	func(s uint64) synthetic.Composition { return synthetic.Linear(s, drawnModules, 5, 32) },
	func(s uint64) synthetic.Composition { return synthetic.Linear(s, drawnModules, 30, 32) },
	func(s uint64) synthetic.Composition { return synthetic.Skills(s, drawnModules, 15, 3) },
	func(s uint64) synthetic.Composition { return synthetic.Product(s, drawnModules, 15, 32) },
}

func (c *benchOptimizersCommand) openSuite(a *app) (*suite, error) {
	objective, err := task.ParseObjective(c.Objective)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "medley-bench-")
	if err != nil {
		return nil, err
	}
	s := &suite{method: lora.Method(c.Method), objective: objective, leaveOneOut: c.LeaveOneOut, families: c.Family, close: func() { os.RemoveAll(dir) }}
	if err = zoo.Extract(dir); err == nil {
		s.modules, err = modulesFlag{Modules: []string{filepath.Join(dir, "modules", "*")}}.find(a)
	}
	if err == nil {
		s.base, err = openBase(a, filepath.Join(dir, "base"), c.backendFlag)
	}
	if err != nil {
		s.close()
		return nil, err
	}
	s.close = func() { s.base.close(); os.RemoveAll(dir) }
	return s, nil
}

// problems is their number in each draw.
func (s *suite) problems() int {
	n := 0
	if slices.Contains(s.families, zooFamily) {
		n = len(zoo.Tasks())
		if s.leaveOneOut {
			n *= fewExamples
		}
	}
	if slices.Contains(s.families, syntheticFamily) {
		n += len(made)
	}
	return n
}

// fewExamples is how many each of the zoo's tasks has to search with.
const fewExamples = 5

// open returns the problems of a draw, from 1, and what gives back their memory.
func (s *suite) open(draw int) ([]*benchProblem, func(), error) {
	var all []*benchProblem
	if slices.Contains(s.families, syntheticFamily) {
		for _, create := range made {
			composition := create(uint64(draw))
			all = append(all, &benchProblem{
				family: syntheticFamily, name: composition.Name, draw: draw, left: -1, problem: composition.Problem(1, 1, 0), evaluator: composition,
			})
		}
	}
	if !slices.Contains(s.families, zooFamily) {
		return all, func() {}, nil
	}
	model, err := s.base.open(s.method, s.draw(int64(draw)))
	if err != nil {
		return nil, nil, err
	}
	tasks, err := s.tasks(model, draw)
	if err != nil {
		model.Close()
		return nil, nil, err
	}
	return append(tasks, all...), func() { model.Close() }, nil
}

func (s *suite) tasks(model session, draw int) ([]*benchProblem, error) {
	var all []*benchProblem
	for _, name := range zoo.Tasks() {
		few, err := zooExamples(name, "few")
		if err != nil {
			return nil, err
		}
		measured, err := zooExamples(name, "eval")
		if err != nil {
			return nil, err
		}
		if !s.leaveOneOut {
			p, err := s.zoo(model, name, draw, -1, few, measured)
			if err != nil {
				return nil, err
			}
			all = append(all, p)
			continue
		}
		for i := range few {
			p, err := s.zoo(model, name, draw, i, slices.Delete(slices.Clone(few), i, i+1), few[i:i+1])
			if err != nil {
				return nil, err
			}
			all = append(all, p)
		}
	}
	return all, nil
}

// draw picks modules as random.Random(seed).sample(sorted names, 20) does.
func (s *suite) draw(seed int64) []module {
	drawn := make([]module, drawnModules)
	for i, at := range pyrandom.New(seed).Sample(len(s.modules), len(drawn)) {
		drawn[i] = s.modules[at]
	}
	return drawn
}

// zoo is one task: searched with few examples, measured on others. A candidate is measured once, however many searches end at it.
func (s *suite) zoo(model session, name string, draw, left int, few, others []task.Example) (*benchProblem, error) {
	e := &fewShot{model: model, examples: few, objective: s.objective}
	p := &benchProblem{family: zooFamily, name: name, draw: draw, left: left, evaluator: e}
	p.problem = search.Problem{Dim: drawnModules, L1: s.objective.L1(drawnModules)}
	p.problem.Lower, p.problem.Upper = search.Box(drawnModules, 1.5)
	var err error
	if e.tokens, err = model.Tokens(few); err != nil {
		return nil, err
	}
	p.problem.Groups = e.tokens
	tokens, err := model.Tokens(others)
	if err != nil {
		return nil, err
	}
	type measurement struct{ accuracy, loss float64 }
	known := map[string]measurement{}
	p.measure = func(ctx context.Context, x []float64) (accuracy, loss float64, err error) {
		key := fmt.Sprint(x)
		if m, ok := known[key]; ok {
			return m.accuracy, m.loss, nil
		}
		inputs := make([]string, len(others))
		for i, o := range others {
			inputs[i] = o.Input
		}
		answers, err := model.Generate(ctx, inputs, x, func(int) {})
		if err != nil {
			return 0, 0, err
		}
		scores, err := model.Score(ctx, others, [][]float64{x})
		if err != nil {
			return 0, 0, err
		}
		m := measurement{task.Accuracy(answers, others), task.TokenMean(scores[0].Examples, tokens)}
		known[key] = m
		return m.accuracy, m.loss, nil
	}
	return p, nil
}

// fewShot is the evaluator of a zoo task: the objective of a few examples.
type fewShot struct {
	model     session
	examples  []task.Example
	tokens    []int
	objective task.Objective
}

// Evaluate is search.Evaluator's.
func (f *fewShot) Evaluate(ctx context.Context, x [][]float64) ([]search.Score, error) {
	scores, err := f.model.Score(ctx, f.examples, x)
	if err != nil {
		return nil, err
	}
	for i := range scores {
		scores[i].Loss = task.TokenMean(scores[i].Examples, f.tokens)
		scores[i].Objective = f.objective.Value(scores[i].Examples, f.tokens, x[i])
	}
	return scores, nil
}

// finish turns objectives into normalised regrets, where the objective is the goal: 0 at the lowest objective that any search of the
// problem saw, long ones included, and 1 at zero weights.
func (p *benchProblem) finish(ctx context.Context, runs []benchRun) error {
	if p.measure != nil {
		return nil
	}
	zero, err := p.evaluator.Evaluate(ctx, [][]float64{make([]float64, p.problem.Dim)})
	if err != nil {
		return err
	}
	lowest := zero[0].Objective
	for _, name := range []string{"coord", "cobyla", "es"} {
		q := p.at(referenceBudget, 1, 1)
		o, err := optimizer.New(name, q)
		if err != nil {
			return err
		}
		found, err := search.Run(ctx, q, o, p.evaluator, search.RunOptions{})
		if err != nil {
			return err
		}
		lowest = min(lowest, found.Score.Objective)
	}
	for _, r := range runs {
		lowest = min(lowest, r.Curve[len(r.Curve)-1])
	}
	span := zero[0].Objective - lowest
	if !(span > 0) {
		return fault.New(fault.Internal, p.name, "has its minimum at zero weights")
	}
	for i := range runs {
		runs[i].Regret = (runs[i].Objective - lowest) / span
		for k, v := range runs[i].Curve {
			runs[i].Curve[k] = min((v-lowest)/span, 1)
		}
	}
	return nil
}

// referenceBudget is spent on each long search for the lowest objective.
const referenceBudget = 4000

// at completes the problem for one search.
func (p *benchProblem) at(budget, batch int, seed uint64) search.Problem {
	q := p.problem
	q.Budget, q.Batch, q.Seed = budget, batch, seed
	return q
}

func isFinite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }
