package kernel

import (
	"fmt"

	"github.com/medley-lora/medley/gpu/device"
)

// Form is how a product moves its numbers.
type Form string

const (
	Block Form = "block" // from storage into registers: best where workgroup memory is emulated
	Tiled Form = "tiled" // through workgroup memory: best on graphics processors
)

// Storage is how a weight is kept. All arithmetic is f32.
type Storage string

const (
	F32  Storage = "f32"
	F16  Storage = "f16"  // two in 32 bits
	Int8 Storage = "int8" // four in 32 bits, and one f32 per output that they are multiples of

	// Blocks of BlockRows inputs of an output have scales of their own, of 16 bits.
	Blocks8 Storage = "blocks8" // integers of 8 bits, four in 32 bits, and a scale
	Blocks4 Storage = "blocks4" // integers from 0 to 15, eight in 32 bits, and a scale and an offset
	Blocks5 Storage = "blocks5" // the same from 0 to 31, their fifth bits beside the others

	// Super-blocks of SuperRows inputs have one of 16 bits, and their blocks integers that they are multiples of.
	Super4 Storage = "super4" // as Blocks4
	Super5 Storage = "super5" // as Blocks5
	Super6 Storage = "super6" // integers from -32 to 31, a scale for every half of a block and no offset
)

// BlockRows and SuperRows are how many numbers a block and a super-block have.
const (
	BlockRows = 32
	SuperRows = 256
)

// Bits is the size of one number of a weight.
func (s Storage) Bits() int {
	switch s {
	case F16:
		return 16
	case Int8, Blocks8:
		return 8
	case Super6:
		return 6
	case Blocks5, Super5:
		return 5
	case Blocks4, Super4:
		return 4
	}
	return 32
}

// ScaleRows is how many numbers of an output share what is beside them: 0 for all.
func (s Storage) ScaleRows() int {
	switch s {
	case Blocks8, Blocks4, Blocks5:
		return BlockRows
	case Super4, Super5, Super6:
		return SuperRows
	}
	return 0
}

// ScaleBits is the size of what is beside the numbers of an output: once, or for every ScaleRows of them.
func (s Storage) ScaleBits() int {
	switch s {
	case Int8, Blocks4, Blocks5:
		return 32
	case Blocks8:
		return 16
	case Super4, Super5, Super6:
		return 32 * superWords
	}
	return 0
}

// superWords are those beside a super-block of an output: a scale and an offset of 16 bits, and 16 multiples of 8 bits.
const superWords = 5

// Tile is the shape of a product: an invocation computes Rows x Vectors vec4s, a workgroup LanesX x LanesY times that.
type Tile struct {
	Form    Form `json:"form"`
	Rows    int  `json:"rows"`
	Vectors int  `json:"vectors"`
	LanesX  int  `json:"lanes_x"`
	LanesY  int  `json:"lanes_y"`
}

// Tiles are the shapes worth trying on a device, the fixed choice for software first.
var Tiles = []Tile{
	{Block, 8, 4, 8, 8},
	{Block, 8, 2, 8, 8},
	{Tiled, 4, 1, 16, 16},
	{Tiled, 8, 1, 16, 8},
	{Tiled, 8, 2, 8, 8},
	{Tiled, 8, 2, 16, 16},
}

func (t Tile) String() string {
	return fmt.Sprintf("%s %dx%d, %dx%d lanes", t.Form, t.Rows, 4*t.Vectors, t.LanesX, t.LanesY)
}

// TileRows is the number of rows that a workgroup computes.
func (t Tile) TileRows() int { return t.Rows * t.LanesY }

// TileVectors is the number of vec4s in a row of what a workgroup computes.
func (t Tile) TileVectors() int { return t.Vectors * t.LanesX }

// TileColumns is the number of columns that a workgroup computes.
func (t Tile) TileColumns() int { return 4 * t.TileVectors() }

// Lanes is the number of invocations of a workgroup.
func (t Tile) Lanes() int { return t.LanesX * t.LanesY }

// Depth is how many vec4s along k the tiled form loads at a time.
func (t Tile) Depth() int { return 4 }

// LoadsX and LoadsW are how many vec4s each invocation loads of either tile.
func (t Tile) LoadsX() int { return t.TileRows() * t.Depth() / t.Lanes() }

// LoadsW is described with LoadsX.
func (t Tile) LoadsW() int { return t.TileVectors() * t.Depth() * 4 / t.Lanes() }

// WorkgroupBytes is the workgroup memory that the largest program of the shape needs.
func (t Tile) WorkgroupBytes() int {
	bytes := 8 * t.Lanes()
	if t.Form == Tiled {
		bytes += 16 * (t.TileRows()*t.Depth() + t.TileVectors()*t.Depth()*4)
	}
	return bytes
}

// Fits says whether a device can run programs of the shape.
func (t Tile) Fits(i device.Info) bool {
	return t.Lanes() <= i.WorkgroupInvocations && t.WorkgroupBytes() <= i.WorkgroupBytes
}

// Product is wgsl/product.wgsl. Its bindings are x, the weight, and then, of scales (Int8 and blocks), residual (Residual), tables, sums and chosen
// (LogSoftmax) or y, those that there are.
type Product struct {
	Tile
	Storage    Storage
	Residual   bool
	LogSoftmax bool // store no product: sums and chosen, for LogSoftmaxEnd
}

func (k Product) bindings() []string {
	names := []string{"x", "w"}
	if k.Storage.ScaleBits() > 0 {
		names = append(names, "scales")
	}
	if k.Residual {
		names = append(names, "residual")
	}
	if k.LogSoftmax {
		return append(names, "tables", "sums", "chosen")
	}
	return append(names, "y")
}

func (k Product) constants() constants {
	c := constants{
		"form": k.Form, "rows": k.Rows, "vectors": k.Vectors, "lanes_x": k.LanesX, "lanes_y": k.LanesY, "lanes": k.Lanes(), "depth": k.Depth(),
		"tile_rows": k.TileRows(), "tile_vectors": k.TileVectors(), "tile_columns": k.TileColumns(), "loads_x": k.LoadsX(), "loads_w": k.LoadsW(),
		"storage": k.Storage, "bits": k.Storage.Bits(), "blocks": k.Storage.ScaleRows() > 0, "scale_rows": k.Storage.ScaleRows(),
		"block_words": BlockRows / 8 * k.Storage.Bits(), "super_words": superWords, "residual": k.Residual, "log_softmax": k.LogSoftmax,
	}
	names := k.bindings()
	for i, name := range names {
		c["at_"+name] = i
	}
	c["at_parameters"] = len(names)
	return c
}

// Source is the program.
func (k Product) Source() device.Source {
	access := make([]device.Access, len(k.bindings()))
	for i, name := range k.bindings() {
		if name == "y" || name == "sums" || name == "chosen" {
			access[i] = device.ReadWrite
		}
	}
	return source("product", k.constants(), 10, access...)
}

// ProductSize says what one step of a product covers.
type ProductSize struct {
	Rows  int // of this step
	In    int // columns of x
	Width int // columns that the window of the weight has room for: whole tiles
	Out   int // columns of y; LogSoftmax: columns of the window that exist
	First int // column of the whole map at which the window starts, a multiple of a tile
	Count int // columns of the window that exist

	Tile0, Tiles int // tiles of columns in this step, within the window
	Targets      int // LogSoftmax: where the step's targets start in tables
	TilesOfAll   int // LogSoftmax: tiles in a row of sums, which is of all windows
}

// Step computes the tiles of a size.
func (k Product) Step(s ProductSize) device.Step {
	in4 := Vectors(s.In)
	y4, y0, columns4 := Vectors(s.Out), s.First/4, Vectors(s.Count)
	if k.LogSoftmax {
		y4, y0, columns4 = 0, s.First, s.Count
	}
	iterations := in4
	if k.Form == Tiled {
		iterations = ceil(in4, k.Depth())
	}
	if k.LogSoftmax {
		iterations += k.Rows * k.LanesX
	}
	return device.Step{
		Parameters: parameters(uint32(s.Rows), uint32(in4), uint32(s.Width/4), uint32(y4), uint32(y0), uint32(columns4), uint32(s.Tile0),
			uint32(s.Targets), uint32(s.First/k.TileColumns()), uint32(s.TilesOfAll)),
		Groups:     [3]int{s.Tiles, ceil(s.Rows, k.TileRows()), 1},
		Iterations: iterations,
		Cost:       k.Cost(s.Rows, s.In, s.Tiles),
	}
}

// Cost is the work of some tiles of columns.
func (k Product) Cost(rows, in, tiles int) float64 {
	return 2 * float64(ceil(rows, k.Rows)*k.Rows) * float64(in) * float64(tiles*k.TileColumns())
}

// LogSoftmaxEnd is wgsl/logsoftmax.wgsl. Its bindings are sums, chosen, y.
type LogSoftmaxEnd struct{ Lanes int }

// Source is the program.
func (k LogSoftmaxEnd) Source() device.Source {
	return source("logsoftmax", constants{"lanes": k.Lanes}, 2, device.ReadOnly, device.ReadOnly, device.ReadWrite)
}

// Step combines so many tiles of so many rows.
func (k LogSoftmaxEnd) Step(rows, tiles int) device.Step {
	return device.Step{
		Parameters: parameters(uint32(rows), uint32(tiles)),
		Groups:     flat(rows),
		Iterations: ceil(tiles, k.Lanes) + k.Lanes,
		Cost:       20 * float64(rows) * float64(tiles+k.Lanes),
	}
}
