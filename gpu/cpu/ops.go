//go:build cgo

package cpu

// #include "cpu.h"
import "C"

import (
	"unsafe"

	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/shared/fault"
)

func (p *pass) Embed(table backend.Resident, ids []int32) backend.Tensor {
	defer p.begin()()
	t := p.resident("embed", backend.TableKind, table)
	y := p.shape(len(ids), t.cols)
	if !p.ok(backend.CheckIDs("embed", ids, t.rows)) || !p.allocate(y) {
		return y
	}
	if t.packed.Data != nil {
		p.unpack(y, t, ids)
		return y
	}
	p.copy(y.c(), stride(y.cols), nil, (*C.float)(unsafe.SliceData(t.table)), t.cols, ids, y.rows, y.cols, stride(y.cols))
	return y
}

// copy moves rows; see medley_copy.
func (p *pass) copy(dst *C.float, dstStride int, to []int32, src *C.float, srcStride int, from []int32, rows, cols, wide int) {
	p.done(C.medley_copy(p.b.pool, dst, C.int64_t(dstStride), (*C.int32_t)(unsafe.SliceData(to)), src, C.int64_t(srcStride), (*C.int32_t)(unsafe.SliceData(from)),
		C.int64_t(rows), C.int64_t(cols), C.int64_t(wide)))
}

func (p *pass) Norm(x backend.Tensor, gain backend.Resident, eps float32) backend.Tensor {
	defer p.begin()()
	in, g := p.input("norm", x), p.resident("norm", backend.VectorKind, gain)
	y := p.shape(in.rows, in.cols)
	if !p.ok(backend.CheckNorm(in.cols, g.cols)) || !p.allocate(y) || y.rows == 0 {
		return y
	}
	p.done(C.medley_norm(p.b.pool, p.b.isa, C.medley_norm_job{
		x: in.c(), gain: (*C.float)(g.data), y: y.c(),
		rows: C.int64_t(in.rows), cols: C.int64_t(in.cols), stride: C.int64_t(stride(in.cols)), width: C.int64_t(g.cols), eps: C.float(eps),
	}))
	return y
}

func (p *pass) Rotate(x, angles backend.Tensor, heads int) backend.Tensor {
	defer p.begin()()
	in, by := p.input("rotate", x), p.input("rotate", angles)
	y := p.shape(in.rows, in.cols)
	if !p.ok(backend.CheckRotate(in, by, heads)) || !p.allocate(y) || y.buffer.data == nil {
		return y
	}
	p.done(C.medley_rotate(p.b.pool, p.b.isa, C.medley_rotate_job{
		x: in.c(), angles: by.c(), y: y.c(), rows: C.int64_t(in.rows), heads: C.int64_t(heads), half: C.int64_t(by.cols / 2),
		stride: C.int64_t(stride(in.cols)), angles_stride: C.int64_t(stride(by.cols)),
	}))
	return y
}

func (p *pass) Gate(act backend.Activation, a, b backend.Tensor) backend.Tensor {
	defer p.begin()()
	in := p.input("gate", a)
	y := p.shape(in.rows, in.cols)
	var gate *C.float
	var err error
	if b != nil {
		other := p.input("gate", b)
		gate, err = other.c(), backend.CheckSame("gate", in, other)
	}
	if act < backend.ReLU || act > backend.SiLU {
		err = fault.New(fault.Internal, "gate", "activation %d", act)
	}
	if !p.ok(err) || !p.allocate(y) || y.buffer.data == nil {
		return y
	}
	p.done(C.medley_gate(p.b.pool, p.b.isa, C.medley_gate_job{
		a: in.c(), b: gate, y: y.c(), count: C.int64_t(in.rows * stride(in.cols)), activation: C.int64_t(act),
	}))
	return y
}

func (p *pass) Zeros(rows, cols int) backend.Tensor {
	defer p.begin()()
	var err error
	if rows < 0 || cols < 0 {
		err = fault.New(fault.Internal, "zeros", "[%d, %d]", rows, cols)
	}
	y := p.shape(rows, cols)
	if p.ok(err) && p.allocate(y) {
		clear(y.floats())
	}
	return y
}

func (p *pass) Free(t backend.Tensor) {
	defer p.begin()()
	if x := p.input("free", t); x.pass == p {
		p.made.Free(x)
	}
}

func (p *pass) Gather(x backend.Tensor, rows []int32) backend.Tensor {
	defer p.begin()()
	in := p.input("gather", x)
	y := p.shape(len(rows), in.cols)
	if !p.ok(backend.CheckIDs("gather", rows, in.rows)) || !p.allocate(y) {
		return y
	}
	wide := stride(y.cols)
	p.copy(y.c(), wide, nil, in.c(), wide, rows, y.rows, wide, wide)
	return y
}

func (p *pass) Scatter(dst, src backend.Tensor, rows []int32) {
	defer p.begin()()
	d, s := p.input("scatter", dst), p.input("scatter", src)
	if !p.ok(backend.CheckScatter(d, s, rows)) {
		return
	}
	wide := stride(d.cols)
	p.copy(d.c(), wide, rows, s.c(), wide, nil, s.rows, wide, wide)
}

func (p *pass) LogProbs(x backend.Tensor, head backend.Resident, targets []int32) backend.Tensor {
	defer p.begin()()
	in, m := p.input("log-probabilities", x), p.resident("log-probabilities", backend.MatrixKind, head)
	y := p.shape(in.rows, 1)
	var err error
	if len(targets) != in.rows {
		err = fault.New(fault.Internal, "log-probabilities", "%d targets for %d rows", len(targets), in.rows)
	}
	if !p.ok(err) || !p.ok(backend.CheckLinear(in, m.rows, m.cols, nil)) || !p.ok(backend.CheckIDs("log-probabilities", targets, m.rows)) ||
		!p.allocate(y) || y.rows == 0 || !p.need(C.medley_logprobs_scratch()) {
		return y
	}
	chunks := (m.rows + C.CHUNK - 1) / C.CHUNK
	partial, found := p.b.memory.get(int64(in.rows) * int64(2*chunks+1) * 4)
	if !found {
		p.Fail(fault.New(fault.TooLarge, "log-probabilities", "no memory for %d rows", in.rows))
		return y
	}
	defer p.b.memory.put(partial)
	at := func(floats int) *C.float { return (*C.float)(unsafe.Add(partial.data, floats*4)) }
	p.done(C.medley_logprobs(p.b.pool, p.b.isa, C.medley_logprobs_job{
		x: in.c(), head: m.panels, scales: (*C.float)(m.scales), storage: m.storage, unit: p.b.unitOf(m), y: y.c(),
		highest: at(0), sums: at(in.rows * chunks), chosen: at(2 * in.rows * chunks),
		rows: C.int64_t(in.rows), in: C.int64_t(m.cols), vocabulary: C.int64_t(m.rows),
		x_stride: C.int64_t(stride(in.cols)), y_stride: C.int64_t(stride(1)), chunks: C.int64_t(chunks),
	}, (*C.int32_t)(unsafe.SliceData(targets)), (*C.float)(p.scratch.data)))
	return y
}

// queryRows is how many query rows one task of attention takes: enough to be worth laying out the keys for.
const queryRows = 128

// The kernel's pages are the backend's: another number does not compile.
var _ = [1]struct{}{}[backend.PageRows-C.PAGE_ROWS]

// packCost is that of laying out a number of a key, in multiply-adds.
const packCost = 4

func (p *pass) Attend(q, k, v backend.Tensor, a backend.Attention) backend.Tensor {
	defer p.begin()()
	query, key, value := p.input("attention", q), p.input("attention", k), p.input("attention", v)
	y := p.shape(query.rows, query.cols)
	if !p.ok(backend.CheckAttention(query, key, value, a)) || !p.allocate(y) || y.buffer.data == nil {
		return y
	}
	maxKeys, cost := p.cutSpans(y, key.cols, a)
	if len(p.spans) == 0 {
		return y
	}
	job := C.medley_attend_job{
		q: query.c(), k: key.c(), v: value.c(), y: y.c(),
		stride: C.int64_t(stride(query.cols)), kv_stride: C.int64_t(stride(key.cols)),
		heads: C.int64_t(a.Heads), group: C.int64_t(a.Groups()), width: C.int64_t(query.cols / a.Heads),
		scale: C.float(a.Scale), window: C.int64_t(a.Window), max_keys: C.int64_t(maxKeys), bias_zero: C.int64_t(a.BiasZero),
	}
	if a.Causal {
		job.causal = 1
	}
	if a.Bias != nil {
		distances := len(a.Bias) / a.Heads
		// Whole vectors are read, so up to one beyond the last distance.
		bias, found := p.b.memory.get(int64(distances*a.Heads+C.PANEL) * 4)
		if !found {
			p.Fail(fault.New(fault.TooLarge, "attention", "no memory for the bias"))
			return y
		}
		defer p.b.memory.put(bias)
		job.bias, job.distances = (*C.float)(bias.data), C.int64_t(distances)
		C.medley_transpose_bias((*C.float)(unsafe.SliceData(a.Bias)), job.distances, job.heads, (*C.float)(bias.data))
	}
	bytes := C.medley_attend_scratch(p.b.isa, job)
	if p.need(bytes) {
		p.done(C.medley_attend(p.b.pool, p.b.isa, job, unsafe.SliceData(p.spans), C.int64_t(len(p.spans)), (*C.int32_t)(unsafe.SliceData(p.pages)), C.double(cost),
			(*C.float)(p.scratch.data), bytes))
	}
	return y
}

// cutSpans fills p.spans, and p.pages, with the tasks of an attention, and clears what no task writes: rows that see nothing, and the padding
// of the others. It returns the most keys of a span, and the cost in multiply-adds.
func (p *pass) cutSpans(y *tensor, keyCols int, a backend.Attention) (maxKeys int, cost float64) {
	p.spans, p.pages = p.spans[:0], p.pages[:0]
	wide := stride(y.cols)
	all := y.floats()
	next := 0 // the first row that is not dealt with
	for _, s := range a.Spans {
		if s.K0 == s.K1 {
			continue
		}
		clear(all[next*wide : s.Q0*wide])
		next = s.Q1
		page0 := -1
		if s.Pages != nil {
			page0 = len(p.pages)
			p.pages = append(p.pages, s.Pages...)
		}
		for i := s.Q0; i < s.Q1; i += queryRows {
			p.spans = append(p.spans, C.medley_span{
				q0: C.int64_t(i), q1: C.int64_t(min(s.Q1, i+queryRows)), k0: C.int64_t(s.K0), k1: C.int64_t(s.K1), q_pos: C.int64_t(s.QPos + i - s.Q0),
				page0: C.int64_t(page0),
			})
		}
		maxKeys = max(maxKeys, s.K1-s.K0)
		cost += float64(s.K1-s.K0) * float64((s.Q1-s.Q0)*y.cols+packCost*keyCols)
	}
	clear(all[next*wide:])
	for i := 0; y.cols < wide && i < y.rows; i++ {
		clear(all[i*wide+y.cols : (i+1)*wide])
	}
	return maxKeys, cost
}
