package optimizer

import (
	"context"
	"slices"
	"testing"

	"github.com/medley-lora/medley/shared/search"
	"github.com/medley-lora/medley/shared/search/searchtest"
	"github.com/medley-lora/medley/wasm/optimizer/synthetic"
)

// TestAutoChooses holds auto to the algorithm that it says.
func TestAutoChooses(t *testing.T) {
	for _, c := range []struct {
		name   string
		budget int
		groups []int
		want   func(search.Optimizer) bool
	}{
		{"few examples", 40, []int{1, 2}, func(o search.Optimizer) bool { g, ok := o.(*gntr); return ok && g.climb == nil }},
		{"few examples, long", 5000, []int{1, 2}, func(o search.Optimizer) bool { g, ok := o.(*gntr); return ok && g.climb == nil }},
		{"no examples, short", longBudget, nil, func(o search.Optimizer) bool { g, ok := o.(*gntr); return ok && g.climb != nil }},
		{"no examples, long", longBudget + 1, nil, func(o search.Optimizer) bool { _, ok := o.(*coord); return ok }},
	} {
		p := searchtest.Problem(5, c.budget, 8)
		p.Groups = c.groups
		o, err := New("auto", p)
		if err != nil || !c.want(o) {
			t.Errorf("%s: %T, %v", c.name, o, err)
		}
	}
}

// The course that auto takes without examples, which the contract's problems have.
func TestClimbContract(t *testing.T) {
	climbing := func(p search.Problem) (search.Optimizer, error) {
		p.Groups = nil
		return newClimbingGNTR(p)
	}
	searchtest.Run(t, climbing)
	searchtest.ReturnsLowest(t, climbing)
}

// TestClimbAsksForOne: what is learned from one candidate is worth more than a full batch.
func TestClimbAsksForOne(t *testing.T) {
	s := synthetic.Quadratic(1, 6)
	o, err := New("auto", s.Problem(60, 64, 1))
	if err != nil {
		t.Fatal(err)
	}
	rounds := 0
	r, err := search.Run(t.Context(), s.Problem(60, 64, 1), o, s, search.RunOptions{Observe: func(e search.Evaluation) { rounds = e.Round }})
	if err != nil || r.Evaluations != 60 || rounds != 60 {
		t.Errorf("%d evaluations in %d rounds, %v", r.Evaluations, rounds, err)
	}
}

// TestClimbStartsOver: a search that has found a minimum goes on elsewhere, and keeps it.
func TestClimbStartsOver(t *testing.T) {
	s := synthetic.Product(8, 6, 4, 8)
	p := s.Problem(300, 1, 1)
	o, err := newClimbingGNTR(p)
	if err != nil {
		t.Fatal(err)
	}
	var found []search.Evaluation
	r, err := search.Run(t.Context(), p, o, s, search.RunOptions{Observe: func(e search.Evaluation) { found = append(found, e) }})
	if err != nil {
		t.Fatal(err)
	}
	g := o.(*gntr)
	if g.from == 0 || !g.climb.scalar {
		t.Fatal("300 evaluations of 6 weights did not start over")
	}
	lowest := slices.MinFunc(found, func(a, b search.Evaluation) int {
		return byObjective(observation{objective: a.Score.Objective}, observation{objective: b.Score.Objective})
	})
	if r.Score.Objective != lowest.Score.Objective {
		t.Errorf("ended with %v, the lowest was %v", r.Score.Objective, lowest.Score.Objective)
	}
}

// TestCoordFindsACorner: the step grows to the bounds, turns where it must, and the search ends of itself.
func TestCoordFindsACorner(t *testing.T) {
	p := search.Problem{Dim: 3, Lower: []float64{-1, -2, 0.25}, Upper: []float64{2, 1, 0.25}, Budget: 500, Batch: 4, Seed: 1}
	o, err := New("coord", p)
	if err != nil {
		t.Fatal(err)
	}
	r, err := search.Run(t.Context(), p, o, function(slope), search.RunOptions{})
	if err != nil || !slices.Equal(r.Best, []float64{-1, 1, 0.25}) || r.Stopped != search.StoppedConverged || r.Evaluations > 250 {
		t.Errorf("%v after %d evaluations, %s, %v", r.Best, r.Evaluations, r.Stopped, err)
	}
}

// slope falls towards the corner of small first and large second weights.
func slope(_ context.Context, x [][]float64) ([]search.Score, error) {
	scores := make([]search.Score, len(x))
	for i, w := range x {
		scores[i].Objective = w[0] - w[1]
	}
	return scores, nil
}

type function func(context.Context, [][]float64) ([]search.Score, error)

func (f function) Evaluate(ctx context.Context, x [][]float64) ([]search.Score, error) {
	return f(ctx, x)
}

// TestZeroStopsOnceScored: the base is asked for until it was scored, and then nothing.
func TestZeroStopsOnceScored(t *testing.T) {
	p := searchtest.Problem(3, 10, 4)
	o, err := New("zero", p)
	if err != nil {
		t.Fatal(err)
	}
	r, err := search.Run(t.Context(), p, o, &searchtest.Evaluator{Problem: p, Fails: func(i int) bool { return i < 2 }}, search.RunOptions{})
	if err != nil || r.Evaluations != 3 || !slices.Equal(r.Best, []float64{0, 0, 0}) {
		t.Errorf("%+v, %v", r, err)
	}
}
