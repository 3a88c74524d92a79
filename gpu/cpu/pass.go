//go:build cgo

package cpu

// #include "cpu.h"
import "C"

import (
	"unsafe"

	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/shared/fault"
)

// pass runs each operation at once. Its tensors are C memory from the backend's arena.
type pass struct {
	b *native
	backend.Course
	made backend.Ledger[*tensor]

	scratch  buffer // for the caller's thread
	segments []C.medley_segment
	terms    []C.medley_term
	spans    []C.medley_span
	pages    []int32
}

// tensor is row-major with a stride of whole panels; the columns beyond the last hold zeros. It has no memory when it has no
// numbers, or when its pass had failed before.
type tensor struct {
	pass       *pass
	rows, cols int
	buffer     buffer
	dead       bool
}

func (t *tensor) Dims() (rows, cols int) { return t.rows, t.cols }

func (t *tensor) c() *C.float { return (*C.float)(t.buffer.data) }

// floats is the memory of t, padding included.
func (t *tensor) floats() []float32 {
	return unsafe.Slice((*float32)(t.buffer.data), t.rows*stride(t.cols))
}

// row is row i without its padding.
func (t *tensor) row(i int) []float32 {
	at := i * stride(t.cols)
	return t.floats()[at : at+t.cols]
}

// ok records err, the end of the context and the end of the backend, and says whether the next operation should run.
func (p *pass) ok(err error) bool {
	var broken error
	if p.b.closed {
		broken = errClosed
	}
	return p.OK(broken, err)
}

// begin opens an operation: nothing it uses is freed until the function that it returns is called.
func (p *pass) begin() func() {
	p.b.mu.RLock()
	return p.b.mu.RUnlock
}

// input returns t as a tensor of this pass, or an empty one and an error for anything else.
func (p *pass) input(op string, t backend.Tensor) *tensor {
	x, ok := t.(*tensor)
	if ok && x != nil && x.pass == p && !x.dead {
		return x
	}
	p.Fail(backend.NotOfPass(op))
	if ok && x != nil {
		return &tensor{rows: x.rows, cols: x.cols}
	}
	return &tensor{}
}

// resident returns r as one of this backend, or an empty one and an error for anything else.
func (p *pass) resident(op string, k backend.Kind, r backend.Resident) *resident {
	if m, ok := r.(*resident); ok && m != nil && m.b == p.b && m.kind == k && !m.freed {
		return m
	}
	p.Fail(backend.NotResident(op, k))
	return &resident{}
}

// allocate finds memory for y, which has a shape only, and reports false, with the error recorded, if it cannot.
func (p *pass) allocate(y *tensor) bool {
	const most = 1 << 40 // floats: beyond any memory, within the range of the arithmetic below
	row := max(1, stride(y.cols))
	if y.rows > most/row || row > most {
		p.Fail(fault.New(fault.TooLarge, "", "a tensor of [%d, %d]", y.rows, y.cols))
		return false
	}
	p.made.Add(y)
	size := int64(y.rows) * int64(stride(y.cols)) * 4
	if size == 0 {
		return true
	}
	var found bool
	if y.buffer, found = p.b.memory.get(size); !found {
		p.Fail(fault.New(fault.TooLarge, "", "no memory for a tensor of [%d, %d]", y.rows, y.cols))
	}
	return found
}

// shape is a tensor without memory.
func (p *pass) shape(rows, cols int) *tensor { return &tensor{pass: p, rows: rows, cols: cols} }

// need makes the pass's own scratch that large.
func (p *pass) need(bytes C.int64_t) bool {
	if p.scratch.size >= int64(bytes) {
		return true
	}
	p.b.memory.put(p.scratch)
	var found bool
	if p.scratch, found = p.b.memory.get(int64(bytes)); !found {
		p.Fail(fault.New(fault.TooLarge, "", "no memory for %d bytes of scratch", int64(bytes)))
	}
	return found
}

// done records that an operation found no memory for its threads.
func (p *pass) done(failed C.int) {
	if failed != 0 {
		p.Fail(fault.New(fault.TooLarge, "", "no memory for the threads' scratch"))
	}
}

func (p *pass) release(t *tensor) {
	p.b.memory.put(t.buffer)
	t.buffer, t.dead = buffer{}, true
}

// Scope frees the tensors that f makes, but for its result.
func (p *pass) Scope(f func() backend.Tensor) backend.Tensor { return p.made.Scope(f) }

// Read copies t out, without its padding.
func (p *pass) Read(t backend.Tensor) ([]float32, error) {
	defer p.begin()()
	x := p.input("read", t)
	if !p.ok(nil) {
		return nil, p.Err
	}
	out := make([]float32, x.rows*x.cols)
	p.copy((*C.float)(unsafe.SliceData(out)), x.cols, nil, x.c(), stride(x.cols), nil, x.rows, x.cols, x.cols)
	return out, p.Err
}

// End gives the memory back. Ending twice does nothing.
func (p *pass) End() {
	p.made.End()
	p.b.memory.put(p.scratch)
	p.scratch = buffer{}
	p.Ended = true
}
