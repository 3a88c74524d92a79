package simd

import (
	"encoding/binary"
	"math"

	"github.com/medley-lora/medley/gpu/backend"
)

func (p *pass) Linear(x backend.Tensor, w backend.Resident, opt backend.Linear) backend.Tensor {
	defer p.begin()()
	in, m := p.input("linear", x), p.resident("linear", backend.MatrixKind, w)
	y := p.shape(in.rows, m.rows)
	var bias, residual uint32
	if opt.Bias != nil {
		r := p.resident("linear", backend.VectorKind, opt.Bias)
		bias = r.data.address()
		p.check(backend.CheckBias(m.rows, r.cols))
	}
	if opt.Residual != nil {
		residual = p.input("linear", opt.Residual).address()
	}
	if !p.ok(backend.CheckLinear(in, m.rows, m.cols, opt.Residual)) || !p.ok(backend.CheckUpdate(opt.Update, in.rows, m.rows, m.cols, p.b.shapeOf)) ||
		!p.allocate(y) || y.rows == 0 {
		return y
	}
	segments, terms, count := tables(opt.Update)
	segmentsAt, termsAt := p.send(segments), p.send(terms)
	job := []any{uint32(in.rows), uint32(m.cols), uint32(m.rows), segmentsAt, uint32(count), termsAt}
	scratch := p.scratch("linear_scratch", job...)
	p.run("linear", append(append([]any{in.address(), m.panels.address(), bias, residual, y.address()}, job...), scratch)...)
	return y
}

// tables turns an update that has been checked into what the kernels read: medley_segment and medley_term of cpu.h, as they lie in a
// memory of 32-bit addresses. Modules that leave the map alone and weights of zero are left out, and segments that are then empty.
func tables(u *backend.Update) (segments, terms []byte, count int) {
	if u == nil {
		return nil, nil, 0
	}
	le := binary.LittleEndian
	termCount := 0
	for _, s := range u.Segments {
		first := termCount
		for _, t := range s.Terms {
			f, ok := u.Factors[t.Module].(*resident)
			if !ok || t.Weight == 0 {
				continue
			}
			terms = le.AppendUint32(terms, f.data.address())
			terms = le.AppendUint32(terms, f.panels.address())
			terms = le.AppendUint64(terms, uint64(f.shape.Rank))
			terms = le.AppendUint32(terms, math.Float32bits(t.Weight))
			terms = le.AppendUint32(terms, math.Float32bits(f.shape.Scale))
			termCount++
		}
		if termCount == first {
			continue
		}
		product := 0
		if s.Product {
			product = 1
		}
		for _, field := range []int{s.Row0, s.Row1, first, termCount - first, product, s.Tokens, 0} {
			segments = le.AppendUint64(segments, uint64(field))
		}
		count++
	}
	return segments, terms, count
}
