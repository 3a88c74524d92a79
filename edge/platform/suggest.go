package platform

import (
	"cmp"
	"context"
	"math"
	"slices"

	"github.com/medley-lora/medley/edge/api"
	"github.com/medley-lora/medley/shared/wire"
)

// suggestBatch is how many weight vectors are scored at once: enough to fill an evaluator, and few enough to lose little when the request ends.
const suggestBatch = 64

// Suggest scores the base and each module alone, as Score does, and names the modules that do best.
func (p *Platform) Suggest(ctx context.Context, owner, id string, count int) (none api.Suggestions, err error) {
	s, err := p.find(ctx, owner, id)
	if err != nil {
		return none, err
	}
	modules := s.request.Modules
	losses := make([]float64, 0, 1+len(modules)) // the base's, then each module's
	for len(losses) <= len(modules) {
		scores, err := p.Score(ctx, owner, id, alone(len(modules), len(losses)))
		if err != nil {
			return none, err
		}
		for _, score := range scores {
			losses = append(losses, score.Loss)
		}
	}
	all := make([]api.Suggestion, len(modules))
	for i, m := range modules {
		all[i] = api.Suggestion{Module: m, Loss: wire.Number(losses[1+i])}
	}
	slices.SortStableFunc(all, func(a, b api.Suggestion) int { return cmp.Compare(last(a.Loss), last(b.Loss)) })
	return api.Suggestions{BaseLoss: wire.Number(losses[0]), Modules: all[:min(count, len(all))]}, nil
}

// alone is the next batch of zero weights followed by each module alone, of which some are done.
func alone(modules, done int) [][]float64 {
	batch := make([][]float64, min(suggestBatch, 1+modules-done))
	for i := range batch {
		batch[i] = make([]float64, modules)
		if module := done + i - 1; module >= 0 {
			batch[i][module] = 1
		}
	}
	return batch
}

// last makes what is no number come after all numbers.
func last(loss wire.Number) float64 {
	if math.IsNaN(float64(loss)) {
		return math.Inf(1)
	}
	return float64(loss)
}
