//go:build cgo

package cpu

// #include "cpu.h"
import "C"

import (
	"math/bits"
	"sync"
	"unsafe"
)

// arena hands out aligned C memory for activations and keeps what comes back: a fresh allocation of some megabytes costs more in
// page faults than the operation that fills it.
type arena struct {
	mu         sync.Mutex
	free       map[int64][]unsafe.Pointer // by size
	idle, live int64                      // bytes kept, bytes handed out
	peak       int64                      // most bytes ever handed out at once
	closed     bool
}

// alwaysKeep is how much idle memory is never given back.
const alwaysKeep = 64 << 20

// buffer is a stretch of C memory; its contents are arbitrary at first.
type buffer struct {
	data unsafe.Pointer
	size int64
}

// sizeClass rounds up to one of eight sizes per power of two, so that batches of almost the same size share buffers.
func sizeClass(bytes int64) int64 {
	step := max(int64(4096), int64(1)<<bits.Len64(uint64(bytes))>>4)
	return (bytes + step - 1) / step * step
}

// get returns at least that many bytes, or false if there is no memory.
func (a *arena) get(bytes int64) (buffer, bool) {
	size := sizeClass(bytes)
	a.mu.Lock()
	defer a.mu.Unlock()
	b := buffer{size: size}
	if kept := a.free[size]; len(kept) > 0 {
		b.data = kept[len(kept)-1]
		a.free[size] = kept[:len(kept)-1]
		a.idle -= size
	} else if b.data = C.medley_alloc(C.int64_t(size)); b.data == nil {
		return buffer{}, false
	}
	a.live += size
	a.peak = max(a.peak, a.live)
	return b, true
}

// put takes a buffer back. It keeps no more than was ever in use at once: when that is reached, the sizes of earlier batches
// have gone stale, and all go.
func (a *arena) put(b buffer) {
	if b.data == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.live -= b.size
	if a.closed {
		C.medley_free(b.data)
		return
	}
	if a.idle+b.size > max(a.peak, alwaysKeep) {
		a.drop()
	}
	if a.free == nil {
		a.free = make(map[int64][]unsafe.Pointer)
	}
	a.free[b.size] = append(a.free[b.size], b.data)
	a.idle += b.size
}

// drop frees everything idle.
func (a *arena) drop() {
	for _, kept := range a.free {
		for _, p := range kept {
			C.medley_free(p)
		}
	}
	clear(a.free)
	a.idle = 0
}

func (a *arena) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
	a.drop()
}
