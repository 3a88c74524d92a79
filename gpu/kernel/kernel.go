// Package kernel holds the programs of the WebGPU backend: one operation per file in wgsl/, whose head gives its formula, the shape of
// every binding and what one invocation computes. A Go struct per operation holds the constants that its text is made with, and
// turns sizes into a step: groups, parameters, and the bounds that a device checks.
//
// Rows of a tensor are whole vec4s, with zeros beyond the last column; every kernel keeps them zero.
package kernel

import (
	"encoding/binary"
	"math"
	"slices"

	"github.com/medley-lora/medley/gpu/device"
)

// Kernel is a program with its constants set. Kernels are comparable: equal ones have equal sources.
type Kernel interface {
	Source() device.Source
}

// source makes the program of wgsl/name.wgsl.
func source(name string, c constants, parameters int, bindings ...device.Access) device.Source {
	return device.Source{Name: name, WGSL: specialise(name, c), Bindings: bindings, Parameters: uniform(parameters)}
}

// uniform is the size of a uniform block of n numbers.
func uniform(n int) int { return (4*n + 15) / 16 * 16 }

// parameters lays out a uniform block.
func parameters(values ...uint32) []byte {
	block := make([]byte, 0, uniform(len(values)))
	for _, v := range values {
		block = binary.LittleEndian.AppendUint32(block, v)
	}
	return slices.Concat(block, make([]byte, uniform(len(values))-len(block)))
}

func float(v float32) uint32 { return math.Float32bits(v) }

// Vectors is the number of vec4s that hold n numbers.
func Vectors(n int) int { return (n + 3) / 4 }

// groupsWide is how many workgroups a flat dispatch puts side by side before it begins another line: within every device's limit.
const groupsWide = 1 << 15

// flat arranges n workgroups in two dimensions. Its kernels ignore those beyond n.
func flat(n int) [3]int {
	if n <= groupsWide {
		return [3]int{n, 1, 1}
	}
	return [3]int{groupsWide, ceil(n, groupsWide), 1}
}

func ceil(n, by int) int { return (n + by - 1) / by }
