//go:build cgo

package cpu

// #include "cpu.h"
import "C"

import (
	"unsafe"

	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/shared/checkpoint"
)

// Packs implements backend.Packer: products unpack blocks of 32 as they go.
func (*native) Packs(t checkpoint.DType) bool {
	return t == checkpoint.Q40 || t == checkpoint.Q41 || t == checkpoint.Q80
}

// PackedMatrix implements backend.Packer.
func (b *native) PackedMatrix(w backend.Packed) (backend.Resident, error) {
	if err := backend.CheckPacked(w, b.Packs(w.Type)); err != nil {
		return nil, err
	}
	return b.make(backend.MatrixKind, w.Rows, w.Cols, func(r *resident) bool {
		offsets := C.int(0)
		if r.storage = C.BLOCKS4; w.Type == checkpoint.Q80 {
			r.storage = C.BLOCKS8
		} else if w.Type == checkpoint.Q41 {
			offsets = 1
		}
		bytes := int64(stride(w.Rows)) / C.PANEL * int64(w.Cols) / C.BLOCK * int64(C.medley_block_bytes(r.storage))
		return r.allocate(&r.panels, bytes) &&
			C.medley_pack_blocks(b.pool, r.storage, offsets, (*C.uint8_t)(unsafe.SliceData(w.Data)), C.int64_t(w.Rows), C.int64_t(w.Cols), (*C.char)(r.panels)) == 0
	})
}

// PackedTable implements backend.Packer: rows are unpacked when they are gathered.
func (b *native) PackedTable(t backend.Packed) (backend.Resident, error) {
	if err := backend.CheckPacked(t, true); err != nil {
		return nil, err
	}
	return b.make(backend.TableKind, t.Rows, t.Cols, func(r *resident) bool { r.packed = t; return true })
}

// unpack gathers rows of a table in blocks.
func (p *pass) unpack(y *tensor, t *resident, ids []int32) {
	if y.buffer.data == nil {
		return
	}
	clear(y.floats())
	row := len(t.packed.Data) / t.rows
	for i, id := range ids {
		checkpoint.Unpack(t.packed.Type, y.row(i), t.packed.Data[int(id)*row:(int(id)+1)*row])
	}
}

// unitOf is the unit that multiplies a matrix, if one does.
func (b *native) unitOf(m *resident) *C.medley_unit {
	switch m.storage {
	case b.storage:
		return b.unit
	case C.BLOCKS8, C.BLOCKS4:
		return b.blocks
	}
	return nil
}
