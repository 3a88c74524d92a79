package redis_test

import (
	"context"
	"testing"
	"time"

	"github.com/medley-lora/medley/edge/redis"
	"github.com/medley-lora/medley/edge/redis/redistest"
)

// Whatever is wrong with the server, the cache answers in bounded time with a miss or the right value, counts it, and an evaluation
// takes place; when the server is well again, so is the cache.
func TestBadInput_56_CacheWithoutServer(t *testing.T) {
	server := redistest.Start(t)
	proxy := redistest.Through(t, server)
	admin := redistest.Open(t, server.URL()).Pool()
	ctx := context.Background()
	options := redis.CacheOptions{Patience: 200 * time.Millisecond, Pause: 300 * time.Millisecond}
	c := redis.NewCache(redistest.Open(t, proxy.URL()), options)
	set := func(name, value string) func() error {
		return func() error { return admin.ConfigSet(ctx, name, value).Err() }
	}
	do := func(args ...any) func() error { return func() error { return admin.Do(ctx, args...).Err() } }
	for _, fails := range []struct {
		name       string
		begin, end func() error
		fails      bool
	}{
		{"NOAUTH", func() error { defer proxy.Cut(); return set("requirepass", "secret")() },
			func() error { _ = do("AUTH", "secret")(); return set("requirepass", "")() }, true},
		{"READONLY", do("REPLICAOF", "127.0.0.1", "1"), do("REPLICAOF", "NO", "ONE"), true},
		{"OOM", set("maxmemory", "1"), set("maxmemory", "0"), true},
		{"SCRIPT FLUSH", do("SCRIPT", "FLUSH"), func() error { return nil }, false},
		{"2 s latency", func() error { proxy.Delay(2 * time.Second); return nil }, func() error { proxy.Delay(0); return nil }, true},
		{"silence", func() error { proxy.Silence(true); return nil }, func() error { proxy.Silence(false); proxy.Cut(); return nil }, true},
		{"killed", func() error { server.Kill(); return nil }, func() error { server.Restart(); return nil }, true},
	} {
		t.Run(fails.name, func(t *testing.T) {
			known, asked := redis.KeyOf(fails.name), redis.KeyOf(fails.name, "")
			c.Set(ctx, known, []byte("known"))
			if _, ok := c.Get(ctx, known); !ok {
				t.Fatal("the server is not well to begin with")
			}
			before := c.Stats()
			if err := fails.begin(); err != nil {
				t.Fatal(err)
			}
			begun := time.Now()
			if value, ok := c.Get(ctx, known); ok && string(value) != "known" {
				t.Errorf("got %q", value)
			}
			for range 3 {
				value, _, err := c.Do(ctx, asked, func(context.Context) ([]byte, error) { return []byte("evaluated"), nil })
				if err != nil || string(value) != "evaluated" {
					t.Errorf("evaluated %q, %v", value, err)
				}
			}
			if d := time.Since(begun); d > 1500*time.Millisecond {
				t.Errorf("four questions took %v", d)
			}
			if failed := c.Stats().Failures > before.Failures; failed != fails.fails {
				t.Errorf("failures were counted: %v", failed)
			}
			if err := fails.end(); err != nil {
				t.Fatal(err)
			}
			for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(20 * time.Millisecond) {
				c.Set(ctx, asked, []byte("again"))
				if value, ok := c.Get(ctx, asked); ok && string(value) == "again" {
					break
				}
				if time.Now().After(deadline) {
					t.Fatal("the cache does not recover")
				}
			}
		})
	}
}

// A server that forgets the scripts is told them again.
func TestBadInput_56_ScriptsForgotten(t *testing.T) {
	redistest.Each(t, func(t *testing.T, client *redis.Client) {
		ctx := context.Background()
		c, l, p := redis.NewCache(client, redis.CacheOptions{}), redis.NewLimits(client), newProgress(t, client, redis.ProgressOptions{})
		for range 2 {
			c.Set(ctx, redis.Key{}, []byte("v"))
			if _, err := l.Allow(ctx, "r", "ann", redis.Rate{Count: 1, Per: time.Second, Burst: 1}, 0); err != nil {
				t.Error(err)
			}
			r, _, err := l.Reserve(ctx, "ann", redis.Quota{Name: "jobs", Limit: 1}, 1)
			if err != nil {
				t.Error(err)
			}
			if err := l.GiveBack(ctx, r, r.Amount); err != nil {
				t.Error(err)
			}
			say(t, p, "a", "event")
			if err := client.Pool().ScriptFlush(ctx).Err(); err != nil {
				t.Fatal(err)
			}
		}
		if s := c.Stats(); s.Failures > 0 {
			t.Errorf("counted %+v", s)
		}
	})
}
