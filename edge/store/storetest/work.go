package storetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/medley-lora/medley/edge/record"
	"github.com/medley-lora/medley/edge/store"
	"github.com/medley-lora/medley/shared/fault"
)

func line(i int) json.RawMessage { return json.RawMessage(fmt.Sprintf(`{"n": %d, "score":0.5}`, i)) }

// lease takes a composition that must be free.
func lease(t *testing.T, s *store.Store, worker string, d time.Duration, id string) record.Composition {
	t.Helper()
	c, ok, err := s.Lease(t.Context(), worker, d, id)
	if check(t, err); !ok {
		t.Fatalf("%s gets nothing", worker)
	}
	return c
}

// expired waits until a composition can be leased anew.
func expired(t *testing.T, s *store.Store, id string) {
	t.Helper()
	for range 1000 {
		for _, c := range must(s.Recover(t.Context(), store.Page{}))(t).Items {
			if c.ID == id {
				return
			}
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatal("the lease does not run out")
}

func lostLease(t *testing.T, what string, err error) {
	t.Helper()
	if fault.CodeOf(err) != fault.Canceled || !errors.Is(err, store.ErrLost) {
		t.Errorf("%s: %v, want a lost lease", what, err)
	}
}

func testCompositions(t *testing.T, location string) {
	s, ctx := open(t, location), t.Context()
	want := composition("ann")
	made := must(s.CreateComposition(ctx, want, store.Once{}))(t)
	want.ID, want.Created, want.State = made.ID, made.Created, record.Queued
	same(t, "composition", must(s.Composition(ctx, "ann", made.ID))(t), want)
	_, err := s.Composition(ctx, "bob", made.ID)
	refused(t, "another's", err, fault.NotFound)
	_, err = s.Journal(ctx, "bob", made.ID, 0, 10)
	refused(t, "another's journal", err, fault.NotFound)
	same(t, "empty journal", len(must(s.Journal(ctx, "ann", made.ID, 0, 10))(t)), 0)
	other := must(s.CreateComposition(ctx, want, store.Once{}))(t)
	must(s.Cancel(ctx, "ann", other.ID))(t)
	for state, n := range map[record.State]int{"": 2, record.Queued: 1, record.Canceled: 1, record.Running: 0, "odd": 0} {
		same(t, "in state "+string(state), len(must(s.Compositions(ctx, "ann", state, store.Page{}))(t).Items), n)
	}
	same(t, "bob's", len(must(s.Compositions(ctx, "bob", "", store.Page{}))(t).Items), 0)
	want.Request = json.RawMessage(`{`)
	_, err = s.CreateComposition(ctx, want, store.Once{})
	refused(t, "half a request", err, fault.Invalid)
}

func testCancel(t *testing.T, location string) {
	s, ctx := open(t, location), t.Context()
	queued := must(s.CreateComposition(ctx, composition("ann"), store.Once{}))(t)
	_, err := s.Cancel(ctx, "bob", queued.ID)
	refused(t, "another's", err, fault.NotFound)
	ended := must(s.Cancel(ctx, "ann", queued.ID))(t)
	if ended.State != record.Canceled || !ended.Canceled || ended.Ended == nil {
		t.Errorf("a queued one becomes %+v", ended)
	}
	same(t, "again", must(s.Cancel(ctx, "ann", queued.ID))(t), ended)
	_, ok, err := s.Lease(ctx, "w", time.Hour, queued.ID)
	if check(t, err); ok {
		t.Error("a canceled one is leased")
	}

	must(s.CreateComposition(ctx, composition("ann"), store.Once{}))(t)
	c := lease(t, s, "w", time.Hour, "")
	asked := must(s.Cancel(ctx, "ann", c.ID))(t)
	if asked.State != record.Running || !asked.Canceled || asked.Ended != nil {
		t.Errorf("a running one becomes %+v", asked)
	}
	same(t, "its worker learns", must(s.Extend(ctx, c.ID, c.Fence, time.Hour))(t).Canceled, true)
	check(t, s.Release(ctx, c.ID, c.Fence))
	same(t, "released, it ends", must(s.Composition(ctx, "ann", c.ID))(t).State, record.Canceled)

	must(s.CreateComposition(ctx, composition("ann"), store.Once{}))(t)
	c = lease(t, s, "w", time.Hour, "")
	check(t, s.Finish(ctx, c.ID, c.Fence, store.Outcome{State: record.Succeeded}))
	late := must(s.Cancel(ctx, "ann", c.ID))(t)
	if late.State != record.Succeeded || late.Canceled {
		t.Errorf("an ended one becomes %+v", late)
	}
}

func testLease(t *testing.T, location string) {
	s, ctx := open(t, location), t.Context()
	if _, ok, err := s.Lease(ctx, "w", time.Hour, ""); ok || err != nil {
		t.Fatalf("an empty queue gives %v, %v", ok, err)
	}
	var made []record.Composition
	for range 3 {
		made = append(made, must(s.CreateComposition(ctx, composition("ann"), store.Once{}))(t))
		time.Sleep(2 * time.Millisecond)
	}
	third := lease(t, s, "one", time.Hour, made[2].ID)
	if third.ID != made[2].ID || third.State != record.Running || third.Fence != 1 || third.Worker != "one" || third.Started == nil ||
		third.Lease == nil || third.Lease.Sub(*third.Started).Round(time.Minute) != time.Hour {
		t.Errorf("leased %+v", third)
	}
	same(t, "oldest first", lease(t, s, "two", time.Hour, "").ID, made[0].ID)
	for _, id := range []string{third.ID, record.NewID(record.CompositionID), "cmp", "x\x00"[:1]} {
		if _, ok, err := s.Lease(ctx, "two", time.Hour, id); ok || err != nil {
			t.Errorf("%q gives %v, %v", id, ok, err)
		}
	}
	check(t, s.Release(ctx, third.ID, third.Fence))
	lostLease(t, "write after a release", s.Append(ctx, third.ID, third.Fence, 0, line(0)))
	again := lease(t, s, "two", time.Millisecond, third.ID)
	if again.Fence != 2 || !again.Started.Equal(*third.Started) {
		t.Errorf("leased again as %+v", again)
	}
	expired(t, s, third.ID)
	check(t, s.Append(ctx, third.ID, 2, 0, line(0))) // the fence is still the newest
	must(s.Extend(ctx, third.ID, 2, time.Hour))(t)
	if _, ok, err := s.Lease(ctx, "one", time.Hour, third.ID); ok || err != nil {
		t.Errorf("an extended lease is given away: %v, %v", ok, err)
	}
}

func testAppend(t *testing.T, location string) {
	s, ctx := open(t, location), t.Context()
	must(s.CreateComposition(ctx, composition("ann"), store.Once{}))(t)
	c := lease(t, s, "w", time.Hour, "")
	check(t, s.Append(ctx, c.ID, c.Fence, 0, line(0), line(1)))
	check(t, s.Append(ctx, c.ID, c.Fence, 0, line(0), line(1)))          // sent again
	check(t, s.Append(ctx, c.ID, c.Fence, 1, line(1), line(2), line(3))) // partly again
	check(t, s.Append(ctx, c.ID, c.Fence, 4))
	for what, err := range map[string]error{
		"gap":            s.Append(ctx, c.ID, c.Fence, 5, line(5)),
		"negative":       s.Append(ctx, c.ID, c.Fence, -1, line(0)),
		"differs":        s.Append(ctx, c.ID, c.Fence, 3, line(9), line(4)),
		"differs late":   s.Append(ctx, c.ID, c.Fence, 2, line(2), line(9), line(4)),
		"not JSON":       s.Append(ctx, c.ID, c.Fence, 4, line(4), json.RawMessage("{")),
		"empty":          s.Append(ctx, c.ID, c.Fence, 4, nil),
		"other spelling": s.Append(ctx, c.ID, c.Fence, 0, json.RawMessage(`{"n":0,"score":0.5}`)),
	} {
		refused(t, what, err, fault.Invalid)
	}
	refused(t, "unknown", s.Append(ctx, record.NewID(record.CompositionID), 1, 0, line(0)), fault.NotFound)
	same(t, "done", must(s.Composition(ctx, "ann", c.ID))(t).Done, 4)
	for _, r := range []struct{ from, limit, first, n int }{{0, 10, 0, 4}, {1, 2, 1, 2}, {3, 10, 3, 1}, {4, 10, 0, 0}, {0, 0, 0, 0}} {
		journal := must(s.Journal(ctx, "ann", c.ID, r.from, r.limit))(t)
		if len(journal) != r.n {
			t.Fatalf("from %d: %d lines", r.from, len(journal))
		}
		for i, e := range journal {
			same(t, "line", e, record.Evaluation{Composition: c.ID, Number: r.first + i, Line: line(r.first + i)})
		}
	}
}

func testFinish(t *testing.T, location string) {
	s, ctx := open(t, location), t.Context()
	failed := &fault.Error{Code: fault.TooLarge, Field: "modules", Message: "are too large", Cause: errors.New("detail")}
	kept := &fault.Error{Code: fault.TooLarge, Field: "modules", Message: "are too large"}
	for _, o := range []store.Outcome{
		{State: record.Succeeded, Result: json.RawMessage(`{"loss":  0.25}`), Adapter: digest("a")},
		{State: record.Failed, Fault: failed}, {State: record.Canceled, Result: json.RawMessage(`{}`)},
	} {
		must(s.CreateComposition(ctx, composition("ann"), store.Once{}))(t)
		c := lease(t, s, "w", time.Hour, "")
		check(t, s.Finish(ctx, c.ID, c.Fence, o))
		check(t, s.Finish(ctx, c.ID, c.Fence, o)) // sent again
		got := must(s.Composition(ctx, "ann", c.ID))(t)
		if got.State != o.State || string(got.Result) != string(o.Result) || got.Adapter != o.Adapter || got.Ended == nil || got.Lease != nil {
			t.Errorf("finished as %+v", got)
		}
		if o.Fault != nil {
			same(t, "fault", got.Fault, kept)
		}
		other := o
		other.Adapter = digest("b")
		lostLease(t, "another adapter", s.Finish(ctx, c.ID, c.Fence, other))
		lostLease(t, "another end", s.Finish(ctx, c.ID, c.Fence, store.Outcome{State: record.Succeeded}))
		lostLease(t, "append", s.Append(ctx, c.ID, c.Fence, 0, line(0)))
		_, err := s.Extend(ctx, c.ID, c.Fence, time.Hour)
		lostLease(t, "extend", err)
		lostLease(t, "release", s.Release(ctx, c.ID, c.Fence))
		if _, ok, err := s.Lease(ctx, "w", time.Hour, c.ID); ok || err != nil {
			t.Errorf("an ended one is leased: %v, %v", ok, err)
		}
	}
	must(s.CreateComposition(ctx, composition("ann"), store.Once{}))(t)
	c := lease(t, s, "w", time.Hour, "")
	for what, o := range map[string]store.Outcome{
		"no end": {State: record.Running}, "failure without a fault": {State: record.Failed}, "success with a fault": {State: record.Succeeded, Fault: failed},
		"half a result": {State: record.Succeeded, Result: json.RawMessage(`{`)},
	} {
		refused(t, what, s.Finish(ctx, c.ID, c.Fence, o), fault.Internal)
	}
}

// A worker whose composition went to another can write nothing.
func testOldFence(t *testing.T, location string) {
	old, young, ctx := open(t, location), open(t, location), t.Context()
	must(old.CreateComposition(ctx, composition("ann"), store.Once{}))(t)
	before := lease(t, old, "old", time.Millisecond, "")
	check(t, old.Append(ctx, before.ID, before.Fence, 0, line(0)))
	expired(t, old, before.ID)
	after := lease(t, young, "young", time.Hour, "")
	if after.ID != before.ID || after.Fence != before.Fence+1 || after.Done != 1 {
		t.Fatalf("leased %+v after %+v", after, before)
	}
	id := before.ID
	for _, fence := range []int64{before.Fence, before.Fence - 1, after.Fence + 1, -1} {
		lostLease(t, "append", old.Append(ctx, id, fence, 1, line(1)))
		lostLease(t, "append of the same line", old.Append(ctx, id, fence, 0, line(0)))
		_, err := old.Extend(ctx, id, fence, time.Hour)
		lostLease(t, "extend", err)
		lostLease(t, "release", old.Release(ctx, id, fence))
		lostLease(t, "finish", old.Finish(ctx, id, fence, store.Outcome{State: record.Succeeded}))
	}
	same(t, "the composition", must(young.Composition(ctx, "ann", id))(t), after)
	check(t, young.Finish(ctx, id, after.Fence, store.Outcome{State: record.Canceled}))
	lostLease(t, "the same end by the old one", old.Finish(ctx, id, before.Fence, store.Outcome{State: record.Canceled}))
}

func testRecover(t *testing.T, location string) {
	s, ctx := open(t, location), t.Context()
	var ids []string
	for range 4 {
		ids = append(ids, must(s.CreateComposition(ctx, composition("ann"), store.Once{}))(t).ID)
		time.Sleep(2 * time.Millisecond)
	}
	lease(t, s, "w", time.Hour, ids[1])
	lease(t, s, "w", time.Millisecond, ids[2])
	expired(t, s, ids[2])
	first := must(s.Recover(ctx, store.Page{Limit: 2}))(t)
	rest := must(s.Recover(ctx, store.Page{Limit: 2, After: first.Next}))(t)
	var found []string
	for _, c := range append(first.Items, rest.Items...) {
		found = append(found, c.ID)
	}
	same(t, "to be taken", found, []string{ids[0], ids[2], ids[3]})
	same(t, "more", rest.Next, "")
}

// Eight workers share 200 compositions, and none gets one that another has.
func testWorkers(t *testing.T, location string) {
	const workers, n = 8, 200
	s := open(t, location)
	for range n {
		must(s.CreateComposition(t.Context(), composition("ann"), store.Once{}))(t)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	taken := map[string]string{}
	for w := range workers {
		name, own := fmt.Sprint("w", w), open(t, location)
		wg.Go(func() {
			for {
				c, ok, err := own.Lease(context.Background(), name, time.Hour, "")
				if err != nil || !ok {
					if err != nil {
						t.Errorf("%v (%v)", err, errors.Unwrap(err))
					}
					return
				}
				mu.Lock()
				if taken[c.ID] != "" || c.Fence != 1 {
					t.Errorf("%s and %s have %s", taken[c.ID], name, c.ID)
				}
				taken[c.ID] = name
				mu.Unlock()
				if err := own.Append(context.Background(), c.ID, c.Fence, 0, line(0)); err != nil {
					t.Errorf("%v (%v)", err, errors.Unwrap(err))
				}
				if err := own.Finish(context.Background(), c.ID, c.Fence, store.Outcome{State: record.Succeeded}); err != nil {
					t.Errorf("%v (%v)", err, errors.Unwrap(err))
				}
			}
		})
	}
	wg.Wait()
	same(t, "taken", len(taken), n)
	same(t, "finished", len(must(s.Compositions(t.Context(), "ann", record.Succeeded, store.Page{Limit: store.MaxLimit}))(t).Items), n)
}

// What a worker finds in the journal when it leases stays what is there: the one before it can be in the middle of a write.
func testLeaseRacesAppend(t *testing.T, location string) {
	old, young, ctx := open(t, location), open(t, location), t.Context()
	for range 40 {
		made := must(old.CreateComposition(ctx, composition("ann"), store.Once{}))(t)
		before := lease(t, old, "old", time.Microsecond, made.ID)
		ended := make(chan error)
		go func() {
			for i := 0; ; i++ {
				if err := old.Append(ctx, made.ID, before.Fence, i, line(i)); err != nil {
					ended <- err
					return
				}
				time.Sleep(300 * time.Microsecond) // SQLite's writers do not queue fairly
			}
		}()
		expired(t, young, made.ID)
		after := lease(t, young, "young", time.Hour, made.ID)
		lostLease(t, "append", <-ended)
		same(t, "done", must(young.Composition(ctx, "ann", made.ID))(t).Done, after.Done)
	}
}

// However a cancel and a finish meet, the composition ends once, with the worker's result or without having been asked to end.
func testCancelRacesFinish(t *testing.T, location string) {
	user, worker, ctx := open(t, location), open(t, location), t.Context()
	for range 20 {
		made := must(user.CreateComposition(ctx, composition("ann"), store.Once{}))(t)
		c := lease(t, worker, "w", time.Hour, made.ID)
		asked := make(chan error)
		go func() {
			_, err := user.Cancel(ctx, "ann", c.ID)
			asked <- err
		}()
		check(t, worker.Finish(ctx, c.ID, c.Fence, store.Outcome{State: record.Succeeded, Result: json.RawMessage(`1`)}))
		check(t, <-asked)
		got := must(user.Composition(ctx, "ann", c.ID))(t)
		if got.State != record.Succeeded || string(got.Result) != "1" {
			t.Fatalf("ended as %+v", got)
		}
	}
}

func testContextEnds(t *testing.T, location string) {
	s := open(t, location)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.CreateModule(ended, module("ann", "french"), store.Once{})
	refused(t, "create", err, fault.Canceled)
	_, err = s.Modules(ended, "ann", "", store.Page{})
	refused(t, "list", err, fault.Canceled)
	same(t, "nothing was made", len(must(s.Modules(t.Context(), "ann", "", store.Page{}))(t).Items), 0)
}
