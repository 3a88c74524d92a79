package service

import (
	"context"
	"fmt"
	"time"
)

// How much longer than SupervisorOptions.Patience an evaluator may be quiet.
const (
	softwarePatience = 12 // times: an honest llvmpipe has needed a minute for what a graphics processor does in milliseconds
	longestPatience  = 20 // times the longest call so far
)

// allowed is how long a backend may be quiet.
func (p Pace) allowed(patience time.Duration) time.Duration {
	if p.Software {
		patience *= softwarePatience
	}
	return max(patience, time.Duration(longestPatience*p.Longest*float64(time.Second)))
}

// guard kills the evaluator if it hangs before stop is called. It asks for its health now and then, which costs next to nothing.
func (c *child) guard(patience time.Duration) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		ticks := time.NewTicker(min(5*time.Second, patience/10))
		defer ticks.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-c.over:
				return
			case <-ticks.C:
			}
			if hung := c.hangs(ctx, patience); hung != "" {
				c.kill(hung)
				return
			}
		}
	}()
	return cancel
}

// hangs says what is wrong with an evaluator that hangs. The end of ctx is nothing wrong.
func (c *child) hangs(ctx context.Context, patience time.Duration) string {
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	h, err := c.client.Health(limited)
	switch {
	case ctx.Err() != nil:
		return ""
	case err != nil && limited.Err() != nil:
		return fmt.Sprintf("did not answer for %v", patience)
	case err != nil: // its connection failed, as its request's will
		return ""
	}
	if allowed := h.Pace.allowed(patience); h.Pace.Quiet > allowed.Seconds() {
		return fmt.Sprintf("hung in its backend for %v", allowed.Round(time.Millisecond))
	}
	return ""
}
