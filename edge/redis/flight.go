package redis

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/medley-lora/medley/shared/fault"
)

// flight is one evaluation that several callers of this process wait for. golang.org/x/sync/singleflight has no answer to a first
// caller that goes away: here the evaluation ends when the last one has gone.
type flight struct {
	cancel  context.CancelFunc
	waiting int // guarded by the cache
	done    chan struct{}
	value   []byte
	hit     bool
	err     error
}

// Do returns the result of key: the remembered one (hit), or that of evaluate, which is then remembered. Callers of this process with
// the same question share one evaluation, whose context ends when none of them waits any more. Other processes wait for it too, for at
// most Lock and as far as Redis can tell them; the same question may be evaluated twice, never answered wrongly. The error is
// evaluate's, or ctx's. The value is shared: callers must not change it.
func (c *Cache) Do(ctx context.Context, key Key, evaluate func(context.Context) ([]byte, error)) (value []byte, hit bool, err error) {
	if value, ok := c.Get(ctx, key); ok {
		return value, true, nil
	}
	f := c.board(ctx, key, evaluate)
	defer c.leave(key, f)
	select {
	case <-f.done:
		return f.value, f.hit, f.err
	case <-ctx.Done():
		return nil, false, ctx.Err()
	}
}

// board joins the flight for key or begins it.
func (c *Cache) board(ctx context.Context, key Key, evaluate func(context.Context) ([]byte, error)) *flight {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f := c.flights[key]; f != nil {
		f.waiting++
		c.shared.Add(1)
		return f
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	f := &flight{cancel: cancel, waiting: 1, done: make(chan struct{})}
	c.flights[key] = f
	go func() {
		defer close(f.done)
		defer func() {
			if p := recover(); p != nil { // of evaluate: its callers get an error, as those of a handler would
				f.err = fault.Wrap(fmt.Errorf("panic: %v", p), fault.Internal, "", "the evaluation met a defect")
			}
		}()
		f.value, f.hit, f.err = c.alone(ctx, key, evaluate)
	}()
	return f
}

// leave ends the flight when nobody waits for it; the next caller begins another.
func (c *Cache) leave(key Key, f *flight) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.waiting--; f.waiting > 0 {
		return
	}
	f.cancel()
	if c.flights[key] == f {
		delete(c.flights, key)
	}
}

// alone evaluates while holding the lock of key among processes, or waits for the process that holds it.
func (c *Cache) alone(ctx context.Context, key Key, evaluate func(context.Context) ([]byte, error)) ([]byte, bool, error) {
	lock, token := cacheLock+hashed(string(key[:])), rand.Text()
	pause := 20 * time.Millisecond
	for deadline := time.Now().Add(c.options.Lock); time.Now().Before(deadline); pause = min(pause*2, 500*time.Millisecond) {
		taken := true // when Redis cannot say otherwise
		c.ask(ctx, func(ctx context.Context) error {
			ok, err := c.client.pool.SetNX(ctx, lock, token, c.options.Lock).Result()
			taken = ok || err != nil
			return err
		})
		// Only now: whoever gave the lock back has remembered its result before.
		if value, ok := c.lookUp(ctx, key); ok {
			c.unlock(ctx, lock, token, taken)
			return value, true, nil
		}
		if taken {
			break
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, false, ctx.Err()
		}
	}
	defer c.unlock(context.WithoutCancel(ctx), lock, token, true)
	value, err := evaluate(ctx)
	if err == nil {
		c.Set(context.WithoutCancel(ctx), key, value)
	}
	return value, false, err
}

func (c *Cache) unlock(ctx context.Context, lock, token string, taken bool) {
	if taken {
		c.ask(ctx, func(ctx context.Context) error {
			return unlock.Run(ctx, c.client.pool, []string{lock}, token).Err()
		})
	}
}
