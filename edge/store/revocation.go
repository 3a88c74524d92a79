package store

import (
	"context"
	"time"

	"github.com/medley-lora/medley/edge/record"
)

// Revoke records that the token called id is refused until it expires. Of two such records the later end counts. What has expired is
// forgotten on the way.
func (s *Store) Revoke(ctx context.Context, id string, until time.Time) error {
	if err := short(text{"id", id}); err != nil {
		return err
	}
	return s.write(ctx, func(w tx) error {
		if _, err := w.exec("DELETE FROM revocations WHERE expires <= " + w.now); err != nil {
			return err
		}
		_, err := w.exec(`INSERT INTO revocations (id, expires) VALUES ($1, $2)
			ON CONFLICT (id) DO UPDATE SET expires = excluded.expires WHERE revocations.expires < excluded.expires`, id, micros(until))
		return err
	})
}

// Revocations returns the revocations of all tokens that have not expired, in the order of their ends.
func (s *Store) Revocations(ctx context.Context) ([]record.Revocation, error) {
	live, err := all(s.read(ctx), func(row scanner) (r record.Revocation, err error) {
		return r, row.Scan(&r.ID, instant{&r.Until})
	}, "SELECT id, expires FROM revocations WHERE expires > "+s.dialect.now+" ORDER BY expires, id")
	return live, failure(ctx, err)
}
