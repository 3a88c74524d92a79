package webgpu

import (
	"slices"

	"github.com/medley-lora/medley/gpu/device"
	"github.com/medley-lora/medley/shared/fault"
)

// heap keeps the factors of all modules in few large buffers, so that one step can read those of every module that a batch uses. The
// caller locks it.
type heap struct {
	device device.Device
	most   int64 // bytes of a slab at most
	slabs  []*slab
}

// slab is one buffer of a heap, and what of it is not in use: in ascending order, and never two stretches in a row.
type slab struct {
	number int // its place in heap.slabs
	buffer device.Buffer
	size   int64
	free   []stretch
}

type stretch struct{ from, bytes int64 }

// allocation is a stretch of a slab, in use.
type allocation struct {
	slab *slab
	stretch
}

// vec4 is where the allocation starts, as kernels count.
func (a allocation) vec4() uint32 { return uint32(a.from / 16) }

// firstSlab is the size of the first slab; each further one is twice as large as the one before, as far as the device allows.
const firstSlab = 4 << 20

// take finds room for that many bytes, a multiple of 16.
func (h *heap) take(bytes int64) (allocation, error) {
	if bytes > h.most {
		return allocation{}, fault.New(fault.TooLarge, "factor", "%d bytes; this device reads at most %d at once", bytes, h.most)
	}
	for _, s := range h.slabs {
		for i := range s.free {
			if s.free[i].bytes >= bytes {
				return s.take(i, bytes), nil
			}
		}
	}
	size := min(h.most, max(bytes, firstSlab<<min(len(h.slabs), 16)))
	buffer, err := h.device.NewBuffer(size)
	if err != nil {
		return allocation{}, err
	}
	s := &slab{number: len(h.slabs), buffer: buffer, size: size, free: []stretch{{0, size}}}
	h.slabs = append(h.slabs, s)
	return s.take(0, bytes), nil
}

func (s *slab) take(i int, bytes int64) allocation {
	found := s.free[i]
	if found.bytes == bytes {
		s.free = slices.Delete(s.free, i, i+1)
	} else {
		s.free[i] = stretch{found.from + bytes, found.bytes - bytes}
	}
	return allocation{s, stretch{found.from, bytes}}
}

// give takes an allocation back, and joins it with its neighbours.
func (h *heap) give(a allocation) {
	s := a.slab
	i, _ := slices.BinarySearchFunc(s.free, a.from, func(f stretch, from int64) int { return int(f.from - from) })
	s.free = slices.Insert(s.free, i, a.stretch)
	if i+1 < len(s.free) && s.free[i].from+s.free[i].bytes == s.free[i+1].from {
		s.free[i].bytes += s.free[i+1].bytes
		s.free = slices.Delete(s.free, i+1, i+2)
	}
	if i > 0 && s.free[i-1].from+s.free[i-1].bytes == s.free[i].from {
		s.free[i-1].bytes += s.free[i].bytes
		s.free = slices.Delete(s.free, i, i+1)
	}
}
