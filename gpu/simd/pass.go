package simd

import (
	"math"

	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/shared/fault"
)

// pass runs each operation at once. Its tensors are in the kernels' memory.
type pass struct {
	b *simd
	backend.Course
	made backend.Ledger[*tensor]

	passing []buffer // what the operation that runs has put into memory for itself
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

func (t *tensor) address() uint32 { return t.buffer.address() }

// ok records err, the end of the context and the end of the backend, and says whether the next operation should run.
func (p *pass) ok(err error) bool {
	return p.OK(p.b.err, err)
}

// begin opens an operation: nothing else runs until the function that it returns is called.
func (p *pass) begin() func() {
	p.b.mu.Lock()
	return func() {
		for _, b := range p.passing {
			p.b.memory.put(b)
		}
		p.passing = p.passing[:0]
		p.b.mu.Unlock()
	}
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

// shape is a tensor without memory.
func (p *pass) shape(rows, cols int) *tensor { return &tensor{pass: p, rows: rows, cols: cols} }

// allocate finds memory for y, which has a shape only, and reports false, with the error recorded, if it cannot.
func (p *pass) allocate(y *tensor) bool {
	const most = math.MaxInt32 - panel // what kernels count to; a product of two is an int64
	found := y.rows <= most && y.cols <= most
	if found {
		p.made.Add(y)
		if floats := int64(y.rows) * int64(stride(y.cols)); floats > 0 {
			y.buffer, found = p.b.memory.get(min(floats, bufferBytes) * 4)
		}
	}
	if !found {
		p.Fail(errNoMemory("", y.rows, y.cols))
	}
	return found
}

// space finds memory for the time of this operation, and returns its address.
func (p *pass) space(bytes int64) buffer {
	b, found := p.b.memory.get(bytes)
	if !found {
		p.Fail(fault.New(fault.TooLarge, "", "no memory for %d bytes beside the tensors: WebAssembly has 4 GiB in all", bytes))
		return buffer{}
	}
	p.passing = append(p.passing, b)
	return b
}

// send copies a table to the kernels' memory for the time of this operation, and returns its address.
func (p *pass) send(table []byte) uint32 {
	if len(table) == 0 || p.Err != nil {
		return 0
	}
	b := p.space(int64(len(table)))
	if p.Err == nil {
		p.check(p.b.write(b.at, table))
	}
	return b.address()
}

// scratch makes the backend's scratch as large as the kernel of that name and those arguments says, and returns its address.
func (p *pass) scratch(name string, args ...any) uint32 {
	bytes, err := p.b.call(name, args...)
	p.check(err)
	if p.Err == nil && p.b.scratch.size < int64(bytes) {
		p.b.memory.put(p.b.scratch)
		var found bool
		if p.b.scratch, found = p.b.memory.get(int64(bytes)); !found {
			p.Fail(fault.New(fault.TooLarge, "", "no memory for %.0f bytes of scratch: WebAssembly has 4 GiB in all", bytes))
		}
	}
	return p.b.scratch.address()
}

// run calls a kernel unless the pass has failed.
func (p *pass) run(name string, args ...any) {
	if p.Err == nil {
		_, err := p.b.call(name, args...)
		p.check(err)
	}
}

// check records an error, if it is one.
func (p *pass) check(err error) {
	if err != nil {
		p.Fail(err)
	}
}

func (p *pass) release(t *tensor) {
	p.b.mu.Lock()
	defer p.b.mu.Unlock()
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
	out, err := p.b.readRows(x.buffer.at, x.rows, x.cols)
	p.check(err)
	return out, p.Err
}

// End gives the memory back. Ending twice does nothing.
func (p *pass) End() {
	p.made.End()
	p.Ended = true
}
