// Package searchtest is the contract of search.Optimizer as a test: every implementation runs it, native or sandboxed.
package searchtest

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/medley-lora/medley/shared/search"
)

// Make returns a new optimizer for p.
type Make func(p search.Problem) (search.Optimizer, error)

// Run holds the optimizers that create returns to the contract of search.Optimizer.
func Run(t *testing.T, create Make) {
	t.Run("keeps the bounds and the budget", func(t *testing.T) { keepsBounds(t, create) })
	t.Run("asks no more than it may", func(t *testing.T) { asksNoMore(t, create) })
	t.Run("is deterministic", func(t *testing.T) { isDeterministic(t, create) })
	t.Run("refuses wrong calls", func(t *testing.T) { refusesWrongCalls(t, create) })
	t.Run("takes candidates it did not ask for", func(t *testing.T) { takesStrangers(t, create) })
	t.Run("survives failed evaluations", func(t *testing.T) { survivesFailures(t, create) })
	t.Run("returns a candidate no worse than one module", func(t *testing.T) { returnsGood(t, create) })
	t.Run("resumes by replay", func(t *testing.T) { resumes(t, create) })
	t.Run("owns nothing of the caller's", func(t *testing.T) { ownsNothing(t, create) })
}

// Problem is a problem of n weights within ±1.5 whose scores carry six log-probabilities, of two examples.
func Problem(n, budget, batch int) search.Problem {
	lower, upper := search.Box(n, 1.5)
	return search.Problem{
		Dim: n, Lower: lower, Upper: upper, Budget: budget, Batch: batch, Seed: 7, L1: 0.05, Groups: []int{2, 4},
	}
}

// Evaluator scores candidates of Problem: token t is the more probable the nearer a sum of weights of its own comes to 1.
// Fails tells which evaluations, counted from 0, fail; nil means none.
type Evaluator struct {
	Problem search.Problem
	Fails   func(i int) bool
	calls   int
}

// Evaluate never returns an error.
func (e *Evaluator) Evaluate(_ context.Context, x [][]float64) ([]search.Score, error) {
	scores := make([]search.Score, len(x))
	for i, w := range x {
		e.calls++
		if e.Fails != nil && e.Fails(e.calls-1) {
			scores[i] = search.Score{Objective: math.NaN(), Loss: math.NaN()}
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
	return scores, nil
}

// drive searches until the budget is spent or the optimizer converges, and returns all that was asked, round by round.
func drive(t *testing.T, create Make, p search.Problem, e *Evaluator) (search.Optimizer, [][][]float64) {
	t.Helper()
	o := open(t, create, p)
	var rounds [][][]float64
	for left := p.Budget; left > 0; {
		x := ask(t, o, min(p.Batch, left))
		if len(x) == 0 {
			break
		}
		left -= len(x)
		rounds = append(rounds, x)
		tell(t, o, e, x)
	}
	return o, rounds
}

func open(t *testing.T, create Make, p search.Problem) search.Optimizer {
	t.Helper()
	o, err := create(p)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func ask(t *testing.T, o search.Optimizer, n int) [][]float64 {
	t.Helper()
	x, err := o.Ask(n)
	if err != nil {
		t.Fatal(err)
	}
	if len(x) > n {
		t.Fatalf("%d candidates where %d were asked for", len(x), n)
	}
	return x
}

func tell(t *testing.T, o search.Optimizer, e *Evaluator, x [][]float64) []search.Score {
	t.Helper()
	s, err := e.Evaluate(t.Context(), x)
	if err != nil {
		t.Fatal(err)
	}
	if err := o.Tell(x, s); err != nil {
		t.Fatal(err)
	}
	return s
}

func keepsBounds(t *testing.T, create Make) {
	uneven := Problem(5, 30, 4)
	uneven.Lower, uneven.Upper = []float64{-1, 0, 0.2, -0.3, 0}, []float64{1, 0.5, 3, -0.1, 0}
	for name, p := range map[string]search.Problem{
		"1 weight": Problem(1, 30, 4), "2 weights": Problem(2, 40, 8), "20 weights": Problem(20, 40, 8),
		"200 weights": Problem(200, 40, 8), "budget 1": Problem(3, 1, 8), "budget 2": Problem(3, 2, 1),
		"batch 64": Problem(20, 100, 64), "uneven bounds": uneven,
	} {
		t.Run(name, func(t *testing.T) {
			_, rounds := drive(t, create, p, &Evaluator{Problem: p})
			asked := 0
			for _, x := range rounds {
				asked += len(x)
				for _, w := range x {
					within(t, p, w)
				}
			}
			if asked == 0 || asked > p.Budget {
				t.Errorf("%d candidates for a budget of %d", asked, p.Budget)
			}
		})
	}
}

func within(t *testing.T, p search.Problem, w []float64) {
	t.Helper()
	if len(w) != p.Dim {
		t.Fatalf("a candidate of %d weights, expected %d", len(w), p.Dim)
	}
	for i, v := range w {
		if !(v >= p.Lower[i] && v <= p.Upper[i]) {
			t.Fatalf("weight %d is %v, outside [%v, %v]", i+1, v, p.Lower[i], p.Upper[i])
		}
	}
}

// asksNoMore ignores the budget and asks for more.
func asksNoMore(t *testing.T, create Make) {
	p := Problem(4, 21, 64)
	o, e := open(t, create, p), &Evaluator{Problem: p}
	asked := 0
	for range 100 {
		x := ask(t, o, 64)
		if len(x) == 0 {
			break
		}
		asked += len(x)
		tell(t, o, e, x)
	}
	if asked > p.Budget {
		t.Errorf("%d candidates for a budget of %d", asked, p.Budget)
	}
}

func isDeterministic(t *testing.T, create Make) {
	for _, batch := range []int{1, 3, 64} {
		p := Problem(12, 40, batch)
		_, a := drive(t, create, p, &Evaluator{Problem: p})
		_, b := drive(t, create, p, &Evaluator{Problem: p})
		if !slices.EqualFunc(a, b, equal) {
			t.Errorf("batch %d: two searches with one seed differ", batch)
		}
	}
}

func equal(a, b [][]float64) bool { return slices.EqualFunc(a, b, slices.Equal) }

func refusesWrongCalls(t *testing.T, create Make) {
	p := Problem(3, 10, 4)
	o, e := open(t, create, p), &Evaluator{Problem: p}
	if _, err := o.Ask(0); err == nil {
		t.Error("Ask(0) is no error")
	}
	x := ask(t, o, 4)
	if _, err := o.Ask(4); err == nil {
		t.Error("asking twice before telling is no error")
	}
	s, err := e.Evaluate(t.Context(), x)
	if err != nil {
		t.Fatal(err)
	}
	for name, told := range map[string][][]float64{
		"a short candidate":         {{0, 0}},
		"a candidate out of bounds": {{0, 0, 1.6}},
		"a candidate with NaN":      {{0, math.NaN(), 0}},
	} {
		if err := o.Tell(told, s[:1]); err == nil {
			t.Errorf("telling %s is no error", name)
		}
	}
	if err := o.Tell(x, s[:len(s)-1]); err == nil {
		t.Error("telling fewer scores than candidates is no error")
	}
	if o.Best() != nil {
		t.Error("there is a best candidate before the first score")
	}
	if err := o.Tell(x, s); err != nil {
		t.Errorf("after refused calls the right one fails: %v", err)
	}
	ask(t, o, 4)
}

// takesStrangers warm-starts a search with points that it did not ask for, before and between its own.
func takesStrangers(t *testing.T, create Make) {
	p := Problem(6, 20, 4)
	o, e := open(t, create, p), &Evaluator{Problem: p}
	r := rand.New(rand.NewPCG(1, 1))
	stranger := func() [][]float64 {
		x := [][]float64{make6(r), make6(r)}
		return x
	}
	tell(t, o, e, stranger())
	asked := 0
	for asked < p.Budget {
		x := ask(t, o, 4)
		if len(x) == 0 {
			break
		}
		asked += len(x)
		tell(t, o, e, stranger())
		tell(t, o, e, x)
	}
	if asked == 0 || o.Best() == nil {
		t.Errorf("%d candidates asked, best %v", asked, o.Best())
	}
}

func make6(r *rand.Rand) []float64 {
	x := make([]float64, 6)
	for i := range x {
		x[i] = 3*r.Float64() - 1.5
	}
	return x
}

func survivesFailures(t *testing.T, create Make) {
	for name, fails := range map[string]func(int) bool{
		"every third":    func(i int) bool { return i%3 == 0 },
		"the first ten":  func(i int) bool { return i < 10 },
		"after the 20th": func(i int) bool { return i >= 20 },
		"all":            func(int) bool { return true },
	} {
		t.Run(name, func(t *testing.T) {
			p := Problem(8, 40, 4)
			e := &Evaluator{Problem: p, Fails: fails}
			o, rounds := drive(t, create, p, e)
			if len(rounds) == 0 {
				t.Fatal("nothing was asked")
			}
			if (o.Best() == nil) != (name == "all") {
				t.Errorf("best is %v", o.Best())
			}
		})
	}
}

// ReturnsLowest holds an optimizer that documents no other choice to the candidate with the lowest objective.
func ReturnsLowest(t *testing.T, create Make) {
	eachBest(t, create, func(best []float64, told []search.Evaluation) {
		lowest := slices.MinFunc(told, byObjective)
		if !slices.Equal(best, lowest.Candidate) {
			t.Fatalf("best is %v, the best seen is %v", best, lowest.Candidate)
		}
	})
}

// returnsGood expects one of the told candidates, and none that is worse than zero or than a module alone.
func returnsGood(t *testing.T, create Make) {
	eachBest(t, create, func(best []float64, told []search.Evaluation) {
		at := slices.IndexFunc(told, func(e search.Evaluation) bool { return slices.Equal(e.Candidate, best) })
		if at < 0 {
			t.Fatalf("best is %v, which was never told", best)
		}
		for _, e := range told {
			modules := len(slices.DeleteFunc(slices.Clone(e.Candidate), func(w float64) bool { return w == 0 }))
			if modules <= 1 && e.Score.Objective < told[at].Score.Objective {
				t.Fatalf("best has objective %v, %v has %v", told[at].Score.Objective, e.Candidate, e.Score.Objective)
			}
		}
	})
}

// eachBest runs a search and shows what Best returns after each round.
func eachBest(t *testing.T, create Make, look func(best []float64, told []search.Evaluation)) {
	t.Helper()
	p := Problem(10, 40, 8)
	o, e := open(t, create, p), &Evaluator{Problem: p}
	var told []search.Evaluation
	for left := p.Budget; left > 0; {
		x := ask(t, o, min(p.Batch, left))
		if len(x) == 0 {
			break
		}
		left -= len(x)
		for i, s := range tell(t, o, e, x) {
			told = append(told, search.Evaluation{Candidate: x[i], Score: s})
		}
		look(o.Best(), told)
	}
}

func byObjective(a, b search.Evaluation) int {
	return cmp.Compare(a.Score.Objective, b.Score.Objective)
}

// resumes stops a search after each round, and expects of the replay what the whole search asked.
func resumes(t *testing.T, create Make) {
	p := Problem(7, 24, 5)
	record := func(o search.RunOptions) (trace []search.Evaluation) {
		t.Helper()
		o.Observe = func(e search.Evaluation) { trace = append(trace, e) }
		result, err := search.Run(t.Context(), p, open(t, create, p), &Evaluator{Problem: p}, o)
		if err != nil || result.Evaluations != len(trace)+len(o.Replay) {
			t.Fatalf("%d evaluations, %d recorded, %d replayed, error %v", result.Evaluations, len(trace), len(o.Replay), err)
		}
		return trace
	}
	whole := record(search.RunOptions{})
	for i := range whole {
		if i > 0 && whole[i].Round == whole[i-1].Round {
			continue
		}
		rest := record(search.RunOptions{Replay: whole[:i]})
		for k := range rest {
			if w := whole[i+k]; !slices.Equal(rest[k].Candidate, w.Candidate) || rest[k].Number != w.Number || rest[k].Round != w.Round {
				t.Fatalf("resumed after %d evaluations, number %d is %v, was %v", i, i+k+1, rest[k].Candidate, w.Candidate)
			}
		}
	}
}

// ownsNothing changes what it was given and gave: the search must not notice.
func ownsNothing(t *testing.T, create Make) {
	p := Problem(5, 20, 4)
	_, want := drive(t, create, p, &Evaluator{Problem: p})
	q := Problem(5, 20, 4)
	o, e := open(t, create, q), &Evaluator{Problem: p}
	for i := range q.Lower {
		q.Lower[i], q.Upper[i] = 0, 0
	}
	for i, w := range want {
		x := ask(t, o, min(4, 20))
		if !equal(x, w) {
			t.Fatalf("round %d asks %s", i+1, fmt.Sprint(x))
		}
		s := tell(t, o, e, x)
		for j := range x {
			clear(x[j])
			clear(s[j].LogProbs)
			clear(s[j].Examples)
		}
		if best := o.Best(); best != nil {
			clear(best)
		}
	}
}
