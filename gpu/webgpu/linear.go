package webgpu

import (
	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/gpu/device"
	"github.com/medley-lora/medley/gpu/kernel"
	"github.com/medley-lora/medley/shared/fault"
)

func (p *pass) Linear(x backend.Tensor, w backend.Resident, opt backend.Linear) backend.Tensor {
	p.begin()
	in, m := p.input("linear", x), p.resident("linear", backend.MatrixKind, w)
	y := p.shape(in.rows, m.rows)
	var residual *tensor
	if opt.Residual != nil {
		residual = p.input("linear", opt.Residual)
	}
	var bias *resident
	if opt.Bias != nil {
		bias = p.resident("linear", backend.VectorKind, opt.Bias)
		p.Fail(backend.CheckBias(m.rows, bias.cols))
	}
	if p.Err != nil || !p.ok(backend.CheckLinear(in, m.rows, m.cols, opt.Residual)) ||
		!p.ok(backend.CheckUpdate(opt.Update, in.rows, m.rows, m.cols, p.shapeOf)) || !p.allocate(y) || y.rows == 0 {
		return y
	}
	k := kernel.Product{Tile: p.b.tile, Storage: m.storage, Residual: residual != nil}
	for _, win := range m.windows {
		p.productSteps(k, in.rows, in.cols, win, widest(in, y), func(rows span, tile0, tiles int) {
			bindings := append([]device.Binding{in.bind(rows)}, win.bind()...)
			if residual != nil {
				bindings = append(bindings, residual.bind(rows))
			}
			p.add(k, k.Step(kernel.ProductSize{
				Rows: rows.count, In: in.cols, Width: win.width, Out: y.cols, First: win.first, Count: win.count, Tile0: tile0, Tiles: tiles,
			}), append(bindings, y.bind(rows))...)
		})
	}
	if bias != nil {
		p.addBias(y, bias)
	}
	if opt.Update != nil {
		p.update(in, y, opt.Update)
	}
	return y
}

func (p *pass) addBias(y *tensor, bias *resident) {
	k := kernel.Bias{Lanes: kernel.Lanes}
	for _, s := range spans(y.rows, p.windowSize(widest(y))) {
		p.add(k, k.Step(s.count, y.cols), device.Binding{Buffer: bias.windows[0].data}, y.bind(s))
	}
}

// bind is a window of a matrix.
func (w window) bind() []device.Binding {
	if w.scales == nil {
		return []device.Binding{{Buffer: w.data}}
	}
	return []device.Binding{{Buffer: w.data}, {Buffer: w.scales}}
}

// LogProbs leaves one pair of numbers per row and tile of columns instead of the logits, and combines them.
func (p *pass) LogProbs(x backend.Tensor, head backend.Resident, targets []int32) backend.Tensor {
	p.begin()
	in, m := p.input("log-probabilities", x), p.resident("log-probabilities", backend.MatrixKind, head)
	y := p.shape(in.rows, 1)
	var err error
	if len(targets) != in.rows {
		err = fault.New(fault.Internal, "log-probabilities", "%d targets for %d rows", len(targets), in.rows)
	}
	if p.Err != nil || !p.ok(err) || !p.ok(backend.CheckLinear(in, m.rows, m.cols, nil)) ||
		!p.ok(backend.CheckIDs("log-probabilities", targets, m.rows)) || !p.allocate(y) || y.rows == 0 {
		return y
	}
	tiles := 0
	for _, win := range m.windows {
		tiles += (win.count + p.b.tile.TileColumns() - 1) / p.b.tile.TileColumns()
	}
	// The sums are as wide as a tensor of two columns per tile.
	sums, chosen := p.shape(in.rows, 2*tiles), p.shape(in.rows, 1)
	size := p.windowSize(widest(in, sums))
	rows := min(size, in.rows)
	if size == 0 {
		return y
	}
	sums.buffer, chosen.buffer = p.get(int64(rows)*int64(tiles)*8), p.get(int64(rows)*4)
	defer func() { p.put(sums.buffer); p.put(chosen.buffer) }()
	if p.Err != nil {
		return y
	}
	for _, s := range spans(in.rows, size) {
		p.logProbs(in, y, m, targets, s, tiles, sums.buffer, chosen.buffer)
	}
	return y
}

// logProbs does one window of rows.
func (p *pass) logProbs(in, y *tensor, m *resident, targets []int32, s span, tiles int, sums, chosen device.Buffer) {
	first := len(p.tables)
	for _, target := range targets[s.first : s.first+s.count] {
		p.table(uint32(target))
	}
	k := kernel.Product{Tile: p.b.tile, Storage: m.storage, LogSoftmax: true}
	window := func(rows span, b device.Buffer, bytesPerRow int64) device.Binding {
		return device.Binding{Buffer: b, Offset: int64(rows.first) * bytesPerRow, Bytes: int64(rows.count) * bytesPerRow}
	}
	for _, win := range m.windows {
		p.productSteps(k, s.count, in.cols, win, widest(in), func(rows span, tile0, n int) {
			x := in.bind(span{s.first + rows.first, rows.count})
			p.add(k, k.Step(kernel.ProductSize{
				Rows: rows.count, In: in.cols, Width: win.width, First: win.first, Count: win.count, Tile0: tile0, Tiles: n,
				Targets: first + rows.first, TilesOfAll: tiles,
			}), append(append([]device.Binding{x}, win.bind()...), tablesBinding,
				window(rows, sums, int64(tiles)*8), window(rows, chosen, 4))...)
		})
	}
	end := kernel.LogSoftmaxEnd{Lanes: kernel.Lanes}
	p.add(end, end.Step(s.count, tiles), window(span{0, s.count}, sums, int64(tiles)*8), window(span{0, s.count}, chosen, 4), y.bind(s))
}
