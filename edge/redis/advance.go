package redis

import (
	"sync"
	"time"
)

const (
	advanceTime = 10 * time.Millisecond // what a rate allows in this time may be taken at once,
	maxAdvance  = 16                    // up to so many,
	advanceKept = 10 * advanceTime      // and used within this time
	maxAdvances = 8192                  // of principals
)

// advances is what this process has taken of rates and not used yet, by their keys: a question to Redis for each of a thousand requests a
// second would cost more than most of these.
type advances struct {
	mu  sync.Mutex
	all map[string]advance
}

type advance struct {
	left   int
	answer Allowance // of Redis, when the last was taken
	until  time.Time
}

// one uses one of what was taken.
func (t *advances) one(key string) (Allowance, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	a, ok := t.all[key]
	if !ok || a.left == 0 || time.Now().After(a.until) {
		return Allowance{}, false
	}
	a.left--
	t.all[key] = a
	return a.now(), true
}

// put keeps what was taken, and returns what the first of it is told.
func (t *advances) put(key string, answer Allowance, left int) Allowance {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.all == nil || len(t.all) >= maxAdvances {
		t.all = map[string]advance{}
	}
	a := advance{left: left, answer: answer, until: time.Now().Add(advanceKept)}
	if before, ok := t.all[key]; ok && time.Now().Before(before.until) { // two asked at once
		a.left += before.left
	}
	t.all[key] = a
	return a.now()
}

// now is the answer with what is left here counted as free.
func (a advance) now() Allowance {
	answer := a.answer
	answer.Remaining += int64(a.left)
	return answer
}
