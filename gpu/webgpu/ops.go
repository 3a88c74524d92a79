package webgpu

import (
	"slices"

	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/gpu/device"
	"github.com/medley-lora/medley/gpu/kernel"
	"github.com/medley-lora/medley/shared/fault"
)

func (p *pass) Norm(x backend.Tensor, gain backend.Resident, eps float32) backend.Tensor {
	p.begin()
	in, g := p.input("norm", x), p.resident("norm", backend.VectorKind, gain)
	y := p.shape(in.rows, in.cols)
	if p.Err != nil || !p.ok(backend.CheckNorm(in.cols, g.cols)) || !p.allocate(y) {
		return y
	}
	k := kernel.Norm{Lanes: kernel.Lanes}
	stretches := max(1, in.cols/g.cols) // of whole vec4s if there are several: they lie as rows of their own would
	for _, s := range spans(y.rows, p.windowSize(widest(y))) {
		p.add(k, k.Step(s.count*stretches, g.cols, eps), in.bind(s), device.Binding{Buffer: g.windows[0].data}, y.bind(s))
	}
	return y
}

func (p *pass) Rotate(x, angles backend.Tensor, heads int) backend.Tensor {
	p.begin()
	in, by := p.input("rotate", x), p.input("rotate", angles)
	y := p.shape(in.rows, in.cols)
	if p.Err != nil || !p.ok(backend.CheckRotate(in, by, heads)) || !p.allocate(y) || y.buffer == nil {
		return y
	}
	k := kernel.Rotate{Lanes: kernel.Lanes}
	for _, s := range spans(y.rows, p.windowSize(widest(y, by))) {
		p.add(k, k.Step(s.count, heads, by.cols), in.bind(s), by.bind(s), y.bind(s))
	}
	return y
}

// activations are the names that gate.wgsl knows.
var activations = map[backend.Activation]string{backend.ReLU: "relu", backend.GELUNew: "gelu_new", backend.SiLU: "silu"}

func (p *pass) Gate(act backend.Activation, a, b backend.Tensor) backend.Tensor {
	p.begin()
	in := p.input("gate", a)
	y := p.shape(in.rows, in.cols)
	var gate *tensor
	var err error
	if b != nil {
		gate = p.input("gate", b)
		err = backend.CheckSame("gate", in, gate)
	}
	k := kernel.Gate{Activation: activations[act], Gated: b != nil, Lanes: kernel.Lanes}
	if k.Activation == "" {
		err = fault.New(fault.Internal, "gate", "activation %d", act)
	}
	if p.Err != nil || !p.ok(err) || !p.allocate(y) || y.buffer == nil {
		return y
	}
	for _, s := range spans(y.rows, p.windowSize(widest(y))) {
		bindings := []device.Binding{in.bind(s)}
		if gate != nil {
			bindings = append(bindings, gate.bind(s))
		}
		p.add(k, k.Step(s.count*kernel.Vectors(y.cols)), append(bindings, y.bind(s))...)
	}
	return y
}

func (p *pass) Zeros(rows, cols int) backend.Tensor {
	p.begin()
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

func (p *pass) clear(y *tensor) {
	if y.buffer == nil {
		return
	}
	k := kernel.Zeros{Lanes: kernel.Lanes}
	for _, s := range spans(y.rows, p.windowSize(widest(y))) {
		p.add(k, k.Step(s.count*kernel.Vectors(y.cols)), y.bind(s))
	}
}

func (p *pass) Embed(table backend.Resident, ids []int32) backend.Tensor {
	p.begin()
	t := p.resident("embed", backend.TableKind, table)
	y := p.shape(len(ids), t.cols)
	if p.Err != nil || !p.ok(backend.CheckIDs("embed", ids, t.rows)) || !p.allocate(y) || y.buffer == nil {
		return y
	}
	if t.packed.Data != nil {
		p.unpack(t, ids, y)
		return y
	}
	sources := make([]source, len(t.windows))
	for i, w := range t.windows {
		sources[i] = source{device.Binding{Buffer: w.data}, span{w.first, w.count}}
	}
	p.copyRows(sources, y, func(i int) (from, to int) { return int(ids[i]), i }, len(ids))
	return y
}

func (p *pass) Free(t backend.Tensor) {
	if x := p.input("free", t); x.pass == p {
		p.made.Free(x)
	}
}

func (p *pass) Gather(x backend.Tensor, rows []int32) backend.Tensor {
	p.begin()
	in := p.input("gather", x)
	y := p.shape(len(rows), in.cols)
	if p.Err != nil || !p.ok(backend.CheckIDs("gather", rows, in.rows)) || !p.allocate(y) || y.buffer == nil {
		return y
	}
	p.copyRows(p.sources(in), y, func(i int) (from, to int) { return int(rows[i]), i }, len(rows))
	return y
}

func (p *pass) Scatter(dst, src backend.Tensor, rows []int32) {
	p.begin()
	d, s := p.input("scatter", dst), p.input("scatter", src)
	if p.Err != nil || !p.ok(backend.CheckScatter(d, s, rows)) || s.bytes() == 0 {
		return
	}
	if d == s { // a step does not write what it reads
		s = &tensor{pass: p, rows: s.rows, cols: s.cols, buffer: p.get(s.bytes())}
		if s.buffer == nil {
			return
		}
		defer p.put(s.buffer)
		p.steps = append(p.steps, device.Step{Copy: &device.Copy{From: d.buffer, To: s.buffer, Bytes: s.bytes()}})
	}
	p.copyRows(p.sources(s), d, func(i int) (from, to int) { return i, int(rows[i]) }, len(rows))
}

// source is a window of the rows that copyRows reads.
type source struct {
	binding device.Binding
	rows    span
}

func (p *pass) sources(t *tensor) []source {
	var all []source
	for _, s := range spans(t.rows, p.windowSize(widest(t))) {
		all = append(all, source{t.bind(s), s})
	}
	return all
}

// copyRows copies n rows, where pair says which goes where. Pairs are sorted by the windows that they are in.
func (p *pass) copyRows(sources []source, y *tensor, pair func(i int) (from, to int), n int) {
	size := p.windowSize(widest(y))
	if p.Err != nil {
		return
	}
	targets := spans(y.rows, size)
	pairs := make([][]uint32, len(sources)*len(targets))
	for i := range n {
		from, to := pair(i)
		s, _ := slices.BinarySearchFunc(sources, from, func(s source, row int) int { return s.rows.first + s.rows.count - 1 - row })
		t := to / size
		at := &pairs[s*len(targets)+t]
		*at = append(*at, uint32(from-sources[s].rows.first), uint32(to-targets[t].first))
	}
	k := kernel.Rows{Lanes: kernel.Lanes}
	for i, list := range pairs {
		if len(list) > 0 {
			p.add(k, k.Step(len(list)/2, y.cols, p.table(list...)), sources[i/len(targets)].binding, tablesBinding, y.bind(targets[i%len(targets)]))
		}
	}
}
