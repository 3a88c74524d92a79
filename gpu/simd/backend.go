// Package simd is the backend for browsers without a graphics processor: the kernels of gpu/cpu, compiled for WebAssembly's
// vectors of four floats (SIMD128), on one thread. In a program built for GOOS=js they run in the engine that runs the program;
// anywhere else they run in wazero, which is how they are tested.
//
// Weights and activations live in the kernels' own memory, at most 4 GiB; only offsets cross, and at Embed and Read the rows.
// A row's result does not depend, bit for bit, on the other rows of the batch, nor, NaN payloads aside, on the engine.
package simd

import (
	"context"
	"errors"
	"sync"

	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/shared/fault"
)

// New starts the backend. It fails with fault.Unsupported in an engine without vector instructions.
func New(ctx context.Context) (backend.Backend, error) {
	host, err := newInstance(ctx)
	if err != nil {
		return nil, err
	}
	start, end := host.extent()
	return &simd{host: host, memory: newHeap(start, end, host.grow)}, nil
}

// simd implements backend.Backend.
type simd struct {
	mu      sync.Mutex // held by every operation: there is one thread
	host    instance
	memory  *heap
	scratch buffer    // for the operation that runs
	staging []float32 // rows on their way in or out
	err     error     // why nothing runs any more: Close, or a kernel that failed
}

func (*simd) Info() backend.Info {
	return backend.Info{Name: "simd", Device: "WebAssembly SIMD, 1 thread", Threads: 1}
}

func (b *simd) Begin(ctx context.Context) backend.Pass {
	p := &pass{b: b, Course: backend.Course{Context: ctx}}
	p.made.Release = p.release
	return p
}

// Close gives the kernels' memory back. Residents and passes that are still open fail from then on.
func (b *simd) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if errors.Is(b.err, errClosed) {
		return nil
	}
	b.err = errClosed
	return b.host.close()
}

var errClosed = fault.New(fault.Internal, "", "the simd backend is closed")

// call runs a kernel. After one that failed nothing runs any more.
func (b *simd) call(name string, args ...any) (float64, error) {
	if b.err != nil {
		return 0, b.err
	}
	result, err := b.host.call(name, args...)
	b.err = err
	return result, err
}

// write copies bytes to the kernels' memory.
func (b *simd) write(at int64, from []byte) error {
	if b.err == nil && len(from) > 0 {
		b.err = b.host.write(at, from)
	}
	return b.err
}

// read copies bytes from the kernels' memory.
func (b *simd) read(at int64, to []byte) error {
	if b.err == nil && len(to) > 0 {
		b.err = b.host.read(at, to)
	}
	return b.err
}

// stagingFloats bounds the rows that are on their way at a time; a single row may have more.
const stagingFloats = 1 << 18

// stage returns memory of the host for rows of that stride, all of them or as many as fit the bound.
func (b *simd) stage(rows, wide int) []float32 {
	n := wide * max(1, min(rows, stagingFloats/max(1, wide)))
	if len(b.staging) < n {
		b.staging = make([]float32, n)
	}
	return b.staging[:n]
}

// writeRows copies rows to a tensor at that address, with zeros between them.
func (b *simd) writeRows(at int64, rows, cols int, row func(i int) []float32) error {
	wide := stride(cols)
	stage := b.stage(rows, wide)
	for i, used := 0, 0; i < rows; i++ {
		copy(stage[used:used+cols], row(i))
		clear(stage[used+cols : used+wide])
		if used += wide; used < len(stage) && i+1 < rows {
			continue
		}
		if err := b.write(at, bytesOf(stage[:used])); err != nil {
			return err
		}
		at, used = at+int64(used)*4, 0
	}
	return nil
}

// readRows is the inverse of writeRows.
func (b *simd) readRows(at int64, rows, cols int) ([]float32, error) {
	out := make([]float32, 0, rows*cols)
	wide := stride(cols)
	stage := b.stage(rows, wide)
	for left := rows * wide; left > 0; {
		part := stage[:min(left, len(stage))]
		if err := b.read(at, bytesOf(part)); err != nil {
			return nil, err
		}
		for i := 0; i < len(part); i += wide {
			out = append(out, part[i:i+cols]...)
		}
		left, at = left-len(part), at+int64(len(part))*4
	}
	return out, b.err
}
