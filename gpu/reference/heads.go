package reference

import "github.com/medley-lora/medley/gpu/backend"

// SplitsHeads is what backend.SplitsHeads asks.
func (reference) SplitsHeads() bool { return true }

// SplitHeads implements backend.HeadSplitter.
func (p *pass) SplitHeads(x backend.Tensor, heads int) backend.Tensor {
	in := p.input("heads", x)
	y := newTensor(in.rows*max(0, heads), in.cols)
	if !p.ok(backend.CheckSplit(in, heads, false)) {
		return y
	}
	width := in.cols / heads
	for i := range in.rows * heads {
		h := i % heads * width
		copy(y.row(i)[h:h+width], in.row(i / heads)[h:])
	}
	return y
}

// JoinHeads implements backend.HeadSplitter.
func (p *pass) JoinHeads(x backend.Tensor, heads int) backend.Tensor {
	in := p.input("heads", x)
	y := newTensor(in.rows/max(1, heads), in.cols)
	if !p.ok(backend.CheckSplit(in, heads, true)) {
		return y
	}
	width := in.cols / heads
	for i := range in.rows {
		h := i % heads * width
		copy(y.row(i / heads)[h:h+width], in.row(i)[h:])
	}
	return y
}
