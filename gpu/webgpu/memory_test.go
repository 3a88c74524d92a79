package webgpu

import (
	"math/rand/v2"
	"testing"

	"github.com/medley-lora/medley/gpu/backend"
)

// TestHeap takes and gives at random: allocations never overlap, and when all are back each slab is one free stretch.
func TestHeap(t *testing.T) {
	b := open(t, openDevice(t), Options{})
	h := heap{device: b.device, most: 64 << 10}
	r := rand.New(rand.NewPCG(1, 1))
	var live []allocation
	for range 3000 {
		if r.IntN(2) == 0 || len(live) == 0 {
			a := must[allocation](t)(h.take(16 * int64(1+r.IntN(1024))))
			for _, other := range live {
				if other.slab == a.slab && a.from < other.from+other.bytes && other.from < a.from+a.bytes {
					t.Fatalf("%+v overlaps %+v", a.stretch, other.stretch)
				}
			}
			live = append(live, a)
		} else {
			i := r.IntN(len(live))
			h.give(live[i])
			live = append(live[:i], live[i+1:]...)
		}
	}
	for _, a := range live {
		h.give(a)
	}
	for _, s := range h.slabs {
		if len(s.free) != 1 || s.free[0] != (stretch{0, s.size}) {
			t.Errorf("slab %d: %v of %d bytes", s.number, s.free, s.size)
		}
		s.buffer.Free()
	}
	if len(h.slabs) < 2 {
		t.Errorf("%d slabs", len(h.slabs))
	}
}

// TestPassGivesBack: scopes reuse buffers, and an ended pass holds none, whether it was read or not.
func TestPassGivesBack(t *testing.T) {
	b := open(t, openDevice(t), Options{})
	for _, read := range []bool{true, false} {
		p := b.Begin(t.Context())
		x := p.Zeros(64, 64)
		for range 600 { // more steps than wait for one run
			x = p.Scope(func() backend.Tensor { return p.Gate(backend.ReLU, p.Gate(backend.SiLU, x, nil), x) })
		}
		if read {
			must[[]float32](t)(p.Read(x))
		}
		p.End()
		p.End()
		if b.memory.live != 0 {
			t.Errorf("%d bytes in use after the pass", b.memory.live)
		}
	}
	// Every scope's result lives until the end of the pass: two inner tensors at once would be more than reuse allows.
	if most := int64(603 * 64 * 64 * 4); b.memory.peak > most {
		t.Errorf("%d bytes in use at once, want at most %d", b.memory.peak, most)
	}
}
