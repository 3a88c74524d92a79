package platform

import (
	"context"
	"sync"
	"time"

	"github.com/medley-lora/medley/edge/jobs"
)

const (
	syncEvery  = time.Minute
	tidyEvery  = time.Hour
	onceKept   = 48 * time.Hour      // idempotency keys; the API promises a day
	blobGrace  = 24 * time.Hour      // between a content and the record that names it
	rotateKeys = 30 * 24 * time.Hour // how long a key signs
)

// Ready looks at every part.
func (p *Platform) Ready(ctx context.Context) map[string]error {
	checks := map[string]func(context.Context) error{
		"database": p.Store.Ping, "redis": p.Redis.Ping, "blobs": p.Blobs.Ping, "evaluator": p.Models.Ready,
	}
	var mu sync.Mutex
	var all sync.WaitGroup
	found := map[string]error{}
	for name, check := range checks {
		all.Go(func() {
			err := check(ctx)
			mu.Lock()
			defer mu.Unlock()
			found[name] = err
		})
	}
	all.Wait()
	return found
}

// Keep does what has to be done now and then, until ctx ends: bases are recorded, what the queue has lost is found, what is over is
// forgotten, contents without a record are removed, and keys are rotated.
func (p *Platform) Keep(ctx context.Context) {
	var all sync.WaitGroup
	all.Go(func() { p.queue.KeepSwept(ctx, jobs.Waiting{Store: p.Store}, syncEvery, p.Log) })
	all.Go(func() { p.every(ctx, syncEvery, "recording the bases", p.SyncBases) })
	all.Go(func() { p.every(ctx, tidyEvery, "tidying up", p.tidy) })
	all.Wait()
}

// every calls do at once and then each period.
func (p *Platform) every(ctx context.Context, period time.Duration, what string, do func(context.Context) error) {
	for {
		if err := do(ctx); err != nil && ctx.Err() == nil {
			p.Log.WarnContext(ctx, what, "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(period):
		}
	}
}

func (p *Platform) tidy(ctx context.Context) error {
	if age, err := p.Keys.Age(); err == nil && age > rotateKeys {
		if err := p.Keys.Rotate(); err != nil {
			return err
		}
	}
	if _, err := p.Store.Forget(ctx, onceKept); err != nil {
		return err
	}
	_, err := p.Blobs.Collect(ctx, blobGrace, p.Store.Referenced)
	return err
}
