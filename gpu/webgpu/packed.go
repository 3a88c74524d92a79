package webgpu

import (
	"encoding/binary"
	"math"

	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/gpu/kernel"
	"github.com/medley-lora/medley/shared/checkpoint"
)

// Packs implements backend.Packer: products unpack blocks of 32 as they go.
func (*webgpu) Packs(t checkpoint.DType) bool {
	return t == checkpoint.Q40 || t == checkpoint.Q41 || t == checkpoint.Q80
}

// PackedMatrix implements backend.Packer.
func (b *webgpu) PackedMatrix(w backend.Packed) (backend.Resident, error) {
	if err := backend.CheckPacked(w, b.Packs(w.Type)); err != nil {
		return nil, err
	}
	return b.make(backend.MatrixKind, w.Rows, w.Cols, func(r *resident) error {
		r.storage = kernel.Blocks4
		if w.Type == checkpoint.Q80 {
			r.storage = kernel.Blocks8
		}
		p := packedBlocks{w, len(w.Data) / w.Rows / (w.Cols / kernel.BlockRows)}
		return r.eachWindow(w.Cols, w.Cols/kernel.BlockRows, p.integers, p.scales)
	})
}

// PackedTable implements backend.Packer: rows are unpacked on the host when they are gathered.
func (b *webgpu) PackedTable(t backend.Packed) (backend.Resident, error) {
	if err := backend.CheckPacked(t, true); err != nil {
		return nil, err
	}
	return b.make(backend.TableKind, t.Rows, t.Cols, func(r *resident) error { r.packed = t; return nil })
}

// unpack gathers rows of a table in blocks, by way of the tables of the steps.
func (p *pass) unpack(t *resident, ids []int32, y *tensor) {
	row, width := len(t.packed.Data)/t.rows, int(rowBytes(t.cols)/4)
	numbers, together := make([]float32, t.cols), int(max(1, p.b.limit()/4/rowBytes(t.cols)))
	for first := 0; first < len(ids) && p.Err == nil; first += together {
		if first > 0 {
			p.run()
		}
		some := ids[first:min(first+together, len(ids))]
		for len(p.tables)%width != 0 { // rows are counted from the start
			p.tables = append(p.tables, 0)
		}
		at := len(p.tables) / width
		for _, id := range some {
			checkpoint.Unpack(t.packed.Type, numbers, t.packed.Data[int(id)*row:(int(id)+1)*row])
			for _, v := range numbers {
				p.tables = append(p.tables, math.Float32bits(v))
			}
			p.tables = append(p.tables, make([]uint32, width-t.cols)...)
		}
		p.copyRows([]source{{tablesBinding, span{0, at + len(some)}}}, y, func(i int) (from, to int) { return at + i, first + i }, len(some))
	}
}

// packedBlocks lays out blocks of GGUF, size bytes each.
type packedBlocks struct {
	backend.Packed
	size int
}

// block is the b-th of an output.
func (p packedBlocks) block(output, b int) []byte {
	at := (output*(p.Cols/kernel.BlockRows) + b) * p.size
	return p.Data[at : at+p.size]
}

// integers writes a window's: of 8 bits a word for four outputs of one k, of 4 bits for those of two.
func (p packedBlocks) integers(win window, to *writer) error {
	words, per := win.width/4, 1
	if p.Type != checkpoint.Q80 {
		per = 2
	}
	for b := range p.Cols / kernel.BlockRows {
		rows := make([]uint32, kernel.BlockRows/per*words)
		for o := range win.count {
			q := p.block(win.first+o, b)
			q = q[len(q)-kernel.BlockRows/per:]
			for k := range kernel.BlockRows {
				if per == 1 {
					rows[k*words+o/4] |= uint32(q[k]) << (o % 4 * 8)
				} else { // numbers k and k + 16 in a byte
					nibble := uint32(q[k%16]>>(k/16*4)) & 15
					rows[k/2*words+o/4] |= nibble << (k%2*16 + o%4*4)
				}
			}
		}
		if err := to.words(rows); err != nil {
			return err
		}
	}
	return nil
}

// scales writes a window's: two outputs in a word, or with an offset one.
func (p packedBlocks) scales(win window, to *writer) error {
	per := 2
	if p.Type != checkpoint.Q80 {
		per = 1
	}
	for b := range p.Cols / kernel.BlockRows {
		row := make([]uint32, win.width/per)
		for o := range win.count {
			q := p.block(win.first+o, b)
			scale := binary.LittleEndian.Uint16(q)
			switch p.Type {
			case checkpoint.Q80:
				row[o/2] |= uint32(scale) << (o % 2 * 16)
			case checkpoint.Q41:
				row[o] = uint32(scale) | uint32(binary.LittleEndian.Uint16(q[2:]))<<16
			default:
				row[o] = uint32(scale) | uint32(checkpoint.ToF16(-8*checkpoint.FromF16(scale)))<<16
			}
		}
		if err := to.words(row); err != nil {
			return err
		}
	}
	return nil
}

// words writes numbers of 32 bits.
func (w *writer) words(v []uint32) error {
	room := w.more(len(v))
	for i, word := range v {
		room[i] = math.Float32frombits(word)
	}
	return w.err
}
