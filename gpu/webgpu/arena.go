package webgpu

import (
	"math/bits"
	"sync"

	"github.com/medley-lora/medley/gpu/device"
)

// arena hands out buffers for activations and keeps what comes back: making one costs more than most steps. A buffer may come back
// while steps that use it are still queued, since the device runs in order, but not before they are.
type arena struct {
	device device.Device

	mu         sync.Mutex
	free       map[int64][]device.Buffer // by size
	idle, live int64                     // bytes kept, bytes handed out
	peak       int64                     // most bytes ever handed out at once
	closed     bool
}

// alwaysKeep is how much idle memory is never given back.
const alwaysKeep = 64 << 20

// sizeClass rounds up to one of eight sizes per power of two, so that batches of almost the same size share buffers, but not
// beyond what one buffer can hold.
func sizeClass(bytes, most int64) int64 {
	step := max(int64(4096), int64(1)<<bits.Len64(uint64(bytes))>>4)
	return max(bytes, min(most, (bytes+step-1)/step*step))
}

// get returns a buffer of at least that many bytes; its contents are arbitrary.
func (a *arena) get(bytes int64) (device.Buffer, error) {
	size := sizeClass(bytes, a.device.Info().BufferBytes)
	a.mu.Lock()
	defer a.mu.Unlock()
	var b device.Buffer
	if kept := a.free[size]; len(kept) > 0 {
		b = kept[len(kept)-1]
		a.free[size] = kept[:len(kept)-1]
		a.idle -= size
	} else {
		var err error
		if b, err = a.device.NewBuffer(size); err != nil {
			return nil, err
		}
	}
	a.live += b.Bytes()
	a.peak = max(a.peak, a.live)
	return b, nil
}

// put takes a buffer back. It keeps no more than was ever in use at once: when that is reached, the sizes of earlier batches
// have gone stale, and all go.
func (a *arena) put(b device.Buffer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	size := b.Bytes()
	a.live -= size
	if a.closed {
		b.Free()
		return
	}
	if a.idle+size > max(a.peak, alwaysKeep) {
		a.drop()
	}
	if a.free == nil {
		a.free = make(map[int64][]device.Buffer)
	}
	a.free[size] = append(a.free[size], b)
	a.idle += size
}

// drop frees everything idle.
func (a *arena) drop() {
	for _, kept := range a.free {
		for _, b := range kept {
			b.Free()
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
