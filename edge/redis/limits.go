package redis

import (
	"context"
	"crypto/rand"
	_ "embed"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/medley-lora/medley/shared/fault"
)

//go:embed lua/gcra.lua
var gcraText string

//go:embed lua/reserve.lua
var reserveText string

//go:embed lua/giveback.lua
var giveBackText string

var (
	gcra     = goredis.NewScript(gcraText)
	reserve  = goredis.NewScript(reserveText)
	giveBack = goredis.NewScript(giveBackText)
)

// Rate is how often something may happen: Burst times at once, Count times each Per in the long run.
type Rate struct {
	Count int
	Per   time.Duration
	Burst int
}

// Allowance is the answer of a limit, in the terms of the RateLimit header fields (draft-ietf-httpapi-ratelimit-headers).
type Allowance struct {
	Allowed   bool
	Limit     int64         // the burst of a rate, the amount of a quota
	Remaining int64         // what could still be asked for now
	Retry     time.Duration // when to ask again for what was refused; 0 if allowed. More than Limit is never allowed
	Reset     time.Duration // when all of Limit is free again
}

// Limits hold principals to rates and daily quotas. Counts are lost with Redis: everyone starts anew.
//
// The rate is our own script, not github.com/go-redis/redis_rate: it is as long as the code that would call the library, counts
// microseconds as exact integers, and stands a clock that jumps back.
type Limits struct {
	client *Client
	taken  advances
}

// NewLimits makes limits in c.
func NewLimits(c *Client) *Limits { return &Limits{client: c} }

// Allow takes cost from the rate called name of a principal, if that much is free. Where a rate allows several within advanceTime, single
// ones are taken from Redis in advance for this process, which loses at most a tenth of the rate and never exceeds it. An error (fault.Invalid for a rate or cost that
// makes no sense, else those of Failed) leaves the decision to the caller.
func (l *Limits) Allow(ctx context.Context, name, principal string, rate Rate, cost int) (Allowance, error) {
	interval := int64(0)
	if rate.Count > 0 {
		interval = rate.Per.Microseconds() / int64(rate.Count)
	}
	if interval < 1 || rate.Burst < 1 || cost < 0 || interval > (1<<50)/int64(max(rate.Burst, cost)) {
		return Allowance{}, fault.New(fault.Invalid, "rate", "must be at most a million a second and have a burst of at least 1")
	}
	key := Prefix + "rate:" + name + ":" + hashed(principal)
	advance := min(maxAdvance, int(advanceTime.Microseconds()/interval), rate.Burst)
	if cost != 1 || advance <= 1 {
		return l.ask(ctx, key, interval, rate.Burst, cost)
	}
	if a, ok := l.taken.one(key); ok {
		return a, nil
	}
	a, err := l.ask(ctx, key, interval, rate.Burst, advance)
	if err != nil || !a.Allowed { // so many are not free, but one may be
		return l.ask(ctx, key, interval, rate.Burst, 1)
	}
	return l.taken.put(key, a, advance-1), nil
}

// ask puts the question to Redis.
func (l *Limits) ask(ctx context.Context, key string, interval int64, burst, cost int) (Allowance, error) {
	answer, err := l.run(ctx, gcra, []string{key}, interval, burst, cost)
	if err != nil {
		return Allowance{}, Failed(err, "checking a rate")
	}
	return Allowance{
		Allowed: answer[0] == 1, Limit: int64(burst), Remaining: answer[1],
		Retry: time.Duration(answer[2]) * time.Microsecond, Reset: time.Duration(answer[3]) * time.Microsecond,
	}, nil
}

// Quota is how much of something a principal may use in a day (UTC).
type Quota struct {
	Name  string // "evaluations", "bytes", "jobs"
	Limit int64
}

// Reservation is an amount of a quota that was taken. What it did not need in the end is given back; it can be kept with a job until
// then.
type Reservation struct {
	ID        string
	Quota     string // its name
	Principal string
	Day       string // on which it was taken, 2006-01-02
	Amount    int64
}

// Reserve takes amount from the quota of a principal, all of it or nothing. The errors are as with Allow.
func (l *Limits) Reserve(ctx context.Context, principal string, quota Quota, amount int64) (Reservation, Allowance, error) {
	if amount < 0 || quota.Limit < 0 || max(amount, quota.Limit) > 1<<52 { // exact in the script's float64
		return Reservation{}, Allowance{}, fault.New(fault.Invalid, quota.Name, "must be between 0 and 2^52")
	}
	now := time.Now().UTC()
	left := now.Truncate(24 * time.Hour).Add(24 * time.Hour).Sub(now)
	r := Reservation{ID: rand.Text(), Quota: quota.Name, Principal: principal, Day: now.Format(time.DateOnly), Amount: amount}
	answer, err := l.run(ctx, reserve, []string{r.key()}, quota.Limit, amount, (kept + left).Milliseconds())
	if err != nil {
		return Reservation{}, Allowance{}, Failed(err, "reserving "+quota.Name)
	}
	a := Allowance{Allowed: answer[0] == 1, Limit: quota.Limit, Remaining: max(0, quota.Limit-answer[1]), Reset: left}
	if !a.Allowed {
		return Reservation{}, a, nil
	}
	return r, a, nil
}

// kept is how long after its day a count can still be given something back.
const kept = 24 * time.Hour

// GiveBack returns amount of a reservation to the day that it was taken from, once: repeating it changes nothing.
func (l *Limits) GiveBack(ctx context.Context, r Reservation, amount int64) error {
	if amount < 0 || amount > r.Amount {
		return fault.New(fault.Invalid, r.Quota, "only what was reserved can be given back")
	}
	if amount == 0 {
		return nil
	}
	mark := Prefix + "quota:given:" + hashed(r.ID)
	_, err := l.run(ctx, giveBack, []string{r.key(), mark}, amount, (2 * kept).Milliseconds())
	return Failed(err, "giving back "+r.Quota)
}

func (r Reservation) key() string {
	return Prefix + "quota:" + r.Quota + ":" + r.Day + ":" + hashed(r.Principal)
}

func (l *Limits) run(ctx context.Context, script *goredis.Script, keys []string, args ...any) (answer []int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err = l.client.mended(ctx, func() error {
		reply := script.Run(ctx, l.client.pool, keys, args...)
		answer, err = reply.Int64Slice()
		return err
	}, keys...)
	return answer, err
}
