package redis_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/medley-lora/medley/edge/redis"
	"github.com/medley-lora/medley/edge/redis/redistest"
)

// Processes that take a fast rate in advance let no more pass than it allows, and few less.
func TestFastRatesAreNotExceeded(t *testing.T) {
	redistest.Each(t, func(t *testing.T, c *redis.Client) {
		const burst = 200
		rate := redis.Rate{Count: 1000, Per: time.Second, Burst: burst}
		var passed atomic.Int64
		var all sync.WaitGroup
		begun := time.Now()
		for range 2 {
			l := redis.NewLimits(c)
			for range 4 {
				all.Go(func() {
					for range 100 {
						a, err := l.Allow(context.Background(), "score", "ann", rate, 1)
						if err != nil {
							t.Error(err)
						}
						if a.Remaining > burst {
							t.Errorf("%d remain of %d", a.Remaining, burst)
						}
						if a.Allowed {
							passed.Add(1)
						}
					}
				})
			}
		}
		all.Wait()
		most := burst + int64(time.Since(begun).Seconds()*1000) + 1
		if n := passed.Load(); n > most || n < burst-20 {
			t.Errorf("%d of 800 passed in %v, at most %d may", n, time.Since(begun), most)
		}
	})
}
