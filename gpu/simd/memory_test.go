package simd

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// Random gets and puts: no two buffers overlap or leave the memory, and in the end all is one free stretch again.
func TestHeap(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 3))
		end := int64(2 * pageBytes)
		h := newHeap(65616, end, func(bytes int64) bool { end += bytes; return bytes%pageBytes == 0 && end <= 64<<20 })
		var held []buffer
		for range 3000 {
			if len(held) > 0 && r.IntN(100) < 48 {
				i := r.IntN(len(held))
				h.put(held[i])
				held = slices.Delete(held, i, i+1)
				continue
			}
			bytes := r.Int64N(1 << r.IntN(18))
			b, ok := h.get(bytes)
			if !ok {
				t.Fatalf("seed %d: no memory for %d bytes", seed, bytes)
			}
			if b.size < bytes || b.at%alignment != 0 || b.at < 65616 || b.at+b.size > h.end || h.end != end {
				t.Fatalf("seed %d: %d bytes at %+v, memory to %d of %d", seed, bytes, b, h.end, end)
			}
			for _, other := range held {
				if b.at < other.at+other.size && other.at < b.at+b.size {
					t.Fatalf("seed %d: %+v overlaps %+v", seed, b, other)
				}
			}
			held = append(held, b)
		}
		for _, b := range held {
			h.put(b)
		}
		start := roundUp(65616, alignment)
		if want := []buffer{{start, h.end - start}}; !slices.Equal(h.free, want) || h.live != 0 {
			t.Errorf("seed %d: all given back, and free is %v, want %v; %d in use", seed, h.free, want, h.live)
		}
	}
}

// The memory may be used to its last byte, 4 GiB, and growth that is refused leaves everything as it was.
func TestHeapEnds(t *testing.T) {
	refuse := false
	h := newHeap(0, pageBytes, func(int64) bool { return !refuse })
	first, ok := h.get(pageBytes)
	if !ok {
		t.Fatal("no memory for the first page")
	}
	refuse = true
	if _, ok := h.get(1); ok {
		t.Error("got a byte of a memory that does not grow")
	}
	refuse = false
	for range 4 {
		if _, ok := h.get(1 << 30); !ok && h.live < 3<<30 {
			t.Errorf("no memory beside %d bytes", h.live)
		}
	}
	rest := memoryBytes - h.live
	if _, ok := h.get(rest + 1); ok {
		t.Error("got more than there is")
	}
	last, ok := h.get(rest)
	if !ok || last.at+last.size != memoryBytes {
		t.Errorf("the rest is %+v (%t), want it to end at 4 GiB", last, ok)
	}
	if _, ok := h.get(1); ok {
		t.Error("got a byte beyond 4 GiB")
	}
	h.put(first)
	if again, ok := h.get(pageBytes); !ok || again != first {
		t.Errorf("the freed page comes back as %+v (%t)", again, ok)
	}
	for _, bytes := range []int64{-1, bufferBytes + 1, 1 << 62} {
		if _, ok := h.get(bytes); ok {
			t.Errorf("got %d bytes", bytes)
		}
	}
}
