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
	storage, known := storages[opt.Weights]
	if !known {
		return nil, fault.New(fault.Invalid, "weights", "%q; expected f32, bf16 or int8", opt.Weights)
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
	b := &native{isa: isa, pool: pool, storage: storage, unit: findUnit(opt.Force, storage), blocks: findUnit(opt.Force, C.BLOCKS8)}
	if b.unit != nil {
		b.updater = findUnit(opt.Force, C.BFLOAT16) // VNNI has none
	}
	return b, nil
}

// storages are the forms of a weight by the option that asks for them.
var storages = map[string]C.int64_t{"": C.FLOAT32, "f32": C.FLOAT32, "bf16": C.BFLOAT16, "int8": C.INT8}

// maxThreads bounds what a mistyped option can start.
const maxThreads = 1024

// Features names the best instruction set of this processor, as New picks it: "AVX-512", "AVX2", "NEON" or "generic".
func Features() string { return C.GoString(findISA("").name) }

func findISA(name string) *C.medley_isa {
	text := C.CString(name)
	defer C.free(unsafe.Pointer(text))
	return C.medley_find_isa(text)
}

func findUnit(name string, storage C.int64_t) *C.medley_unit {
	text := C.CString(name)
	defer C.free(unsafe.Pointer(text))
	return C.medley_find_unit(text, storage)
}

// native implements backend.Backend.
type native struct {
	isa     *C.medley_isa
	pool    *C.medley_pool
	memory  arena
	storage C.int64_t
	// For the weights, those in blocks and the terms of updates; nil where these are multiplied in f32. Terms are bf16 if there is an updater.
	unit, blocks, updater *C.medley_unit

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
	device := fmt.Sprintf("%s, %s, %d %s", processor, b.arithmetic(), threads, unit)
	return backend.Info{Name: "cpu", Device: device, Threads: threads}
}

// arithmetic says what multiplies: "AVX-512", "AVX-512 and AMX bf16", "AVX2, bf16 weights as f32".
func (b *native) arithmetic() string {
	name := C.GoString(b.isa.name)
	switch {
	case b.unit != nil:
		return name + " and " + C.GoString(b.unit.name)
	case b.storage == C.BFLOAT16:
		return name + ", bf16 weights as f32"
	case b.storage == C.INT8:
		return name + ", int8 weights as f32"
	default:
		return name
	}
}

func (b *native) Begin(ctx context.Context) backend.Pass {
	p := &pass{b: b, Course: backend.Course{Context: ctx}}
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
