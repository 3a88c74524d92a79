//go:build cgo

package cpu

// #include "cpu.h"
import "C"

import (
	"unsafe"

	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/shared/checkpoint"
)

// blockForms are the types of GGUF that products unpack as they go, by how panels hold them.
var blockForms = map[checkpoint.DType]struct {
	storage C.int64_t
	offsets C.int // there is one beside every scale
}{
	checkpoint.Q80: {C.BLOCKS8, 0}, checkpoint.Q40: {C.BLOCKS4, 0}, checkpoint.Q41: {C.BLOCKS4, 1}, checkpoint.Q50: {C.BLOCKS5, 0}, checkpoint.Q51: {C.BLOCKS5, 1},
	checkpoint.Q4K: {C.SUPER4, 0}, checkpoint.Q5K: {C.SUPER5, 0}, checkpoint.Q6K: {C.SUPER6, 0},
}

// Packs implements backend.Packer.
func (*native) Packs(t checkpoint.DType) bool {
	_, ok := blockForms[t]
	return ok
}

// PackedMatrix implements backend.Packer.
func (b *native) PackedMatrix(w backend.Packed) (backend.Resident, error) {
	if err := backend.CheckPacked(w, b.Packs(w.Type)); err != nil {
		return nil, err
	}
	return b.make(backend.MatrixKind, w.Rows, w.Cols, func(r *resident) bool {
		form := blockForms[w.Type]
		r.storage = form.storage
		bytes := int64(stride(w.Rows)) / C.PANEL * int64(C.medley_blocks_bytes(r.storage, C.int64_t(w.Cols)/C.BLOCK))
		return r.allocate(&r.panels, bytes) &&
			C.medley_pack_blocks(b.pool, r.storage, form.offsets, (*C.uint8_t)(unsafe.SliceData(w.Data)), C.int64_t(w.Rows), C.int64_t(w.Cols), (*C.char)(r.panels)) == 0
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
	switch {
	case m.storage == b.storage:
		return b.unit
	case m.storage >= C.BLOCKS8:
		return b.blocks
	}
	return nil
}
