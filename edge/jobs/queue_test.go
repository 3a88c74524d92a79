package jobs_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/medley-lora/medley/edge/jobs"
	"github.com/medley-lora/medley/edge/redis"
	"github.com/medley-lora/medley/edge/redis/redistest"
	"github.com/medley-lora/medley/shared/fault"
)

// queue is a queue with the steps of the tests, each of which must succeed.
type queue struct {
	*jobs.Queue
	t *testing.T
}

func (q queue) put(job string, want bool) {
	q.t.Helper()
	if added, err := q.Enqueue(q.t.Context(), job); err != nil || added != want {
		q.t.Fatalf("enqueueing %s: added %v, %v; want %v", job, added, err, want)
	}
}

// take claims a job, at once.
func (q queue) take(worker, want string, count int64) jobs.Delivery {
	q.t.Helper()
	d, ok, err := q.Claim(q.t.Context(), worker, 0)
	if err != nil || ok != (want != "") || d.Job != want || d.Count != count || ok && d.Worker != worker {
		q.t.Fatalf("%s claims %+v, %v, %v; want %q, delivered %d times", worker, d, ok, err, want, count)
	}
	return d
}

func (q queue) ack(d jobs.Delivery) {
	q.t.Helper()
	if err := q.Ack(q.t.Context(), d); err != nil {
		q.t.Fatal(err)
	}
}

func each(t *testing.T, options jobs.QueueOptions, test func(t *testing.T, q queue, c *redis.Client)) {
	t.Helper()
	redistest.Each(t, func(t *testing.T, c *redis.Client) { test(t, queue{jobs.NewQueue(c, options), t}, c) })
}

func TestQueue(t *testing.T) {
	each(t, jobs.QueueOptions{}, func(t *testing.T, q queue, _ *redis.Client) {
		q.take("early", "", 0)
		q.put("a", true)
		q.put("a", false)
		q.put("b", true)
		a := q.take("w1", "a", 1)
		q.put("a", false) // it runs
		b := q.take("w2", "b", 1)
		q.take("w3", "", 0)
		q.ack(b)
		q.ack(b)
		q.ack(a)
		q.take("w1", "", 0)
		q.put("a", true) // it may come again when it has ended
		again := q.take("w1", "a", 1)
		q.ack(a) // the old delivery does not concern the new one
		q.put("a", false)
		if err := q.Extend(t.Context(), again); err != nil {
			t.Error(err)
		}
		q.ack(again)
		if _, err := q.Enqueue(t.Context(), ""); fault.CodeOf(err) != fault.Invalid {
			t.Errorf("no job at all: %v", err)
		}
	})
}

func TestClaimWaits(t *testing.T) {
	each(t, jobs.QueueOptions{}, func(t *testing.T, q queue, _ *redis.Client) {
		begun := time.Now()
		if _, ok, err := q.Claim(t.Context(), "w", 1200*time.Millisecond); ok || err != nil {
			t.Errorf("claimed %v, %v", ok, err)
		}
		if d := time.Since(begun); d < 1200*time.Millisecond || d > 3*time.Second {
			t.Errorf("waited %v for 1.2 s", d)
		}
		var all sync.WaitGroup
		all.Go(func() {
			d, ok, err := q.Claim(t.Context(), "w", 10*time.Second)
			if d.Job != "late" || !ok || err != nil {
				t.Errorf("claimed %+v, %v, %v", d, ok, err)
			}
		})
		time.Sleep(200 * time.Millisecond)
		begun = time.Now()
		q.put("late", true)
		all.Wait()
		if d := time.Since(begun); d > 500*time.Millisecond {
			t.Errorf("told of a job after %v", d)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		begun = time.Now()
		if _, ok, _ := q.Claim(ctx, "w", time.Minute); ok || time.Since(begun) > 3*time.Second {
			t.Errorf("a canceled claim returned %v after %v", ok, time.Since(begun))
		}
	})
}

func TestSilentWorkersLoseTheirJobs(t *testing.T) {
	const silence = 400 * time.Millisecond
	each(t, jobs.QueueOptions{Silence: silence, Poison: 2}, func(t *testing.T, q queue, _ *redis.Client) {
		q.put("a", true)
		q.put("b", true)
		dead := q.take("dead", "a", 1)
		alive := q.take("alive", "b", 1)
		for range 6 {
			time.Sleep(silence / 4)
			if err := q.Extend(t.Context(), alive); err != nil {
				t.Fatal(err)
			}
		}
		second := q.take("other", "a", 2)
		if second.Poison {
			t.Error("the second delivery of two is called poison")
		}
		q.take("other", "", 0) // b is not silent
		if err := q.Extend(t.Context(), dead); !errors.Is(err, jobs.ErrLost) {
			t.Errorf("the dead worker extends: %v", err)
		}
		q.put("a", false)
		for count := int64(3); count < 5; count++ { // reported until somebody has recorded it
			time.Sleep(silence + silence/4)
			if err := q.Extend(t.Context(), alive); err != nil && !errors.Is(err, jobs.ErrLost) {
				t.Fatal(err)
			}
			d, ok, err := q.Claim(t.Context(), "other", 0)
			if err != nil || !ok || d.Job != "a" || d.Count != count || !d.Poison {
				t.Fatalf("after %d deliveries: %+v, %v, %v", count-1, d, ok, err)
			}
			if count == 4 {
				q.ack(d)
			}
		}
		q.ack(alive)
		time.Sleep(silence + silence/4)
		q.take("other", "", 0)
	})
}

// The one of several silent deliveries that is found must not depend on how many live ones lie before it.
func TestSilentBehindManyAlive(t *testing.T) {
	const silence = 500 * time.Millisecond
	each(t, jobs.QueueOptions{Silence: silence}, func(t *testing.T, q queue, _ *redis.Client) {
		var alive []jobs.Delivery
		for i := range 40 {
			q.put(fmt.Sprint(i), true)
			alive = append(alive, q.take("w", fmt.Sprint(i), 1))
		}
		q.put("silent", true)
		q.take("dead", "silent", 1)
		for range 5 {
			time.Sleep(silence / 4)
			for _, d := range alive {
				if err := q.Extend(t.Context(), d); err != nil {
					t.Fatal(err)
				}
			}
		}
		q.take("other", "silent", 2)
	})
}

func TestBadInput_56_ManyWorkersClaimJobs(t *testing.T) {
	each(t, jobs.QueueOptions{}, func(t *testing.T, q queue, _ *redis.Client) {
		const n = 200
		var all sync.WaitGroup
		var mu sync.Mutex
		taken := map[string]int{}
		for w := range 8 {
			all.Go(func() {
				for {
					d, ok, err := q.Claim(t.Context(), fmt.Sprint("w", w), 1500*time.Millisecond)
					if err != nil {
						t.Error(err)
						return
					}
					if !ok {
						return
					}
					mu.Lock()
					taken[d.Job]++
					mu.Unlock()
					if err := q.Ack(t.Context(), d); err != nil {
						t.Error(err)
					}
				}
			})
		}
		for i := range n {
			all.Go(func() {
				for range 2 { // twice, as a gateway does that does not know whether it succeeded; the job may be done in between
					if _, err := q.Enqueue(t.Context(), fmt.Sprint(i)); err != nil {
						t.Error(err)
					}
				}
			})
		}
		all.Wait()
		if len(taken) != n {
			t.Errorf("%d of %d jobs were claimed", len(taken), n)
		}
		for job, times := range taken {
			if times > 2 {
				t.Errorf("job %s was claimed %d times and enqueued twice", job, times)
			}
		}
	})
}
