//go:build cgo

package cpu

// #include "cpu.h"
import "C"

import (
	"unsafe"

	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/shared/fault"
)

// resident is everything uploaded. A matrix [rows, cols] is packed in panels, a vector is padded, both in data; a table is the
// caller's own slice; a factor holds A in data and B in panels.
type resident struct {
	b          *native
	kind       backend.Kind
	rows, cols int
	data       unsafe.Pointer
	panels     unsafe.Pointer
	scales     unsafe.Pointer // of a matrix of 8-bit integers
	table      []float32
	packed     backend.Packed // of a table in blocks
	storage    C.int64_t      // of a matrix
	shape      backend.FactorShape
	bytes      int64
	freed      bool // under b.mu
}

// Bytes is what this backend allocated: nothing for a table, which stays the caller's.
func (r *resident) Bytes() int64 { return r.bytes }

// Free waits for the operations that are running. Freeing twice does nothing.
func (r *resident) Free() {
	r.b.mu.Lock()
	defer r.b.mu.Unlock()
	if r.freed {
		return
	}
	r.freed = true
	C.medley_free(r.data)
	C.medley_free(r.panels)
	C.medley_free(r.scales)
	r.data, r.panels, r.scales, r.table, r.packed.Data = nil, nil, nil, nil, nil
}

// Matrix packs w.
func (b *native) Matrix(w []float32, out, in int) (backend.Resident, error) {
	return b.upload(backend.MatrixKind, w, out, in, func(r *resident) bool {
		switch b.storage {
		case C.BFLOAT16:
			return b.packBF16(r, &r.panels, w, out, in, C.PANEL)
		case C.INT8:
			return b.packInt8(r, w, out, in)
		default:
			return b.pack(r, w, out, in)
		}
	})
}

// Table keeps t, which may be a view of a mapped file.
func (b *native) Table(t []float32, n, d int) (backend.Resident, error) {
	return b.upload(backend.TableKind, t, n, d, func(r *resident) bool { r.table = t; return true })
}

// Vector copies v.
func (b *native) Vector(v []float32) (backend.Resident, error) {
	return b.upload(backend.VectorKind, v, 1, len(v), func(r *resident) bool { return b.copyRows(r, v, 1, len(v)) })
}

// Factor copies a and packs b.
func (b *native) Factor(a, bb []float32, rank, in, out int, scale float32) (backend.Resident, error) {
	if err := backend.CheckSize(backend.FactorKind, len(bb), out, rank); err != nil {
		return nil, err
	}
	return b.upload(backend.FactorKind, a, rank, in, func(r *resident) bool {
		r.shape = backend.FactorShape{Rank: rank, In: in, Out: out, Scale: scale}
		if b.updater != nil {
			return b.packBF16(r, &r.data, a, rank, in, C.PANEL/2) && b.packBF16(r, &r.panels, bb, out, rank, C.PANEL)
		}
		return b.copyRows(r, a, rank, in) && b.pack(r, bb, out, rank)
	})
}

// upload makes a resident and lets fill allocate its memory; fill reports false when there is none.
func (b *native) upload(k backend.Kind, data []float32, rows, cols int, fill func(*resident) bool) (backend.Resident, error) {
	if err := backend.CheckSize(k, len(data), rows, cols); err != nil {
		return nil, err
	}
	return b.make(k, rows, cols, fill)
}

// make is upload after the check.
func (b *native) make(k backend.Kind, rows, cols int, fill func(*resident) bool) (backend.Resident, error) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if b.closed {
		return nil, errClosed
	}
	r := &resident{b: b, kind: k, rows: rows, cols: cols, storage: b.storage}
	if !fill(r) {
		C.medley_free(r.data)
		C.medley_free(r.panels)
		C.medley_free(r.scales)
		return nil, fault.New(fault.TooLarge, string(k), "no memory for [%d, %d]", rows, cols)
	}
	return r, nil
}

var errClosed = fault.New(fault.Internal, "", "the cpu backend is closed")

// allocate finds memory for a part of a resident.
func (r *resident) allocate(at *unsafe.Pointer, size int64) bool {
	if *at = C.medley_alloc(C.int64_t(size)); *at == nil {
		return false
	}
	r.bytes += size
	return true
}

// pack lays out w [out, in] in panels.
func (b *native) pack(r *resident, w []float32, out, in int) bool {
	return r.allocate(&r.panels, int64(stride(out))*int64(in)*4) &&
		C.medley_pack(b.pool, (*C.float)(unsafe.SliceData(w)), C.int64_t(out), C.int64_t(in), (*C.float)(r.panels)) == 0
}

// packBF16 lays out w [out, in] in panels of that many columns, at a part of r.
func (b *native) packBF16(r *resident, at *unsafe.Pointer, w []float32, out, in, columns int) bool {
	wide := (out + columns - 1) / columns * columns
	return r.allocate(at, int64(wide)*int64(C.medley_narrow_rows(C.BFLOAT16, C.int64_t(in)))*2) &&
		C.medley_pack_bfloat16(b.pool, (*C.float)(unsafe.SliceData(w)), C.int64_t(out), C.int64_t(in), C.int64_t(columns), (*C.uint16_t)(*at)) == 0
}

// packInt8 lays out w [out, in] in panels, with a scale for each output.
func (b *native) packInt8(r *resident, w []float32, out, in int) bool {
	return r.allocate(&r.panels, int64(stride(out))*int64(C.medley_narrow_rows(C.INT8, C.int64_t(in)))) && r.allocate(&r.scales, int64(stride(out))*4) &&
		C.medley_pack_int8(b.pool, (*C.float)(unsafe.SliceData(w)), C.int64_t(out), C.int64_t(in), (*C.int8_t)(r.panels), (*C.float)(r.scales)) == 0
}

// copyRows copies rows into r.data at a tensor's stride, with zeros between.
func (b *native) copyRows(r *resident, from []float32, rows, cols int) bool {
	if !r.allocate(&r.data, int64(rows)*int64(stride(cols))*4) {
		return false
	}
	to := unsafe.Slice((*float32)(r.data), rows*stride(cols))
	clear(to)
	for i := range rows {
		copy(to[i*stride(cols):], from[i*cols:(i+1)*cols])
	}
	return true
}

// stride is the distance between rows of a tensor with that many columns: whole panels, so that kernels have no tails.
func stride(cols int) int { return (cols + C.PANEL - 1) / C.PANEL * C.PANEL }
