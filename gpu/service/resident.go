package service

import (
	"fmt"
	"sync"

	"github.com/medley-lora/medley/shared/fault"
)

// residency is what is loaded, bases and modules, within a budget of memory. What has users stays; what has none stays until its room is
// needed, the least recently used going first.
type residency struct {
	budget int64 // bytes

	evicting sync.Mutex // held while things are chosen and freed, so that a module is freed before its base

	mu        sync.Mutex
	things    map[any]*resident // by key
	used      int64             // bytes of things, and of what is being loaded
	clock     int64             // counts releases
	evictions int64
	closed    bool
}

// resident is a thing that is loaded. All but value is residency's, under its mutex.
type resident struct {
	value  any
	key    any
	bytes  int64
	base   *resident // of a module
	free   func()    // frees a module or, with its modules, a base
	shared bool      // whether it may stay without users
	users  int
	last   int64 // residency.clock when its last user left
}

func newResidency(budget int64) *residency {
	return &residency{budget: budget, things: map[any]*resident{}}
}

// find returns what has a key, with one more user, or nil.
func (r *residency) find(key any) *resident {
	r.mu.Lock()
	defer r.mu.Unlock()
	x := r.things[key]
	if x != nil {
		x.users++
	}
	return x
}

// put adds what was loaded, with its first user. Its bytes are reserved.
func (r *residency) put(x *resident) *resident {
	r.mu.Lock()
	defer r.mu.Unlock()
	x.users = 1
	r.things[x.key] = x
	return x
}

// release takes a user away.
func (r *residency) release(x *resident) {
	r.mu.Lock()
	x.users--
	r.clock++
	x.last = r.clock
	gone := x.users == 0 && !x.shared && !r.closed
	if gone {
		r.remove(x)
	}
	r.mu.Unlock()
	if gone {
		x.free()
	}
}

// remove forgets a thing, and the modules of a base, which its free frees. The caller holds r.mu.
func (r *residency) remove(x *resident) {
	for key, other := range r.things {
		if other == x || other.base == x {
			r.used -= other.bytes
			delete(r.things, key)
		}
	}
}

// reserve makes room for bytes that are about to be loaded. When things in use leave too little, that is a fault.TooLarge without a field.
func (r *residency) reserve(bytes int64) error {
	r.evicting.Lock()
	defer r.evicting.Unlock()
	for {
		victim, err := r.claim(bytes)
		if victim == nil {
			return err
		}
		victim.free()
	}
}

// claim takes the bytes, or a victim out to be freed first.
func (r *residency) claim(bytes int64) (victim *resident, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	busy, last := r.used, r.clock+1
	for _, x := range r.things {
		if x.users > 0 || !x.shared {
			continue
		}
		busy -= x.bytes
		if x.last < last {
			victim, last = x, x.last
		}
	}
	switch {
	case r.used+bytes <= r.budget:
		r.used += bytes
		return nil, nil
	case busy+bytes > r.budget || victim == nil:
		return nil, fault.New(fault.TooLarge, "", "needs about %s of memory; what is in use holds %s of the %s that bases and modules may have",
			megabytes(bytes), megabytes(busy), megabytes(r.budget))
	}
	r.remove(victim)
	r.evictions++
	return victim, nil
}

// unreserve gives back what was reserved in vain.
func (r *residency) unreserve(bytes int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.used -= bytes
}

// settle turns a reservation into what a thing really takes.
func (r *residency) settle(reserved, bytes int64) error {
	if bytes > reserved {
		return r.reserve(bytes - reserved)
	}
	r.unreserve(reserved - bytes)
	return nil
}

// close frees everything. Later calls of release do nothing.
func (r *residency) close() {
	r.evicting.Lock()
	defer r.evicting.Unlock()
	r.mu.Lock()
	things := r.things
	r.things, r.used, r.closed = map[any]*resident{}, 0, true
	r.mu.Unlock()
	for _, x := range things {
		if x.base == nil {
			x.free()
		}
	}
}

// tell adds to s what is loaded.
func (r *residency) tell(s *Stats) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, x := range r.things {
		if x.base == nil {
			s.Bases++
		} else {
			s.Modules++
		}
	}
	s.Resident, s.Memory, s.Evictions = r.used, r.budget, r.evictions
}

func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }
