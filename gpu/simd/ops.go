package simd

import (
	"encoding/binary"

	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/shared/fault"
)

func (p *pass) Embed(table backend.Resident, ids []int32) backend.Tensor {
	defer p.begin()()
	t := p.resident("embed", backend.TableKind, table)
	y := p.shape(len(ids), t.cols)
	if p.ok(backend.CheckIDs("embed", ids, t.rows)) && p.allocate(y) {
		p.check(p.b.writeRows(y.buffer.at, y.rows, y.cols, func(i int) []float32 {
			at := int(ids[i]) * t.cols
			return t.table[at : at+t.cols]
		}))
	}
	return y
}

func (p *pass) Norm(x backend.Tensor, gain backend.Resident, eps float32) backend.Tensor {
	defer p.begin()()
	in, g := p.input("norm", x), p.resident("norm", backend.VectorKind, gain)
	y := p.shape(in.rows, in.cols)
	if p.ok(backend.CheckNorm(in.cols, g.cols)) && p.allocate(y) {
		p.run("norm", in.address(), g.data.address(), y.address(), uint32(in.rows), uint32(in.cols), uint32(g.cols), eps)
	}
	return y
}

func (p *pass) Rotate(x, angles backend.Tensor, heads int) backend.Tensor {
	defer p.begin()()
	in, by := p.input("rotate", x), p.input("rotate", angles)
	y := p.shape(in.rows, in.cols)
	if p.ok(backend.CheckRotate(in, by, heads)) && p.allocate(y) {
		p.run("rotate", in.address(), by.address(), y.address(), uint32(in.rows), uint32(heads), uint32(by.cols/2))
	}
	return y
}

func (p *pass) Gate(act backend.Activation, a, b backend.Tensor) backend.Tensor {
	defer p.begin()()
	in := p.input("gate", a)
	y := p.shape(in.rows, in.cols)
	var gate uint32
	var err error
	if b != nil {
		other := p.input("gate", b)
		gate, err = other.address(), backend.CheckSame("gate", in, other)
	}
	if act < backend.ReLU || act > backend.SiLU {
		err = fault.New(fault.Internal, "gate", "activation %d", act)
	}
	if p.ok(err) && p.allocate(y) {
		p.run("gate", in.address(), gate, y.address(), uint32(in.rows*stride(in.cols)), uint32(act))
	}
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
		p.clear(y)
	}
	return y
}

// clear zeros a tensor.
func (p *pass) clear(y *tensor) { p.run("clear", y.address(), uint32(y.buffer.size)) }

func (p *pass) Free(t backend.Tensor) {
	if x := p.input("free", t); x.pass == p {
		p.made.Free(x)
	}
}

func (p *pass) Gather(x backend.Tensor, rows []int32) backend.Tensor {
	defer p.begin()()
	in := p.input("gather", x)
	y := p.shape(len(rows), in.cols)
	if p.ok(backend.CheckIDs("gather", rows, in.rows)) && p.allocate(y) {
		p.run("gather", y.address(), in.address(), p.send(bytesOf(rows)), uint32(len(rows)), uint32(in.cols))
	}
	return y
}

func (p *pass) Scatter(dst, src backend.Tensor, rows []int32) {
	defer p.begin()()
	d, s := p.input("scatter", dst), p.input("scatter", src)
	if p.ok(backend.CheckScatter(d, s, rows)) {
		p.run("scatter", d.address(), s.address(), p.send(bytesOf(rows)), uint32(len(rows)), uint32(d.cols))
	}
}

// chunk is the columns of logits that are held at a time: CHUNK of the kernels.
const chunk = 256

func (p *pass) LogProbs(x backend.Tensor, head backend.Resident, targets []int32) backend.Tensor {
	defer p.begin()()
	in, m := p.input("log-probabilities", x), p.resident("log-probabilities", backend.MatrixKind, head)
	y := p.shape(in.rows, 1)
	var err error
	if len(targets) != in.rows {
		err = fault.New(fault.Internal, "log-probabilities", "%d targets for %d rows", len(targets), in.rows)
	}
	if !p.ok(err) || !p.ok(backend.CheckLinear(in, m.rows, m.cols, nil)) || !p.ok(backend.CheckIDs("log-probabilities", targets, m.rows)) ||
		!p.allocate(y) || y.rows == 0 {
		return y
	}
	chunks := (m.rows + chunk - 1) / chunk
	partial := p.space(int64(in.rows) * int64(2*chunks+1) * 4)
	p.run("logprobs", in.address(), m.panels.address(), p.send(bytesOf(targets)), y.address(), uint32(in.rows), uint32(m.cols), uint32(m.rows),
		partial.address(), p.scratch("logprobs_scratch"))
	return y
}

func (p *pass) Attend(q, k, v backend.Tensor, a backend.Attention) backend.Tensor {
	defer p.begin()()
	query, key, value := p.input("attention", q), p.input("attention", k), p.input("attention", v)
	y := p.shape(query.rows, query.cols)
	if !p.ok(backend.CheckAttention(query, key, value, a)) || !p.allocate(y) {
		return y
	}
	p.clear(y) // the rows that see nothing
	var spans []byte
	var pages []int32
	count, maxKeys := 0, 0
	for _, s := range a.Spans {
		if s.Q0 == s.Q1 || s.K0 == s.K1 {
			continue
		}
		page0 := -1
		if s.Pages != nil {
			page0 = len(pages)
			pages = append(pages, s.Pages...)
		}
		for _, field := range []int{s.Q0, s.Q1, s.K0, s.K1, s.QPos, page0} { // medley_span of cpu.h
			spans = binary.LittleEndian.AppendUint64(spans, uint64(field))
		}
		count, maxKeys = count+1, max(maxKeys, s.K1-s.K0)
	}
	if count == 0 {
		return y
	}
	var causal, bias, distances uint32
	if a.Causal {
		causal = 1
	}
	if a.Bias != nil {
		distances = uint32(len(a.Bias) / a.Heads)
		// Whole vectors are read, so up to one beyond the last distance.
		bias = p.space(int64(len(a.Bias)+panel) * 4).address()
		p.run("transpose", p.send(bytesOf(a.Bias)), distances, uint32(a.Heads), bias)
	}
	cols, heads := uint32(query.cols), uint32(a.Heads)
	scratch := p.scratch("attend_scratch", cols, heads, uint32(maxKeys))
	p.run("attend", query.address(), key.address(), value.address(), y.address(), cols, heads, uint32(a.Groups()), a.Scale, causal, float64(a.Window),
		p.send(spans), uint32(count), p.send(bytesOf(pages)), uint32(maxKeys), bias, distances, float64(a.BiasZero), scratch)
	return y
}
