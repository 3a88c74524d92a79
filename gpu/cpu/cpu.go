// Package cpu is the native backend: C kernels through cgo, for AVX-512, AVX2, NEON and, in plain vector extensions, anything else.
// The instruction set is picked when the program runs. Weights are packed once, when they are uploaded; work is shared among
// threads of its own.
//
// A row's result does not depend, bit for bit, on the other rows of the batch or on the number of threads: every number is
// one chain of operations in a fixed order. It does depend on the instruction set.
package cpu

// Options configures New. The zero value uses every core available and the best instruction set.
type Options struct {
	Threads int    // 0: as many as GOMAXPROCS, which heeds the container's limits
	Force   string // "amx", "avx512", "avx2", "neon" or "generic", for tests and benchmarks; "" picks the best

	// Weights is how the weights of linear maps are stored: "f32", the default, "bf16" or "int8" (8-bit integers with a scale per
	// output). The narrow ones take a half and a quarter of the memory. Where the processor can multiply such numbers, the
	// inputs of the maps are rounded likewise, and so are low-rank updates (to bf16 in either form); elsewhere the weights are turned
	// into f32 as they are used. Everything between the maps is f32.
	Weights string
}
