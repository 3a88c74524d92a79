// Package redis keeps what the platform may lose: cached results, revocations, rate limits, quotas and progress. The record of truth is
// SQL. When Redis dies, restarts empty or evicts keys, answers are computed again, counters start anew, followers of a composition are
// told to read the truth, and revocations are read back from their log.
//
// It speaks to one primary, Redis 7 or later, or to miniredis in this process. Every key starts with "medley:", and what a caller names
// (a principal, a token) is hashed into it, so that names of any length and content are safe.
package redis

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"net/url"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/medley-lora/medley/shared/fault"
)

// Prefix starts every key and channel of the platform.
const Prefix = "medley:"

// patience bounds one question to Redis, new connection and retry included, where the caller's context gives no less.
const patience = 5 * time.Second

// The library would print failures to connect, with addresses, to standard error. They come back as errors too, to where logs are kept.
func init() { goredis.SetLogger(silent{}) }

type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}

// Client is a connection pool to one Redis. It is safe for concurrent use.
type Client struct {
	pool     *goredis.Client
	embedded *embedded // nil for a server
}

// Open connects to url and asks once whether somebody answers: "redis://[user:password@]host:port/database", "rediss://" with TLS,
// "unix://socket", or "embedded:", a Redis in this process without a port, which forgets everything with Close. The errors are
// fault.Invalid for a URL that is none, and those of Failed for a Redis that does not answer. No error repeats the URL, which may hold a
// password.
func Open(ctx context.Context, url string) (*Client, error) {
	options, embedded, err := parse(url)
	if err != nil {
		return nil, err
	}
	c := &Client{pool: goredis.NewClient(options), embedded: embedded}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := c.pool.Ping(ctx).Err(); err != nil {
		_ = c.Close()
		return nil, Failed(err, "connecting to it")
	}
	return c, nil
}

func parse(raw string) (*goredis.Options, *embedded, error) {
	if raw == "embedded:" {
		e := startEmbedded()
		return withDefaults(&goredis.Options{Dialer: e.dial}), e, nil
	}
	options, err := goredis.ParseURL(raw)
	if err != nil {
		if inner, ok := errors.AsType[*url.Error](err); ok {
			err = inner.Err // without the URL
		}
		return nil, nil, fault.Wrap(err, fault.Invalid, "redis", "must be embedded: or a URL like redis://host:6379/0")
	}
	return withDefaults(options), nil, nil
}

// withDefaults bounds how long a Redis that is down, slow or silent can hold its caller.
func withDefaults(o *goredis.Options) *goredis.Options {
	o.ContextTimeoutEnabled = true
	o.MaxRetries = 1    // a restart costs each pooled connection one failure
	o.DialerRetries = 1 // callers come again, with back-off where they wait
	o.DisableIdentity = true
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	return o
}

// Close ends all connections, and the embedded Redis with all it holds.
func (c *Client) Close() error {
	err := c.pool.Close()
	if c.embedded != nil {
		c.embedded.close()
	}
	if err != nil && !errors.Is(err, goredis.ErrClosed) {
		return fault.Wrap(err, fault.Internal, "redis", "could not be closed")
	}
	return nil
}

// Ping asks whether Redis answers, for readiness. The errors are those of Failed.
func (c *Client) Ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return Failed(c.pool.Ping(ctx).Err(), "answering")
}

// Pool is the connection pool, for packages that keep structures of their own in Redis.
func (c *Client) Pool() *goredis.Client { return c.pool }

// Failed makes the platform's error of one of Redis: fault.Canceled when the caller has gone, fault.Internal otherwise, about the
// field "redis". What the server or the network said, addresses included, is the cause, for logs alone.
func Failed(err error, doing string) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.Canceled):
		return fault.Wrap(err, fault.Canceled, "redis", "%s was canceled", doing)
	}
	return fault.Wrap(err, fault.Internal, "redis", "%s failed", doing)
}

// WrongType says whether err is about a key that holds something of another type than we keep there, also from within a script.
func WrongType(err error) bool { return err != nil && strings.Contains(err.Error(), "WRONGTYPE") }

// mended does work, and does it once more without keys when one of them holds what we did not put there. What is kept in Redis may be
// lost at any time; what blocks the way is lost too.
func (c *Client) mended(ctx context.Context, work func() error, keys ...string) error {
	err := work()
	if !WrongType(err) {
		return err
	}
	if err := c.pool.Unlink(ctx, keys...).Err(); err != nil {
		return err
	}
	return work()
}

// hashed is a name of 26 characters for parts of any length and content.
func hashed(parts ...string) string {
	sum := sha256.Sum256(joined(parts))
	return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:16]))
}
