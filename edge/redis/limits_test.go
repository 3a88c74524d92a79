package redis_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/medley-lora/medley/edge/redis"
	"github.com/medley-lora/medley/edge/redis/redistest"
	"github.com/medley-lora/medley/shared/fault"
)

func TestRate(t *testing.T) {
	redistest.Each(t, func(t *testing.T, c *redis.Client) {
		ctx := context.Background()
		l := redis.NewLimits(c)
		rate := redis.Rate{Count: 10, Per: 2 * time.Second, Burst: 5} // one each 200 ms
		allow := func(principal string, cost int) redis.Allowance {
			t.Helper()
			a, err := l.Allow(ctx, "score", principal, rate, cost)
			if err != nil {
				t.Fatal(err)
			}
			if a.Limit != 5 || a.Allowed != (a.Retry == 0) || a.Reset < 0 || a.Reset > time.Second {
				t.Errorf("answered %+v", a)
			}
			return a
		}
		for want := int64(4); want >= 0; want-- {
			if a := allow("ann", 1); !a.Allowed || a.Remaining != want {
				t.Errorf("%+v, want %d remaining", a, want)
			}
		}
		refused := allow("ann", 1)
		if refused.Allowed || refused.Remaining != 0 || refused.Retry > 200*time.Millisecond {
			t.Errorf("beyond the burst: %+v", refused)
		}
		if a := allow("ben", 5); !a.Allowed || a.Remaining != 0 {
			t.Errorf("somebody else: %+v", a)
		}
		if a := allow("eve", 6); a.Allowed || a.Remaining != 5 {
			t.Errorf("more than the burst: %+v", a)
		}
		if a := allow("eve", 0); !a.Allowed || a.Remaining != 5 {
			t.Errorf("asking for nothing: %+v", a)
		}
		time.Sleep(refused.Retry + 5*time.Millisecond)
		if a := allow("ann", 1); !a.Allowed {
			t.Errorf("when told to ask again: %+v", a)
		}
		if a, err := l.Allow(ctx, "upload", "ann", rate, 1); err != nil || a.Remaining != 4 {
			t.Errorf("another rate of the same principal: %+v, %v", a, err)
		}
		for name, bad := range map[string]redis.Rate{
			"zero": {}, "no burst": {Count: 1, Per: time.Second}, "negative": {Count: -1, Per: time.Second, Burst: 1},
			"too fast": {Count: 2, Per: time.Microsecond, Burst: 1}, "too slow": {Count: 1, Per: 1 << 62, Burst: 1 << 30},
		} {
			if _, err := l.Allow(ctx, "x", "y", bad, 1); fault.CodeOf(err) != fault.Invalid {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

// As many pass as the rate says, however many ask at once.
func TestRateUnderConcurrency(t *testing.T) {
	redistest.Each(t, func(t *testing.T, c *redis.Client) {
		l := redis.NewLimits(c)
		var passed atomic.Int64
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				for range 25 {
					a, err := l.Allow(context.Background(), "score", "ann", redis.Rate{Count: 1, Per: time.Hour, Burst: 50}, 1)
					if err != nil {
						t.Error(err)
					}
					if a.Allowed {
						passed.Add(1)
					}
				}
			})
		}
		all.Wait()
		if passed.Load() != 50 {
			t.Errorf("%d of 200 passed, want 50", passed.Load())
		}
	})
}

// What another program left under our keys does not lock anybody out for good, nor let anybody through for ever.
func TestBadInput_56_LimitKeysOfAnotherKind(t *testing.T) {
	redistest.Each(t, func(t *testing.T, c *redis.Client) {
		ctx := context.Background()
		l := redis.NewLimits(c)
		rate, quota := redis.Rate{Count: 1, Per: time.Minute, Burst: 2}, redis.Quota{Name: "jobs", Limit: 2}
		spoils := map[string]func(key string){
			"list":           func(key string) { c.Pool().Del(ctx, key); c.Pool().LPush(ctx, key, "x") },
			"text":           func(key string) { c.Pool().Set(ctx, key, "x", 0) },
			"the far future": func(key string) { c.Pool().Set(ctx, key, "99999999999999999", 0) },
		}
		for name, spoil := range spoils {
			for _, key := range allKeys(t, c, "medley:rate:*") {
				spoil(key)
			}
			a, err := l.Allow(ctx, "score", "ann", rate, 1)
			if err != nil || a.Retry > 2*time.Minute || a.Reset > 2*time.Minute {
				t.Errorf("rate, %s: %+v, %v", name, a, err)
			}
			if name == "the far future" {
				continue // a quota that is used up
			}
			for _, key := range allKeys(t, c, "medley:quota:*") {
				spoil(key)
			}
			if _, a, err := l.Reserve(ctx, "ann", quota, 1); err != nil || !a.Allowed {
				t.Errorf("quota, %s: %+v, %v", name, a, err)
			}
		}
		if len(allKeys(t, c, "medley:rate:*")) != 1 || len(allKeys(t, c, "medley:quota:*")) != 1 {
			t.Error("nothing was spoilt")
		}
	})
}

func allKeys(t *testing.T, c *redis.Client, pattern string) []string {
	t.Helper()
	keys, err := c.Pool().Keys(context.Background(), pattern).Result()
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func TestQuota(t *testing.T) {
	redistest.Each(t, func(t *testing.T, c *redis.Client) {
		ctx := context.Background()
		l := redis.NewLimits(c)
		const terabyte = 1 << 40
		quota := redis.Quota{Name: "bytes", Limit: 1000 * terabyte} // as numbers, more than a script prints by itself
		reserve := func(principal string, amount int64, allowed bool, remaining int64) redis.Reservation {
			t.Helper()
			r, a, err := l.Reserve(ctx, principal, quota, amount)
			if err != nil || a.Allowed != allowed || a.Remaining != remaining || a.Limit != quota.Limit || a.Reset <= 0 || a.Reset > 24*time.Hour {
				t.Fatalf("reserved %+v, %v; want %v with %d remaining", a, err, allowed, remaining)
			}
			return r
		}
		give := func(r redis.Reservation, amount int64) {
			t.Helper()
			if err := l.GiveBack(ctx, r, amount); err != nil {
				t.Fatal(err)
			}
		}
		first := reserve("ann", 999*terabyte, true, terabyte)
		reserve("ann", terabyte+1, false, terabyte)
		second := reserve("ann", terabyte, true, 0)
		reserve("ann", 1, false, 0)
		reserve("ben", 1, true, quota.Limit-1)
		give(second, 10)
		give(second, 10) // once
		reserve("ann", 0, true, 10)
		give(first, 0)
		give(first, first.Amount)
		reserve("ann", 0, true, 999*terabyte+10)
		for _, wrong := range []int64{-1, second.Amount + 1} {
			if err := l.GiveBack(ctx, second, wrong); fault.CodeOf(err) != fault.Invalid {
				t.Errorf("giving back %d: %v", wrong, err)
			}
		}
		if _, _, err := l.Reserve(ctx, "ann", quota, -1); fault.CodeOf(err) != fault.Invalid {
			t.Errorf("reserving less than nothing: %v", err)
		}
		// What was reserved before Redis forgot it takes nothing from others.
		if err := c.Pool().FlushAll(ctx).Err(); err != nil {
			t.Fatal(err)
		}
		third := reserve("ann", 5, true, quota.Limit-5)
		give(third, 5)
		fourth := reserve("ann", 3, true, quota.Limit-3)
		first.ID = "another"
		give(first, first.Amount)
		reserve("ann", 0, true, quota.Limit)
		give(fourth, 3)
		reserve("ann", 0, true, quota.Limit)
		for _, key := range allKeys(t, c, "medley:*") {
			if ttl := c.Pool().TTL(ctx, key).Val(); ttl <= 0 {
				t.Errorf("%s never expires", key)
			}
		}
	})
}
