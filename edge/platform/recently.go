package platform

import (
	"sync"
	"time"
)

const (
	maxRecent  = 4096
	recentTime = 5 * time.Second // what another gateway has changed is seen within this time
)

// recently remembers a few answers of the database for a short time. Its zero value is one.
type recently[K comparable, T any] struct {
	mu  sync.Mutex
	all map[K]remembered[T]
}

type remembered[T any] struct {
	value T
	until time.Time
}

func (r *recently[K, T]) get(key K) (value T, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	v, ok := r.all[key]
	if !ok || time.Now().After(v.until) {
		return value, false
	}
	return v.value, true
}

// put remembers value, no longer than until end.
func (r *recently[K, T]) put(key K, value T, end time.Time) {
	until := time.Now().Add(recentTime)
	if end.Before(until) {
		until = end
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.all == nil || len(r.all) >= maxRecent { // some are over, and the others are found again
		r.all = map[K]remembered[T]{}
	}
	r.all[key] = remembered[T]{value, until}
}

func (r *recently[K, T]) forget(key K) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.all, key)
}
