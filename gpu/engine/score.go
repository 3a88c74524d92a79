package engine

import (
	"context"
	"math"

	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/gpu/model"
	"github.com/medley-lora/medley/shared/search"
)

// Composition says what the rows of one segment run under. The zero value is the bare base.
type Composition struct {
	Terms   []backend.Term // modules by the number that AddModule gave, and their weights
	Product bool           // LoraHub's product of sums instead of the sum of products; see backend.Segment
}

// Score returns the loss, the loss per example and the log-probability of every target token, for each composition over the same
// examples. Objectives are left zero: they are the caller's. A batch that does not fit the planned memory is split, which
// changes no number.
func (e *Engine) Score(ctx context.Context, examples []Example, compositions []Composition) ([]search.Score, error) {
	scores, err := e.ScoreAll(ctx, []ScoreRequest{{Examples: examples, Compositions: compositions}})
	if err != nil {
		return nil, err
	}
	return scores[0], nil
}

// read waits for log-probabilities.
func read(p backend.Pass, t backend.Tensor) ([]float64, error) {
	values, err := p.Read(t)
	if err != nil {
		return nil, err
	}
	logProbs := make([]float64, len(values))
	for i, v := range values {
		logProbs[i] = float64(v)
	}
	return logProbs, nil
}

func meanLoss(logProbs []float64) float64 {
	sum := 0.0
	for _, v := range logProbs {
		sum -= v
	}
	if len(logProbs) == 0 {
		return math.NaN()
	}
	return sum / float64(len(logProbs))
}

// segments collects row ranges; consecutive rows under one composition share a segment, the bare base's get none.
type segments struct {
	tokens int // backend.Segment.Tokens of those to come
	list   []backend.Segment
	last   *Composition
	end    int
}

// extend gives the rows from the previous end to end to c.
func (s *segments) extend(c *Composition, end int) {
	start := s.end
	s.end = end
	switch {
	case c == nil || len(c.Terms) == 0: // the bare base
	case c == s.last && len(s.list) > 0 && s.list[len(s.list)-1].Row1 == start:
		s.list[len(s.list)-1].Row1 = end
	default:
		s.list = append(s.list, backend.Segment{Row0: start, Row1: end, Terms: c.Terms, Product: c.Product, Tokens: s.tokens})
	}
	s.last = c
}

// updates pairs the segments with each map's factors.
func (s *segments) updates(known *modules) model.Updates {
	if len(s.list) == 0 {
		return nil
	}
	return func(name string) *backend.Update {
		factors := known.factors[name]
		if factors == nil {
			return nil
		}
		return &backend.Update{Factors: factors, Segments: s.list}
	}
}
