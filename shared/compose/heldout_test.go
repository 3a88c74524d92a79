package compose

import (
	"math"
	"testing"

	"github.com/medley-lora/medley/shared/search"
	"github.com/medley-lora/medley/shared/task"
)

func point(o task.Objective, tokens []int, weight float64, losses ...float64) scored {
	s := search.Score{Examples: losses}
	s.Objective = o.Value(losses, tokens, []float64{weight})
	return scored{[]float64{weight}, s}
}

func TestLeaveOneOutByHand(t *testing.T) {
	o := task.Objective{Name: task.Mean, Penalty: 0}
	tokens := []int{1, 1, 2}
	l := newLeaveOneOut(o, tokens)
	if l.estimate() != nil {
		t.Error("an estimate before the first point")
	}
	l.add(point(o, tokens, 0, 2, 2, 2))
	if got := *l.estimate(); got != 2 {
		t.Errorf("one point: %v, want its loss 2", got)
	}
	l.add(point(o, tokens, 1, math.NaN(), 0, 0))
	if got := *l.estimate(); got != 2 {
		t.Errorf("after a failed point: %v, want 2", got)
	}
	// Best without the first example (0 against 2) but 9 on it; not better without the second (9+0 over 3 tokens against 2)
	// nor without the third.
	l.add(point(o, tokens, 1, 9, 0, 0))
	if got, want := *l.estimate(), (9+2+2*2)/4.0; got != want {
		t.Errorf("a point that memorises: %v, want %v", got, want)
	}
	l.add(point(o, tokens, 1, 1, 1, 1))
	// Without the first the memorising point is still best; without the others the last one is.
	if got, want := *l.estimate(), (9+1+2*1)/4.0; got != want {
		t.Errorf("a better point: %v, want %v", got, want)
	}
}

// The penalty takes part in the choice, and of equal points the first is kept.
func TestLeaveOneOutChoosesByObjective(t *testing.T) {
	o := task.Objective{Name: task.Sparse, Penalty: 0.5}
	tokens := []int{1, 1}
	l := newLeaveOneOut(o, tokens)
	l.add(point(o, tokens, 0, 2, 2))
	l.add(point(o, tokens, 1, 1.75, 1.75)) // 0.25 less loss, 0.5 more penalty
	if got := *l.estimate(); got != 2 {
		t.Errorf("estimate %v, want 2: the second point is worse by the objective", got)
	}
	l.add(point(o, tokens, 1, 1.5, 1.5)) // equal
	if got := *l.estimate(); got != 2 {
		t.Errorf("estimate %v, want 2: the first of equals", got)
	}
}

func TestLeaveOneOutNeedsTwo(t *testing.T) {
	l := newLeaveOneOut(task.Objective{Name: task.Mean}, []int{3})
	l.add(point(task.Objective{Name: task.Mean}, []int{3}, 0, 1))
	if l.estimate() != nil {
		t.Error("an estimate for a single example")
	}
}
