package store

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/medley-lora/medley/edge/record"
	"github.com/medley-lora/medley/shared/fault"
)

// ErrLost is the cause of the error when a worker writes to a composition that is not its own any more: another has leased it, or it has
// ended. The worker drops it.
var ErrLost = errors.New("lease lost")

func lost() error {
	return fault.Wrap(ErrLost, fault.Canceled, "", "the composition went to another worker, or has ended")
}

// MaxLease is the longest that a lease may be.
const MaxLease = time.Hour

// free is the condition that a worker may take a composition. The first half is the text of the index. A lease that ends later than one
// may was given before the clock was set back, and would keep others away for as long.
func (d dialect) free() string {
	return fmt.Sprintf("state IN ('queued', 'running') AND (state = 'queued' OR lease < %s OR lease > %s + %d)", d.now, d.now, MaxLease.Microseconds())
}

// Lease gives a composition to a worker for that long: the one called id, or the oldest that is free when id is empty. It is false when
// there is none, or when that one is another's or has ended. The fence of what it returns authorises the worker's writes, also after the
// lease has run out, until another worker leases the composition. A composition that ends its workers is leased anew each time: the
// fence counts, and whoever leases decides when that is too often.
func (s *Store) Lease(ctx context.Context, worker string, d time.Duration, id string) (c record.Composition, ok bool, err error) {
	if err := short(text{"worker", worker}); err != nil {
		return c, false, err
	}
	if d > MaxLease {
		return c, false, fault.New(fault.Invalid, "lease", "must be at most %v", MaxLease)
	}
	pick, args := s.dialect.free()+" ORDER BY created, id LIMIT 1"+s.dialect.lockFree, []any{worker, d.Microseconds()}
	if id != "" { // one that is locked for a moment is waited for
		pick, args = s.dialect.free()+" AND id = $3"+s.dialect.lock, append(args, id)
	}
	err = s.write(ctx, func(w tx) error {
		c, err = one(w.querier, compositions.scan, `UPDATE compositions
			SET state = 'running', worker = $1, fence = fence + 1, lease = `+w.now+` + $2, started = COALESCE(started, `+w.now+`)
			WHERE id = (SELECT id FROM compositions WHERE `+pick+`)
			RETURNING `+compositions.columns, args...)
		return err
	})
	if errors.Is(err, sql.ErrNoRows) {
		return c, false, nil
	}
	return c, err == nil, err
}

// Extend makes the lease with that fence last that long from now on, and returns what the composition is now, so that its worker learns
// of a cancel.
func (s *Store) Extend(ctx context.Context, id string, fence int64, d time.Duration) (c record.Composition, err error) {
	err = s.fenced(ctx, id, fence, func(w tx, _ record.Composition) error {
		c, err = one(w.querier, compositions.scan,
			"UPDATE compositions SET lease = "+w.now+" + $1 WHERE id = $2 RETURNING "+compositions.columns, d.Microseconds(), id)
		return err
	})
	return c, err
}

// Release puts a composition back in the queue, for a worker that stops before it has ended; one that somebody has asked to end ends.
// Writes under the fence are refused from now on.
func (s *Store) Release(ctx context.Context, id string, fence int64) error {
	return s.fenced(ctx, id, fence, func(w tx, c record.Composition) error {
		set := "state = 'queued'"
		if c.Canceled {
			set = "state = 'canceled', ended = " + w.now
		}
		_, err := w.exec("UPDATE compositions SET lease = NULL, "+set+" WHERE id = $1", id)
		return err
	})
}

// Append adds lines to a composition's journal under the lease with that fence: the first is called number, the others follow. Lines
// that are there already must be the same. A number beyond the next one is fault.Invalid, and so is a line that differs; then nothing
// is written.
func (s *Store) Append(ctx context.Context, id string, fence int64, number int, lines ...json.RawMessage) error {
	return s.fenced(ctx, id, fence, func(w tx, c record.Composition) error {
		if number < 0 || number > c.Done {
			return fault.New(fault.Invalid, "number", "is %d where the journal has %d lines", number, c.Done)
		}
		for i, line := range lines {
			if err := w.appendLine(id, number+i, c.Done, line); err != nil {
				return fault.In(fmt.Sprintf("evaluation %d", number+i), err)
			}
		}
		_, err := w.exec("UPDATE compositions SET done = $1 WHERE id = $2", max(c.Done, number+len(lines)), id)
		return err
	})
}

func (w tx) appendLine(id string, number, done int, line json.RawMessage) error {
	if !json.Valid(line) {
		return fault.New(fault.Invalid, "line", "must be JSON")
	}
	if number >= done {
		_, err := w.exec("INSERT INTO evaluations (composition, number, line) VALUES ($1, $2, $3)", id, number, string(line))
		return err
	}
	before, err := one(w.querier, value[string], "SELECT line FROM evaluations WHERE composition = $1 AND number = $2", id, number)
	if err == nil && before != string(line) {
		return fault.New(fault.Invalid, "line", "differs from the one in the journal")
	}
	return err
}

// Outcome is how a composition ended.
type Outcome struct {
	State   record.State    // Succeeded, Failed or Canceled
	Result  json.RawMessage // of Succeeded, or what there is of it
	Adapter string          // the digest of its blob, when there is one
	Report  string          // likewise
	Fault   *fault.Error    // of Failed; its cause is not kept
}

// Finish ends a composition under the lease with that fence, once: the same outcome again changes nothing, and another is refused.
func (s *Store) Finish(ctx context.Context, id string, fence int64, o Outcome) error {
	if !o.State.Ended() || (o.State == record.Failed) != (o.Fault != nil) || (o.Result != nil && !json.Valid(o.Result)) {
		return fault.New(fault.Internal, "", "an outcome has an end and a result, or an end and a fault")
	}
	reason := ""
	if o.Fault != nil {
		var err error
		if reason, err = toJSON(failed{o.Fault.Code, o.Fault.Field, o.Fault.Message}); err != nil {
			return failure(ctx, err)
		}
	}
	return s.write(ctx, func(w tx) error {
		c, err := compositions.get(w.querier, id, "TRUE"+w.lock)
		if err != nil {
			return err
		}
		if c.Fence == fence && c.State.Ended() && sameOutcome(c, o) {
			return nil // sent again
		}
		if c.Fence != fence || c.State != record.Running {
			return lost()
		}
		_, err = w.exec("UPDATE compositions SET state = $1, result = $2, adapter = $3, report = $4, fault = $5, lease = NULL, ended = "+w.now+" WHERE id = $6",
			string(o.State), string(o.Result), o.Adapter, o.Report, reason, id)
		return err
	})
}

func sameOutcome(c record.Composition, o Outcome) bool {
	same := c.State == o.State && bytes.Equal(c.Result, o.Result) && c.Adapter == o.Adapter && c.Report == o.Report && (c.Fault == nil) == (o.Fault == nil)
	if same && c.Fault != nil {
		same = c.Fault.Code == o.Fault.Code && c.Fault.Field == o.Fault.Field && c.Fault.Message == o.Fault.Message
	}
	return same
}

// Recover lists the compositions that a worker may lease now, oldest first: those that queue, and those whose lease has run out. A queue
// that has lost its memory is filled from it.
func (s *Store) Recover(ctx context.Context, p Page) (List[record.Composition], error) {
	return list(ctx, s, compositions, oldestFirst, p, s.dialect.free())
}

// fenced runs do on a composition that runs under the lease with that fence, and keeps it locked meanwhile.
func (s *Store) fenced(ctx context.Context, id string, fence int64, do func(tx, record.Composition) error) error {
	return s.write(ctx, func(w tx) error {
		c, err := compositions.get(w.querier, id, "TRUE"+w.lock)
		if err != nil {
			return err
		}
		if c.Fence != fence || c.State != record.Running {
			return lost()
		}
		return do(w, c)
	})
}
