//go:build cgo

package cpu

import "github.com/medley-lora/medley/gpu/backend"

// SplitsHeads is what backend.SplitsHeads asks.
func (b *native) SplitsHeads() bool { return true }

// SplitHeads implements backend.HeadSplitter.
func (p *pass) SplitHeads(x backend.Tensor, heads int) backend.Tensor {
	defer p.begin()()
	in := p.input("heads", x)
	y := p.shape(in.rows*max(0, heads), in.cols)
	if !p.ok(backend.CheckSplit(in, heads, false)) || !p.allocate(y) || y.buffer.data == nil {
		return y
	}
	clear(y.floats())
	width := in.cols / heads
	for i := range y.rows {
		h := i % heads * width
		copy(y.row(i)[h:h+width], in.row(i / heads)[h:])
	}
	return y
}

// JoinHeads implements backend.HeadSplitter.
func (p *pass) JoinHeads(x backend.Tensor, heads int) backend.Tensor {
	defer p.begin()()
	in := p.input("heads", x)
	y := p.shape(in.rows/max(1, heads), in.cols)
	if !p.ok(backend.CheckSplit(in, heads, true)) || !p.allocate(y) || y.buffer.data == nil {
		return y
	}
	clear(y.floats())
	width := in.cols / heads
	for i := range in.rows {
		h := i % heads * width
		copy(y.row(i / heads)[h:h+width], in.row(i)[h:])
	}
	return y
}
