package redis_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/medley-lora/medley/edge/redis"
	"github.com/medley-lora/medley/edge/redis/redistest"
	"github.com/medley-lora/medley/shared/fault"
)

func newProgress(t testing.TB, c *redis.Client, options redis.ProgressOptions) *redis.Progress {
	t.Helper()
	p := redis.NewProgress(c, options)
	t.Cleanup(p.Close)
	return p
}

func follow(t testing.TB, p *redis.Progress, composition, from string) *redis.Follower {
	t.Helper()
	f, err := p.Follow(composition, from)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	return f
}

func say(t testing.TB, p *redis.Progress, composition, event string) string {
	t.Helper()
	id, err := p.Publish(context.Background(), composition, []byte(event))
	if err != nil {
		t.Fatalf("publishing: %v: %v", err, errors.Unwrap(err))
	}
	return id
}

// hear expects the events in words, where "!" before one says that there is a gap.
func hear(t testing.TB, f *redis.Follower, words ...string) {
	t.Helper()
	for _, want := range words {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		e, err := f.Next(ctx)
		cancel()
		got := string(e.Data)
		if e.Gap {
			got = "!" + got
		}
		if err != nil || got != want || e.ID != "" && e.ID != f.Last() {
			t.Fatalf("heard %q (%s), %v, want %q", got, e.ID, err, want)
		}
	}
}

func hearNothing(t testing.TB, f *redis.Follower) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if e, err := f.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("heard %+v, %v, want nothing", e, err)
	}
}

func TestProgress(t *testing.T) {
	redistest.Each(t, func(t *testing.T, c *redis.Client) {
		worker, gateway := newProgress(t, c, redis.ProgressOptions{}), newProgress(t, c, redis.ProgressOptions{})
		early := follow(t, gateway, "a", "")
		hearNothing(t, early)
		say(t, worker, "a", "1")
		second := say(t, worker, "a", "two words")
		say(t, worker, "b", "of another")
		say(t, worker, "a", "")
		hear(t, early, "1", "two words", "")
		late := follow(t, gateway, "a", "")
		hear(t, late, "1", "two words", "")
		resumed := follow(t, gateway, "a", second)
		hear(t, resumed, "")
		hearNothing(t, resumed)
		say(t, worker, "a", "4\x00\xff\n")
		for _, f := range []*redis.Follower{early, late, resumed} {
			hear(t, f, "4\x00\xff\n")
			hearNothing(t, f)
		}
		if _, err := worker.Publish(context.Background(), "a", make([]byte, 16<<10+1)); fault.CodeOf(err) != fault.TooLarge {
			t.Errorf("a large event: %v", err)
		}
	})
}

// A follower that comes back after events were dropped from the stream is told, and so is one whose stream is gone.
func TestProgressGaps(t *testing.T) {
	redistest.Each(t, func(t *testing.T, c *redis.Client) {
		p := newProgress(t, c, redis.ProgressOptions{MaxEvents: 100})
		first := say(t, p, "a", "0")
		slow := follow(t, p, "a", first)
		for i := 1; i <= 250; i++ {
			say(t, p, "a", fmt.Sprint(i))
		}
		hear(t, slow, "!151")
		for i := 152; i <= 250; i++ {
			hear(t, slow, fmt.Sprint(i))
		}
		hearNothing(t, slow)
		say(t, p, "a", "more")
		hear(t, slow, "more")

		gone := follow(t, p, "never was", first)
		hear(t, gone, "!")
		hearNothing(t, gone) // told once
		say(t, p, "never was", "is")
		hear(t, gone, "is")

		if err := c.Pool().FlushAll(context.Background()).Err(); err != nil {
			t.Fatal(err)
		}
		say(t, p, "a", "anew")
		hear(t, slow, "!anew")
		if err := c.Pool().Set(context.Background(), "medley:progress:a", "x", 0).Err(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Millisecond) // a stream that is begun twice in one millisecond would use an id twice
		say(t, p, "a", "mended")
		hear(t, slow, "!mended")
	})
}

// However quickly events come, every follower hears all in order, the ones that join in the middle too.
func TestProgressRace(t *testing.T) {
	redistest.Each(t, func(t *testing.T, c *redis.Client) {
		const n = 500
		worker, gateway := newProgress(t, c, redis.ProgressOptions{}), newProgress(t, c, redis.ProgressOptions{})
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				f, err := gateway.Follow("a", "")
				if err != nil {
					t.Error(err)
					return
				}
				defer f.Close()
				for i := range n {
					ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
					e, err := f.Next(ctx)
					cancel()
					if err != nil || e.Gap || string(e.Data) != fmt.Sprint(i) {
						t.Errorf("event %d is %q, gap %v, %v", i, e.Data, e.Gap, err)
						return
					}
				}
			})
			time.Sleep(time.Millisecond)
		}
		for i := range n {
			say(t, worker, "a", fmt.Sprint(i))
		}
		all.Wait()
	})
}

// The server dies and comes back empty, connections break, a machine vanishes without a word: followers wait, resume, and are told.
func TestBadInput_56_ProgressWithoutServer(t *testing.T) {
	server := redistest.Start(t)
	proxy := redistest.Through(t, server)
	gateway := newProgress(t, redistest.Open(t, proxy.URL()), redis.ProgressOptions{Probe: 100 * time.Millisecond})
	worker := newProgress(t, redistest.Open(t, server.URL()), redis.ProgressOptions{})
	f := follow(t, gateway, "a", "")
	say(t, worker, "a", "1")
	hear(t, f, "1")
	hearNothing(t, f)

	proxy.Cut()
	say(t, worker, "a", "2")
	hear(t, f, "2")

	proxy.Silence(true)
	say(t, worker, "a", "3")
	hearNothing(t, f)
	time.Sleep(500 * time.Millisecond)
	proxy.Silence(false)
	hear(t, f, "3")

	server.Kill()
	if _, err := worker.Publish(context.Background(), "a", []byte("lost")); fault.CodeOf(err) != fault.Internal {
		t.Errorf("publishing to nobody: %v", err)
	}
	hearNothing(t, f)
	server.Restart()
	hear(t, f, "!")
	say(t, worker, "a", "4")
	hear(t, f, "4")
}

// Two thousand idle followers, each of its own composition, share one connection.
func TestIdleFollowers(t *testing.T) {
	const n = 2000
	server := redistest.Start(t)
	proxy := redistest.Through(t, server)
	p := newProgress(t, redistest.Open(t, proxy.URL()), redis.ProgressOptions{})
	worker := newProgress(t, redistest.Open(t, server.URL()), redis.ProgressOptions{})
	before := memory()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var followers []*redis.Follower
	var all sync.WaitGroup
	for i := range n {
		f := follow(t, p, fmt.Sprint("composition ", i), "")
		followers = append(followers, f)
		all.Go(func() {
			if e, err := f.Next(ctx); err != nil || string(e.Data) != fmt.Sprint(i) {
				t.Errorf("follower %d heard %q, %v", i, e.Data, err)
			}
		})
	}
	admin := redistest.Open(t, server.URL()).Pool()
	for channels := 0; channels < n && ctx.Err() == nil; time.Sleep(10 * time.Millisecond) {
		names, err := admin.PubSubChannels(ctx, "medley:progress:*").Result()
		if err != nil {
			t.Fatal(err)
		}
		channels = len(names)
	}
	time.Sleep(200 * time.Millisecond) // all have looked into their streams, and wait
	used := memory() - before
	subscribers := strings.Count(admin.ClientList(ctx).Val(), "cmd=subscribe")
	t.Logf("%d followers: %d B each with its goroutine, %d connections, %d of them for news", n, used/n, proxy.Opened(), subscribers)
	if subscribers != 1 || proxy.Opened() > 1+10*runtime.GOMAXPROCS(0) {
		t.Errorf("%d connections, %d of them for news", proxy.Opened(), subscribers)
	}
	if used/n > 32<<10 {
		t.Errorf("a follower takes %d B", used/n)
	}
	for i := range followers {
		say(t, worker, fmt.Sprint("composition ", i), fmt.Sprint(i))
	}
	all.Wait()
	for _, f := range followers {
		f.Close()
	}
	for names := 1; names > 0 && ctx.Err() == nil; time.Sleep(10 * time.Millisecond) {
		names = len(admin.PubSubChannels(ctx, "medley:progress:*").Val())
	}
	if ctx.Err() != nil {
		t.Error("channels that nobody follows stay")
	}
}

// memory is that of the heap and the stacks in use, in bytes.
func memory() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}

func TestEventIDs(t *testing.T) {
	for id, want := range map[string]bool{
		"0-0": true, "1700000000000-12": true, "18446744073709551615-18446744073709551615": true,
		"": false, "-": false, "1": false, "1-": false, "-1": false, "1-2-3": false, "+1-2": false, "01-2": false, "1-02": false, " 1-2": false,
		"18446744073709551616-0": false, "1e3-0": false, "$": false, "1-*": false, "(1-2": false, "٣-1": false, strings.Repeat("1", 1<<20) + "-1": false,
	} {
		if redis.ValidEventID(id) != want {
			t.Errorf("%.40q is valid: %v", id, !want)
		}
	}
	p := newProgress(t, redistest.Open(t, "embedded:"), redis.ProgressOptions{})
	if _, err := p.Follow("a", "+"); fault.CodeOf(err) != fault.Invalid {
		t.Errorf("following from nowhere: %v", err)
	}
}

// An id that is called valid is one for Redis too.
func FuzzValidEventID(f *testing.F) {
	c := redistest.Open(f, "embedded:").Pool()
	f.Add("0-0")
	f.Add("1700000000000-1")
	f.Add("1-2-3")
	f.Fuzz(func(t *testing.T, id string) {
		if redis.ValidEventID(id) {
			if err := c.XRange(context.Background(), "none", id, "+").Err(); err != nil {
				t.Errorf("%q: %v", id, err)
			}
		}
	})
}
