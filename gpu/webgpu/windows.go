package webgpu

import (
	"github.com/medley-lora/medley/gpu/kernel"
	"github.com/medley-lora/medley/shared/fault"
)

// Tensors larger than a binding may see are worked on in windows of rows. Windows start at multiples of windowRows, so that their
// offsets are aligned as every device wants (at most 1024 bytes).
const windowRows = 64

// windowSize is how many rows of so many bytes a window holds at most, and 0, with the error recorded, if not even windowRows fit.
func (p *pass) windowSize(bytesPerRow int64) int {
	most := p.b.limit() / bytesPerRow / windowRows * windowRows
	if most == 0 {
		p.Fail(fault.New(fault.TooLarge, "", "rows of %d bytes; this device reads at most %d bytes at once", bytesPerRow, p.b.limit()))
	}
	return int(min(most, 1<<30))
}

// spans cuts rows into windows of at most size, which is a multiple of windowRows or 0 for none at all.
func spans(rows, size int) []span {
	var all []span
	for first := 0; first < rows && size > 0; first += size {
		all = append(all, span{first, min(size, rows-first)})
	}
	return all
}

// widest is the bytes per row of the widest of several tensors.
func widest(tensors ...*tensor) int64 {
	bytes := int64(16)
	for _, t := range tensors {
		if t != nil {
			bytes = max(bytes, rowBytes(t.cols))
		}
	}
	return bytes
}

// productSteps cuts a product of rows x in with a window of a weight into steps of bearable cost: windows of rows, and ranges of tiles.
func (p *pass) productSteps(k kernel.Product, rows, in int, w window, bytesPerRow int64, step func(rows span, tile0, tiles int)) {
	tiles := (w.count + k.TileColumns() - 1) / k.TileColumns()
	size := p.windowSize(bytesPerRow)
	if bearable := int(p.b.stepCost/k.Cost(windowRows, in, tiles)) * windowRows; bearable < size {
		size = min(size, max(windowRows, bearable))
	}
	for _, s := range spans(rows, size) {
		together := max(1, int(p.b.stepCost/k.Cost(s.count, in, 1)))
		for tile := 0; tile < tiles; tile += together {
			step(s, tile, min(together, tiles-tile))
		}
	}
}
