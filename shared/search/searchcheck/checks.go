package searchcheck

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/search"
)

// KeepsBounds searches with 1 to 200 weights, batches of 1 to 64 and small budgets: every candidate is within its bounds, there is at
// least one, and no more than the budget has.
func (s Suite) KeepsBounds() error {
	uneven := s.problem(5, 30, 4)
	copy(uneven.Lower, []float64{-1, 0, 0.2, -0.3, 0})
	copy(uneven.Upper, []float64{1, 0.5, 3, -0.1, 0})
	problems := []search.Problem{uneven, s.problem(3, 1, 8), s.problem(3, 2, 1)}
	for _, dim := range []int{1, 2, 20, 200} {
		if s.MaxDim > 0 && dim > s.MaxDim {
			continue
		}
		problems = append(problems, s.problem(dim, 30, 1), s.problem(dim, 40, 8), s.problem(dim, 100, 64))
	}
	for i, p := range problems {
		place := fmt.Sprintf("%d weights, budget %d, batch %d", p.Dim, p.Budget, p.Batch)
		if i == 0 {
			place += ", uneven bounds"
		}
		if err := s.keepsBounds(p); err != nil {
			return fault.In(place, err)
		}
	}
	return nil
}

func (s Suite) keepsBounds(p search.Problem) error {
	_, rounds, err := s.drive(p, &Evaluator{Problem: p})
	if err != nil {
		return err
	}
	asked := 0
	for _, x := range rounds {
		asked += len(x)
	}
	if asked == 0 || asked > p.Budget {
		return wrong("%d candidates for a budget of %d", asked, p.Budget)
	}
	return nil
}

// KeepsBudget ignores the budget and asks for more.
func (s Suite) KeepsBudget() error {
	p := s.problem(4, 21, 64)
	o, err := s.Make(p)
	if err != nil {
		return err
	}
	asked, e := 0, &Evaluator{Problem: p}
	for range 100 {
		x, err := ask(o, p, 64)
		if err != nil {
			return err
		}
		if asked += len(x); asked > p.Budget {
			return wrong("%d candidates for a budget of %d", asked, p.Budget)
		}
		if len(x) == 0 {
			break
		}
		if err := o.Tell(x, e.score(x)); err != nil {
			return err
		}
	}
	return nil
}

// IsDeterministic searches twice with one seed.
func (s Suite) IsDeterministic() error {
	difference, err := s.Compare(s)
	if err == nil && difference != "" {
		err = wrong("two searches with one seed differ: %s", difference)
	}
	return err
}

// Compare searches the same problems with the optimizers of two suites. It returns the first difference between the candidates, bit for
// bit, or nothing.
func (s Suite) Compare(other Suite) (difference string, err error) {
	for _, batch := range []int{1, 3, 64} {
		p := s.problem(12, 40, batch)
		_, a, err := s.drive(p, &Evaluator{Problem: p})
		if err != nil {
			return "", err
		}
		_, b, err := other.drive(p, &Evaluator{Problem: p})
		if err != nil {
			return "", err
		}
		for i := range max(len(a), len(b)) {
			if i >= len(a) || i >= len(b) || !equal(a[i], b[i]) {
				return fmt.Sprintf("%d weights, batch %d, from round %d on", p.Dim, batch, i+1), nil
			}
		}
	}
	return "", nil
}

// RefusesWrongCalls expects errors, after which the right call works.
func (s Suite) RefusesWrongCalls() error {
	p := s.problem(3, 10, 4)
	o, err := s.Make(p)
	if err != nil {
		return err
	}
	if _, err := o.Ask(0); err == nil {
		return wrong("Ask(0) is no error")
	}
	x, err := ask(o, p, 4)
	if err != nil {
		return err
	}
	if _, err := o.Ask(4); err == nil {
		return wrong("asking twice before telling is no error")
	}
	scores := (&Evaluator{Problem: p}).score(x)
	last := func(v float64) []float64 { return append(make([]float64, p.Dim-1), v) }
	for _, told := range []struct {
		what string
		x    []float64
	}{
		{"a short candidate", make([]float64, p.Dim-1)},
		{"a candidate out of bounds", last(1.6)},
		{"a candidate with NaN", last(math.NaN())},
	} {
		if err := o.Tell([][]float64{told.x}, scores[:1]); err == nil {
			return wrong("telling %s is no error", told.what)
		}
	}
	if err := o.Tell(x, scores[:len(scores)-1]); err == nil {
		return wrong("telling fewer scores than candidates is no error")
	}
	if o.Best() != nil {
		return wrong("there is a best candidate before the first score")
	}
	if err := o.Tell(x, scores); err != nil {
		return fault.In("after refused calls the right one fails", err)
	}
	_, err = ask(o, p, 4)
	return err
}

// TakesStrangers warm-starts a search with points that it did not ask for, before and between its own.
func (s Suite) TakesStrangers() error {
	p := s.problem(6, 20, 4)
	o, err := s.Make(p)
	if err != nil {
		return err
	}
	e, r := &Evaluator{Problem: p}, rand.New(rand.NewPCG(1, 1))
	tellStrangers := func() error {
		x := make([][]float64, 2)
		for i := range x {
			for range p.Dim {
				x[i] = append(x[i], 3*r.Float64()-1.5)
			}
		}
		return o.Tell(x, e.score(x))
	}
	if err := tellStrangers(); err != nil {
		return fault.In("before the first candidate", err)
	}
	asked := 0
	err = eachRound(o, p, func(x [][]float64) error {
		asked += len(x)
		if err := tellStrangers(); err != nil {
			return fault.In("between candidates", err)
		}
		return o.Tell(x, e.score(x))
	})
	if err == nil && (asked == 0 || o.Best() == nil) {
		err = wrong("%d candidates asked, best %v", asked, o.Best())
	}
	return err
}

// TakesAnyOrder tells the scores of a round last candidate first.
func (s Suite) TakesAnyOrder() error {
	p := s.problem(6, 40, 8)
	o, err := s.Make(p)
	if err != nil {
		return err
	}
	e := &Evaluator{Problem: p}
	return eachRound(o, p, func(x [][]float64) error {
		slices.Reverse(x)
		return o.Tell(x, e.score(x))
	})
}

// SurvivesFailures lets evaluations fail, with NaN and with an infinite objective.
func (s Suite) SurvivesFailures() error {
	for _, c := range []struct {
		which string
		fails func(int) bool
	}{
		{"every third", func(i int) bool { return i%3 == 0 }},
		{"the first ten", func(i int) bool { return i < 10 }},
		{"after the 20th", func(i int) bool { return i >= 20 }},
		{"all", func(int) bool { return true }},
	} {
		for _, failure := range []float64{math.NaN(), math.Inf(1)} {
			p := s.problem(8, 40, 4)
			err := s.survives(p, &Evaluator{Problem: p, Fails: c.fails, Failure: failure})
			if err != nil {
				return fault.In(fmt.Sprintf("evaluations that are %v: %s", failure, c.which), err)
			}
		}
	}
	return nil
}

func (s Suite) survives(p search.Problem, e *Evaluator) error {
	o, rounds, err := s.drive(p, e)
	if err != nil {
		return err
	}
	asked, succeeded := 0, false
	for _, x := range rounds {
		for range x {
			succeeded = succeeded || !e.Fails(asked)
			asked++
		}
	}
	switch best := o.Best(); {
	case asked == 0:
		return wrong("nothing was asked")
	case succeeded && best == nil:
		return wrong("there is no best candidate")
	case !succeeded && best != nil:
		return wrong("best is %v", best)
	}
	return nil
}

// ReturnsLowest holds an optimizer that documents no other choice to the candidate with the lowest objective. It is not among Checks.
func (s Suite) ReturnsLowest() error {
	return s.eachBest(func(best []float64, told []search.Evaluation) error {
		lowest := slices.MinFunc(told, func(a, b search.Evaluation) int { return cmp.Compare(a.Score.Objective, b.Score.Objective) })
		if !slices.Equal(best, lowest.Candidate) {
			return wrong("best is %v, the best seen is %v", best, lowest.Candidate)
		}
		return nil
	})
}

// ReturnsGood expects one of the told candidates, and none that is worse than zero or than a module alone.
func (s Suite) ReturnsGood() error {
	return s.eachBest(func(best []float64, told []search.Evaluation) error {
		at := slices.IndexFunc(told, func(e search.Evaluation) bool { return slices.Equal(e.Candidate, best) })
		if at < 0 {
			return wrong("best is %v, which was never told", best)
		}
		for _, e := range told {
			modules := len(slices.DeleteFunc(slices.Clone(e.Candidate), func(w float64) bool { return w == 0 }))
			if modules <= 1 && e.Score.Objective < told[at].Score.Objective {
				return wrong("best has objective %v, %v has %v", told[at].Score.Objective, e.Candidate, e.Score.Objective)
			}
		}
		return nil
	})
}

// eachBest runs a search and looks at what Best returns after each round.
func (s Suite) eachBest(look func(best []float64, told []search.Evaluation) error) error {
	p := s.problem(10, 40, 8)
	o, err := s.Make(p)
	if err != nil {
		return err
	}
	e := &Evaluator{Problem: p}
	var told []search.Evaluation
	return eachRound(o, p, func(x [][]float64) error {
		scores := e.score(x)
		if err := o.Tell(x, scores); err != nil {
			return err
		}
		for i := range x {
			told = append(told, search.Evaluation{Candidate: x[i], Score: scores[i]})
		}
		return look(o.Best(), told)
	})
}

// Resumes stops a search after each round, and expects of the replay what the whole search asked.
func (s Suite) Resumes() error {
	p := s.problem(7, 24, 5)
	record := func(o search.RunOptions) (trace []search.Evaluation, err error) {
		optimizer, err := s.Make(p)
		if err != nil {
			return nil, err
		}
		o.Observe = func(e search.Evaluation) { trace = append(trace, e) }
		result, err := search.Run(context.Background(), p, optimizer, &Evaluator{Problem: p}, o)
		if err == nil && result.Evaluations != len(trace)+len(o.Replay) {
			err = wrong("%d evaluations, %d recorded, %d replayed", result.Evaluations, len(trace), len(o.Replay))
		}
		return trace, err
	}
	whole, err := record(search.RunOptions{})
	if err != nil {
		return err
	}
	for i := range whole {
		if i > 0 && whole[i].Round == whole[i-1].Round {
			continue
		}
		rest, err := record(search.RunOptions{Replay: whole[:i]})
		if err != nil {
			return fault.In(fmt.Sprintf("resumed after %d evaluations", i), err)
		}
		for k := range rest {
			if w := whole[i+k]; !sameBits(rest[k].Candidate, w.Candidate) || rest[k].Number != w.Number || rest[k].Round != w.Round {
				return wrong("resumed after %d evaluations, number %d is %v, was %v", i, i+k+1, rest[k].Candidate, w.Candidate)
			}
		}
	}
	return nil
}

// OwnsNothing changes what it was given and gave: the search must not notice.
func (s Suite) OwnsNothing() error {
	p, q := s.problem(5, 20, 4), s.problem(5, 20, 4)
	_, want, err := s.drive(p, &Evaluator{Problem: p})
	if err != nil {
		return err
	}
	o, err := s.Make(q)
	if err != nil {
		return err
	}
	clear(q.Lower)
	clear(q.Upper)
	e := &Evaluator{Problem: p}
	for i, w := range want {
		x, err := ask(o, p, 4)
		if err != nil {
			return err
		}
		if !equal(x, w) {
			return wrong("round %d asks %v", i+1, x)
		}
		scores := e.score(x)
		if err := o.Tell(x, scores); err != nil {
			return err
		}
		for j := range x {
			clear(x[j])
			clear(scores[j].LogProbs)
			clear(scores[j].Examples)
		}
		clear(o.Best())
	}
	return nil
}
