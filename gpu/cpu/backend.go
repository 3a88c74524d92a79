//go:build cgo

package cpu

/*
#cgo CFLAGS: -O3 -std=gnu11 -Wall
#cgo LDFLAGS: -lm
#cgo !windows LDFLAGS: -pthread
#include <stdlib.h>
#include "cpu.h"
*/
import "C"

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"unsafe"

	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/shared/fault"
)

// New starts the backend. It fails with fault.Invalid for options that make no sense, and with fault.Unsupported if the
// processor lacks the instruction set that Force names.
func New(opt Options) (backend.Backend, error) {
	if opt.Threads < 0 {
		return nil, fault.New(fault.Invalid, "threads", "%d threads", opt.Threads)
	}
	isa := findISA(opt.Force)
	if isa == nil {
		return nil, fault.New(fault.Unsupported, "force", "this processor has no %q; it has %s", opt.Force, Features())
	}
	threads := opt.Threads
	if threads == 0 {
		threads = runtime.GOMAXPROCS(0)
	}
	pool := C.medley_pool_new(C.int(min(threads, maxThreads)))
	if pool == nil {
		return nil, fault.New(fault.Internal, "", "no memory for threads")
	}
	return &native{isa: isa, pool: pool}, nil
}

// maxThreads bounds what a mistyped option can start.
const maxThreads = 1024

// Features names the best instruction set of this processor, as New picks it: "AVX-512", "AVX2" or "generic".
func Features() string { return C.GoString(findISA("").name) }

func findISA(name string) *C.medley_isa {
	text := C.CString(name)
	defer C.free(unsafe.Pointer(text))
	return C.medley_find_isa(text)
}

// native implements backend.Backend.
type native struct {
	isa    *C.medley_isa
	pool   *C.medley_pool
	memory arena

	// mu is held for reading by every operation, and for writing by whatever frees what an operation may be using.
	mu     sync.RWMutex
	closed bool
}

func (b *native) Info() backend.Info {
	b.mu.RLock()
	defer b.mu.RUnlock()
	threads := 0
	if !b.closed {
		threads = int(C.medley_pool_threads(b.pool))
	}
	var name [64]C.char
	C.medley_processor(&name[0], C.int(len(name)))
	processor := strings.TrimSpace(C.GoString(&name[0]))
	if processor == "" {
		processor = runtime.GOARCH
	}
	unit := "threads"
	if threads == 1 {
		unit = "thread"
	}
	device := fmt.Sprintf("%s, %s, %d %s", processor, C.GoString(b.isa.name), threads, unit)
	return backend.Info{Name: "cpu", Device: device, Threads: threads}
}

func (b *native) Begin(ctx context.Context) backend.Pass {
	p := &pass{b: b, ctx: ctx}
	p.made.Release = p.release
	return p
}

// Close stops the threads and frees what is kept for reuse. Residents and passes that are still open fail from then on.
func (b *native) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil
	}
	b.closed = true
	C.medley_pool_free(b.pool)
	b.memory.close()
	return nil
}

// kind tells residents apart.
type kind string

const (
	matrixKind kind = "matrix"
	tableKind  kind = "table"
	vectorKind kind = "vector"
	factorKind kind = "factor"
)

// resident is everything uploaded. A matrix [rows, cols] is packed in panels, a vector is padded, both in data; a table is the
// caller's own slice; a factor holds A in data and B in panels.
type resident struct {
	b          *native
	kind       kind
	rows, cols int
	data       unsafe.Pointer
	panels     unsafe.Pointer
	table      []float32
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
	r.data, r.panels, r.table = nil, nil, nil
}

// Matrix packs w.
func (b *native) Matrix(w []float32, out, in int) (backend.Resident, error) {
	return b.upload(matrixKind, w, out, in, func(r *resident) bool { return b.pack(&r.panels, &r.bytes, w, out, in) })
}

// Table keeps t, which may be a view of a mapped file.
func (b *native) Table(t []float32, n, d int) (backend.Resident, error) {
	return b.upload(tableKind, t, n, d, func(r *resident) bool { r.table = t; return true })
}

// Vector copies v.
func (b *native) Vector(v []float32) (backend.Resident, error) {
	return b.upload(vectorKind, v, 1, len(v), func(r *resident) bool { return b.copyRows(r, v, 1, len(v)) })
}

// Factor copies a and packs b.
func (b *native) Factor(a, bb []float32, rank, in, out int, scale float32) (backend.Resident, error) {
	if err := checkSize(factorKind, len(bb), out, rank); err != nil {
		return nil, err
	}
	return b.upload(factorKind, a, rank, in, func(r *resident) bool {
		r.shape = backend.FactorShape{Rank: rank, In: in, Out: out, Scale: scale}
		return b.copyRows(r, a, rank, in) && b.pack(&r.panels, &r.bytes, bb, out, rank)
	})
}

// checkSize refuses data that is not [rows, cols], both at least 1.
func checkSize(k kind, n, rows, cols int) error {
	if rows < 1 || cols < 1 || n%cols != 0 || n/cols != rows {
		return fault.New(fault.Internal, string(k), "%d numbers for [%d, %d]", n, rows, cols)
	}
	return nil
}

// upload makes a resident and lets fill allocate its memory; fill reports false when there is none.
func (b *native) upload(k kind, data []float32, rows, cols int, fill func(*resident) bool) (backend.Resident, error) {
	if err := checkSize(k, len(data), rows, cols); err != nil {
		return nil, err
	}
	b.mu.RLock()
	defer b.mu.RUnlock()
	if b.closed {
		return nil, errClosed
	}
	r := &resident{b: b, kind: k, rows: rows, cols: cols}
	if !fill(r) {
		C.medley_free(r.data)
		C.medley_free(r.panels)
		return nil, fault.New(fault.TooLarge, string(k), "no memory for [%d, %d]", rows, cols)
	}
	return r, nil
}

var errClosed = fault.New(fault.Internal, "", "the cpu backend is closed")

// pack lays out w [out, in] in panels.
func (b *native) pack(panels *unsafe.Pointer, bytes *int64, w []float32, out, in int) bool {
	size := int64(stride(out)) * int64(in) * 4
	if *panels = C.medley_alloc(C.int64_t(size)); *panels == nil {
		return false
	}
	*bytes += size
	return C.medley_pack(b.pool, (*C.float)(unsafe.SliceData(w)), C.int64_t(out), C.int64_t(in), (*C.float)(*panels)) == 0
}

// copyRows copies rows into r.data at a tensor's stride, with zeros between.
func (b *native) copyRows(r *resident, from []float32, rows, cols int) bool {
	size := int64(rows) * int64(stride(cols)) * 4
	if r.data = C.medley_alloc(C.int64_t(size)); r.data == nil {
		return false
	}
	r.bytes += size
	to := unsafe.Slice((*float32)(r.data), rows*stride(cols))
	clear(to)
	for i := range rows {
		copy(to[i*stride(cols):], from[i*cols:(i+1)*cols])
	}
	return true
}

// stride is the distance between rows of a tensor with that many columns: whole panels, so that kernels have no tails.
func stride(cols int) int { return (cols + C.PANEL - 1) / C.PANEL * C.PANEL }
