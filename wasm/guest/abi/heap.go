package abi

import "unsafe"

// heap is the memory that the host has asked for. A pointer from the host is believed only where it points into such a block.
type heap struct {
	address func(*float64) uint32
	blocks  []block
}

// block is n bytes at p. Cells of float64 make it 8-aligned.
type block struct {
	p, n  uint32
	cells []float64
}

const (
	cell = 8 // bytes

	// maxBlock is more than the largest problem needs, and less than what Go's runtime could not even try to find: when that fails, the
	// instance dies.
	maxBlock = 1 << 30
)

// alloc returns the address of n zero bytes, 0 if they are too many.
func (h *heap) alloc(n uint32) uint32 {
	if n > maxBlock {
		return 0
	}
	b := block{n: n, cells: make([]float64, max(1, (n+cell-1)/cell))}
	b.p = h.address(&b.cells[0])
	h.blocks = append(h.blocks, b)
	return b.p
}

// free forgets the block of n bytes at p; what is none is ignored, as there is no result to refuse with.
func (h *heap) free(p, n uint32) {
	for i, b := range h.blocks {
		if b.p == p && b.n == n {
			last := len(h.blocks) - 1
			h.blocks[i] = h.blocks[last]
			h.blocks[last] = block{}
			h.blocks = h.blocks[:last]
			return
		}
	}
}

// find returns the block that holds the n bytes at p.
func (h *heap) find(p uint32, n uint64) (b block, ok bool) {
	for _, b := range h.blocks {
		if p >= b.p && uint64(p-b.p)+n <= uint64(b.n) {
			return b, true
		}
	}
	return block{}, false
}

// bytes is the memory at p; false if it is not in one block.
func (h *heap) bytes(p, n uint32) ([]byte, bool) {
	b, ok := h.find(p, uint64(n))
	if !ok {
		return nil, false
	}
	return b.bytes()[p-b.p:][:n:n], true
}

func (b block) bytes() []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(&b.cells[0])), cell*len(b.cells))
}

// floats is the memory of n numbers at p; false if it is not in one block or not aligned.
func (h *heap) floats(p uint32, n uint64) ([]float64, bool) {
	if n > maxBlock {
		return nil, false
	}
	b, ok := h.find(p, n*cell)
	if !ok || (p-b.p)%cell != 0 {
		return nil, false
	}
	return b.cells[(p-b.p)/cell:][:n:n], true
}

// lend keeps text where the host can read it and returns pointer<<32 | length. It stays there until p is freed.
func (h *heap) lend(text string) uint64 {
	p := h.alloc(uint32(len(text)))
	b, _ := h.bytes(p, uint32(len(text)))
	copy(b, text)
	return uint64(p)<<32 | uint64(len(text))
}
