package platform

import (
	"context"
	"sync"
	"time"

	"github.com/medley-lora/medley/shared/search"
)

// gatherTime is how long a batch waits for one more candidate.
const gatherTime = 3 * time.Millisecond

// gathering makes batches of candidates that are asked for one by one: of all of them when they come together, and of fewer when some do
// not come, because somebody else evaluates them.
type gathering struct {
	most int // how many may come
	run  func(ctx context.Context, weights [][]float64) ([]search.Score, error)

	mu      sync.Mutex
	waiting *batch // nil while nobody waits
	came    int
}

// batch is candidates that are evaluated together.
type batch struct {
	weights [][]float64
	scores  []search.Score
	err     error
	timer   *time.Timer
	begun   sync.Once
	done    chan struct{}

	ctx    context.Context // ends when nobody waits any more
	cancel context.CancelFunc
	here   int // who wait; under gathering.mu
}

// score returns the score of one candidate, evaluated with others.
func (g *gathering) score(ctx context.Context, weights []float64) (search.Score, error) {
	b, i := g.join(ctx, weights)
	defer g.leave(b)
	select {
	case <-b.done:
	case <-ctx.Done():
		return search.Score{}, ctx.Err()
	}
	if b.err != nil {
		return search.Score{}, b.err
	}
	return b.scores[i], nil
}

func (g *gathering) join(ctx context.Context, weights []float64) (b *batch, i int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	b = g.waiting
	if b == nil {
		b = &batch{done: make(chan struct{})}
		b.ctx, b.cancel = context.WithCancel(context.WithoutCancel(ctx))
		b.timer = time.AfterFunc(gatherTime, func() { g.begin(b) })
		g.waiting = b
	}
	b.weights = append(b.weights, weights)
	b.here++
	g.came++
	if g.came >= g.most {
		g.waiting = nil
		go g.evaluate(b)
	} else {
		b.timer.Reset(gatherTime)
	}
	return b, len(b.weights) - 1
}

// begin ends the waiting for more.
func (g *gathering) begin(b *batch) {
	g.mu.Lock()
	if g.waiting == b {
		g.waiting = nil
	}
	g.mu.Unlock()
	g.evaluate(b)
}

func (g *gathering) evaluate(b *batch) {
	b.begun.Do(func() {
		b.timer.Stop()
		b.scores, b.err = g.run(b.ctx, b.weights)
		close(b.done)
	})
}

func (g *gathering) leave(b *batch) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if b.here--; b.here == 0 {
		b.cancel()
	}
}
