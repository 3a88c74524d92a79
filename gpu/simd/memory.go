package simd

import (
	"slices"
	"unsafe"
)

// alignment of every buffer, in bytes: a cache line.
const alignment = 64

// Linear memory grows in pages, up to what 32 bits address. A C object, and so a buffer, is smaller than half of it.
const (
	pageBytes   = 64 << 10
	memoryBytes = 4 << 30
	bufferBytes = 2<<30 - pageBytes
	growBytes   = 1 << 20 // least growth: one costs a system call, and under wazero a copy
)

// buffer is a stretch of the kernels' memory; its contents are arbitrary at first. The zero buffer has no memory: address 0 is
// the kernels' own.
type buffer struct{ at, size int64 }

// address is what kernels take as a pointer.
func (b buffer) address() uint32 { return uint32(b.at) }

// heap hands out linear memory, which can grow and never shrinks. Free stretches are joined, and the lowest that fits is taken, so
// batches of changing sizes do not wear the memory out.
type heap struct {
	free []buffer // by address, no two of them touching
	end  int64    // the bytes that there are
	live int64    // bytes handed out
	grow func(bytes int64) bool
}

// newHeap manages the memory [start, end).
func newHeap(start, end int64, grow func(bytes int64) bool) *heap {
	h := &heap{end: end, grow: grow}
	if start = roundUp(start, alignment); start < end {
		h.free = []buffer{{start, end - start}}
	}
	return h
}

// get returns at least that many bytes, or false if there is no memory.
func (h *heap) get(bytes int64) (buffer, bool) {
	if bytes < 0 || bytes > bufferBytes {
		return buffer{}, false
	}
	bytes = roundUp(max(1, bytes), alignment)
	i := slices.IndexFunc(h.free, func(f buffer) bool { return f.size >= bytes })
	if i < 0 {
		if i = h.extend(bytes); i < 0 {
			return buffer{}, false
		}
	}
	b := buffer{h.free[i].at, bytes}
	h.free[i].at += bytes
	h.free[i].size -= bytes
	if h.free[i].size == 0 {
		h.free = slices.Delete(h.free, i, i+1)
	}
	h.live += bytes
	return b, true
}

// extend grows the memory until its last free stretch has that many bytes, and returns the number of that stretch, or -1.
func (h *heap) extend(bytes int64) int {
	last := len(h.free) - 1
	if last >= 0 && h.free[last].at+h.free[last].size == h.end {
		bytes -= h.free[last].size
	}
	need := roundUp(bytes, pageBytes)
	ample := min(roundUp(max(need, growBytes, h.end/8), pageBytes), memoryBytes-h.end)
	switch {
	case need > memoryBytes-h.end:
		return -1
	case h.grow(ample):
		need = ample
	case !h.grow(need):
		return -1
	}
	h.join(buffer{h.end, need})
	h.end += need
	return len(h.free) - 1
}

// put takes a buffer back.
func (h *heap) put(b buffer) {
	if b.size == 0 {
		return
	}
	h.live -= b.size
	h.join(b)
}

// join enters a free stretch.
func (h *heap) join(b buffer) {
	i, _ := slices.BinarySearchFunc(h.free, b.at, func(f buffer, at int64) int { return int(f.at - at) })
	if i < len(h.free) && b.at+b.size == h.free[i].at {
		b.size += h.free[i].size
		h.free = slices.Delete(h.free, i, i+1)
	}
	if i > 0 && h.free[i-1].at+h.free[i-1].size == b.at {
		h.free[i-1].size += b.size
		return
	}
	h.free = slices.Insert(h.free, i, b)
}

func roundUp(n, to int64) int64 { return (n + to - 1) / to * to }

// panel is the columns of a packed weight panel, and what row strides are multiples of: PANEL of the kernels.
const panel = 32

// stride is the distance between rows of a tensor with that many columns. The columns beyond the last hold zeros, so kernels
// have no tails.
func stride(cols int) int { return (cols + panel - 1) / panel * panel }

// floatBytes is the memory of a tensor.
func floatBytes(rows, cols int) int64 { return int64(rows) * int64(stride(cols)) * 4 }

// bytesOf views numbers as the bytes they are made of. WebAssembly is little-endian, and so is every machine that wazero compiles for.
func bytesOf[T float32 | int32](x []T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(x))), 4*len(x))
}
