package simd

import (
	"context"
	"math"
	"testing"

	"github.com/medley-lora/medley/shared/fault"
)

// Addresses beyond 2 GiB work, up to the last byte of 4 GiB. Growth that nothing writes to costs an engine no memory; wazero copies, so
// this is tested in JavaScript only.
func TestWholeMemory(t *testing.T) {
	b := open(t)
	want := layers(t, b)(50)
	// Everything is taken, then what lies at the very end given back.
	var taken []buffer
	for bytes := int64(512 << 20); bytes >= alignment; {
		if part, ok := b.memory.get(bytes); ok {
			taken = append(taken, part)
		} else {
			bytes /= 2
		}
	}
	if b.memory.end != memoryBytes || len(b.memory.free) != 0 {
		t.Fatalf("the memory ends at %d, and %v is free; want all of 4 GiB taken", b.memory.end, b.memory.free)
	}
	for _, part := range taken {
		if part.at >= memoryBytes-16<<20 {
			b.memory.put(part)
		}
	}
	for i, got := range layers(t, b)(50) {
		if math.Float32bits(got) != math.Float32bits(want[i]) {
			t.Errorf("row %d is %g at the end of the memory, %g at its beginning", i, got, want[i])
		}
	}
	p := b.Begin(context.Background())
	defer p.End()
	if _, err := p.Read(p.Zeros(16<<10, 1<<10)); fault.CodeOf(err) != fault.TooLarge {
		t.Errorf("64 MiB beyond 4 GiB: %v, want %s", err, fault.TooLarge)
	}
}
