package webgpu

import (
	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/gpu/device"
	"github.com/medley-lora/medley/gpu/kernel"
	"github.com/medley-lora/medley/shared/fault"
)

// resident is everything uploaded: a matrix, table or vector in windows that one binding can see, a factor in the heap.
type resident struct {
	b          *webgpu
	kind       backend.Kind
	rows, cols int
	windows    []window
	storage    kernel.Storage // of a matrix
	packed     backend.Packed // of a table in blocks, which stays where it is
	shape      backend.FactorShape
	down, up   allocation // A and Bᵀ of a factor
	bytes      int64

	// Under b.mu. A resident that is freed while recorded steps use it goes when they have been queued.
	users int
	freed bool
}

// window is a stretch of rows of a table, or of outputs of a matrix.
type window struct {
	first, count int
	width        int // of a matrix: columns of its transpose, whole tiles
	data, scales device.Buffer
}

// Bytes is the memory on the device.
func (r *resident) Bytes() int64 { return r.bytes }

// Free gives the memory back. Freeing twice does nothing.
func (r *resident) Free() {
	r.b.mu.Lock()
	defer r.b.mu.Unlock()
	if r.freed {
		return
	}
	r.freed = true
	r.destroyUnused()
}

// use keeps r's memory until drop, or reports that it is freed already.
func (r *resident) use() bool {
	r.b.mu.Lock()
	defer r.b.mu.Unlock()
	if r.freed {
		return false
	}
	r.users++
	return true
}

func (r *resident) drop() {
	r.b.mu.Lock()
	defer r.b.mu.Unlock()
	r.users--
	r.destroyUnused()
}

// destroyUnused gives the memory back once r is freed and nothing uses it. The caller holds b.mu.
func (r *resident) destroyUnused() {
	if !r.freed || r.users > 0 {
		return
	}
	for _, w := range r.windows {
		w.data.Free()
		if w.scales != nil {
			w.scales.Free()
		}
	}
	r.windows, r.packed.Data = nil, nil
	for _, a := range []*allocation{&r.down, &r.up} {
		if a.slab != nil {
			r.b.factors.give(*a)
			*a = allocation{}
		}
	}
}

// upload makes a resident that fill allocates; what it has allocated when it fails is freed.
func (b *webgpu) upload(k backend.Kind, n, rows, cols int, fill func(*resident) error) (backend.Resident, error) {
	if err := backend.CheckSize(k, n, rows, cols); err != nil {
		return nil, err
	}
	return b.make(k, rows, cols, fill)
}

// make is upload after the check.
func (b *webgpu) make(k backend.Kind, rows, cols int, fill func(*resident) error) (backend.Resident, error) {
	r := &resident{b: b, kind: k, rows: rows, cols: cols}
	b.mu.Lock()
	closed := b.closed
	b.mu.Unlock()
	if closed {
		return nil, errClosed
	}
	if err := fill(r); err != nil {
		r.Free()
		return nil, fault.In(string(k), err)
	}
	return r, nil
}

// Matrix uploads w transposed, in the storage of the backend.
func (b *webgpu) Matrix(w []float32, out, in int) (backend.Resident, error) {
	return b.upload(backend.MatrixKind, len(w), out, in, func(r *resident) error {
		r.storage = b.storage
		return r.eachWindow(4*kernel.Vectors(in), 1, func(win window, to *writer) error {
			return b.packMatrix(to, w[win.first*in:(win.first+win.count)*in], in, win.width)
		}, func(win window, to *writer) error {
			return to.floats(int8Scales(w[win.first*in:(win.first+win.count)*in], in, win.width))
		})
	})
}

// eachWindow cuts a matrix of that many inputs into windows, and has their numbers written and, where the storage has them, so many scales
// of each output.
func (r *resident) eachWindow(in, scales int, numbers, beside func(window, *writer) error) error {
	tile, limit := r.b.tile.TileColumns(), r.b.limit()
	perColumn, scaleBytes := int64(in)*int64(r.storage.Bits())/8, int64(scales)*int64(r.storage.ScaleBits())/8
	most := int(min(limit/max(perColumn, scaleBytes)/int64(tile)*int64(tile), 1<<30))
	if most == 0 {
		return fault.New(fault.TooLarge, "", "an input of %d; this device reads at most %d bytes at once", in, limit)
	}
	for first := 0; first < r.rows; first += most {
		count := min(most, r.rows-first)
		win := window{first: first, count: count, width: (count + tile - 1) / tile * tile}
		err := r.fill(&win.data, int64(win.width)*perColumn, func(to *writer) error { return numbers(win, to) })
		if err == nil && scaleBytes > 0 {
			err = r.fill(&win.scales, int64(win.width)*scaleBytes, func(to *writer) error { return beside(win, to) })
		}
		r.windows = append(r.windows, win)
		if err != nil {
			return err
		}
	}
	return nil
}

// limit is the most bytes of one window.
func (b *webgpu) limit() int64 { return min(b.info.BindingBytes, b.info.BufferBytes) }

// Table uploads t in windows of rows.
func (b *webgpu) Table(t []float32, n, d int) (backend.Resident, error) {
	return b.upload(backend.TableKind, len(t), n, d, func(r *resident) error {
		row := rowBytes(d)
		most := int(min(b.limit()/row, 1<<30))
		if most == 0 {
			return fault.New(fault.TooLarge, "", "rows of %d; this device reads at most %d bytes at once", d, b.limit())
		}
		for first := 0; first < n; first += most {
			win := window{first: first, count: min(most, n-first)}
			err := r.fill(&win.data, int64(win.count)*row, func(to *writer) error {
				return to.rows(t[first*d:(first+win.count)*d], d)
			})
			r.windows = append(r.windows, win)
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// Vector uploads v.
func (b *webgpu) Vector(v []float32) (backend.Resident, error) {
	return b.upload(backend.VectorKind, len(v), 1, len(v), func(r *resident) error {
		win := window{count: 1}
		err := r.fill(&win.data, rowBytes(len(v)), func(to *writer) error { return to.rows(v, len(v)) })
		r.windows = []window{win}
		return err
	})
}

// Factor uploads a and the transpose of bb to the heap, with zeros for the ranks that fill up the last four.
func (b *webgpu) Factor(a, bb []float32, rank, in, out int, scale float32) (backend.Resident, error) {
	if err := backend.CheckSize(backend.FactorKind, len(bb), out, rank); err != nil {
		return nil, err
	}
	return b.upload(backend.FactorKind, len(a), rank, in, func(r *resident) error {
		r.shape = backend.FactorShape{Rank: rank, In: in, Out: out, Scale: scale}
		if err := r.place(&r.down, rank, in, func(row []float32, i int) { copy(row, a[i*in:(i+1)*in]) }); err != nil {
			return err
		}
		return r.place(&r.up, rank, out, func(row []float32, i int) {
			for j := range out {
				row[j] = bb[j*rank+i]
			}
		})
	})
}

// rowBytes is the size of a row of so many columns, in whole vec4s.
func rowBytes(cols int) int64 { return 16 * int64(kernel.Vectors(cols)) }
