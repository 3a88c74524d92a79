package store

import (
	"context"
	"encoding/json"

	"github.com/medley-lora/medley/edge/record"
	"github.com/medley-lora/medley/shared/fault"
)

var compositions = table[record.Composition]{"compositions", "composition", record.CompositionID,
	"id, owner, created, request, state, canceled, fence, worker, lease, started, ended, done, budget, result, adapter, report, fault",
	scanComposition, record.Composition.Place}

func scanComposition(row scanner) (c record.Composition, err error) {
	var failed *failed
	err = row.Scan(append(object(&c.Object), rawText{&c.Request}, &c.State, &c.Canceled, &c.Fence, &c.Worker, maybeInstant{&c.Lease},
		maybeInstant{&c.Started}, maybeInstant{&c.Ended}, &c.Done, &c.Budget, rawText{&c.Result}, &c.Adapter, &c.Report, fromJSON{&failed})...)
	if failed != nil {
		c.Fault = &fault.Error{Code: failed.Code, Field: failed.Field, Message: failed.Message}
	}
	return c, err
}

// failed is a fault as it is kept: without its cause, which is for logs.
type failed struct {
	Code    fault.Code `json:"code"`
	Field   string     `json:"field,omitempty"`
	Message string     `json:"message"`
}

// CreateComposition queues a composition: its Owner, Request and Budget. The store fills in the rest. Once.Request defaults to Request.
func (s *Store) CreateComposition(ctx context.Context, c record.Composition, once Once) (record.Composition, error) {
	if err := short(text{"owner", c.Owner}); err != nil {
		return record.Composition{}, err
	}
	if !json.Valid(c.Request) {
		return record.Composition{}, fault.New(fault.Invalid, "", "a composition's request must be JSON")
	}
	if once.Request == nil {
		once.Request = c.Request
	}
	id := record.NewID(record.CompositionID)
	return create(ctx, s, compositions, id, c.Owner, once, func(w tx) error {
		_, err := w.exec("INSERT INTO compositions ("+compositions.columns+`)
			VALUES ($1, $2, `+w.now+`, $3, $4, FALSE, 0, '', NULL, NULL, NULL, 0, $5, '', '', '', '')`,
			id, c.Owner, string(c.Request), string(record.Queued), c.Budget)
		return err
	})
}

// Composition reads a composition of owner's.
func (s *Store) Composition(ctx context.Context, owner, id string) (record.Composition, error) {
	return compositions.get(s.read(ctx), id, "owner = $2", owner)
}

// Compositions lists owner's compositions, or only those in a state that is not empty.
func (s *Store) Compositions(ctx context.Context, owner string, state record.State, p Page) (List[record.Composition], error) {
	if state == "" {
		return list(ctx, s, compositions, newestFirst, p, "owner = $1", owner)
	}
	return list(ctx, s, compositions, newestFirst, p, "owner = $1 AND state = $2", owner, string(state))
}

// Cancel asks for the end of a composition of owner's and returns what it is now. One that no worker has begun ends at once; of one that
// runs, the worker finds Canceled set and finishes it, as what it likes; one that has ended stays as it is.
func (s *Store) Cancel(ctx context.Context, owner, id string) (c record.Composition, err error) {
	err = s.write(ctx, func(w tx) error {
		c, err = compositions.get(w.querier, id, "owner = $2"+w.lock, owner)
		if err != nil || c.State.Ended() || c.Canceled {
			return err
		}
		set := "canceled = TRUE"
		if c.State == record.Queued {
			set += ", state = 'canceled', ended = " + w.now
		}
		if _, err := w.exec("UPDATE compositions SET "+set+" WHERE id = $1", id); err != nil {
			return err
		}
		c, err = compositions.get(w.querier, id, "owner = $2", owner)
		return err
	})
	return c, err
}

// Journal reads the evaluations of a composition of owner's from a number on, at most limit of them and never more than MaxLimit.
func (s *Store) Journal(ctx context.Context, owner, id string, from, limit int) ([]record.Evaluation, error) {
	if !record.IsID(record.CompositionID, id) {
		return nil, notFound(compositions.kind)
	}
	lines, err := all(s.read(ctx), func(row scanner) (e record.Evaluation, err error) {
		return e, row.Scan(&e.Composition, &e.Number, rawText{&e.Line})
	}, `SELECT composition, number, line FROM evaluations
		WHERE composition = $1 AND number >= $3 AND EXISTS (SELECT 1 FROM compositions WHERE id = $1 AND owner = $2)
		ORDER BY number LIMIT $4`, id, owner, from, min(limit, MaxLimit))
	if err == nil && len(lines) == 0 { // nothing yet, or none of owner's
		_, err = s.Composition(ctx, owner, id)
	}
	return lines, failure(ctx, err)
}
