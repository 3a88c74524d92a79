// Package device is compute on a graphics processor through WebGPU: buffers, programs, command streams and reading back. It alone
// imports the WebGPU library; what is above it (gpu/kernel, gpu/webgpu) sees this interface, and devicetest holds any
// implementation to it.
package device

import "context"

// Info says what a device is and what it can take. The limits are those of the open device, not of the adapter.
type Info struct {
	Adapter  string // "NVIDIA H200", "llvmpipe (LLVM 15.0.6, 256 bits)"
	Driver   string
	API      string // "vulkan", "metal", "browser"
	Software bool   // computes on the processor: right, and slow

	BindingBytes         int64 // most bytes that one binding of a program sees
	BufferBytes          int64 // most bytes of a buffer
	WorkgroupBytes       int   // most bytes of workgroup memory
	WorkgroupInvocations int   // most invocations of a workgroup
	Groups               int   // most workgroups in one dimension of a step
	StorageBuffers       int   // most storage bindings of a program
	OffsetAlignment      int   // of a binding's offset, in bytes
	LoopIterations       int   // most loop iterations of one invocation, over all its loops, an entry into a loop counting as one; 0: unbounded
}

// Device is one open device. Its methods are safe for concurrent use. After a failure that cannot be mended (a lost device, a
// submission that never ended) every call returns that error.
type Device interface {
	Info() Info
	// NewBuffer allocates storage of zeros. bytes is rounded up to a multiple of 4, at least 4; more than Info.BufferBytes is fault.TooLarge.
	NewBuffer(bytes int64) (Buffer, error)
	// Write copies data into b before anything that is run later; offset and length are multiples of 4.
	Write(b Buffer, offset int64, data []byte) error
	// NewProgram compiles a compute program. A mistake in the source is an error that quotes it.
	NewProgram(s Source) (Program, error)
	// Run performs the steps in order, each seeing what those before it wrote. It returns when they are queued. Long lists are
	// cut into several submissions so that none is long: some drivers end the process when one takes seconds.
	Run(ctx context.Context, steps []Step) error
	// Read waits for everything run so far and copies bytes out of b; offset and bytes are multiples of 4.
	Read(ctx context.Context, b Buffer, offset, bytes int64) ([]byte, error)
	// Close frees the device. Buffers and programs that are still there fail from then on. Closing twice does nothing.
	Close() error
}

// Buffer is storage on the device.
type Buffer interface {
	Bytes() int64
	// Free may be called before what was run with it has ended, and more than once.
	Free()
}

// Program is a compiled compute program.
type Program interface{ Free() }

// Source is a program in WGSL: one compute entry point called main. Group 0 holds the storage bindings 0, 1, … in the order of
// Bindings, and after them, if Parameters is not 0, a uniform binding of that many bytes.
type Source struct {
	Name       string // for errors
	WGSL       string
	Bindings   []Access
	Parameters int // bytes of the uniform block, a multiple of 16, at most 256; 0 for none
}

// Access is what a program does with a storage binding.
type Access int

const (
	ReadOnly Access = iota
	ReadWrite
)

// Step is one dispatch of a program, or a copy.
type Step struct {
	Program    Program
	Bindings   []Binding
	Parameters []byte // Source.Parameters bytes; copied by Run
	Groups     [3]int // workgroups; 0 stands for 1
	// Iterations bounds the loop iterations of one invocation. A step beyond Info.LoopIterations is refused: the device would
	// stop the loop half-way and say nothing.
	Iterations int
	// Cost estimates the work in floating-point operations, for cutting a list into submissions. One step is never cut: on a processor
	// it should stay below 1e9.
	Cost float64

	Copy *Copy // when set, everything else is unset
}

// Binding is a window of a buffer. Bytes 0 stands for the rest of the buffer. It must hold what the program declares, which no
// implementation is sure to notice. Two windows of one buffer in a step must both be read, or both be written and not overlap.
type Binding struct {
	Buffer Buffer
	Offset int64 // a multiple of Info.OffsetAlignment
	Bytes  int64 // a multiple of 4
}

// Copy copies bytes between two different buffers; all numbers are multiples of 4.
type Copy struct {
	From, To             Buffer
	FromOffset, ToOffset int64
	Bytes                int64
}

// Options chooses a device.
type Options struct {
	// Software takes an adapter that computes on the processor if there is no other. Without it such an adapter is as good as none.
	Software bool
}
