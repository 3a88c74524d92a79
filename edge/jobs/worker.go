package jobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/medley-lora/medley/edge/archive"
	"github.com/medley-lora/medley/edge/blob"
	"github.com/medley-lora/medley/edge/compute"
	"github.com/medley-lora/medley/edge/redis"
	"github.com/medley-lora/medley/edge/store"
	"github.com/medley-lora/medley/shared/fault"
)

// WorkerOptions say what a worker works with. Those without a default must be set.
type WorkerOptions struct {
	Queue      *Queue
	Store      *store.Store
	Blobs      *blob.Store
	Library    *archive.Library
	Models     compute.Models
	Optimizers compute.Optimizers
	Progress   *redis.Progress
	// Cached, if set, remembers the scores of a model.
	Cached func(compute.Spec, compute.Model) compute.Model
	Name   string // no other worker has it at the same time
	// Dir is a folder of the worker's own for adapters under way. It is made when it is missing; what a crash left there is removed.
	Dir         string
	Concurrency int           // compositions at once; default 1
	Lease       time.Duration // after which another may take over from a worker that is silent; default 30 s
	Attempts    int64         // leases of a composition that never ended, after which it is given up as what ends its workers; default 20
	Log         *slog.Logger  // default slog.Default()
}

// Worker runs compositions until each has ended, once, whoever dies meanwhile: see Run.
type Worker struct{ WorkerOptions }

// NewWorker makes a worker. The error is fault.Internal about its folder.
func NewWorker(o WorkerOptions) (*Worker, error) {
	o.Concurrency = max(o.Concurrency, 1)
	if o.Lease == 0 {
		o.Lease = 30 * time.Second
	}
	if o.Attempts == 0 {
		o.Attempts = 20
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	left, err := filepath.Glob(filepath.Join(o.Dir, working+"*"))
	for _, path := range left {
		err = errors.Join(err, os.RemoveAll(path))
	}
	if err := errors.Join(err, os.MkdirAll(o.Dir, 0o700)); err != nil {
		return nil, fault.Wrap(err, fault.Internal, "", "the worker's folder cannot be used")
	}
	return &Worker{o}, nil
}

// Run claims compositions and runs them until ctx ends, and then puts back those under way. Every evaluation is journaled under the lease
// of its worker before the next is asked for; whoever leases the composition after a death replays the journal and goes on from there.
func (w *Worker) Run(ctx context.Context) {
	var all sync.WaitGroup
	// Often, so that what the queue has lost waits no longer than what a worker has dropped.
	all.Go(func() { w.Queue.KeepSwept(ctx, Waiting{w.Store}, w.Lease/6, w.Log) })
	for i := range w.Concurrency {
		all.Go(func() { w.work(ctx, fmt.Sprintf("%s-%d", w.Name, i)) })
	}
	all.Wait()
}

// Waiting is a store as a Source.
type Waiting struct{ Store *store.Store }

// Waiting is Source's.
func (s Waiting) Waiting(ctx context.Context, limit int) ([]string, error) {
	var ids []string
	page := store.Page{Limit: store.MaxLimit}
	for {
		list, err := s.Store.Recover(ctx, page)
		if err != nil {
			return nil, err
		}
		for _, c := range list.Items {
			ids = append(ids, c.ID)
		}
		if list.Next == "" || len(ids) >= limit {
			return ids[:min(limit, len(ids))], nil
		}
		page.After = list.Next
	}
}

// work runs one composition after the other.
func (w *Worker) work(ctx context.Context, name string) {
	for ctx.Err() == nil {
		d, ok, err := w.Queue.Claim(ctx, name, time.Minute)
		if err == nil && ok {
			err = w.handle(ctx, d)
		}
		if err != nil && ctx.Err() == nil {
			w.Log.WarnContext(ctx, "looking for a composition to run", "error", err)
			pause(ctx, time.Second)
		}
	}
}

// handle runs the composition of a delivery, if it is free. The error says that nothing could be found out about it.
func (w *Worker) handle(ctx context.Context, d Delivery) error {
	c, ok, err := w.Store.Lease(ctx, d.Worker, w.Lease, d.Job)
	if err != nil {
		return err
	}
	if ok {
		j := &job{Worker: w, delivery: d, Composition: c, log: w.Log.With("composition", c.ID, "fence", c.Fence)}
		if !j.run(ctx) {
			return nil
		}
	}
	return w.Queue.Ack(context.WithoutCancel(ctx), d)
}

// pause waits, and says whether it was to the end.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// pauses are those between attempts at what may be away for a while: a minute and a half in all.
var pauses = []time.Duration{
	200 * time.Millisecond, time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 15 * time.Second, 30 * time.Second, 30 * time.Second,
}

// persist calls do until it does not fail with fault.Internal, which is what the database, a blob store and an evaluator fail with when they
// are away.
func persist(ctx context.Context, log *slog.Logger, what string, do func() error) error {
	for i := 0; ; i++ {
		err := do()
		if err == nil || fault.CodeOf(err) != fault.Internal || i == len(pauses) {
			return err
		}
		log.WarnContext(ctx, what+" failed and is tried again", "error", err, "cause", errors.Unwrap(err))
		if !pause(ctx, pauses[i]) {
			return err
		}
	}
}
