package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"time"

	"github.com/medley-lora/medley/edge/record"
	"github.com/medley-lora/medley/shared/fault"
)

// Once makes a create safe to send again. The zero value does not.
type Once struct {
	Key     string // the client's idempotency key, at most MaxKey bytes; a principal's keys are its own, and serve one create each
	Request []byte // what the client asked for: the same key with another request is refused
}

// MaxKey bounds Once.Key.
const MaxKey = 255

// ErrReused is the cause of the error when an idempotency key comes with another request than the first time.
var ErrReused = errors.New("idempotency key reused")

// create inserts the record called id of owner, or finds the one that once made before. A record that has been deleted since is
// fault.NotFound: a late retry does not bring it back.
func create[T any](ctx context.Context, s *Store, t table[T], id, owner string, once Once, insert func(tx) error) (made T, err error) {
	if len(once.Key) > MaxKey {
		return made, fault.New(fault.TooLarge, "Idempotency-Key", "is longer than %d bytes", MaxKey)
	}
	err = s.write(ctx, func(w tx) error {
		if once.Key != "" {
			before, err := w.claim(t.kind, id, owner, once)
			if err != nil {
				return err
			}
			if before != "" {
				made, err = t.get(w.querier, before, "owner = $2", owner)
				return err
			}
		}
		if err := insert(w); err != nil {
			return err
		}
		made, err = t.get(w.querier, id, "owner = $2", owner)
		return err
	})
	return made, err
}

// claim takes an idempotency key for the record called id. When it is taken already it returns the ID of the record made under it.
func (w tx) claim(kind, id, owner string, once Once) (before string, err error) {
	hash := sha256.New()
	hash.Write([]byte(kind + "\x00"))
	hash.Write(once.Request)
	request := hex.EncodeToString(hash.Sum(nil))
	// On PostgreSQL this waits for another transaction that has just taken the key.
	n, err := w.exec("INSERT INTO idempotency (owner, key, request, object, created) VALUES ($1, $2, $3, $4, "+w.now+") ON CONFLICT (owner, key) DO NOTHING",
		owner, once.Key, request, id)
	if err != nil || n == 1 {
		return "", err
	}
	type claimed struct{ request, object string }
	first, err := one(w.querier, func(row scanner) (c claimed, err error) { return c, row.Scan(&c.request, &c.object) },
		"SELECT request, object FROM idempotency WHERE owner = $1 AND key = $2", owner, once.Key)
	if err != nil {
		return "", err
	}
	if first.request != request {
		return "", fault.Wrap(ErrReused, fault.Invalid, "Idempotency-Key", "came before with another request")
	}
	return first.object, nil
}

// Made says whether owner's idempotency key has made something already.
func (s *Store) Made(ctx context.Context, owner, key string) (bool, error) {
	n, err := one(s.read(ctx), value[int64], "SELECT COUNT(*) FROM idempotency WHERE owner = $1 AND key = $2", owner, key)
	return n > 0, failure(ctx, err)
}

// Forget drops the idempotency keys that are older than age, and says how many. A create sent again later than that is a new one.
func (s *Store) Forget(ctx context.Context, age time.Duration) (n int64, err error) {
	err = s.write(ctx, func(w tx) error {
		n, err = w.exec("DELETE FROM idempotency WHERE created < "+w.now+" - $1", age.Microseconds())
		return err
	})
	return n, err
}

// object scans the columns that begin every record's.
func object(o *record.Object) []any { return []any{&o.ID, &o.Owner, instant{&o.Created}} }
