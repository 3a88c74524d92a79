package webgpu

import (
	"math"
	"unsafe"

	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/gpu/device"
	"github.com/medley-lora/medley/gpu/kernel"
	"github.com/medley-lora/medley/shared/fault"
)

// pass records the steps of its operations, and runs them when one of its tensors is read or when many are waiting.
type pass struct {
	b *webgpu
	backend.Course
	made backend.Ledger[*tensor]

	steps  []device.Step
	tables []uint32 // numbers that the steps read: ids, spans, segments, coefficients
	bias   []placed // biases that are in tables already
	using  map[*resident]struct{}
	idle   map[int64][]device.Buffer // released, but steps that are not yet queued may use them: for this pass alone
}

// placed is a bias and where it starts in tables.
type placed struct {
	values []float32
	at     int
}

// A pass runs what it has recorded when it has this many steps, so that the device need not wait for the end.
const manySteps = 256

// tensor is row-major in whole vec4s; the columns beyond the last hold zeros. It has no buffer when it has no numbers, or when
// its pass had failed before.
type tensor struct {
	pass       *pass
	rows, cols int
	buffer     device.Buffer
	dead       bool
}

func (t *tensor) Dims() (rows, cols int) { return t.rows, t.cols }

func (t *tensor) bytes() int64 { return int64(t.rows) * rowBytes(t.cols) }

// bind is a window of rows of t.
func (t *tensor) bind(w span) device.Binding {
	row := rowBytes(t.cols)
	return device.Binding{Buffer: t.buffer, Offset: int64(w.first) * row, Bytes: int64(w.count) * row}
}

// span is a range of rows.
type span struct{ first, count int }

// ok records err, the end of the context and the end of the pass, and says whether the next operation should be recorded.
func (p *pass) ok(err error) bool {
	return p.OK(nil, err)
}

// begin opens an operation. It alone runs what is waiting: in the middle of one, what it uses must stay.
func (p *pass) begin() {
	if len(p.steps) >= manySteps || int64(4*len(p.tables)) >= p.b.limit()/4 {
		p.run()
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
	if m, ok := r.(*resident); ok && m != nil && m.b == p.b && m.kind == k && p.use(m) {
		return m
	}
	p.Fail(backend.NotResident(op, k))
	return &resident{}
}

// use keeps r until what is recorded has been queued.
func (p *pass) use(r *resident) bool {
	if _, ok := p.using[r]; ok || p.Ended { // after the end nothing is recorded
		return true
	}
	if !r.use() {
		return false
	}
	if p.using == nil {
		p.using = map[*resident]struct{}{}
	}
	p.using[r] = struct{}{}
	return true
}

// shape is a tensor without a buffer.
func (p *pass) shape(rows, cols int) *tensor { return &tensor{pass: p, rows: rows, cols: cols} }

// allocate finds a buffer for y, which has a shape only, and reports false, with the error recorded, if it cannot.
func (p *pass) allocate(y *tensor) bool {
	const most = 1 << 40 // numbers: beyond any memory, within the range of the arithmetic
	if width := max(1, y.cols); y.rows > most/width || width > most {
		p.Fail(fault.New(fault.TooLarge, "", "a tensor of [%d, %d]", y.rows, y.cols))
		return false
	}
	p.made.Add(y)
	if y.bytes() == 0 {
		return true
	}
	y.buffer = p.get(y.bytes())
	return y.buffer != nil
}

// get returns a buffer of at least that many bytes, or nil with the error recorded.
func (p *pass) get(bytes int64) device.Buffer {
	size := sizeClass(bytes, p.b.info.BufferBytes)
	if kept := p.idle[size]; len(kept) > 0 {
		p.idle[size] = kept[:len(kept)-1]
		return kept[len(kept)-1]
	}
	b, err := p.b.memory.get(bytes)
	if err != nil {
		p.Fail(err)
		return nil
	}
	return b
}

// put takes a buffer back for use by later steps.
func (p *pass) put(b device.Buffer) {
	if b == nil {
		return
	}
	if p.idle == nil {
		p.idle = map[int64][]device.Buffer{}
	}
	p.idle[b.Bytes()] = append(p.idle[b.Bytes()], b)
}

func (p *pass) release(t *tensor) {
	p.put(t.buffer)
	t.buffer, t.dead = nil, true
}

// tablesBinding stands for the tables of the steps that run together, which have no buffer until they do.
var tablesBinding = device.Binding{}

// add records a step of k.
func (p *pass) add(k kernel.Kernel, s device.Step, bindings ...device.Binding) {
	program, err := p.b.program(k)
	if err != nil {
		p.Fail(err)
		return
	}
	s.Program, s.Bindings = program, bindings
	p.steps = append(p.steps, s)
}

// table enters numbers that steps read, and returns where they start.
func (p *pass) table(values ...uint32) int {
	p.tables = append(p.tables, values...)
	return len(p.tables) - len(values)
}

// run queues what is recorded. Afterwards the buffers and residents that it used are free for others: the device runs in order.
func (p *pass) run() {
	if len(p.steps) > 0 && p.Err == nil {
		p.Fail(p.submit())
	}
	clear(p.steps) // buffers and programs are not kept alive
	p.steps, p.tables, p.bias = p.steps[:0], p.tables[:0], p.bias[:0]
	for _, kept := range p.idle {
		for _, b := range kept {
			p.b.memory.put(b)
		}
	}
	clear(p.idle)
	for r := range p.using {
		r.drop()
	}
	clear(p.using)
}

func (p *pass) submit() error {
	if len(p.tables) > 0 {
		buffer, err := p.b.memory.get(int64(4 * len(p.tables))) // not one of idle, which the steps may use
		if err != nil {
			return err
		}
		defer p.b.memory.put(buffer)
		if err := p.b.device.Write(buffer, 0, unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(p.tables))), 4*len(p.tables))); err != nil {
			return err
		}
		for _, s := range p.steps {
			for i := range s.Bindings {
				if s.Bindings[i] == tablesBinding {
					s.Bindings[i] = device.Binding{Buffer: buffer, Bytes: int64(4 * len(p.tables))}
				}
			}
		}
	}
	return p.b.device.Run(p.Context, p.steps)
}

// Scope frees the tensors that f makes, but for its result.
func (p *pass) Scope(f func() backend.Tensor) backend.Tensor { return p.made.Scope(f) }

// Read runs what is recorded, waits for it and copies t out, without its padding.
func (p *pass) Read(t backend.Tensor) ([]float32, error) {
	x := p.input("read", t)
	if !p.ok(nil) {
		return nil, p.Err
	}
	p.run()
	if p.Err != nil {
		return nil, p.Err
	}
	values := make([]float32, x.rows*x.cols)
	if len(values) == 0 {
		return values, nil
	}
	data, err := p.b.device.Read(p.Context, x.buffer, 0, x.bytes())
	if err != nil {
		p.Fail(err)
		return nil, p.Err
	}
	stride := int(rowBytes(x.cols))
	for i := range x.rows {
		row := data[i*stride:]
		for j := range x.cols {
			values[i*x.cols+j] = math.Float32frombits(uint32(row[4*j]) | uint32(row[4*j+1])<<8 | uint32(row[4*j+2])<<16 | uint32(row[4*j+3])<<24)
		}
	}
	return values, nil
}

// End gives the memory back; what is recorded and was not needed does not run. Ending twice does nothing.
func (p *pass) End() {
	p.made.End()
	p.steps = p.steps[:0]
	p.run()
	p.Ended = true
}
