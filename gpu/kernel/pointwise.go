package kernel

import "github.com/medley-lora/medley/gpu/device"

// Lanes is the number of invocations of a workgroup in the kernels that share work out evenly.
const Lanes = 64

// Norm is wgsl/norm.wgsl. Its bindings are x, gain, y.
type Norm struct{ Lanes int }

// Source is the program.
func (k Norm) Source() device.Source {
	return source("norm", constants{"lanes": k.Lanes, "sums": k.Sums()}, 4, device.ReadOnly, device.ReadOnly, device.ReadWrite)
}

// Sums is how many invocations add up the others' shares.
func (Norm) Sums() int { return 8 }

// Step normalises rows of so many columns.
func (k Norm) Step(rows, columns int, eps float32) device.Step {
	return device.Step{
		Parameters: parameters(uint32(rows), uint32(Vectors(columns)), float(float32(columns)), float(eps)),
		Groups:     flat(rows),
		Iterations: 2*ceil(Vectors(columns), k.Lanes) + ceil(k.Lanes, k.Sums()) + k.Sums(),
		Cost:       float64(rows) * float64(4*columns+20*k.Lanes),
	}
}

// Gate is wgsl/gate.wgsl. Its bindings are a, b if Gated, y.
type Gate struct {
	Activation string // "relu", "gelu_new" or "silu"
	Gated      bool
	Lanes      int
}

// Source is the program.
func (k Gate) Source() device.Source {
	bindings := []device.Access{device.ReadOnly, device.ReadWrite}
	if k.Gated {
		bindings = []device.Access{device.ReadOnly, device.ReadOnly, device.ReadWrite}
	}
	return source("gate", constants{"activation": k.Activation, "gated": k.Gated, "lanes": k.Lanes}, 1, bindings...)
}

// Step does so many vec4s.
func (k Gate) Step(vectors int) device.Step {
	return device.Step{Parameters: parameters(uint32(vectors)), Groups: flat(ceil(vectors, k.Lanes)), Cost: 80 * float64(vectors)}
}

// Rows is wgsl/rows.wgsl. Its bindings are x, tables, y.
type Rows struct{ Lanes int }

// Source is the program.
func (k Rows) Source() device.Source {
	return source("rows", constants{"lanes": k.Lanes}, 3, device.ReadOnly, device.ReadOnly, device.ReadWrite)
}

// Step copies count rows of so many columns, by the pairs from pairs0 of tables.
func (k Rows) Step(count, columns, pairs0 int) device.Step {
	vectors := count * Vectors(columns)
	return device.Step{
		Parameters: parameters(uint32(count), uint32(Vectors(columns)), uint32(pairs0)),
		Groups:     flat(ceil(vectors, k.Lanes)), Cost: 8 * float64(vectors),
	}
}

// Zeros is wgsl/zeros.wgsl. Its binding is y.
type Zeros struct{ Lanes int }

// Source is the program.
func (k Zeros) Source() device.Source {
	return source("zeros", constants{"lanes": k.Lanes}, 1, device.ReadWrite)
}

// Step clears so many vec4s.
func (k Zeros) Step(vectors int) device.Step {
	return device.Step{Parameters: parameters(uint32(vectors)), Groups: flat(ceil(vectors, k.Lanes)), Cost: 4 * float64(vectors)}
}

// Bias is wgsl/bias.wgsl. Its bindings are bias, y.
type Bias struct{ Lanes int }

// Source is the program.
func (k Bias) Source() device.Source {
	return source("bias", constants{"lanes": k.Lanes}, 2, device.ReadOnly, device.ReadWrite)
}

// Step adds to so many rows of so many columns.
func (k Bias) Step(rows, columns int) device.Step {
	vectors := rows * Vectors(columns)
	return device.Step{
		Parameters: parameters(uint32(vectors), uint32(Vectors(columns))),
		Groups:     flat(ceil(vectors, k.Lanes)), Cost: 8 * float64(vectors),
	}
}

// Rotate is wgsl/rotate.wgsl. Its bindings are x, angles, y.
type Rotate struct{ Lanes int }

// Source is the program.
func (k Rotate) Source() device.Source {
	return source("rotate", constants{"lanes": k.Lanes}, 5, device.ReadOnly, device.ReadOnly, device.ReadWrite)
}

// Step turns rows of heads of so many columns.
func (k Rotate) Step(rows, heads, width int) device.Step {
	stride := 4 * Vectors(heads*width)
	return device.Step{
		Parameters: parameters(uint32(rows), uint32(stride), uint32(4*Vectors(width)), uint32(heads*width), uint32(width/2)),
		Groups:     flat(ceil(rows*stride, k.Lanes)), Cost: 12 * float64(rows) * float64(stride),
	}
}
