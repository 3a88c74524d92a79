package kernel

import "github.com/medley-lora/medley/gpu/device"

// MaxHead is the most columns of a head that Attend takes: they pass through workgroup memory.
const MaxHead = 256

// PageRows is the rows of a page of keys.
const PageRows = 32

// AttendRows is how many query rows an item of attention has at most.
const AttendRows = 8

// Attend is wgsl/attend.wgsl. Its bindings are q, k, v, tables, y.
type Attend struct {
	Sums    int  // vec4s of the result that one invocation computes
	Aligned bool // every head starts at a vec4
}

// NewAttend sets its constants for heads of so many columns, at most MaxHead.
func NewAttend(width int) Attend {
	return Attend{Sums: ceil(Vectors(width), Attend{}.Slots()), Aligned: width%4 == 0}
}

// Rows is the most rows of an item.
func (Attend) Rows() int { return AttendRows }

// Slots is how many invocations share a row.
func (Attend) Slots() int { return 8 }

// KeysAtOnce is how many keys a workgroup scores before it uses them.
func (k Attend) KeysAtOnce() int { return 4 * k.Slots() }

// Source is the program.
func (k Attend) Source() device.Source {
	c := constants{
		"sums": k.Sums, "rows": k.Rows(), "page_rows": PageRows, "slots": k.Slots(), "keys_at_once": k.KeysAtOnce(),
		"aligned": k.Aligned, "element": "f32", "unit": "numbers", "head_width": "p.width",
	}
	if k.Aligned {
		c["element"], c["unit"], c["head_width"] = "vec4<f32>", "vec4s", "vectors"
	}
	return source("attend", c, 10, device.ReadOnly, device.ReadOnly, device.ReadOnly, device.ReadOnly, device.ReadWrite)
}

// AttendSize says what one step of attention covers.
type AttendSize struct {
	Heads, Width  int
	Group         int // heads that share one of k and v
	Windowed      bool
	Scale         float32
	Items0, Items int // in tables; at most MaxItems
	Biased        bool
	Bias0         int // in tables
	Keys          int // the most keys of an item
	Scores        int // Σ rows · keys over the items
}

// Step does the items of a size.
func (k Attend) Step(s AttendSize) device.Step {
	stride, shared, biased, windowed := 4*Vectors(s.Heads*s.Width), 4*Vectors(s.Heads/s.Group*s.Width), uint32(0), uint32(0)
	if k.Aligned {
		stride, shared = stride/4, shared/4
	}
	if s.Windowed {
		windowed = 1
	}
	if s.Biased {
		biased = 1
	}
	return device.Step{
		Parameters: parameters(uint32(stride), uint32(shared), uint32(s.Heads), uint32(s.Group), uint32(s.Width), uint32(s.Items0), uint32(s.Bias0), biased,
			float(s.Scale), windowed),
		Groups:     [3]int{s.Heads, s.Items, 1},
		Iterations: ceil(s.Keys, k.KeysAtOnce())*(1+Vectors(s.Width)+2*k.Slots()) + 4*k.Sums + 3,
		Cost:       k.Cost(s.Heads, s.Width, s.Scores),
	}
}

// Cost is the work of so many scores of so many heads.
func (k Attend) Cost(heads, width, scores int) float64 {
	return float64(heads) * float64(scores) * float64(4*width+100)
}
