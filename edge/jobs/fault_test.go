package jobs_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/medley-lora/medley/edge/jobs"
	"github.com/medley-lora/medley/edge/redis"
	"github.com/medley-lora/medley/edge/redis/redistest"
	"github.com/medley-lora/medley/shared/fault"
)

// truth is what SQL would say: jobs that have not ended, the oldest first.
type truth struct {
	mu      sync.Mutex
	waiting []string
	ended   map[string]int
	err     error
}

func newTruth(n int) *truth {
	t := &truth{ended: map[string]int{}}
	for i := range n {
		t.waiting = append(t.waiting, fmt.Sprint("job", i))
	}
	return t
}

func (t *truth) Waiting(_ context.Context, limit int) ([]string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.waiting[:min(limit, len(t.waiting))]), t.err
}

// end records the end of a job, as the fenced write in SQL does: once.
func (t *truth) end(job string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if i := slices.Index(t.waiting, job); i >= 0 {
		t.waiting = slices.Delete(t.waiting, i, i+1)
		t.ended[job]++
	}
}

func (t *truth) left() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.waiting)
}

// The server is killed and forgets everything, again and again, while workers work and the sweep runs.
func TestBadInput_56_KilledServerLosesNoJob(t *testing.T) {
	const n = 300
	server := redistest.Start(t)
	q := jobs.NewQueue(redistest.Open(t, server.URL()), jobs.QueueOptions{Silence: 300 * time.Millisecond, Poison: 1000})
	source := newTruth(n)
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var all sync.WaitGroup
	all.Go(func() { q.KeepSwept(ctx, source, 100*time.Millisecond, slog.New(slog.DiscardHandler)) })
	for w := range 4 {
		all.Go(func() {
			for ctx.Err() == nil {
				d, ok, err := q.Claim(ctx, fmt.Sprint("w", w), time.Second)
				if err != nil {
					time.Sleep(20 * time.Millisecond)
				}
				if !ok {
					continue
				}
				time.Sleep(10 * time.Millisecond)
				source.end(d.Job)
				_ = q.Ack(ctx, d) // a job that has ended and is delivered again is acknowledged again
			}
		})
	}
	for range 4 {
		time.Sleep(150 * time.Millisecond)
		server.Restart()
	}
	for deadline := time.Now().Add(30 * time.Second); source.left() > 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d jobs are stuck", source.left(), n)
		}
	}
	stop()
	all.Wait()
	if len(source.ended) != n {
		t.Errorf("%d of %d jobs ended", len(source.ended), n)
	}
}

// Every part of the queue's state may be lost by itself; then a sweep brings back what waits.
func TestBadInput_56_QueueStateLostInPart(t *testing.T) {
	const (
		stream  = "medley:jobs"
		entries = "medley:jobs:entries"
	)
	for name, spoil := range map[string]func(context.Context, *redis.Client) error{
		"nothing":        func(context.Context, *redis.Client) error { return nil },
		"the stream":     func(ctx context.Context, c *redis.Client) error { return c.Pool().Del(ctx, stream).Err() },
		"the entries":    func(ctx context.Context, c *redis.Client) error { return c.Pool().Del(ctx, entries).Err() },
		"everything":     func(ctx context.Context, c *redis.Client) error { return c.Pool().FlushAll(ctx).Err() },
		"the scripts":    func(ctx context.Context, c *redis.Client) error { return c.Pool().ScriptFlush(ctx).Err() },
		"what was in it": func(ctx context.Context, c *redis.Client) error { return c.Pool().XTrimMaxLen(ctx, stream, 0).Err() },
		"the group": func(ctx context.Context, c *redis.Client) error {
			return c.Pool().XGroupDestroy(ctx, stream, "workers").Err()
		},
		"the dead worker": func(ctx context.Context, c *redis.Client) error {
			return c.Pool().XGroupDelConsumer(ctx, stream, "workers", "dead").Err()
		},
		"the type of stream":  func(ctx context.Context, c *redis.Client) error { return c.Pool().Set(ctx, stream, "x", 0).Err() },
		"the type of entries": func(ctx context.Context, c *redis.Client) error { return c.Pool().Set(ctx, entries, "x", 0).Err() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			each(t, jobs.QueueOptions{Silence: 500 * time.Millisecond}, func(t *testing.T, q queue, c *redis.Client) {
				source := newTruth(4)
				for _, job := range source.waiting {
					q.put(job, true)
				}
				dead, done := q.take("dead", "job0", 1), q.take("done", "job1", 1)
				if err := spoil(t.Context(), c); err != nil {
					t.Fatal(err)
				}
				source.end(done.Job)
				q.ack(done)
				if _, err := q.Sweep(t.Context(), source); err != nil {
					t.Fatal(err)
				}
				time.Sleep(600 * time.Millisecond)
				left := map[string]bool{}
				for range 20 {
					d, ok, err := q.Claim(t.Context(), "other", 0)
					if err != nil {
						t.Fatal(err)
					}
					if !ok {
						break
					}
					left[d.Job] = true
					q.ack(d)
				}
				delete(left, done.Job) // may come again
				if want := map[string]bool{"job0": true, "job2": true, "job3": true}; fmt.Sprint(left) != fmt.Sprint(want) {
					t.Errorf("claimed %v, want %v", left, want)
				}
				q.ack(dead)
			})
		})
	}
}

func TestSweep(t *testing.T) {
	each(t, jobs.QueueOptions{}, func(t *testing.T, q queue, _ *redis.Client) {
		sweep := func(source *truth, want int) {
			t.Helper()
			if added, err := q.Sweep(t.Context(), source); added != want || err != nil {
				t.Errorf("added %d, %v, want %d", added, err, want)
			}
		}
		sweep(newTruth(0), 0) // before there is a stream
		source := newTruth(3)
		q.put("job1", true)
		sweep(source, 2)
		sweep(source, 0)
		d := q.take("w", "job1", 1)
		sweep(source, 0)
		q.ack(d)
		source.err = errors.New("no database")
		if _, err := q.Sweep(t.Context(), source); !errors.Is(err, source.err) {
			t.Errorf("the source's error became %v", err)
		}
	})
}

// What a server may answer, or not: an error that says so without an address or a secret, in bounded time, and all is well afterwards.
func TestBadInput_56_ServerRefuses(t *testing.T) {
	server := redistest.Start(t)
	proxy := redistest.Through(t, server)
	c, admin := redistest.Open(t, proxy.URL()), redistest.Open(t, server.URL()).Pool()
	q := queue{jobs.NewQueue(c, jobs.QueueOptions{}), t}
	ctx := context.Background()
	set := func(name, value string) func() error {
		return func() error { return admin.ConfigSet(ctx, name, value).Err() }
	}
	for _, fails := range []struct {
		name        string
		begin, end  func() error
		claimsSince bool // claiming an empty queue still works
	}{
		{"NOAUTH", func() error { return errors.Join(set("requirepass", "open sesame")(), drop(proxy)) },
			func() error { return errors.Join(admin.Do(ctx, "AUTH", "open sesame").Err(), set("requirepass", "")()) }, false},
		{"READONLY", func() error { return admin.Do(ctx, "REPLICAOF", "127.0.0.1", "1").Err() },
			func() error { return admin.Do(ctx, "REPLICAOF", "NO", "ONE").Err() }, false},
		{"OOM", set("maxmemory", "1"), set("maxmemory", "0"), true},
		{"silence", func() error { proxy.Silence(true); return nil }, func() error { proxy.Silence(false); return drop(proxy) }, false},
	} {
		t.Run(fails.name, func(t *testing.T) {
			q := queue{q.Queue, t}
			q.put("before", true)
			q.ack(q.take("w", "before", 1))
			if err := fails.begin(); err != nil {
				t.Fatal(err)
			}
			begun := time.Now()
			_, err := q.Enqueue(ctx, "during")
			check(t, "enqueue", err, begun)
			if !fails.claimsSince {
				begun = time.Now()
				_, _, err = q.Claim(ctx, "w", 0)
				check(t, "claim", err, begun)
			}
			if err := fails.end(); err != nil {
				t.Fatal(err)
			}
			if _, err := q.Enqueue(ctx, "during"); err != nil {
				t.Fatalf("afterwards: %v: %v", err, errors.Unwrap(err))
			}
			q.ack(q.take("w", "during", 1))
		})
	}
}

func drop(p *redistest.Proxy) error {
	p.Cut()
	return nil
}

func check(t *testing.T, what string, err error, begun time.Time) {
	t.Helper()
	if fault.CodeOf(err) != fault.Internal || strings.ContainsAny(err.Error(), "0123456789") {
		t.Errorf("%s: %v", what, err)
	}
	if d := time.Since(begun); d > 8*time.Second {
		t.Errorf("%s failed after %v", what, d)
	}
}

func TestBadInput_56_TwoSecondsLatency(t *testing.T) {
	t.Parallel()
	proxy := redistest.Through(t, redistest.Start(t))
	q := queue{jobs.NewQueue(redistest.Open(t, proxy.URL()), jobs.QueueOptions{}), t}
	q.put("warm", true)
	q.ack(q.take("w", "warm", 1))
	proxy.Delay(2 * time.Second)
	q.put("a", true)
	d := q.take("w", "a", 1)
	if err := q.Extend(t.Context(), d); err != nil {
		t.Error(err)
	}
	q.ack(d)
}
