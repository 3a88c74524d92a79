package devicetest

import (
	"context"
	"strings"
	"testing"

	"github.com/medley-lora/medley/gpu/device"
	"github.com/medley-lora/medley/shared/fault"
)

func (s *suite) sources(t *testing.T) {
	d := s.device
	info := d.Info()
	many := make([]device.Access, info.StorageBuffers+1)
	one := []device.Access{device.ReadWrite}
	const declared = "@group(0) @binding(0) var<storage, read_write> x: array<u32>;\n"
	for _, c := range []struct {
		name   string
		source device.Source
		code   fault.Code
		quote  string
	}{
		{"a name that is not declared", device.Source{Bindings: one, WGSL: declared + "@compute @workgroup_size(1) fn main() { x[0] = missing_thing; }"}, fault.Internal, "missing_thing"},
		{"a broken line", device.Source{WGSL: "@compute @workgroup_size(1) fn main( {"}, fault.Internal, "fn main( {"},
		{"no source", device.Source{}, fault.Internal, ""},
		{"no main", device.Source{WGSL: "@compute @workgroup_size(1) fn other() {}"}, fault.Internal, ""},
		{"a workgroup too large", device.Source{WGSL: "@compute @workgroup_size(65535) fn main() {}"}, fault.Internal, ""},
		{"a binding without a place", device.Source{WGSL: declared + "@compute @workgroup_size(1) fn main() { x[0] = 1u; }"}, fault.Internal, ""},
		{"a write through a read-only binding", device.Source{Bindings: []device.Access{device.ReadOnly},
			WGSL: declared + "@compute @workgroup_size(1) fn main() { x[0] = 1u; }"}, fault.Internal, ""},
		{"a zero byte", device.Source{WGSL: "@compute @workgroup_size(1) fn main() {}\x00 nonsense"}, fault.Internal, ""},
		{"an access that does not exist", device.Source{Bindings: []device.Access{7}, WGSL: "@compute @workgroup_size(1) fn main() {}"}, fault.Internal, ""},
		{"too many bindings", device.Source{Bindings: many, WGSL: "@compute @workgroup_size(1) fn main() {}"}, fault.TooLarge, ""},
		{"12 bytes of parameters", device.Source{Parameters: 12, WGSL: "@compute @workgroup_size(1) fn main() {}"}, fault.Internal, ""},
		{"272 bytes of parameters", device.Source{Parameters: 272, WGSL: "@compute @workgroup_size(1) fn main() {}"}, fault.Internal, ""},
		{"-16 bytes of parameters", device.Source{Parameters: -16, WGSL: "@compute @workgroup_size(1) fn main() {}"}, fault.Internal, ""},
	} {
		c.source.Name = "kernel_" + strings.ReplaceAll(c.name, " ", "_")
		p, err := d.NewProgram(c.source)
		expectCode(t, c.name, err, c.code)
		if err == nil {
			p.Free()
			continue
		}
		if !strings.Contains(err.Error(), c.quote) || !strings.Contains(err.Error(), c.source.Name) {
			t.Errorf("%s: %q does not say %q and the program's name", c.name, err, c.quote)
		}
		works(t, d)
	}
	// A program may leave its bindings unused, and may have none.
	idle := newProgram(t, d, device.Source{Name: "idle", Bindings: one, Parameters: 16, WGSL: "@compute @workgroup_size(1) fn main() {}"})
	bare := newProgram(t, d, device.Source{Name: "bare", WGSL: "@compute @workgroup_size(1) fn main() {}"})
	b := filled(t, d, words(9))
	run(t, d, device.Step{Program: idle, Bindings: []device.Binding{{Buffer: b}}, Parameters: make([]byte, 16)}, device.Step{Program: bare})
	expect(t, "a buffer bound for nothing", read(t, d, b, 0, 4), words(9))
}

// Each mistake is an error of its code, none does anything to a buffer, and the device works after each.
func (s *suite) mistakes(t *testing.T) {
	d := s.device
	info := d.Info()
	ctx := context.Background()
	align := int64(info.OffsetAlignment)
	p, add := newProgram(t, d, affine), newProgram(t, d, sum)
	b, c := filled(t, d, words(make([]uint32, 1024)...)), newBuffer(t, d, 4096)
	other := s.opened(t)
	foreign, foreignProgram := newBuffer(t, other, 4096), newProgram(t, other, affine)

	step := func(change func(*device.Step)) []device.Step {
		good := affineStep(p, b, 0, 8, 1, 1)
		bad := affineStep(p, b, 0, 8, 1, 1)
		change(&bad)
		return []device.Step{good, bad} // the good one must not run either
	}
	window := func(w device.Binding) []device.Step {
		return step(func(s *device.Step) { s.Bindings = []device.Binding{w} })
	}
	both := func(x, y device.Binding) []device.Step {
		return []device.Step{{Program: add, Bindings: []device.Binding{x, y}}}
	}
	copying := func(c device.Copy) []device.Step { return []device.Step{{Copy: &c}} }
	cases := []struct {
		name  string
		steps []device.Step
		code  fault.Code
	}{
		{"nothing at all", []device.Step{{}}, fault.Internal},
		{"no program", step(func(s *device.Step) { s.Program = nil }), fault.Internal},
		{"another device's program", step(func(s *device.Step) { s.Program = foreignProgram }), fault.Internal},
		{"a binding too few", step(func(s *device.Step) { s.Bindings = nil }), fault.Internal},
		{"a binding too many", step(func(s *device.Step) { s.Bindings = append(s.Bindings, device.Binding{Buffer: c}) }), fault.Internal},
		{"no buffer", window(device.Binding{}), fault.Internal},
		{"another device's buffer", window(device.Binding{Buffer: foreign}), fault.Internal},
		{"an unaligned window", window(device.Binding{Buffer: b, Offset: 4, Bytes: 32}), fault.Internal},
		{"a window of odd length", window(device.Binding{Buffer: b, Bytes: 30}), fault.Internal},
		{"a window past the end", window(device.Binding{Buffer: b, Offset: align, Bytes: 4096}), fault.Internal},
		{"a window that starts at the end", window(device.Binding{Buffer: b, Offset: 4096}), fault.Internal},
		{"a window before the start", window(device.Binding{Buffer: b, Offset: -align, Bytes: align}), fault.Internal},
		{"a window whose end wraps round", window(device.Binding{Buffer: b, Offset: align, Bytes: 1<<63 - 4}), fault.Internal},
		{"no parameters", step(func(s *device.Step) { s.Parameters = nil }), fault.Internal},
		{"parameters too long", step(func(s *device.Step) { s.Parameters = make([]byte, 32) }), fault.Internal},
		{"too many groups", step(func(s *device.Step) { s.Groups[1] = info.Groups + 1 }), fault.TooLarge},
		{"groups beyond 32 bits", step(func(s *device.Step) { s.Groups[0] = 1 << 32 }), fault.TooLarge},
		{"fewer groups than none", step(func(s *device.Step) { s.Groups[2] = -1 }), fault.Internal},
		{"read and written", both(device.Binding{Buffer: b, Bytes: align}, device.Binding{Buffer: b, Offset: align, Bytes: align}), fault.Internal},
		{"a copy and a dispatch", step(func(s *device.Step) { s.Copy = &device.Copy{From: b, To: c, Bytes: 4} }), fault.Internal},
		{"a copy of odd length", copying(device.Copy{From: b, To: c, Bytes: 3}), fault.Internal},
		{"a copy from an odd place", copying(device.Copy{From: b, To: c, FromOffset: 2, Bytes: 4}), fault.Internal},
		{"a copy past the end", copying(device.Copy{From: b, To: c, ToOffset: 4096, Bytes: 4}), fault.Internal},
		{"a copy of less than nothing", copying(device.Copy{From: b, To: c, Bytes: -4}), fault.Internal},
		{"a copy within a buffer", copying(device.Copy{From: b, To: b, ToOffset: 8, Bytes: 4}), fault.Internal},
		{"a copy from nowhere", copying(device.Copy{To: c, Bytes: 4}), fault.Internal},
		{"a copy to another device", copying(device.Copy{From: b, To: foreign, Bytes: 4}), fault.Internal},
	}
	if info.LoopIterations > 0 {
		cases = append(cases, struct {
			name  string
			steps []device.Step
			code  fault.Code
		}{"too many iterations", step(func(s *device.Step) { s.Iterations = info.LoopIterations + 1 }), fault.TooLarge})
	}
	for _, m := range cases {
		expectCode(t, m.name, d.Run(ctx, m.steps), m.code)
		works(t, d)
	}
	expect(t, "the buffer after all mistakes", read(t, d, b, 0, 4096), make([]byte, 4096))
	s.mistakesOfMemory(t, b, foreign)
}

func (s *suite) mistakesOfMemory(t *testing.T, b, foreign device.Buffer) {
	d := s.device
	ctx := context.Background()
	for _, c := range []struct {
		name   string
		buffer device.Buffer
		offset int64
		bytes  int
	}{
		{"at an odd place", b, 2, 4},
		{"of odd length", b, 0, 5},
		{"past the end", b, 4096, 4},
		{"across the end", b, 4000, 100},
		{"before the start", b, -4, 4},
		{"of no buffer", nil, 0, 4},
		{"of another device's buffer", foreign, 0, 4},
	} {
		expectCode(t, "writing "+c.name, d.Write(c.buffer, c.offset, make([]byte, c.bytes)), fault.Internal)
		_, err := d.Read(ctx, c.buffer, c.offset, int64(c.bytes))
		expectCode(t, "reading "+c.name, err, fault.Internal)
	}
	_, err := d.Read(ctx, b, 0, -4)
	expectCode(t, "reading less than nothing", err, fault.Internal)
	_, err = d.Read(ctx, b, 4, 1<<63-4)
	expectCode(t, "reading until the end wraps round", err, fault.Internal)
	if got := read(t, d, b, 4096, 0); len(got) != 0 {
		t.Errorf("reading nothing gives %d bytes", len(got))
	}
	write(t, d, b, 4096, nil)
	_, err = d.NewBuffer(-1)
	expectCode(t, "a buffer of less than nothing", err, fault.Internal)
	for _, bytes := range []int64{d.Info().BufferBytes + 1, 1<<63 - 1} {
		_, err = d.NewBuffer(bytes)
		expectCode(t, "a buffer too large", err, fault.TooLarge)
	}
	works(t, d)
}
