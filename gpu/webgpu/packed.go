package webgpu

import (
	"math"

	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/gpu/kernel"
	"github.com/medley-lora/medley/shared/checkpoint"
)

// blockForms are the types of GGUF that products unpack as they go, by how windows hold them.
var blockForms = map[checkpoint.DType]kernel.Storage{
	checkpoint.Q80: kernel.Blocks8, checkpoint.Q40: kernel.Blocks4, checkpoint.Q41: kernel.Blocks4, checkpoint.Q50: kernel.Blocks5, checkpoint.Q51: kernel.Blocks5,
	checkpoint.Q4K: kernel.Super4, checkpoint.Q5K: kernel.Super5, checkpoint.Q6K: kernel.Super6,
}

// Packs implements backend.Packer.
func (*webgpu) Packs(t checkpoint.DType) bool { return blockForms[t] != "" }

// PackedMatrix implements backend.Packer.
func (b *webgpu) PackedMatrix(w backend.Packed) (backend.Resident, error) {
	if err := backend.CheckPacked(w, b.Packs(w.Type)); err != nil {
		return nil, err
	}
	return b.make(backend.MatrixKind, w.Rows, w.Cols, func(r *resident) error {
		r.storage = blockForms[w.Type]
		p := packedBlocks{w, r.storage}
		return r.eachWindow(w.Cols, w.Cols/r.storage.ScaleRows(), p.integers, p.scales)
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

// packedBlocks lays out blocks of GGUF.
type packedBlocks struct {
	backend.Packed
	storage kernel.Storage
}

// split takes apart what an output has of the b-th so many inputs that are a block of the file.
func (p packedBlocks) split(output, b int, to *checkpoint.Parts) {
	bytes, _ := checkpoint.PackedBytes(p.Type, p.storage.ScaleRows())
	checkpoint.Split(p.Type, to, p.Data[(output*(p.Cols/p.storage.ScaleRows())+b)*bytes:])
}

// integers writes a window's, as wgsl/product.wgsl says.
func (p packedBlocks) integers(win window, to *writer) error {
	words, each, bits := win.width/4, p.storage.ScaleRows(), p.storage.Bits()
	rows := make([]uint32, each*bits/8*words)
	var outputs fourBlocks
	for b := range p.Cols / each {
		clear(rows)
		for o := 0; o < win.count; o += 4 {
			for i := range outputs {
				if o+i < win.count {
					p.split(win.first+o+i, b, &outputs[i])
				} else {
					outputs[i] = checkpoint.Parts{}
				}
			}
			column := rows[o/4:]
			for k := range each {
				if bits == 8 {
					column[k*words] = outputs.word(k, 0, 8)
					continue
				}
				block, k0 := k/kernel.BlockRows*kernel.BlockRows/8*bits, k%kernel.BlockRows
				column[(block+k0/2)*words] |= outputs.word(k, 0, 4) << (k0 % 2 * 16)
				switch bits {
				case 5:
					column[(block+16+k0/8)*words] |= outputs.word(k, 4, 1) << (k0 % 8 * 4)
				case 6:
					column[(block+16+k0/4)*words] |= outputs.word(k, 4, 2) << (k0 % 4 * 8)
				}
			}
		}
		if err := to.words(rows); err != nil {
			return err
		}
	}
	return nil
}

// fourBlocks are of four outputs, those beyond the last zeros.
type fourBlocks [4]checkpoint.Parts

// word puts so many bits of the four integers side by side, from one on.
func (f *fourBlocks) word(k int, from, bits uint) uint32 {
	mask, word := uint32(1)<<bits-1, uint32(0)
	for i := range f {
		word |= uint32(f[i].Integers[k]) >> from & mask << (uint(i) * bits)
	}
	return word
}

// scales writes a window's.
func (p packedBlocks) scales(win window, to *writer) error {
	each := p.storage.ScaleRows()
	var parts checkpoint.Parts
	row := make([]uint32, win.width*p.storage.ScaleBits()/32)
	for b := range p.Cols / each {
		clear(row)
		for o := range win.count {
			p.split(win.first+o, b, &parts)
			if p.storage == kernel.Blocks8 { // two outputs in a word
				row[o/2] |= uint32(parts.Scale) << (o % 2 * 16)
				continue
			}
			offset := parts.Offset
			if each == kernel.BlockRows && parts.Zero != 0 {
				offset = checkpoint.ToF16(-float32(parts.Zero) * checkpoint.FromF16(parts.Scale))
			}
			row[o] = uint32(parts.Scale) | uint32(offset)<<16
			for i := range 16 * (each / kernel.SuperRows) {
				multiple := parts.Scales[i]
				if p.storage != kernel.Super6 { // of scale and offset in turn
					multiple = [2]int8{parts.Scales[i/2], parts.Offsets[i/2]}[i%2]
				}
				row[(1+i/4)*win.width+o] |= uint32(uint8(multiple)) << (i % 4 * 8)
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
