package engine

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/medley-lora/medley/shared/fault"
)

// generator continues the sequences of all calls of Generate together, in a goroutine that lives while there are any, and for a while after.
type generator struct {
	engine *Engine
	loop   sync.WaitGroup

	mu      sync.Mutex
	calls   []*call // that have not ended; those with requests left take turns in order
	running bool
	closed  bool
	wake    chan struct{} // closed when there is a call, or the engine closes; nil while nobody waits
	cancel  func()        // ends the pass that is under way
}

// submit enters a call.
func (g *generator) submit(c *call) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		c.finish(fault.New(fault.Internal, "", "the engine is closed"))
		return
	}
	g.calls = append(g.calls, c)
	g.awaken()
	if !g.running {
		g.running = true
		g.loop.Go(g.run)
	}
}

// awaken ends a wait. The caller holds g.mu.
func (g *generator) awaken() {
	if g.wake != nil {
		close(g.wake)
		g.wake = nil
	}
}

// leave is called when the context of a call has ended: the call ends when nothing of it is under way any more.
func (g *generator) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.cancel != nil && !slices.ContainsFunc(g.calls, func(c *call) bool { return c.ctx.Err() == nil }) {
		g.cancel()
	}
}

// close waits for the goroutine, which ends when every call has.
func (g *generator) close() {
	g.mu.Lock()
	g.closed = true
	g.awaken()
	g.mu.Unlock()
	g.loop.Wait()
}

// run makes one pass after the other. There is more than one only when one fails or is canceled.
func (g *generator) run() {
	for g.pass() {
	}
}

// pass continues sequences until there are none, or it fails. It says whether another should be made.
func (g *generator) pass() (again bool) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	g.mu.Lock()
	if len(g.calls) == 0 {
		g.running = false
		g.mu.Unlock()
		return false
	}
	g.cancel = cancel
	g.mu.Unlock()
	p := g.engine.backend.Begin(ctx)
	defer p.End()
	r := newRound(g, p)
	for {
		r.sweep()
		feeds := r.plan(ctx)
		switch {
		case ctx.Err() != nil:
			r.fail(ctx.Err())
			return true
		case len(feeds) == 0:
			if !g.await(r.keep()) {
				return false
			}
			continue
		}
		if err := r.step(feeds); err != nil {
			r.fail(err)
			return true
		}
	}
}

// await waits for a call for so long, and says whether there is one; if not, the goroutine is to end.
func (g *generator) await(most time.Duration) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.calls) == 0 && most > 0 && !g.closed {
		wake, timer := make(chan struct{}), time.NewTimer(most)
		g.wake = wake
		g.mu.Unlock()
		select {
		case <-wake:
		case <-timer.C:
		}
		timer.Stop()
		g.mu.Lock()
		g.wake = nil
	}
	if len(g.calls) > 0 {
		return true
	}
	g.running, g.cancel = false, nil
	return false
}

// end ends a call of which nothing is under way.
func (g *generator) end(c *call, err error) {
	g.mu.Lock()
	g.calls = slices.DeleteFunc(g.calls, func(other *call) bool { return other == c })
	g.mu.Unlock()
	c.finish(err)
}
