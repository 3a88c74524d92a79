// Package cpu is the native backend: C kernels through cgo, for AVX-512, AVX2 and, in plain vector extensions, anything else.
// The instruction set is picked when the program runs. Weights are packed once, when they are uploaded; work is shared among
// threads of its own.
//
// A row's result does not depend, bit for bit, on the other rows of the batch or on the number of threads: every number is
// one chain of operations in a fixed order. It does depend on the instruction set.
package cpu

// Options configures New. The zero value uses every core available and the best instruction set.
type Options struct {
	Threads int    // 0: as many as GOMAXPROCS, which heeds the container's limits
	Force   string // "avx512", "avx2" or "generic", for tests and benchmarks; "" picks the best
}
