package redis_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/medley-lora/medley/edge/redis"
	"github.com/medley-lora/medley/edge/redis/redistest"
	"github.com/medley-lora/medley/shared/fault"
)

// ledger is a RevocationLog in memory.
type ledger struct {
	mu    sync.Mutex
	rows  map[string]time.Time
	reads int
	err   error
}

func (l *ledger) Append(_ context.Context, r redis.Revocation) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.rows[r.ID] = r.Until
	}
	return l.err
}

func (l *ledger) Live(context.Context) ([]redis.Revocation, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reads++
	var live []redis.Revocation
	for id, until := range l.rows {
		live = append(live, redis.Revocation{ID: id, Until: until})
	}
	return live, l.err
}

func revoked(t *testing.T, r *redis.Revocations, jti string, want bool) {
	t.Helper()
	if got, err := r.Revoked(context.Background(), jti); err != nil || got != want {
		t.Errorf("%.20q revoked: %v, %v, want %v", jti, got, err, want)
	}
}

func TestRevocations(t *testing.T) {
	redistest.Each(t, func(t *testing.T, c *redis.Client) {
		ctx := context.Background()
		r := redis.NewRevocations(c, nil)
		soon := time.Now().Add(time.Hour)
		for _, jti := range []string{"a", "complete", strings.Repeat("long", 1<<16), "\x00\r\n*"} {
			revoked(t, r, jti, false)
			for _, until := range []time.Time{soon, soon.Add(-30 * time.Minute)} { // the later one counts
				if err := r.Revoke(ctx, jti, until); err != nil {
					t.Fatal(err)
				}
			}
			revoked(t, r, jti, true)
			revoked(t, redis.NewRevocations(c, nil), jti, true) // another process
		}
		if err := r.Revoke(ctx, "brief", time.Now().Add(50*time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		revoked(t, r, "brief", true)
		time.Sleep(60 * time.Millisecond)
		revoked(t, r, "brief", false)
		if err := r.Revoke(ctx, "another", soon); err != nil {
			t.Fatal(err)
		}
		if n := c.Pool().ZCard(ctx, "medley:revocations").Val(); n != 6 { // four, another, and the mark
			t.Errorf("%d members: the expired one is kept", n)
		}
		if err := r.Revoke(ctx, "", soon); fault.CodeOf(err) != fault.Invalid {
			t.Errorf("no token at all: %v", err)
		}
	})
}

// However Redis loses the revocations, no revoked token passes.
func TestBadInput_56_RevocationsSurviveRedis(t *testing.T) {
	redistest.Each(t, func(t *testing.T, c *redis.Client) {
		ctx := context.Background()
		log := &ledger{rows: map[string]time.Time{}}
		r := redis.NewRevocations(c, log)
		soon := time.Now().Add(time.Hour)
		for i := range 10 {
			if err := r.Revoke(ctx, fmt.Sprint(i), soon); err != nil {
				t.Fatal(err)
			}
		}
		for name, lose := range map[string]func() error{
			"nothing":  func() error { return nil },
			"all":      func() error { return c.Pool().FlushAll(ctx).Err() },
			"the type": func() error { return c.Pool().Set(ctx, "medley:revocations", "x", 0).Err() },
			"all, then revoked another": func() error {
				return errors.Join(c.Pool().FlushAll(ctx).Err(), r.Revoke(ctx, "another", soon))
			},
		} {
			if err := lose(); err != nil {
				t.Fatal(err)
			}
			var all sync.WaitGroup
			for i := range 10 {
				all.Go(func() { revoked(t, r, fmt.Sprint(i), true) })
			}
			all.Wait()
			revoked(t, r, name, false)
		}
		if log.reads < 3 || log.reads > 10 {
			t.Errorf("the log was read %d times for four losses", log.reads)
		}
		// Without the log nobody can tell.
		if err := c.Pool().FlushAll(ctx).Err(); err != nil {
			t.Fatal(err)
		}
		log.err = errors.New("no database")
		if got, err := r.Revoked(ctx, "0"); err == nil {
			t.Errorf("revoked %v without knowing", got)
		}
		if err := r.Revoke(ctx, "new", soon); !errors.Is(err, log.err) {
			t.Errorf("revoking without a log: %v", err)
		}
		log.err = nil
		revoked(t, r, "0", true)
		revoked(t, r, "new", false)
	})
}

func TestBadInput_56_RevocationsWithoutServer(t *testing.T) {
	server := redistest.Start(t)
	proxy := redistest.Through(t, server)
	r := redis.NewRevocations(redistest.Open(t, proxy.URL()), nil)
	revoked(t, r, "a", false)
	for name, fail := range map[string]func(){
		"killed": server.Kill,
		"silent": func() { proxy.Silence(true) },
	} {
		fail()
		begun := time.Now()
		_, err := r.Revoked(context.Background(), "a")
		if fault.CodeOf(err) != fault.Internal || strings.Contains(err.Error(), "127") || time.Since(begun) > 6*time.Second {
			t.Errorf("%s: %v after %v", name, err, time.Since(begun))
		}
		proxy.Silence(false)
		proxy.Cut()
		server.Restart()
		revoked(t, r, "a", false)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := r.Revoked(ctx, "a"); fault.CodeOf(err) != fault.Canceled {
		t.Errorf("a caller that left got %v", err)
	}
}

// A process that remembers heeds its own revocations at once, and another's within the time that it remembers.
func TestRevocationsAreBelievedBriefly(t *testing.T) {
	redistest.Each(t, func(t *testing.T, c *redis.Client) {
		ctx, soon := context.Background(), time.Now().Add(time.Hour)
		ours, theirs := redis.NewRevocations(c, nil), redis.NewRevocations(c, nil)
		ours.Remember = 300 * time.Millisecond
		for _, jti := range []string{"a", "b"} {
			revoked(t, ours, jti, false)
		}
		if err := ours.Revoke(ctx, "a", soon); err != nil {
			t.Fatal(err)
		}
		revoked(t, ours, "a", true)
		if err := theirs.Revoke(ctx, "b", soon); err != nil {
			t.Fatal(err)
		}
		time.Sleep(ours.Remember)
		revoked(t, ours, "b", true)
		// Whoever asks while it is revoked is not believed afterwards.
		var all sync.WaitGroup
		for i := range 20 {
			jti := fmt.Sprint("race", i)
			all.Go(func() {
				if _, err := ours.Revoked(ctx, jti); err != nil {
					t.Error(err)
				}
			})
			if err := ours.Revoke(ctx, jti, soon); err != nil {
				t.Fatal(err)
			}
			revoked(t, ours, jti, true)
		}
		all.Wait()
		for i := range 20 {
			revoked(t, ours, fmt.Sprint("race", i), true)
		}
	})
}
