package redis

import (
	"context"
	"math/rand/v2"
	"time"
)

// backOff waits longer each time, up to about 5 s, and never quite as long as others do.
type backOff struct{ next time.Duration }

func newBackOff() *backOff { return &backOff{50 * time.Millisecond} }

// wait returns early when ctx ends.
func (b *backOff) wait(ctx context.Context) {
	timer := time.NewTimer(b.next/2 + rand.N(b.next))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	b.next = min(b.next*2, 5*time.Second)
}
