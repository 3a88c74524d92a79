package redis

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

const (
	cacheValues = Prefix + "cache:values"
	cacheOrder  = Prefix + "cache:order"
	cacheLock   = Prefix + "cache:lock:"

	// entryOverhead is what an entry costs beyond its value, in bytes: its key in a hash and in a list.
	entryOverhead = 256
	expiryBytes   = 13 // before each value, a stamp of when it expires
)

//go:embed lua/remember.lua
var rememberText string

//go:embed lua/unlock.lua
var unlockText string

var (
	remember = goredis.NewScript(rememberText)
	unlock   = goredis.NewScript(unlockText)
)

// CacheOptions bound a cache; the zero value is a good one.
type CacheOptions struct {
	TTL      time.Duration // how long a result is kept; default 24 h
	MaxBytes int64         // of all results together, with 256 bytes each for their keys; default 64 MiB. The oldest go first
	MaxValue int           // of one result, bytes; larger ones are not kept; default 1 MiB
	Patience time.Duration // how long one question to Redis may take; default 500 ms
	Pause    time.Duration // how long Redis is left alone after a failure; default 1 s
	Lock     time.Duration // how long another process may take to answer a question before it is asked twice; default 30 s
}

func (o *CacheOptions) defaults() {
	o.TTL = or(o.TTL, 24*time.Hour)
	o.MaxBytes = or(o.MaxBytes, 64<<20)
	o.MaxValue = or(o.MaxValue, 1<<20)
	o.Patience = or(o.Patience, 500*time.Millisecond)
	o.Pause = or(o.Pause, time.Second)
	o.Lock = or(o.Lock, 30*time.Second)
}

func or[T comparable](value, otherwise T) T {
	var zero T
	if value == zero {
		return otherwise
	}
	return value
}

// Cache remembers results by what determines them. It has no errors: whatever is wrong with Redis is a miss.
//
// All of it is one hash beside one list of what came first, and not a key for each result: so it can bound its own size and touches
// nothing else in Redis when it forgets.
type Cache struct {
	client  *Client
	options CacheOptions
	after   atomic.Int64 // nanoseconds since 1970 until which Redis is left alone

	mu      sync.Mutex
	flights map[Key]*flight

	hits, misses, failures, shared atomic.Int64
}

// CacheStats count since the start of the process.
type CacheStats struct {
	Hits     int64 // results found
	Misses   int64 // results not found, whatever the reason
	Failures int64 // questions to Redis that failed
	Shared   int64 // questions answered by an evaluation that another caller had begun
}

// NewCache makes a cache in c.
func NewCache(c *Client, options CacheOptions) *Cache {
	options.defaults()
	return &Cache{client: c, options: options, flights: map[Key]*flight{}}
}

// Stats returns the counters.
func (c *Cache) Stats() CacheStats {
	return CacheStats{Hits: c.hits.Load(), Misses: c.misses.Load(), Failures: c.failures.Load(), Shared: c.shared.Load()}
}

// Get returns the result of key, and whether there is one.
func (c *Cache) Get(ctx context.Context, key Key) ([]byte, bool) {
	value, found := c.lookUp(ctx, key)
	if found {
		c.hits.Add(1)
	} else {
		c.misses.Add(1)
	}
	return value, found
}

func (c *Cache) lookUp(ctx context.Context, key Key) (value []byte, found bool) {
	c.ask(ctx, func(ctx context.Context) error {
		stored, err := c.client.pool.HGet(ctx, cacheValues, string(key[:])).Bytes()
		if err == nil {
			value, found = fresh(stored)
		}
		return err
	})
	return value, found
}

// fresh is the value in what is stored, if it has not expired.
func fresh(stored []byte) (value []byte, ok bool) {
	if len(stored) < expiryBytes || bytes.Compare(stored[:expiryBytes], stamp(time.Now())) <= 0 {
		return nil, false
	}
	return stored[expiryBytes:], true
}

// Set remembers value, which the caller may change afterwards, for key. Results larger than MaxValue are not kept.
func (c *Cache) Set(ctx context.Context, key Key, value []byte) {
	if len(value) > c.options.MaxValue {
		return
	}
	now := time.Now()
	c.ask(ctx, func(ctx context.Context) error {
		return c.client.mended(ctx, func() error {
			return remember.Run(ctx, c.client.pool, []string{cacheValues, cacheOrder},
				key[:], stamp(now.Add(c.options.TTL)), value, stamp(now), c.options.MaxBytes, entryOverhead).Err()
		}, cacheValues, cacheOrder)
	})
}

// stamp is a time as 13 decimal digits, milliseconds since 1970: Lua compares text by the server's locale, so it takes them as numbers.
func stamp(t time.Time) []byte { return fmt.Appendf(nil, "%0*d", expiryBytes, t.UnixMilli()) }

// ask puts one question to Redis within Patience, unless it failed a moment ago: a Redis that does not answer costs one caller its
// patience each Pause, and the others nothing.
func (c *Cache) ask(ctx context.Context, question func(context.Context) error) (answered bool) {
	if time.Now().UnixNano() < c.after.Load() {
		return false
	}
	bounded, cancel := context.WithTimeout(ctx, c.options.Patience)
	defer cancel()
	err := question(bounded)
	if err == nil || errors.Is(err, goredis.Nil) {
		return true
	}
	if ctx.Err() == nil { // a caller that went away says nothing about Redis
		c.failures.Add(1)
		if !WrongType(err) {
			c.after.Store(time.Now().Add(c.options.Pause).UnixNano())
		}
	}
	return false
}
