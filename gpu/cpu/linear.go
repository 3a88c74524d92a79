//go:build cgo

package cpu

// #include "cpu.h"
import "C"

import (
	"runtime"

	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/shared/fault"
)

func (p *pass) Linear(x backend.Tensor, w backend.Resident, opt backend.Linear) backend.Tensor {
	defer p.begin()()
	in, m := p.input("linear", x), p.resident("linear", backend.MatrixKind, w)
	y := p.shape(in.rows, m.rows)
	var residual, bias *C.float
	if opt.Bias != nil {
		r := p.resident("linear", backend.VectorKind, opt.Bias)
		bias = (*C.float)(r.data)
		p.Fail(backend.CheckBias(m.rows, r.cols))
	}
	if opt.Residual != nil {
		residual = p.input("linear", opt.Residual).c()
	}
	if !p.ok(backend.CheckLinear(in, m.rows, m.cols, opt.Residual)) || !p.ok(backend.CheckUpdate(opt.Update, in.rows, m.rows, m.cols, p.b.shapeOf)) ||
		!p.allocate(y) || y.rows == 0 || !p.need(C.medley_linear_scratch()) {
		return y
	}
	p.collect(opt.Update)
	job := C.medley_linear_job{
		x: in.c(), w: m.panels, scales: (*C.float)(m.scales), bias: bias, residual: residual, y: y.c(), storage: m.storage, unit: p.b.unitOf(m), updater: p.b.updater,
		rows: C.int64_t(in.rows), in: C.int64_t(m.cols), out: C.int64_t(m.rows),
		x_stride: C.int64_t(stride(m.cols)), y_stride: C.int64_t(stride(m.rows)),
	}
	p.multiply(job)
	return y
}

// multiply runs a linear map with the tables that collect made.
func (p *pass) multiply(job C.medley_linear_job) {
	var pin runtime.Pinner // the job holds the tables' addresses
	defer pin.Unpin()
	if len(p.segments) > 0 {
		pin.Pin(&p.segments[0])
		pin.Pin(&p.terms[0])
		job.segments, job.terms, job.segment_count = &p.segments[0], &p.terms[0], C.int64_t(len(p.segments))
	}
	var composed buffer
	if bytes := int64(C.medley_compose_bytes(&job)); bytes > 0 {
		var found bool
		if composed, found = p.b.memory.get(bytes); !found {
			p.Fail(fault.New(fault.TooLarge, "linear", "no memory for %d bytes of composed factors", bytes))
			return
		}
		defer p.b.memory.put(composed)
	}
	p.done(C.medley_linear(p.b.pool, p.b.isa, job, composed.data, (*C.float)(p.scratch.data)))
}

// shapeOf recognises the factors of this backend. The caller holds b.mu.
func (b *native) shapeOf(r backend.Resident) (backend.FactorShape, bool) {
	f, ok := r.(*resident)
	if !ok || f == nil || f.b != b || f.kind != backend.FactorKind || f.freed {
		return backend.FactorShape{}, false
	}
	return f.shape, true
}

// collect turns an update that has been checked into the tables that the C side reads. Modules that leave the map alone and
// weights of zero are left out, and segments that are then empty.
func (p *pass) collect(u *backend.Update) {
	p.segments, p.terms = p.segments[:0], p.terms[:0]
	if u == nil {
		return
	}
	for _, s := range u.Segments {
		first := len(p.terms)
		for _, t := range s.Terms {
			f, ok := u.Factors[t.Module].(*resident)
			if !ok || t.Weight == 0 {
				continue
			}
			p.terms = append(p.terms, C.medley_term{
				a: f.data, b: f.panels, rank: C.int64_t(f.shape.Rank), weight: C.float(t.Weight), scale: C.float(f.shape.Scale),
			})
		}
		if len(p.terms) == first {
			continue
		}
		segment := C.medley_segment{
			row0: C.int64_t(s.Row0), row1: C.int64_t(s.Row1), term0: C.int64_t(first), terms: C.int64_t(len(p.terms) - first),
			tokens: C.int64_t(s.Tokens),
		}
		if s.Product {
			segment.product = 1
		}
		p.segments = append(p.segments, segment)
	}
}
