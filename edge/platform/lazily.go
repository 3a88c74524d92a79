package platform

import (
	"context"

	"github.com/medley-lora/medley/edge/compute"
	"github.com/medley-lora/medley/shared/search"
	"github.com/medley-lora/medley/shared/task"
)

// lazily is a model of the pool that is opened when it has to evaluate: what is remembered needs no evaluator.
type lazily struct {
	compute.Model // nil: of it only Score and Backend are asked here
	p             *Platform
	spec          compute.Spec
	backend       string
}

// Backend is what scores are remembered of.
func (l *lazily) Backend() string { return l.backend }

// Score opens the model.
func (l *lazily) Score(ctx context.Context, examples []task.Example, weights [][]float64) ([]search.Score, error) {
	model, leave, err := l.p.pool.take(ctx, l.spec)
	if err != nil {
		return nil, err
	}
	defer leave()
	return model.Score(ctx, examples, weights)
}
