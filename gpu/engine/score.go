package engine

import (
	"context"
	"math"

	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/gpu/model"
	"github.com/medley-lora/medley/shared/fault"
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
	if len(examples) == 0 {
		return nil, fault.New(fault.Invalid, "examples", "there are none; expected at least one")
	}
	scores := make([]search.Score, len(compositions))
	units := len(compositions) * len(examples) // one unit is one example under one composition
	for first := 0; first < units; {
		last := e.fill(examples, first, units)
		logProbs, err := e.model.score(ctx, e, batch{examples, compositions, first, last})
		if err != nil {
			return nil, err
		}
		for u := first; u < last; u++ {
			s := &scores[u/len(examples)]
			n := len(examples[u%len(examples)].Target)
			s.LogProbs = append(s.LogProbs, logProbs[:n]...)
			s.Examples = append(s.Examples, meanLoss(logProbs[:n]))
			logProbs = logProbs[n:]
		}
		first = last
	}
	for i := range scores {
		scores[i].Loss = meanLoss(scores[i].LogProbs)
	}
	return scores, nil
}

// fill returns the end of a run of units from first that the planned memory holds: whole compositions, so that each is composed
// once, if it holds any; else as many units as it holds, at least one.
func (e *Engine) fill(examples []Example, first, units int) int {
	perSource, perTarget := e.model.scoreBytes(examples)
	var used int64
	whole := first
	for u := first; u < units; u++ {
		if u%len(examples) == 0 {
			whole = u
		}
		x := examples[u%len(examples)]
		used += perSource*int64(len(x.Source)) + perTarget*int64(len(x.Target))
		if used > e.options.Memory && u > first {
			if whole > first {
				return whole
			}
			return u
		}
	}
	return units
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

// tokens counts those of the inputs and those of the targets.
func tokens(examples []Example) (source, target int) {
	for _, x := range examples {
		source += len(x.Source)
		target += len(x.Target)
	}
	return source, target
}

// segments collects row ranges; consecutive rows under one composition share a segment, the bare base's get none.
type segments struct {
	tokens int // backend.Segment.Tokens of each
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
