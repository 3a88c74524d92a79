package compose

import (
	"math"

	"github.com/medley-lora/medley/shared/task"
)

// leaveOneOut keeps, for each example, the loss at the best point on the other examples, as points are added.
type leaveOneOut struct {
	objective task.Objective
	tokens    []int
	best      []float64 // [examples]; objective without that example, +Inf at first
	losses    []float64 // [examples]; of that example at the point that has it
}

// newLeaveOneOut returns nil for fewer than two examples: nothing remains to choose by.
func newLeaveOneOut(o task.Objective, tokens []int) *leaveOneOut {
	if len(tokens) < 2 {
		return nil
	}
	l := &leaveOneOut{objective: o, tokens: tokens, best: make([]float64, len(tokens)), losses: make([]float64, len(tokens))}
	for i := range l.best {
		l.best[i] = math.Inf(1)
	}
	return l
}

// add takes a point into the choice. A failed one has no say.
func (l *leaveOneOut) add(p scored) {
	if l == nil || !finite(p.score.Objective) {
		return
	}
	losses, tokens := make([]float64, 0, len(l.tokens)), make([]int, 0, len(l.tokens))
	for i := range l.tokens {
		losses = append(append(losses[:0], p.score.Examples[:i]...), p.score.Examples[i+1:]...)
		tokens = append(append(tokens[:0], l.tokens[:i]...), l.tokens[i+1:]...)
		if f := l.objective.Value(losses, tokens, p.weights); f < l.best[i] {
			l.best[i], l.losses[i] = f, p.score.Examples[i]
		}
	}
}

// estimate returns the held-out loss, nil before the first point.
func (l *leaveOneOut) estimate() *float64 {
	if l == nil || math.IsInf(l.best[0], 1) {
		return nil
	}
	return known(task.TokenMean(l.losses, l.tokens))
}

// known returns v where JSON and a reader can have it.
func known(v float64) *float64 {
	if !finite(v) {
		return nil
	}
	return &v
}
