package platform

import (
	"context"
	"encoding/json"
	"io"
	"strconv"
	"time"

	"github.com/medley-lora/medley/edge/gateway"
	"github.com/medley-lora/medley/edge/jobs"
	"github.com/medley-lora/medley/edge/record"
	"github.com/medley-lora/medley/edge/redis"
	"github.com/medley-lora/medley/edge/store"
)

// following is one who follows a composition. What is told comes from the record and its journal alone, so that it survives whatever is
// lost; hints only say when to look, and spare a look at a line that they bring. An event's id is the number of evaluations before and in
// it, which is all that there is to resume from.
type following struct {
	p         *Platform
	owner, id string
	hints     *redis.Follower
	next      int // number of the next evaluation to tell
	told      record.State
	canceled  bool
	ready     []gateway.Event
	looked    time.Time
	stale     bool // the record must be looked at
	over      bool
}

// FollowComposition begins after the evaluation that after names, or at the beginning.
func (p *Platform) FollowComposition(ctx context.Context, owner, id, after string) (gateway.Events, error) {
	if _, err := p.Store.Composition(ctx, owner, id); err != nil {
		return nil, err
	}
	hints, err := p.progress.Follow(id, "")
	if err != nil {
		return nil, err
	}
	f := &following{p: p, owner: owner, id: id, hints: hints, stale: true}
	if n, err := strconv.Atoi(after); err == nil && n > 0 {
		f.next = n
	}
	return f, nil
}

// Close ends the following.
func (f *following) Close() { f.hints.Close() }

// Next is gateway.Events'.
func (f *following) Next(ctx context.Context) (gateway.Event, error) {
	for {
		if len(f.ready) > 0 {
			e := f.ready[0]
			f.ready = f.ready[1:]
			return e, nil
		}
		if f.over {
			return gateway.Event{}, io.EOF
		}
		if f.stale {
			if err := f.look(ctx); err != nil {
				return gateway.Event{}, err
			}
			continue
		}
		if err := f.wait(ctx); err != nil {
			return gateway.Event{}, err
		}
	}
}

// wait waits for a hint, or until it is time to look without one.
func (f *following) wait(ctx context.Context) error {
	limited, cancel := context.WithDeadline(ctx, f.looked.Add(f.p.Poll))
	defer cancel()
	e, err := f.hints.Next(limited)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var hint jobs.Hint
	switch {
	case err != nil || e.Gap || json.Unmarshal(e.Data, &hint) != nil:
		f.stale = true
	case hint.Line == nil && !hint.Long || hint.Number > f.next:
		f.stale = true
	case hint.Number < f.next: // told already
	case hint.Long || f.told != record.Running:
		f.stale = true
	default:
		f.tell(hint.Line)
	}
	return nil
}

// tell puts an evaluation into what is ready.
func (f *following) tell(line json.RawMessage) {
	f.next++
	f.ready = append(f.ready, gateway.Event{ID: strconv.Itoa(f.next), Kind: "evaluation", Data: line})
}

// look makes ready what the record and the journal have beyond what was told.
func (f *following) look(ctx context.Context) error {
	c, err := f.p.Store.Composition(ctx, f.owner, f.id)
	if err != nil {
		return err
	}
	f.looked = time.Now()
	summary, err := json.Marshal(gateway.Summary(c))
	if err != nil {
		return err
	}
	if (c.State != f.told || c.Canceled != f.canceled) && !c.State.Ended() {
		f.told, f.canceled = c.State, c.Canceled
		f.ready = append(f.ready, gateway.Event{ID: strconv.Itoa(f.next), Kind: "state", Data: summary})
	}
	f.next = min(f.next, c.Done) // an id of another composition's
	lines, err := f.p.Store.Journal(ctx, f.owner, f.id, f.next, store.MaxLimit)
	if err != nil {
		return err
	}
	for _, line := range lines {
		f.tell(line.Line)
	}
	if f.next < c.Done { // there is more than a page
		return nil
	}
	f.stale = false
	if c.State.Ended() {
		f.over = true
		f.ready = append(f.ready, gateway.Event{ID: strconv.Itoa(f.next), Kind: "end", Data: summary})
	}
	return nil
}
