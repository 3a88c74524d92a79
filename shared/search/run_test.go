//go:build !wasip1

package search

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/medley-lora/medley/shared/fault"
)

// script is an optimizer that asks for listed rounds and then has converged.
type script struct {
	rounds [][][]float64
	told   [][][]float64
	best   []float64
}

func (s *script) Ask(int) ([][]float64, error) {
	if len(s.told) == len(s.rounds) {
		return nil, nil
	}
	var x [][]float64
	for _, c := range s.rounds[len(s.told)] {
		x = append(x, slices.Clone(c))
	}
	return x, nil
}

func (s *script) Tell(x [][]float64, _ []Score) error {
	s.told = append(s.told, x)
	if s.best == nil {
		s.best = x[0]
	}
	return nil
}

func (s *script) Best() []float64 { return s.best }

// evaluate is an Evaluator made of a function.
type evaluate func(ctx context.Context, x [][]float64) ([]Score, error)

func (e evaluate) Evaluate(ctx context.Context, x [][]float64) ([]Score, error) { return e(ctx, x) }

// sum scores a candidate by the sum of its weights, and notes how many it scored.
func sum(scored *int) Evaluator {
	return evaluate(func(_ context.Context, x [][]float64) ([]Score, error) {
		scores := make([]Score, len(x))
		for i, w := range x {
			*scored++
			scores[i].Objective = w[0] + w[1]
		}
		return scores, nil
	})
}

func plane(budget, batch int) Problem {
	lower, upper := Box(2, 1)
	return Problem{Dim: 2, Lower: lower, Upper: upper, Budget: budget, Batch: batch}
}

func TestRunEnds(t *testing.T) {
	rounds := [][][]float64{{{0.5, 0}, {0, -1}}, {{0.25, 0.25}}, {{1, 1}, {-3, 0}}}
	for name, c := range map[string]struct {
		problem   Problem
		stopped   string
		numbers   int
		lowest    float64
		lastRound int
	}{
		"converged": {plane(10, 2), StoppedConverged, 5, -1, 3},
		"budget":    {plane(3, 2), StoppedBudget, 3, -1, 2},
	} {
		t.Run(name, func(t *testing.T) {
			var seen []Evaluation
			scored := 0
			o := &script{rounds: rounds}
			result, err := Run(t.Context(), c.problem, o, sum(&scored), RunOptions{Observe: func(e Evaluation) { seen = append(seen, e) }})
			if err != nil {
				t.Fatal(err)
			}
			if result.Stopped != c.stopped || result.Evaluations != c.numbers || result.Rounds != c.lastRound || scored != c.numbers || len(seen) != c.numbers {
				t.Errorf("%+v, %d scored, %d observed", result, scored, len(seen))
			}
			if !slices.Equal(result.Best, []float64{0.5, 0}) || result.Score.Objective != 0.5 {
				t.Errorf("the optimizer's choice is %v with objective %v", result.Best, result.Score.Objective)
			}
			last := seen[len(seen)-1]
			if last.Number != c.numbers || last.Round != c.lastRound || last.Best != c.lowest {
				t.Errorf("last evaluation: %+v", last)
			}
			if name == "converged" && !slices.Equal(last.Candidate, []float64{-1, 0}) {
				t.Errorf("a candidate outside the bounds was evaluated as %v", last.Candidate)
			}
		})
	}
}

func TestRunRefuses(t *testing.T) {
	fine := &script{rounds: [][][]float64{{{0, 0}}}}
	count := 0
	for name, c := range map[string]struct {
		problem   Problem
		optimizer Optimizer
		evaluator Evaluator
		code      fault.Code
		field     string
	}{
		"no budget":           {plane(0, 1), fine, sum(&count), fault.Invalid, "budget"},
		"a short candidate":   {plane(5, 1), &script{rounds: [][][]float64{{{0}}}}, sum(&count), fault.Internal, "optimizer"},
		"a NaN candidate":     {plane(5, 1), &script{rounds: [][][]float64{{{0, math.NaN()}}}}, sum(&count), fault.Internal, "optimizer"},
		"too many candidates": {plane(5, 1), &script{rounds: [][][]float64{{{0, 0}, {0, 0}}}}, sum(&count), fault.Internal, "optimizer"},
		"too few scores": {plane(5, 2), &script{rounds: [][][]float64{{{0, 0}}}},
			evaluate(func(context.Context, [][]float64) ([]Score, error) { return nil, nil }), fault.Internal, "evaluator"},
		"nothing succeeds": {plane(5, 2), &script{rounds: [][][]float64{{{0, 0}}}},
			evaluate(func(context.Context, [][]float64) ([]Score, error) { return []Score{{Objective: math.NaN()}}, nil }), fault.Invalid, ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Run(t.Context(), c.problem, c.optimizer, c.evaluator, RunOptions{})
			var f *fault.Error
			if !errors.As(err, &f) || f.Code != c.code || f.Field != c.field {
				t.Errorf("error %#v, expected %s about %q", err, c.code, c.field)
			}
		})
	}
}

func TestRunKeepsWhatWasFoundBeforeAnError(t *testing.T) {
	calls := 0
	broken := errors.New("the device went away")
	result, err := Run(t.Context(), plane(5, 1), &script{rounds: [][][]float64{{{-1, 0}}, {{0, 0}}}},
		evaluate(func(context.Context, [][]float64) ([]Score, error) {
			if calls++; calls > 1 {
				return nil, broken
			}
			return []Score{{Objective: 2}}, nil
		}), RunOptions{})
	if !errors.Is(err, broken) || result.Stopped != StoppedFailed || result.Evaluations != 1 || result.Score.Objective != 2 {
		t.Errorf("%+v, %v", result, err)
	}
}

func TestRunCanceled(t *testing.T) {
	for name, after := range map[string]int{"before the first score": 0, "after one round": 1} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			calls := 0
			result, err := Run(ctx, plane(9, 1), &script{rounds: [][][]float64{{{-1, 0}}, {{0, 0}}, {{1, 0}}}},
				evaluate(func(ctx context.Context, x [][]float64) ([]Score, error) {
					if calls++; calls > after {
						cancel()
						return nil, ctx.Err()
					}
					return []Score{{Objective: 2}}, nil
				}), RunOptions{})
			if result.Stopped != StoppedCanceled || result.Evaluations != after {
				t.Errorf("%+v", result)
			}
			if after == 0 && fault.CodeOf(err) != fault.Canceled {
				t.Errorf("error %v, expected canceled", err)
			}
			if after == 1 && (err != nil || result.Score.Objective != 2) {
				t.Errorf("%+v, %v", result, err)
			}
		})
	}
}

// mortal is an optimizer that the end of the context kills.
type mortal struct {
	script
	ctx           context.Context
	dies          context.CancelFunc
	asking, tells int // the call it dies in, from 1; 0 is none
}

func (m *mortal) Ask(n int) ([][]float64, error) {
	if m.asking--; m.asking == 0 {
		m.dies()
		return nil, m.ctx.Err()
	}
	return m.script.Ask(n)
}

func (m *mortal) Tell(x [][]float64, s []Score) error {
	if m.tells--; m.tells == 0 {
		m.dies()
		return m.ctx.Err()
	}
	return m.script.Tell(x, s)
}

// An optimizer in a sandbox is stopped with the search, and what was scored is the result all the same.
func TestRunCanceledInOptimizer(t *testing.T) {
	for name, c := range map[string]struct{ asking, tells, evaluations int }{"asking": {2, 0, 1}, "telling": {0, 2, 2}} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			o := &mortal{script: script{rounds: [][][]float64{{{-1, 0}}, {{0, 0}}, {{1, 0}}}}, ctx: ctx, dies: cancel, asking: c.asking, tells: c.tells}
			scored := 0
			result, err := Run(ctx, plane(9, 1), o, sum(&scored), RunOptions{})
			if err != nil || result.Stopped != StoppedCanceled || result.Evaluations != c.evaluations || result.Score.Objective != -1 {
				t.Errorf("%+v, %v", result, err)
			}
		})
	}
}

func TestRunReplay(t *testing.T) {
	rounds := [][][]float64{{{0.5, 0}, {0, -1}}, {{0.25, 0.25}, {0.125, 0}}, {{1, 1}}}
	var whole []Evaluation
	all := 0
	if _, err := Run(t.Context(), plane(9, 2), &script{rounds: rounds}, sum(&all), RunOptions{Observe: func(e Evaluation) { whole = append(whole, e) }}); err != nil {
		t.Fatal(err)
	}
	other := slices.Clone(whole)
	other[2].Candidate = []float64{0.25, 0.2500001}
	for name, c := range map[string]struct {
		replay []Evaluation
		budget int
		scored int
		err    string
	}{
		"none":              {nil, 9, 5, ""},
		"one round":         {whole[:2], 9, 3, ""},
		"half of a round":   {whole[:3], 9, 3, ""},
		"everything":        {whole, 9, 0, ""},
		"another candidate": {other, 9, 0, "evaluation 3 does not follow"},
		"beyond the end":    {append(slices.Clone(whole), whole[0]), 9, 0, "evaluation 6 does not follow"},
		"beyond the budget": {whole, 4, 0, "evaluation 5 does not follow"},
	} {
		t.Run(name, func(t *testing.T) {
			scored, observed := 0, 0
			o := &script{rounds: rounds}
			result, err := Run(t.Context(), plane(c.budget, 2), o, sum(&scored), RunOptions{Replay: c.replay, Observe: func(Evaluation) { observed++ }})
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) || fault.CodeOf(err) != fault.Invalid {
					t.Errorf("error %v, expected one with %q", err, c.err)
				}
				return
			}
			if err != nil || scored != c.scored || observed != c.scored || result.Evaluations != len(whole) || result.Rounds != 3 {
				t.Errorf("%+v, %d scored, %d observed, error %v", result, scored, observed, err)
			}
		})
	}
}

func TestProblemCheck(t *testing.T) {
	if err := plane(5, 2).Check(); err != nil {
		t.Fatal(err)
	}
	for field, change := range map[string]func(p *Problem){
		"dim":    func(p *Problem) { p.Dim = 0 },
		"budget": func(p *Problem) { p.Budget = MaxBudget + 1 },
		"batch":  func(p *Problem) { p.Batch = 0 },
		"lower":  func(p *Problem) { p.Lower = []float64{-1} },
		"upper":  func(p *Problem) { p.Upper[1] = math.Inf(1) },
		"l1":     func(p *Problem) { p.L1 = -1 },
		"groups": func(p *Problem) { p.Groups = []int{3, -1} },
	} {
		p := plane(5, 2)
		change(&p)
		var f *fault.Error
		if err := p.Check(); !errors.As(err, &f) || f.Field != field || f.Code != fault.Invalid {
			t.Errorf("%s: %v", field, err)
		}
	}
}
