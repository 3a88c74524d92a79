package main

import (
	"context"
	"slices"
	"time"

	"github.com/medley-lora/medley/shared/search"
	"github.com/medley-lora/medley/wasm/optimizer"
)

// contender is an optimizer that is ranked.
type contender struct {
	name  string
	plain bool // scores carry no log-probabilities
	start func(ctx context.Context, p search.Problem) (search.Optimizer, error)
}

// The contenders beside the algorithms: what the default does without log-probabilities, and the best that needs no search.
const (
	plainDefault = optimizer.Default + ", plain scores"
	bestSingle   = "best single module"
)

// contenders are all that were asked for, the default first; close ends their processes.
func (c *benchOptimizersCommand) contenders(ctx context.Context) (all []contender, closeAll func(), err error) {
	var closers []func()
	closeAll = func() {
		for _, f := range closers {
			f()
		}
	}
	for _, a := range optimizer.Algorithms() {
		if len(c.Optimizer) == 0 || slices.Contains(c.Optimizer, a.Name) {
			all = append(all, contender{name: a.Name, start: builtIn(a.Name)})
		}
	}
	if len(c.Optimizer) == 0 || slices.Contains(c.Optimizer, optimizer.Default) {
		all = append(all, contender{name: plainDefault, plain: true, start: builtIn(optimizer.Default)})
	}
	if len(c.Optimizer) == 0 {
		all = append(all, contender{name: bestSingle, start: startSingles})
	}
	for _, path := range c.Plugin {
		o, err := optimizerFlags{Optimizer: path}.open(ctx, drawnModules)
		if err != nil {
			closeAll()
			return nil, nil, err
		}
		closers = append(closers, o.close)
		all = append(all, contender{name: o.name + " (plugin)", start: o.start})
	}
	if c.Nevergrad != "" {
		n, err := startNevergrad(ctx, c.Nevergrad)
		if err != nil {
			closeAll()
			return nil, nil, err
		}
		closers = append(closers, n.close)
		all = append(all, contender{name: n.name, start: n.new})
	}
	return all, closeAll, nil
}

func builtIn(name string) func(context.Context, search.Problem) (search.Optimizer, error) {
	return func(_ context.Context, p search.Problem) (search.Optimizer, error) { return optimizer.New(name, p) }
}

// benchRun is one search and what its result is worth.
type benchRun struct {
	Family      string    `json:"family"`
	Problem     string    `json:"problem"`
	Draw        int       `json:"draw"`
	Left        int       `json:"left_out"` // example, from 0; -1 for none
	Optimizer   string    `json:"optimizer"`
	Budget      int       `json:"budget"`
	Batch       int       `json:"batch"`
	Seed        int       `json:"seed"`
	Evaluations int       `json:"evaluations"`
	Rounds      int       `json:"rounds"`
	Objective   float64   `json:"objective"`             // of the result, as searched
	FewShotLoss float64   `json:"few_shot_loss"`         // of the result, without the penalty
	Regret      float64   `json:"regret"`                // normalised; synthetic only
	Accuracy    float64   `json:"accuracy"`              // percent; zoo only
	Loss        float64   `json:"loss"`                  // of the examples that accuracy is of; zoo only
	Seconds     float64   `json:"seconds"`               // in the optimizer
	Curve       []float64 `json:"-"`                     // lowest objective, then regret, after each evaluation
	RoundCurve  []int     `json:"-"`                     // evaluations after each round
	Plain       bool      `json:"plain_scores,omitzero"` // scores carried no log-probabilities
}

// run searches once and measures the result.
func (p *benchProblem) run(ctx context.Context, k contender, budget, batch int, seed uint64) (benchRun, error) {
	q := p.at(budget, batch, seed)
	r := benchRun{
		Family: p.family, Problem: p.name, Draw: p.draw, Left: p.left, Optimizer: k.name, Budget: budget, Batch: batch, Seed: int(seed), Plain: k.plain,
	}
	e := &timed{Evaluator: p.evaluator, plain: k.plain}
	o, err := k.start(ctx, q)
	if err != nil {
		return r, err
	}
	if c, ok := o.(interface{ Close() error }); ok {
		defer c.Close()
	}
	start := time.Now()
	found, err := search.Run(ctx, q, o, e, search.RunOptions{Observe: func(v search.Evaluation) {
		r.Curve = append(r.Curve, v.Best)
		if v.Round > len(r.RoundCurve) {
			r.RoundCurve = append(r.RoundCurve, 0)
		}
		r.RoundCurve[v.Round-1] = v.Number
	}})
	if err == nil {
		err = ctx.Err() // what was cut off is not compared
	}
	if err != nil {
		return r, err
	}
	r.Seconds = (time.Since(start) - e.spent).Seconds()
	r.Evaluations, r.Rounds = found.Evaluations, found.Rounds
	if !isFinite(found.Score.Objective) { // a recommendation that was never evaluated
		scores, err := p.evaluator.Evaluate(ctx, [][]float64{found.Best})
		if err != nil {
			return r, err
		}
		found.Score = scores[0]
	}
	r.Objective, r.FewShotLoss = found.Score.Objective, found.Score.Loss
	if p.measure != nil {
		r.Accuracy, r.Loss, err = p.measure(ctx, found.Best)
	}
	return r, err
}

// timed is an evaluator that knows how long it took.
type timed struct {
	search.Evaluator
	plain bool
	spent time.Duration
}

func (t *timed) Evaluate(ctx context.Context, x [][]float64) ([]search.Score, error) {
	start := time.Now()
	scores, err := t.Evaluator.Evaluate(ctx, x)
	if t.plain {
		for i := range scores {
			scores[i].LogProbs = nil
		}
	}
	t.spent += time.Since(start)
	return scores, err
}

// singles scores 0 and each module alone at weight 1, whatever the budget above that: the best single module, as a control.
type singles struct {
	problem search.Problem
	asked   int
	best    []float64
	lowest  float64
}

func startSingles(_ context.Context, p search.Problem) (search.Optimizer, error) {
	return &singles{problem: p}, nil
}

func (s *singles) Ask(n int) ([][]float64, error) {
	var x [][]float64
	for ; len(x) < n && s.asked <= s.problem.Dim; s.asked++ {
		w := make([]float64, s.problem.Dim)
		if s.asked > 0 {
			w[s.asked-1] = min(1, s.problem.Upper[s.asked-1])
		}
		x = append(x, w)
	}
	return x, nil
}

func (s *singles) Tell(x [][]float64, scores []search.Score) error {
	for i := range x {
		if f := scores[i].Objective; isFinite(f) && (s.best == nil || f < s.lowest) {
			s.best, s.lowest = slices.Clone(x[i]), f
		}
	}
	return nil
}

func (s *singles) Best() []float64 { return s.best }
