package jobs

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"github.com/medley-lora/medley/edge/redis"
)

// Source is the record of truth, in SQL.
type Source interface {
	// Waiting returns the ids of at most limit jobs that are queued or whose lease has run out, the oldest first.
	Waiting(ctx context.Context, limit int) ([]string, error)
}

const (
	sweepLimit = 1000           // jobs in one sweep; the next one finds the others when these run
	absence    = 24 * time.Hour // after which a worker without deliveries is forgotten
)

// Sweep puts what source says is waiting into the queue, forgets workers that have gone, and returns how many jobs were missing from it.
// The errors are source's and those of Enqueue; what was put there before one stays.
func (q *Queue) Sweep(ctx context.Context, source Source) (added int, err error) {
	waiting, err := source.Waiting(ctx, sweepLimit)
	if err != nil {
		return 0, err
	}
	for _, job := range waiting {
		missing, err := q.Enqueue(ctx, job)
		if err != nil {
			return added, err
		}
		if missing {
			added++
		}
	}
	err = q.ask(ctx, func(ctx context.Context) error {
		err := tidy.Run(ctx, q.pool, []string{stream}, group, absence.Milliseconds()).Err()
		if err != nil && strings.Contains(err.Error(), "no such key") {
			return nil // nothing was ever enqueued
		}
		return err
	})
	return added, redis.Failed(err, "forgetting absent workers")
}

// KeepSwept sweeps at once and then every period until ctx ends. Failures are logged, and the next sweep makes up for them.
func (q *Queue) KeepSwept(ctx context.Context, source Source, period time.Duration, log *slog.Logger) {
	ticker := time.NewTicker(period)
	defer ticker.Stop()
	for {
		switch added, err := q.Sweep(ctx, source); {
		case err != nil && ctx.Err() == nil:
			log.WarnContext(ctx, "sweeping jobs", "error", err)
		case added > 0:
			log.InfoContext(ctx, "jobs were missing from the queue", "count", added)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}
