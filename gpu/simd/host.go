package simd

import (
	_ "embed" // the kernels

	"github.com/medley-lora/medley/shared/fault"
)

// kernels is what build.sh compiles.
//
//go:embed kernels.wasm
var kernels []byte

// instance is a running copy of the kernels: their memory and their functions. It is not safe for concurrent use. Its errors are
// defects of the kernels or of the machine, after which nothing in the memory can be relied on.
type instance interface {
	// call runs an exported function. Arguments are uint32 (offsets too), float32 or float64; the result is a number or nothing, 0.
	call(name string, args ...any) (float64, error)
	// write and read copy between the host and the memory.
	write(at int64, from []byte) error
	read(at int64, to []byte) error
	// extent says where the memory that the kernels leave alone begins, and where it ends.
	extent() (start, end int64)
	// grow adds bytes, a multiple of the page size, at the end, and reports false if there are none.
	grow(bytes int64) bool
	close() error
}

func errOutside(at int64, bytes int) error {
	return fault.New(fault.Internal, "", "%d bytes at %d lie outside the WebAssembly memory", bytes, at)
}
