package jobs

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/medley-lora/medley/edge/record"
	"github.com/medley-lora/medley/edge/store"
	"github.com/medley-lora/medley/shared/fault"
)

// job is a composition under a lease.
type job struct {
	*Worker
	record.Composition
	delivery Delivery
	told     *teller
	log      *slog.Logger
}

// Why a job's context ends before its worker's does.
var (
	errCanceled = fault.New(fault.Canceled, "", "somebody asked for the end of the composition")
	errStopping = fault.New(fault.Canceled, "", "the worker is stopping")
)

// run brings the composition to its end, and returns whether it may leave the queue. It has two lives within the lease: the search ends
// when somebody asks for it, keeping what it has found, and all ends when the lease is lost or the worker stops.
func (j *job) run(ctx context.Context) bool {
	j.told = newTeller(j.Progress, j.ID, j.log)
	defer j.told.close()
	j.told.tell(Hint{})
	held, lose := context.WithCancelCause(context.WithoutCancel(ctx))
	defer lose(nil)
	defer context.AfterFunc(ctx, func() { lose(errStopping) })()
	searching, cancel := context.WithCancelCause(held)
	defer cancel(nil)
	if j.Canceled {
		cancel(errCanceled)
	}
	beating, still := context.WithCancel(held)
	defer still()
	go j.beat(beating, lose, cancel)

	outcome, err := j.outcome(held, searching)
	if err == nil {
		err = persist(held, j.log, "recording the end", func() error { return j.Store.Finish(held, j.ID, j.Fence, outcome) })
	}
	switch {
	case err == nil:
		j.log.InfoContext(ctx, "composition ended", "state", outcome.State)
		j.told.tell(Hint{})
		return true
	case errors.Is(err, store.ErrLost) || errors.Is(context.Cause(held), store.ErrLost):
		j.log.WarnContext(ctx, "composition went to another worker, or is gone")
		return false
	case errors.Is(context.Cause(held), errStopping):
		return j.release(ctx)
	}
	j.log.ErrorContext(ctx, "the end of the composition could not be recorded; it is run again when its lease is over", "error", err)
	return false
}

// release puts the composition back for the next worker, at once.
func (j *job) release(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	err := j.Store.Release(ctx, j.ID, j.Fence)
	if err == nil {
		err = j.Queue.Ack(ctx, j.delivery)
	}
	if err == nil {
		_, err = j.Queue.Enqueue(ctx, j.ID)
	}
	if err != nil { // the lease runs out, or a sweep finds it
		j.log.WarnContext(ctx, "putting the composition back", "error", err)
	}
	j.told.tell(Hint{})
	return false
}

// beat extends the lease and the delivery until ctx ends, and hears of a cancel.
func (j *job) beat(ctx context.Context, lose, cancel context.CancelCauseFunc) {
	for pause(ctx, min(j.WorkerOptions.Lease/3, time.Second)) {
		c, err := j.Store.Extend(ctx, j.ID, j.Fence, j.WorkerOptions.Lease)
		switch {
		case errors.Is(err, store.ErrLost) || fault.CodeOf(err) == fault.NotFound:
			lose(store.ErrLost)
			return
		case err != nil && ctx.Err() == nil: // writes are fenced, so the search may go on
			j.log.WarnContext(ctx, "extending a lease", "error", err)
		case c.Canceled:
			cancel(errCanceled)
		}
		if err := j.Queue.Extend(ctx, j.delivery); err != nil && !errors.Is(err, ErrLost) && ctx.Err() == nil {
			j.log.DebugContext(ctx, "extending a delivery", "error", err)
		}
	}
}

// outcome runs the composition. Its error is the end of held; whatever else goes wrong is an outcome.
func (j *job) outcome(held, searching context.Context) (store.Outcome, error) {
	if j.delivery.Poison || j.Fence > j.Attempts {
		return failure(fault.New(fault.Internal, "", "the composition was begun %d times, and each time its worker died or went silent", j.Fence-1)), nil
	}
	var outcome store.Outcome
	err := persist(searching, j.log, "the composition", func() (err error) {
		outcome, err = j.attempt(held, searching)
		return err
	})
	switch {
	case held.Err() != nil:
		return store.Outcome{}, context.Cause(held)
	case err == nil:
		return outcome, nil
	case searching.Err() != nil: // before there was anything to keep
		return store.Outcome{State: record.Canceled}, nil
	}
	j.log.InfoContext(held, "composition failed", "error", err, "cause", errors.Unwrap(err))
	return failure(err), nil
}

// failure is the outcome of an error, in words for the owner.
func failure(err error) store.Outcome {
	f, ok := errors.AsType[*fault.Error](err)
	if !ok {
		f = &fault.Error{Code: fault.Internal, Message: "the composition failed; the service's log says why"}
	}
	return store.Outcome{State: record.Failed, Fault: f}
}
