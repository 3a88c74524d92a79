package engine

import (
	"context"
	"encoding/binary"
	"math"
	"slices"

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

// same says whether two compositions do the same, term by term.
func (c *Composition) same(other *Composition) bool {
	return c == other || (c != nil && other != nil && c.Product == other.Product && slices.Equal(c.Terms, other.Terms))
}

// context tells a composition from all others that there ever are, modules being known by their ids.
func (c *Composition) context(known *modules) string {
	if c == nil {
		return ""
	}
	var key []byte
	for _, t := range c.Terms {
		key = binary.LittleEndian.AppendUint64(key, known.ids[t.Module])
		key = binary.LittleEndian.AppendUint32(key, math.Float32bits(t.Weight))
	}
	if c.Product && len(key) > 0 {
		key = append(key, 'p')
	}
	return string(key)
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
	case s.goesOn(c, start):
		s.list[len(s.list)-1].Row1 = end
	default:
		s.list = append(s.list, backend.Segment{Row0: start, Row1: end, Terms: c.Terms, Product: c.Product, Tokens: s.tokens})
	}
	s.last = c
}

// goesOn says whether the rows from start on belong to the last segment.
func (s *segments) goesOn(c *Composition, start int) bool {
	if len(s.list) == 0 {
		return false
	}
	last := s.list[len(s.list)-1]
	return last.Row1 == start && last.Tokens == s.tokens && c.same(s.last)
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
