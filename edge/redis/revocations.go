package redis

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/medley-lora/medley/shared/fault"
)

const (
	revocations = Prefix + "revocations"

	// complete is a member of the set that says that nothing is missing from it. IDs of tokens are hashed, so none is called so.
	complete = "complete"
)

// Revocation is a token that is refused although it has not expired.
type Revocation struct {
	ID    string    // the token's jti
	Until time.Time // when it expires and may be forgotten
}

// RevocationLog is the record of truth behind Revocations, in SQL.
type RevocationLog interface {
	// Append records r durably. It is idempotent.
	Append(ctx context.Context, r Revocation) error
	// Live returns all revocations whose tokens have not expired.
	Live(ctx context.Context) ([]Revocation, error)
}

// Revocations answers for each request whether its token was revoked. They are one sorted set that never expires, with a member
// that says that it is complete: a Redis that restarts empty or evicts it loses it as a whole, which shows, and it is read back from the
// log before a token is believed.
type Revocations struct {
	// Remember is how long this process goes on to believe that a token was not revoked: after so long it heeds what another process has
	// revoked, and at once what it has revoked itself. 0 asks Redis each time.
	Remember time.Duration

	client *Client
	log    RevocationLog
	mu     sync.Mutex // one caller restores, the others wait
	good   believed
}

// maxBelieved bounds the tokens that are believed.
const maxBelieved = 8192

// believed is tokens that were not revoked a moment ago, by their IDs.
type believed struct {
	mu    sync.Mutex
	until map[string]time.Time
	turn  int // counts revocations, so that an answer from before one is not believed after it
}

func (b *believed) has(jti string) (ok bool, turn int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	until, ok := b.until[jti]
	return ok && time.Now().Before(until), b.turn
}

// put believes in a token until then, unless something was revoked since turn.
func (b *believed) put(jti string, until time.Time, turn int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if turn != b.turn {
		return
	}
	if b.until == nil || len(b.until) >= maxBelieved {
		b.until = map[string]time.Time{}
	}
	b.until[jti] = until
}

func (b *believed) revoke(jti string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.turn++
	delete(b.until, jti)
}

// NewRevocations makes revocations in c. Without a log (nil) they live as long as Redis remembers them.
func NewRevocations(c *Client, log RevocationLog) *Revocations {
	return &Revocations{client: c, log: log}
}

// Revoked says whether the token with this ID (jti) was revoked. When neither Redis nor the log can tell, it is an error, and the caller
// must refuse the token.
func (r *Revocations) Revoked(ctx context.Context, jti string) (bool, error) {
	good, turn := r.good.has(jti)
	if good {
		return false, nil
	}
	begun := time.Now()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	until, whole, err := r.look(ctx, hashed(jti))
	if err == nil && !whole {
		until, err = r.restoreAndLook(ctx, hashed(jti))
	}
	if err != nil {
		return false, Failed(err, "looking up a revocation")
	}
	if time.Now().UnixMilli() < until {
		return true, nil
	}
	if r.Remember > 0 {
		r.good.put(jti, begun.Add(r.Remember), turn)
	}
	return false, nil
}

// look reads until when member is revoked, in milliseconds since 1970, and whether the set is whole, at one moment.
func (r *Revocations) look(ctx context.Context, member string) (until int64, whole bool, err error) {
	var found, mark *goredis.FloatCmd
	err = r.client.mended(ctx, func() error {
		_, err := r.client.pool.TxPipelined(ctx, func(p goredis.Pipeliner) error {
			found, mark = p.ZScore(ctx, revocations, member), p.ZScore(ctx, revocations, complete)
			return nil
		})
		if errors.Is(err, goredis.Nil) {
			return nil
		}
		return err
	}, revocations)
	return int64(found.Val()), mark.Err() == nil, err
}

// Revoke refuses the token with this ID (jti) from now on, until it expires by itself. It is idempotent, and safe to repeat after an
// error.
func (r *Revocations) Revoke(ctx context.Context, jti string, until time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if jti == "" {
		return fault.New(fault.Invalid, "jti", "must not be empty")
	}
	defer r.good.revoke(jti)
	if r.log != nil {
		if err := r.log.Append(ctx, Revocation{ID: jti, Until: until}); err != nil {
			return err
		}
	}
	err := r.client.mended(ctx, func() error {
		_, err := r.client.pool.TxPipelined(ctx, func(p goredis.Pipeliner) error { return add(ctx, p, Revocation{ID: jti, Until: until}) })
		return err
	}, revocations)
	return Failed(err, "revoking a token")
}

// add puts revocations into the set and forgets those whose tokens have expired. A token that is revoked twice stays so until the later
// time.
func add(ctx context.Context, p goredis.Pipeliner, revoked ...Revocation) error {
	p.ZRemRangeByScore(ctx, revocations, "-inf", strconv.FormatInt(time.Now().UnixMilli(), 10))
	for _, one := range revoked {
		p.ZAddGT(ctx, revocations, goredis.Z{Score: float64(one.Until.UnixMilli()), Member: hashed(one.ID)})
	}
	return nil
}

// restoreAndLook reads the set back from the log, calls it whole, and looks again.
func (r *Revocations) restoreAndLook(ctx context.Context, member string) (until int64, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for range 3 {
		until, whole, err := r.look(ctx, member)
		if err != nil || whole {
			return until, err
		}
		if err := r.restore(ctx); err != nil && !errors.Is(err, goredis.TxFailedErr) {
			return 0, err
		}
	}
	return 0, errors.New("the revocations changed at each attempt to restore them")
}

// restore fails with TxFailedErr when the set changes between reading the log and writing the set: a token that was revoked in between,
// and lost again with another restart of Redis, would be missed.
func (r *Revocations) restore(ctx context.Context) error {
	return r.client.pool.Watch(ctx, func(tx *goredis.Tx) error {
		var live []Revocation
		if r.log != nil {
			var err error
			if live, err = r.log.Live(ctx); err != nil {
				return err
			}
		}
		_, err := tx.TxPipelined(ctx, func(p goredis.Pipeliner) error {
			p.ZAdd(ctx, revocations, goredis.Z{Score: never, Member: complete})
			return add(ctx, p, live...)
		})
		return err
	}, revocations)
}

// never is a time beyond all expiries, which no cleaning reaches: milliseconds since 1970, exact as a float64.
const never = 1 << 53
