package redis_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/medley-lora/medley/edge/redis"
	"github.com/medley-lora/medley/edge/redis/redistest"
)

func TestKeyOf(t *testing.T) {
	seen := map[redis.Key]int{}
	for i, parts := range [][]string{nil, {""}, {"", ""}, {"ab"}, {"a", "b"}, {"b", "a"}, {"ab", ""}} {
		key := redis.KeyOf(parts...)
		if other, taken := seen[key]; taken {
			t.Errorf("lists %d and %d have one key", other, i)
		}
		seen[key] = i
	}
	// Computed by Python's hashlib. Another value means that all results cached so far are lost, or that keyVersion was forgotten.
	if got, want := fmt.Sprintf("%x", redis.KeyOf("a", "b")), "81095e9163b4eb8ac55571cfb8649979645c934ddaa31fc601d9d17e2921ed9d"; got != want {
		t.Errorf("the key of a and b is %s, want %s", got, want)
	}
}

func TestCache(t *testing.T) {
	redistest.Each(t, func(t *testing.T, client *redis.Client) {
		ctx := context.Background()
		c := redis.NewCache(client, redis.CacheOptions{MaxValue: 100})
		for _, value := range []string{"", "a", "\x00\xff\r\n", strings.Repeat("v", 100)} {
			key := redis.KeyOf("value", value)
			if _, ok := c.Get(ctx, key); ok {
				t.Errorf("%q is known before it is set", value)
			}
			c.Set(ctx, key, []byte("another"))
			c.Set(ctx, key, []byte(value))
			if got, ok := c.Get(ctx, key); !ok || string(got) != value {
				t.Errorf("%q came back as %q, %v", value, got, ok)
			}
		}
		large := redis.KeyOf("large")
		c.Set(ctx, large, make([]byte, 101))
		if _, ok := c.Get(ctx, large); ok {
			t.Error("a value beyond the bound is kept")
		}
		if s := c.Stats(); s != (redis.CacheStats{Hits: 4, Misses: 5}) {
			t.Errorf("counted %+v", s)
		}
	})
}

func TestCacheForgets(t *testing.T) {
	redistest.Each(t, func(t *testing.T, client *redis.Client) {
		ctx := context.Background()
		key := func(i int) redis.Key { return redis.KeyOf(strconv.Itoa(i)) }
		c := redis.NewCache(client, redis.CacheOptions{TTL: time.Hour, MaxBytes: 10 * (256 + 13 + 100)})
		for i := range 25 {
			c.Set(ctx, key(i), bytes.Repeat([]byte{byte(i)}, 100))
		}
		for i := range 25 {
			if _, ok := c.Get(ctx, key(i)); ok != (i >= 15) {
				t.Errorf("%d of 25 is known: %v, with room for ten", i, ok)
			}
		}
		for range 30 { // one result again and again takes the room of what it stands in the list, and no more in the end
			time.Sleep(2 * time.Millisecond)
			c.Set(ctx, key(24), []byte("anew"))
		}
		if value, ok := c.Get(ctx, key(24)); !ok || string(value) != "anew" {
			t.Errorf("set anew: %q, %v", value, ok)
		}
		if n := client.Pool().LLen(ctx, "medley:cache:order").Val(); n > 14 {
			t.Errorf("the list has %d places", n)
		}
	})
}

func TestCacheExpires(t *testing.T) {
	redistest.Each(t, func(t *testing.T, client *redis.Client) {
		ctx := context.Background()
		c := redis.NewCache(client, redis.CacheOptions{TTL: 200 * time.Millisecond})
		old, young := redis.KeyOf("old"), redis.KeyOf("young")
		c.Set(ctx, old, []byte("soon over"))
		if _, ok := c.Get(ctx, old); !ok {
			t.Error("a result is forgotten too early")
		}
		time.Sleep(220 * time.Millisecond)
		if _, ok := c.Get(ctx, old); ok {
			t.Error("a result outlives its time")
		}
		c.Set(ctx, young, []byte("1234"))
		fields := client.Pool().HGetAll(ctx, "medley:cache:values").Val()
		if len(fields) != 2 || fields["bytes"] != "273" { // 256 + 13 + 4
			t.Errorf("%d fields and %s bytes, want the young result and the sum", len(fields), fields["bytes"])
		}
	})
}

// The parts of the cache may be lost or overwritten one by one.
func TestBadInput_56_CacheKeysOfAnotherType(t *testing.T) {
	redistest.Each(t, func(t *testing.T, client *redis.Client) {
		ctx := context.Background()
		pool := client.Pool()
		for _, key := range []string{"medley:cache:values", "medley:cache:order"} {
			for name, spoil := range map[string]func() error{
				"string": func() error { return pool.Set(ctx, key, "x", 0).Err() },
				"gone":   func() error { return pool.Del(ctx, key).Err() },
				"list":   func() error { return errors.Join(pool.Del(ctx, key).Err(), pool.LPush(ctx, key, "x").Err()) },
			} {
				t.Run(key+" "+name, func(t *testing.T) {
					c := redis.NewCache(client, redis.CacheOptions{})
					a, b := redis.KeyOf("a"), redis.KeyOf("b")
					c.Set(ctx, a, []byte("a"))
					if err := spoil(); err != nil {
						t.Fatal(err)
					}
					if value, ok := c.Get(ctx, a); ok && string(value) != "a" {
						t.Errorf("got %q", value)
					}
					c.Set(ctx, b, []byte("b"))
					if value, ok := c.Get(ctx, b); !ok || string(value) != "b" {
						t.Error("the cache does not mend itself")
					}
				})
			}
		}
	})
}

func TestDoSharesAnEvaluation(t *testing.T) {
	redistest.Each(t, func(t *testing.T, client *redis.Client) {
		ctx := context.Background()
		// Two processes, eight callers each.
		processes := []*redis.Cache{redis.NewCache(client, redis.CacheOptions{}), redis.NewCache(client, redis.CacheOptions{})}
		var evaluations atomic.Int32
		var all sync.WaitGroup
		for i := range 16 {
			all.Go(func() {
				value, _, err := processes[i%2].Do(ctx, redis.KeyOf("q"), func(context.Context) ([]byte, error) {
					evaluations.Add(1)
					time.Sleep(100 * time.Millisecond)
					return []byte("answer"), nil
				})
				if err != nil || string(value) != "answer" {
					t.Errorf("%q, %v", value, err)
				}
			})
		}
		all.Wait()
		if n := evaluations.Load(); n != 1 {
			t.Errorf("evaluated %d times", n)
		}
		if value, hit, err := processes[0].Do(ctx, redis.KeyOf("q"), nil); !hit || err != nil || string(value) != "answer" {
			t.Errorf("asked again: %q, %v, %v", value, hit, err)
		}
	})
}

func TestDoFails(t *testing.T) {
	redistest.Each(t, func(t *testing.T, client *redis.Client) {
		ctx := context.Background()
		c := redis.NewCache(client, redis.CacheOptions{})
		wrong := errors.New("wrong")
		for name, evaluate := range map[string]func(context.Context) ([]byte, error){
			"error": func(context.Context) ([]byte, error) { return nil, wrong },
			"panic": func(context.Context) ([]byte, error) { panic("defect") },
		} {
			_, _, err := c.Do(ctx, redis.KeyOf(name), evaluate)
			if err == nil || name == "error" && !errors.Is(err, wrong) {
				t.Errorf("%s: %v", name, err)
			}
			// Neither an answer nor a lock stays behind.
			begun := time.Now()
			value, hit, err := c.Do(ctx, redis.KeyOf(name), func(context.Context) ([]byte, error) { return []byte("right"), nil })
			if hit || err != nil || string(value) != "right" || time.Since(begun) > time.Second {
				t.Errorf("%s, then: %q, %v, %v after %v", name, value, hit, err, time.Since(begun))
			}
		}
	})
}

func TestDoEndsWithItsLastCaller(t *testing.T) {
	c := redis.NewCache(redistest.Open(t, "embedded:"), redis.CacheOptions{})
	first, cancelFirst := context.WithCancel(context.Background())
	second, cancelSecond := context.WithCancel(context.Background())
	begun, ended := make(chan struct{}), make(chan struct{})
	evaluate := func(ctx context.Context) ([]byte, error) {
		close(begun)
		<-ctx.Done()
		close(ended)
		return nil, ctx.Err()
	}
	var all sync.WaitGroup
	do := func(ctx context.Context) {
		if _, _, err := c.Do(ctx, redis.Key{}, evaluate); !errors.Is(err, context.Canceled) {
			t.Errorf("a caller that left got %v", err)
		}
	}
	all.Go(func() { do(first) })
	<-begun
	all.Go(func() { do(second) })
	for c.Stats().Shared == 0 {
		time.Sleep(time.Millisecond)
	}
	cancelFirst()
	select {
	case <-ended:
		t.Error("the evaluation ended while somebody waited")
	case <-time.After(50 * time.Millisecond):
	}
	cancelSecond()
	<-ended
	all.Wait()
}
