package storetest

import (
	"testing"
	"time"

	"github.com/medley-lora/medley/edge/record"
	"github.com/medley-lora/medley/edge/store"
	"github.com/medley-lora/medley/shared/fault"
)

func testSessions(t *testing.T, location string) {
	s, ctx := open(t, location), t.Context()
	session := record.Session{Object: record.Object{Owner: "ann"}, Request: line(1), Facts: line(2)}
	once := store.Once{Key: "k"}
	made := must(s.CreateSession(ctx, session, time.Hour, once))(t)
	if life := made.Expires.Sub(made.Created); life < time.Hour || life > time.Hour+time.Second {
		t.Errorf("it is open for %v", life)
	}
	same(t, "session", must(s.Session(ctx, "ann", made.ID))(t), made)
	same(t, "made again", must(s.CreateSession(ctx, session, time.Hour, once))(t), made)
	same(t, "made", must(s.Made(ctx, "ann", "k"))(t), true)
	same(t, "another's key", must(s.Made(ctx, "bob", "k"))(t), false)
	_, err := s.Session(ctx, "bob", made.ID)
	refused(t, "another's", err, fault.NotFound)
	refused(t, "another's, closed", s.CloseSession(ctx, "bob", made.ID), fault.NotFound)
	check(t, s.CloseSession(ctx, "ann", made.ID))
	refused(t, "closed twice", s.CloseSession(ctx, "ann", made.ID), fault.NotFound)

	over := must(s.CreateSession(ctx, session, time.Microsecond, store.Once{}))(t)
	time.Sleep(5 * time.Millisecond)
	_, err = s.Session(ctx, "ann", over.ID)
	refused(t, "expired", err, fault.NotFound)
	must(s.CreateSession(ctx, session, time.Hour, store.Once{}))(t)
	refused(t, "expired and forgotten", s.CloseSession(ctx, "ann", over.ID), fault.NotFound)

	session.Facts = []byte("{")
	_, err = s.CreateSession(ctx, session, time.Hour, store.Once{})
	refused(t, "facts that are no JSON", err, fault.Invalid)
}
