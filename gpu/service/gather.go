package service

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/medley-lora/medley/gpu/engine"
	"github.com/medley-lora/medley/shared/search"
)

// gatherer scores the requests for one base. Those that come within a short wait, or while a pass is under way, are scored in one batch:
// as many of their candidates as a pass has room for, one of each request in turn, so that a large request does not keep small ones
// waiting for its end. No number depends on it.
type gatherer struct {
	engine *engine.Engine
	wait   time.Duration // for company, since the first of a batch came
	counts *counts
	passes sync.WaitGroup // the goroutine that scores, while there is anything to score

	mu       sync.Mutex
	askers   int        // open sessions: when each has a request waiting, no other is waited for
	queue    []*scoring // those with candidates to score, the next to be served first
	running  bool
	awaiting chan struct{} // closed when queue or askers change; nil while nobody looks
}

// counts is what Stats tells of requests.
type counts struct{ requests, generations, candidates, batches, largest atomic.Int64 }

func (c *counts) batch(candidates int) {
	c.batches.Add(1)
	c.candidates.Add(int64(candidates))
	for n := c.largest.Load(); int64(candidates) > n && !c.largest.CompareAndSwap(n, int64(candidates)); {
		n = c.largest.Load()
	}
}

// scoring is a request under way. Only the goroutine that scores changes it.
type scoring struct {
	ctx     context.Context
	request engine.ScoreRequest
	came    time.Time
	cost    int64 // bytes that a candidate is planned to need
	next    int   // the first candidate that no batch has had
	scores  []search.Score
	err     error
	end     func()        // frees what the request uses
	done    chan struct{} // closed when scores or err are there
}

// finish ends a request.
func (s *scoring) finish(err error) {
	s.err = err
	s.end()
	close(s.done)
}

// part is what a batch has of a request: the candidates [from, to).
type part struct {
	*scoring
	from, to int
}

func (p part) request() engine.ScoreRequest {
	return engine.ScoreRequest{Examples: p.scoring.request.Examples, Compositions: p.scoring.request.Compositions[p.from:p.to]}
}

// asks tells of sessions that open or close.
func (g *gatherer) asks(sessions int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.askers += sessions
	g.changed()
}

// changed wakes the goroutine that waits for company. The caller holds g.mu.
func (g *gatherer) changed() {
	if g.awaiting != nil {
		close(g.awaiting)
		g.awaiting = nil
	}
}

// score is the engine's for one request; end is called when nothing that the request uses is needed any more, which may be after the
// return if ctx ends.
func (g *gatherer) score(ctx context.Context, q engine.ScoreRequest, end func()) ([]search.Score, error) {
	g.counts.requests.Add(1)
	if len(q.Compositions) == 0 || ctx.Err() != nil {
		end()
		if ctx.Err() != nil {
			return nil, canceled(ctx)
		}
		return []search.Score{}, nil
	}
	s := &scoring{ctx: ctx, request: q, came: time.Now(), scores: make([]search.Score, len(q.Compositions)), end: end, done: make(chan struct{})}
	s.cost, _ = g.engine.PassBytes(q)
	g.mu.Lock()
	g.queue = append(g.queue, s)
	g.changed()
	if !g.running {
		g.running = true
		g.passes.Go(g.run)
	}
	g.mu.Unlock()
	select {
	case <-s.done:
		return s.scores, s.err
	case <-ctx.Done():
		return nil, canceled(ctx)
	}
}

// run scores until nothing waits.
func (g *gatherer) run() {
	for {
		g.await()
		batch := g.take()
		if batch == nil {
			return
		}
		g.pass(batch)
	}
}

// await returns when the first of the queue has waited long enough, or nobody else can come.
func (g *gatherer) await() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for len(g.queue) > 0 && len(g.queue) < g.askers {
		first := slices.MinFunc(g.queue, func(a, b *scoring) int { return a.came.Compare(b.came) })
		left := g.wait - time.Since(first.came)
		if left <= 0 {
			return
		}
		changed := make(chan struct{})
		g.awaiting = changed
		g.mu.Unlock()
		timer := time.NewTimer(left)
		select {
		case <-changed:
		case <-timer.C:
		}
		timer.Stop()
		g.mu.Lock()
	}
}

// take returns the next batch, or nil when there is nothing to score: the goroutine then ends.
func (g *gatherer) take() []part {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.queue = slices.DeleteFunc(g.queue, func(s *scoring) bool {
		gone := s.ctx.Err() != nil
		if gone {
			s.finish(canceled(s.ctx))
		}
		return gone
	})
	if len(g.queue) == 0 {
		g.running = false
		return nil
	}
	batch := g.fill()
	rest := slices.Clone(g.queue[len(batch):])
	for _, p := range batch {
		p.next = p.to
		if p.next < len(p.scores) {
			rest = append(rest, p.scoring) // behind those that this batch had no room for
		}
	}
	g.queue = rest
	return batch
}

// fill gives the requests of the queue a candidate each in turn until the room of a pass is used up, and the first one in any case.
// Those served are the first of the queue.
func (g *gatherer) fill() []part {
	_, room := g.engine.PassBytes(g.queue[0].request)
	batch := make([]part, 0, len(g.queue))
	for more := true; more; {
		more = false
		for i, s := range g.queue {
			switch {
			case i < len(batch) && batch[i].to == len(s.request.Compositions):
				continue
			case s.cost > room && len(batch) > 0:
				return batch
			case i == len(batch):
				batch = append(batch, part{s, s.next, s.next})
			}
			batch[i].to++
			room -= s.cost
			more = true
		}
	}
	return batch
}

// pass scores a batch. It ends early when nobody waits for it any more.
func (g *gatherer) pass(batch []part) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var waiting atomic.Int64
	waiting.Store(int64(len(batch)))
	requests, candidates := make([]engine.ScoreRequest, len(batch)), 0
	for i, p := range batch {
		requests[i] = p.request()
		candidates += p.to - p.from
		defer context.AfterFunc(p.ctx, func() {
			if waiting.Add(-1) == 0 {
				cancel()
			}
		})()
	}
	all, err := g.engine.ScoreAll(ctx, requests)
	if err == nil {
		g.counts.batch(candidates)
	}
	for i, p := range batch {
		switch {
		case err == nil:
			g.deliver(p, all[i], nil)
		case len(batch) > 1 && p.ctx.Err() == nil: // the error may be another's
			scores, err := g.engine.ScoreAll(p.ctx, requests[i:i+1])
			if err != nil {
				g.deliver(p, nil, err)
				continue
			}
			g.counts.batch(p.to - p.from)
			g.deliver(p, scores[0], nil)
		default:
			g.deliver(p, nil, err)
		}
	}
}

// deliver hands scores over, and ends the request if they are its last or there is an error.
func (g *gatherer) deliver(p part, scores []search.Score, err error) {
	copy(p.scores[p.from:], scores)
	if err == nil && p.to < len(p.scores) {
		return
	}
	g.mu.Lock()
	g.queue = slices.DeleteFunc(g.queue, func(s *scoring) bool { return s == p.scoring })
	g.mu.Unlock()
	p.finish(err)
}
