package kernel

import "github.com/medley-lora/medley/gpu/device"

// Shape is how a half of a low-rank update shares its work: an invocation computes Rows rows, a workgroup LanesX x LanesY invocations.
type Shape struct{ Rows, LanesX, LanesY int }

// UpdateRows is how many rows an item of a low-rank update has at most.
const UpdateRows = 32

// updateShape suits 32 rows, and 8 invocations side by side.
var updateShape = Shape{Rows: 4, LanesX: 8, LanesY: UpdateRows / 4}

// TileRows is the most rows of an item.
func (Shape) TileRows() int { return UpdateRows }

func (s Shape) constants() constants {
	return constants{"rows": s.Rows, "lanes_x": s.LanesX, "lanes_y": s.LanesY, "tile_rows": s.TileRows()}
}

// Down is wgsl/down.wgsl. Its bindings are x, a, tables, h.
type Down struct{ Shape }

// NewDown sets its constants.
func NewDown() Down { return Down{updateShape} }

// Blocks is the most blocks of four ranks of an item.
func (k Down) Blocks() int { return k.LanesX }

// Source is the program.
func (k Down) Source() device.Source {
	return source("down", k.constants(), 3, device.ReadOnly, device.ReadOnly, device.ReadOnly, device.ReadWrite)
}

// Step does the items from items0 of tables, for inputs of that many columns.
func (k Down) Step(in, items0, items int) device.Step {
	return device.Step{
		Parameters: parameters(uint32(Vectors(in)), uint32(items0), uint32(items)),
		Groups:     flat(items),
		Iterations: Vectors(in),
		Cost:       2 * float64(items) * UpdateRows * 4 * float64(k.LanesX) * float64(in),
	}
}

// Fold is wgsl/fold.wgsl. Its bindings are tables, h.
type Fold struct{ Shape }

// NewFold sets its constants.
func NewFold() Fold { return Fold{updateShape} }

// Source is the program.
func (k Fold) Source() device.Source {
	return source("fold", k.constants(), 2, device.ReadOnly, device.ReadWrite)
}

// Step does the items from items0 of tables, each of at most so many terms and blocks.
func (k Fold) Step(items0, items, terms, blocks int) device.Step {
	rows, columns := UpdateRows/k.LanesY, ceil(blocks, k.LanesX)
	return device.Step{
		Parameters: parameters(uint32(items0), uint32(items)),
		Groups:     flat(items),
		Iterations: rows * (1 + columns*(1+terms)),
		Cost:       8 * float64(items) * UpdateRows * float64(blocks*terms),
	}
}

// Up is wgsl/up.wgsl. Its bindings are h, b, tables, y.
type Up struct {
	Shape
	Vectors int // vec4s of columns of one invocation
}

// NewUp sets its constants.
func NewUp() Up { return Up{updateShape, 2} }

// Source is the program.
func (k Up) Source() device.Source {
	c := k.constants()
	c["vectors"] = k.Vectors
	return source("up", c, 3, device.ReadOnly, device.ReadOnly, device.ReadOnly, device.ReadWrite)
}

// Step does the items from items0 of tables, at most MaxItems, each of at most so many blocks, for results of that many columns.
func (k Up) Step(out, items0, items, blocks int) device.Step {
	out4 := Vectors(out)
	return device.Step{
		Parameters: parameters(uint32(out4), uint32(out4), uint32(items0)),
		Groups:     [3]int{ceil(out4, k.Vectors*k.LanesX), items, 1},
		Iterations: blocks,
		Cost:       2 * float64(items) * UpdateRows * 4 * float64(blocks) * float64(out),
	}
}

// MaxItems is the most items in a step that puts them in one dimension of a dispatch.
const MaxItems = 1 << 15
