package reference

import (
	"context"
	"math"

	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/shared/fault"
)

// tensor holds its numbers in f32, as every backend does; the operations compute in float64 and round once.
type tensor struct {
	rows, cols int
	data       []float32
}

func (t *tensor) Dims() (rows, cols int) { return t.rows, t.cols }

func (t *tensor) row(i int) []float32 { return t.data[i*t.cols : (i+1)*t.cols] }

type pass struct {
	ctx context.Context
	err error
}

func (p *pass) Scope(f func() backend.Tensor) backend.Tensor { return f() }
func (p *pass) End()                                         {}
func (p *pass) Free(t backend.Tensor)                        { p.input("free", t) }

func (p *pass) Zeros(rows, cols int) backend.Tensor { return newTensor(rows, cols) }

func newTensor(rows, cols int) *tensor {
	return &tensor{rows: rows, cols: cols, data: make([]float32, rows*cols)}
}

// ok records the first error, the end of the context included, and says whether the next operation should run.
func (p *pass) ok(err error) bool {
	if p.err == nil {
		p.err = p.ctx.Err()
	}
	if p.err == nil {
		p.err = err
	}
	return p.err == nil
}

// resident returns r as a matrix, or an empty one and an error for anything else.
func (p *pass) resident(op string, r backend.Resident) *matrix {
	m, ok := r.(*matrix)
	if !ok || m == nil {
		p.ok(fault.New(fault.Internal, op, "a resident of another kind or backend"))
		return &matrix{}
	}
	return m
}

// input returns t as a tensor of ours, or an empty one and an error for anything else.
func (p *pass) input(op string, t backend.Tensor) *tensor {
	x, ok := t.(*tensor)
	if !ok || x == nil {
		p.ok(fault.New(fault.Internal, op, "a tensor of another backend"))
		return &tensor{}
	}
	return x
}

func (p *pass) Embed(table backend.Resident, ids []int32) backend.Tensor {
	m := p.resident("embed", table)
	y := newTensor(len(ids), m.cols)
	if !p.ok(backend.CheckIDs("embed", ids, m.rows)) {
		return y
	}
	for i, id := range ids {
		copy(y.row(i), m.data[int(id)*m.cols:])
	}
	return y
}

func (p *pass) Norm(x backend.Tensor, gain backend.Resident, eps float32) backend.Tensor {
	in, g := p.input("norm", x), p.resident("norm", gain)
	y := newTensor(in.rows, in.cols)
	width := len(g.data)
	if !p.ok(backend.CheckNorm(in.cols, width)) {
		return y
	}
	for from := 0; from < len(in.data); from += width {
		stretch := in.data[from : from+width]
		sum := 0.0
		for _, v := range stretch {
			sum += float64(v) * float64(v)
		}
		inverse := 1 / math.Sqrt(sum/float64(width)+float64(eps))
		for j, v := range stretch {
			y.data[from+j] = float32(float64(v) * inverse * float64(g.data[j]))
		}
	}
	return y
}

func (p *pass) Rotate(x, angles backend.Tensor, heads int) backend.Tensor {
	in, by := p.input("rotate", x), p.input("rotate", angles)
	y := newTensor(in.rows, in.cols)
	if !p.ok(backend.CheckRotate(in, by, heads)) {
		return y
	}
	half := by.cols / 2
	for i := range in.rows {
		cos, sin := by.row(i)[:half], by.row(i)[half:]
		for h := range heads {
			from, to := in.row(i)[h*2*half:], y.row(i)[h*2*half:]
			for c := range half {
				low, high := float64(from[c]), float64(from[half+c])
				to[c] = float32(low*float64(cos[c]) - high*float64(sin[c]))
				to[half+c] = float32(high*float64(cos[c]) + low*float64(sin[c]))
			}
		}
	}
	return y
}

func (p *pass) Gate(act backend.Activation, a, b backend.Tensor) backend.Tensor {
	x := p.input("gate", a)
	y := newTensor(x.rows, x.cols)
	var gate *tensor
	var err error
	if b != nil {
		gate = p.input("gate", b)
		err = backend.CheckSame("gate", x, gate)
	}
	if !p.ok(err) {
		return y
	}
	for i, v := range x.data {
		z := activate(act, float64(v))
		if gate != nil {
			z *= float64(gate.data[i])
		}
		y.data[i] = float32(z)
	}
	return y
}

func activate(act backend.Activation, x float64) float64 {
	switch act {
	case backend.GELUNew:
		return 0.5 * x * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(x+0.044715*x*x*x)))
	case backend.SiLU:
		return x / (1 + math.Exp(-x))
	default:
		return max(0, x)
	}
}

func (p *pass) Gather(x backend.Tensor, rows []int32) backend.Tensor {
	in := p.input("gather", x)
	y := newTensor(len(rows), in.cols)
	if !p.ok(backend.CheckIDs("gather", rows, in.rows)) {
		return y
	}
	for i, r := range rows {
		copy(y.row(i), in.row(int(r)))
	}
	return y
}

func (p *pass) Scatter(dst, src backend.Tensor, rows []int32) {
	d, s := p.input("scatter", dst), p.input("scatter", src)
	if !p.ok(backend.CheckScatter(d, s, rows)) {
		return
	}
	for i, r := range rows {
		copy(d.row(int(r)), s.row(i))
	}
}

func (p *pass) Read(t backend.Tensor) ([]float32, error) {
	x := p.input("read", t)
	if !p.ok(nil) {
		return nil, p.err
	}
	return append([]float32(nil), x.data...), nil
}
