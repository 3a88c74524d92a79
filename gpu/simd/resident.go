package simd

import (
	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/shared/fault"
)

// resident is everything uploaded. A matrix [rows, cols] is packed in panels, a vector is a padded row in data; a table is the
// caller's own slice; a factor holds A in data and B in panels.
type resident struct {
	b            *simd
	kind         backend.Kind
	rows, cols   int
	data, panels buffer
	table        []float32
	shape        backend.FactorShape
	freed        bool // under b.mu
}

// Bytes is what the kernels' memory holds: nothing for a table, which stays the caller's.
func (r *resident) Bytes() int64 { return r.data.size + r.panels.size }

// Free waits for the operation that is running. Freeing twice does nothing.
func (r *resident) Free() {
	r.b.mu.Lock()
	defer r.b.mu.Unlock()
	if r.freed {
		return
	}
	r.freed = true
	r.b.memory.put(r.data)
	r.b.memory.put(r.panels)
	r.table = nil
}

// Matrix packs w.
func (b *simd) Matrix(w []float32, out, in int) (backend.Resident, error) {
	return b.upload(backend.MatrixKind, w, out, in, func(r *resident) error { return b.pack(r, w, out, in) })
}

// Table keeps t: rows cross when a pass embeds them.
func (b *simd) Table(t []float32, n, d int) (backend.Resident, error) {
	return b.upload(backend.TableKind, t, n, d, func(r *resident) error { r.table = t; return nil })
}

// Vector copies v.
func (b *simd) Vector(v []float32) (backend.Resident, error) {
	return b.upload(backend.VectorKind, v, 1, len(v), func(r *resident) error { return b.copyRows(r, v, 1, len(v)) })
}

// Factor copies a and packs bb.
func (b *simd) Factor(a, bb []float32, rank, in, out int, scale float32) (backend.Resident, error) {
	if err := backend.CheckSize(backend.FactorKind, len(bb), out, rank); err != nil {
		return nil, err
	}
	return b.upload(backend.FactorKind, a, rank, in, func(r *resident) error {
		r.shape = backend.FactorShape{Rank: rank, In: in, Out: out, Scale: scale}
		if err := b.copyRows(r, a, rank, in); err != nil {
			return err
		}
		return b.pack(r, bb, out, rank)
	})
}

// upload makes a resident and lets fill put it into the kernels' memory.
func (b *simd) upload(k backend.Kind, data []float32, rows, cols int, fill func(*resident) error) (backend.Resident, error) {
	if err := backend.CheckSize(k, len(data), rows, cols); err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil {
		return nil, b.err
	}
	r := &resident{b: b, kind: k, rows: rows, cols: cols}
	if err := fill(r); err != nil {
		b.memory.put(r.data)
		b.memory.put(r.panels)
		return nil, err
	}
	return r, nil
}

// errNoMemory says that something [rows, cols] does not fit.
func errNoMemory(field string, rows, cols int) error {
	return fault.New(fault.TooLarge, field, "no memory for [%d, %d]: WebAssembly has 4 GiB in all, less if the machine or the browser has", rows, cols)
}

// copyRows copies rows into r.data at a tensor's stride.
func (b *simd) copyRows(r *resident, from []float32, rows, cols int) error {
	var found bool
	if r.data, found = b.memory.get(floatBytes(rows, cols)); !found {
		return errNoMemory(string(r.kind), rows, cols)
	}
	return b.writeRows(r.data.at, rows, cols, func(i int) []float32 { return from[i*cols : (i+1)*cols] })
}

// pack lays out w [out, in] in panels, a few at a time so that the whole never is in memory twice.
func (b *simd) pack(r *resident, w []float32, out, in int) error {
	var found bool
	if r.panels, found = b.memory.get(floatBytes(in, out)); !found {
		return errNoMemory(string(r.kind), out, in)
	}
	step := min(out, max(1, stagingFloats/(panel*in))*panel)
	raw, found := b.memory.get(int64(step) * int64(in) * 4)
	if !found {
		return errNoMemory(string(r.kind), out, in)
	}
	defer b.memory.put(raw)
	for row := 0; row < out; row += step {
		n := min(step, out-row)
		if err := b.write(raw.at, bytesOf(w[row*in:(row+n)*in])); err != nil {
			return err
		}
		panels := r.panels.at + int64(row)*int64(in)*4
		if _, err := b.call("pack", raw.address(), uint32(n), uint32(in), uint32(panels)); err != nil {
			return err
		}
	}
	return nil
}

// shapeOf recognises the factors of this backend. The caller holds b.mu.
func (b *simd) shapeOf(r backend.Resident) (backend.FactorShape, bool) {
	f, ok := r.(*resident)
	if !ok || f == nil || f.b != b || f.kind != backend.FactorKind || f.freed {
		return backend.FactorShape{}, false
	}
	return f.shape, true
}
