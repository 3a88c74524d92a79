package store

import (
	"context"
	"encoding/json"
	"time"

	"github.com/medley-lora/medley/edge/record"
	"github.com/medley-lora/medley/shared/fault"
)

var sessions = table[record.Session]{"sessions", "evaluation", record.SessionID, "id, owner, created, request, facts, expires",
	func(row scanner) (v record.Session, err error) {
		return v, row.Scan(append(object(&v.Object), rawText{&v.Request}, rawText{&v.Facts}, instant{&v.Expires})...)
	}, record.Session.Place}

// CreateSession records an evaluation of v's Owner, Request and Facts that is open for that long; the store fills in the rest. Those that
// are over are forgotten on the way. Once.Request defaults to Request.
func (s *Store) CreateSession(ctx context.Context, v record.Session, life time.Duration, once Once) (record.Session, error) {
	if err := short(text{"owner", v.Owner}); err != nil {
		return record.Session{}, err
	}
	if !json.Valid(v.Request) || !json.Valid(v.Facts) {
		return record.Session{}, fault.New(fault.Invalid, "", "an evaluation's request and facts must be JSON")
	}
	if once.Request == nil {
		once.Request = v.Request
	}
	id := record.NewID(record.SessionID)
	return create(ctx, s, sessions, id, v.Owner, once, func(w tx) error {
		if _, err := w.exec("DELETE FROM sessions WHERE expires <= " + w.now); err != nil {
			return err
		}
		_, err := w.exec("INSERT INTO sessions ("+sessions.columns+") VALUES ($1, $2, "+w.now+", $3, $4, "+w.now+" + $5)",
			id, v.Owner, string(v.Request), string(v.Facts), life.Microseconds())
		return err
	})
}

// Session reads an evaluation of owner's that is open.
func (s *Store) Session(ctx context.Context, owner, id string) (record.Session, error) {
	return sessions.get(s.read(ctx), id, "owner = $2 AND expires > "+s.dialect.now, owner)
}

// CloseSession ends an evaluation of owner's.
func (s *Store) CloseSession(ctx context.Context, owner, id string) error {
	return sessions.remove(ctx, s, owner, id)
}
