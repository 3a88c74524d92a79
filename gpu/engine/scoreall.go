package engine

import (
	"context"
	"encoding/binary"
	"slices"

	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/search"
)

// ScoreRequest asks for the scores of compositions over examples.
type ScoreRequest struct {
	Examples     []Example // at least one
	Compositions []Composition
}

// tokens counts those of a request under each composition: what goes through the shared layers, and the targets.
type tokens struct{ source, target int }

func (e *Engine) tokens(q ScoreRequest) tokens {
	var n tokens
	for _, x := range q.Examples {
		n.source += len(e.model.shared(x))
		n.target += len(x.Target)
	}
	return n
}

// absorbs decides for a whole request, however it is cut into passes and whatever it shares them with.
func (e *Engine) absorbs(q ScoreRequest) bool { return e.model.absorbs(e.tokens(q), len(q.Examples)) }

// PassBytes is the memory that the scores of one composition of a request are planned to need in a pass. Room is what a pass may plan for.
func (e *Engine) PassBytes(q ScoreRequest) (bytes, room int64) {
	perSource, perTarget := e.model.scoreBytes(e.absorbs(q))
	n := e.tokens(q)
	return perSource*int64(n.source) + perTarget*int64(n.target), e.options.Memory
}

// Check refuses a request that cannot be scored.
func (q ScoreRequest) Check() error {
	if len(q.Examples) == 0 {
		return fault.New(fault.Invalid, "examples", "there are none; expected at least one")
	}
	return nil
}

// ScoreAll scores several requests in as few passes as the planned memory allows: for each, what Score returns for it alone, bit for
// bit. Work on equal inputs is shared between requests as it is between the compositions of one.
func (e *Engine) ScoreAll(ctx context.Context, requests []ScoreRequest) ([][]search.Score, error) {
	all := make([][]search.Score, len(requests))
	var absorbing, projecting queue
	sources := map[string]int{}
	for r, q := range requests {
		if err := q.Check(); err != nil {
			return nil, err
		}
		all[r] = make([]search.Score, len(q.Compositions))
		if e.absorbs(q) {
			absorbing.add(e, q, all[r], sources)
		} else {
			projecting.add(e, q, all[r], sources)
		}
	}
	if err := e.drain(ctx, absorbing, true); err != nil {
		return nil, err
	}
	if err := e.drain(ctx, projecting, false); err != nil {
		return nil, err
	}
	for _, scores := range all {
		for i := range scores {
			scores[i].Loss = meanLoss(scores[i].LogProbs)
		}
	}
	return all, nil
}

// queue is units to be scored, in order, and where the score of each goes. The units of a composition follow each other.
type queue struct {
	units  []unit
	scores []*search.Score
}

// add numbers the sources that were not seen before.
func (q *queue) add(e *Engine, r ScoreRequest, scores []search.Score, sources map[string]int) {
	numbers, shared := make([]int, len(r.Examples)), make([][]int32, len(r.Examples))
	for i, x := range r.Examples {
		shared[i] = e.model.shared(x)
		var key []byte
		for _, id := range shared[i] {
			key = binary.LittleEndian.AppendUint32(key, uint32(id))
		}
		number, ok := sources[string(key)]
		if !ok {
			number = len(sources)
			sources[string(key)] = number
		}
		numbers[i] = number
	}
	n, compositions := e.tokens(r), slices.Clone(r.Compositions) // requests may share them, but their units are told apart by the address
	for c := range compositions {
		for i, x := range r.Examples {
			q.units = append(q.units, unit{numbers[i], shared[i], x.Target, &compositions[c], n})
			q.scores = append(q.scores, &scores[c])
		}
	}
}

// drain scores a queue, in several passes if it must.
func (e *Engine) drain(ctx context.Context, q queue, absorb bool) error {
	for len(q.units) > 0 {
		n := e.fill(q.units, absorb)
		logProbs, err := e.model.score(ctx, e, q.units[:n], absorb)
		if err != nil {
			return err
		}
		for i, u := range q.units[:n] {
			s, length := q.scores[i], len(u.target)
			s.LogProbs = append(s.LogProbs, logProbs[:length]...)
			s.Examples = append(s.Examples, meanLoss(logProbs[:length]))
			logProbs = logProbs[length:]
		}
		q.units, q.scores = q.units[n:], q.scores[n:]
	}
	return nil
}

// fill returns how many of the units the planned memory holds: whole compositions, so that each is composed once, if it holds any; else
// as many units as it holds, at least one.
func (e *Engine) fill(units []unit, absorb bool) int {
	perSource, perTarget := e.model.scoreBytes(absorb)
	var used int64
	whole := 0
	for i, u := range units {
		if i > 0 && u.composition != units[i-1].composition {
			whole = i
		}
		used += perSource*int64(len(u.source)) + perTarget*int64(len(u.target))
		if used > e.options.Memory && i > 0 {
			if whole > 0 {
				return whole
			}
			return i
		}
	}
	return len(units)
}
