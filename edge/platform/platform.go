// Package platform is the services behind the gateway: records in SQL, contents in blobs, what may be lost in Redis, and models on
// evaluators. It imports none of who computes: see package compute.
package platform

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"time"

	"github.com/medley-lora/medley/edge/archive"
	"github.com/medley-lora/medley/edge/auth"
	"github.com/medley-lora/medley/edge/blob"
	"github.com/medley-lora/medley/edge/compute"
	"github.com/medley-lora/medley/edge/gateway"
	"github.com/medley-lora/medley/edge/jobs"
	"github.com/medley-lora/medley/edge/redis"
	"github.com/medley-lora/medley/edge/store"
	"github.com/medley-lora/medley/shared/fault"
)

// Options are what a platform is made of. All but those with a default are required.
type Options struct {
	Store      *store.Store
	Blobs      *blob.Store
	Redis      *redis.Client
	Keys       *auth.KeySet
	Models     compute.Models
	Optimizers compute.Optimizers

	Issuer   string          // of tokens; default "medley"
	External []auth.External // other issuers whose tokens are good
	Uploads  string          // a folder for uploads under way, made when it is missing
	Quotas   Quotas
	Rate     redis.Rate     // of requests, for each principal; default 100 a second, 200 at once
	Door     redis.Rate     // of requests without a token, for each address; default 5 a second, 20 at once
	Session  time.Duration  // how long an evaluation stays open; default 24 h
	Limits   archive.Limits // of uploads; default archive.DefaultLimits
	Poll     time.Duration  // how often those who follow a composition look into the record if nothing is told; default 10 s
	Log      *slog.Logger   // default slog.Default()
}

// Quotas bound what a principal may use in a day (UTC). 0 is no bound.
type Quotas struct {
	Jobs        int64 // compositions
	Evaluations int64 // the budgets of compositions, and candidates of open evaluations that are not remembered
	Bytes       int64 // of uploads
}

func (o *Options) defaults() {
	if o.Issuer == "" {
		o.Issuer = DefaultIssuer
	}
	if o.Rate == (redis.Rate{}) {
		o.Rate = redis.Rate{Count: 100, Per: time.Second, Burst: 200}
	}
	if o.Door == (redis.Rate{}) {
		o.Door = redis.Rate{Count: 5, Per: time.Second, Burst: 20}
	}
	if o.Session == 0 {
		o.Session = 24 * time.Hour
	}
	if o.Limits == (archive.Limits{}) {
		o.Limits = archive.DefaultLimits
	}
	if o.Poll == 0 {
		o.Poll = 10 * time.Second
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
}

// DefaultIssuer is the "iss" of tokens.
const DefaultIssuer = "medley"

// Platform is every service behind a gateway.
type Platform struct {
	Options
	Authority *auth.Authority
	Scores    *Scores

	queue    *jobs.Queue
	progress *redis.Progress
	limits   *redis.Limits
	pool     *pool
	opened   recently[string, *session]
	auditor  *auditor
	metrics  *metrics
	checking chan struct{} // holds one for every plugin that is being validated
}

// maxChecking is how many plugins are validated at once: each takes a core for seconds.
const maxChecking = 2

// revokedWithin is how long a gateway may go on to take a token that another gateway has revoked. Its own revocations count at once.
const revokedWithin = time.Second

// New makes a platform. Close ends it.
func New(o Options) (*Platform, error) {
	o.defaults()
	if err := makeFolder(o.Uploads); err != nil {
		return nil, err
	}
	p := &Platform{
		Options:  o,
		queue:    jobs.NewQueue(o.Redis, jobs.QueueOptions{}),
		progress: redis.NewProgress(o.Redis, redis.ProgressOptions{}),
		limits:   redis.NewLimits(o.Redis),
		pool:     newPool(o.Models),
		auditor:  newAuditor(o.Store, o.Log),
		checking: make(chan struct{}, maxChecking),
	}
	p.Scores = &Scores{Cache: redis.NewCache(o.Redis, redis.CacheOptions{}), Store: o.Store}
	p.metrics = newMetrics(p)
	revocations := redis.NewRevocations(o.Redis, revocationLog{o.Store})
	revocations.Remember = revokedWithin
	var err error
	p.Authority, err = auth.New(auth.Options{
		Issuer: o.Issuer, Keys: o.Keys, External: o.External, APIKeys: o.Store, Auditor: p.auditor, Revocations: revocations,
	})
	return p, err
}

// Close ends what runs in the background, after the last request. The store, the blobs and Redis stay open. Closing twice does nothing.
func (p *Platform) Close() {
	p.progress.Close()
	p.pool.close()
	p.auditor.close()
}

// Gateway is what a gateway in front of this platform is made of.
func (p *Platform) Gateway() gateway.Options {
	return gateway.Options{
		Bases: p, Modules: p, Compositions: p, Evaluations: p, Generations: p, Completions: p, Plugins: p, Tokens: p, Health: p, Metrics: p, Auth: p, Limits: p,
		Observe: p.metrics.observe, Log: p.Log,
	}
}

// pageOf is a gateway's page as the store has it.
func pageOf(p gateway.Page) store.Page { return store.Page{After: p.After, Limit: p.Limit} }

func listOf[T any](l store.List[T], err error) (gateway.List[T], error) {
	return gateway.List[T]{Items: l.Items, Next: l.Next}, err
}

// onceOf is an idempotency key with what was asked for, as JSON has it.
func onceOf(key string, request ...any) (store.Once, error) {
	if key == "" {
		return store.Once{}, nil
	}
	text, err := json.Marshal(request)
	return store.Once{Key: key, Request: text}, err
}

// conflict makes the store's refusal of a reused idempotency key into the gateway's.
func conflict(err error) error {
	if errors.Is(err, store.ErrReused) {
		return fault.Wrap(err, gateway.Conflict, "Idempotency-Key", "came before with another request")
	}
	return err
}

// reserve takes an amount of a quota for a create, unless the create is a repeated one, which costs nothing. giveBack undoes it.
func (p *Platform) reserve(ctx context.Context, owner, once string, quota redis.Quota, amount int64) (giveBack func(), err error) {
	nothing := func() {}
	if quota.Limit == 0 {
		return nothing, nil
	}
	if once != "" {
		if made, err := p.Store.Made(ctx, owner, once); made || err != nil {
			return nothing, err
		}
	}
	r, allowance, err := p.limits.Reserve(ctx, owner, quota, amount)
	switch {
	case fault.CodeOf(err) == fault.Canceled:
		return nothing, err
	case err != nil: // a lost counter is no reason to refuse work
		p.Log.WarnContext(ctx, "quota unknown, request allowed", "quota", quota.Name, "cause", errors.Unwrap(err))
		return nothing, nil
	case !allowance.Allowed:
		return nothing, fault.New(gateway.RateLimited, quota.Name, "the day's %d leave %d; asked for were %d", allowance.Limit, allowance.Remaining, amount)
	}
	return func() {
		if err := p.limits.GiveBack(context.WithoutCancel(ctx), r, amount); err != nil {
			p.Log.WarnContext(ctx, "quota not given back", "quota", quota.Name, "cause", errors.Unwrap(err))
		}
	}, nil
}
