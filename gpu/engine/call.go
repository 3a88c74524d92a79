package engine

import (
	"cmp"
	"context"
	"sync"
	"sync/atomic"

	"github.com/medley-lora/medley/shared/fault"
)

// call is a call of Generate: its caller hears of the tokens that the goroutine of the generator makes.
type call struct {
	ctx      context.Context
	requests []Request
	sampling Sampling
	stopped  []atomic.Bool // by the listener, by request

	// The generator's goroutine's.
	next int // the first request that is no sequence yet
	open int // sequences under way

	mu    sync.Mutex
	news  []news
	err   error
	ended bool
	ready chan struct{} // has something when news or ended have changed
}

// news is of a request's next token, or of its end.
type news struct {
	request int
	token   int32
	end     bool
}

func newCall(ctx context.Context, requests []Request, s Sampling) *call {
	return &call{ctx: ctx, requests: requests, sampling: s, stopped: make([]atomic.Bool, len(requests)), ready: make(chan struct{}, 1)}
}

// limit is the most tokens of a request.
func (c *call) limit(request int) int {
	return cmp.Or(c.requests[request].MaxTokens, c.sampling.MaxTokens)
}

// tell passes news on without waiting for the caller.
func (c *call) tell(n news) {
	c.mu.Lock()
	c.news = append(c.news, n)
	c.mu.Unlock()
	c.signal()
}

// finish ends a call. What it uses is needed no more.
func (c *call) finish(err error) {
	c.mu.Lock()
	c.err, c.ended = err, true
	c.mu.Unlock()
	c.signal()
}

func (c *call) signal() {
	select {
	case c.ready <- struct{}{}:
	default:
	}
}

// hear tells the listener of the news until the call has ended, and returns the tokens.
func (c *call) hear(l Listener) ([][]int32, error) {
	outputs, done := make([][]int32, len(c.requests)), make([]bool, len(c.requests))
	end := func(request int) {
		if !done[request] {
			done[request] = true
			l.done(request)
		}
	}
	for {
		<-c.ready
		c.mu.Lock()
		some, ended, err := c.news, c.ended, c.err
		c.news = nil
		c.mu.Unlock()
		for _, n := range some {
			switch {
			case c.ctx.Err() != nil || done[n.request]: // tokens may have been made before the generator heard of the end
			case n.end:
				end(n.request)
			default:
				outputs[n.request] = append(outputs[n.request], n.token)
				if !l.token(n.request, n.token) {
					c.stopped[n.request].Store(true)
					end(n.request)
				}
			}
		}
		switch {
		case ended && c.ctx.Err() != nil:
			return nil, fault.Wrap(c.ctx.Err(), fault.Canceled, "", "%v", c.ctx.Err())
		case ended:
			return outputs, err
		}
	}
}
