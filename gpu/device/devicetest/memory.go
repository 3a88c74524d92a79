package devicetest

import (
	"bytes"
	"context"
	"math/rand/v2"
	"testing"

	"github.com/medley-lora/medley/gpu/device"
)

func (s *suite) zeros(t *testing.T) {
	d := s.device
	ones := bytes.Repeat([]byte{0xff}, 1<<20)
	for i := range 8 { // what was freed must not show through
		b := newBuffer(t, d, 1<<20)
		if got := read(t, d, b, 0, 1<<20); !bytes.Equal(got, make([]byte, 1<<20)) {
			t.Fatalf("buffer %d is not zero", i)
		}
		write(t, d, b, 0, ones)
		expect(t, "what was written", read(t, d, b, 0, 1<<20), ones)
		b.Free()
	}
	for _, c := range []struct{ ask, get int64 }{{0, 4}, {1, 4}, {4, 4}, {5, 8}, {1023, 1024}} {
		if b := newBuffer(t, d, c.ask); b.Bytes() != c.get {
			t.Errorf("a buffer of %d bytes has %d, want %d", c.ask, b.Bytes(), c.get)
		}
	}
}

func (s *suite) roundTrip(t *testing.T) {
	d := s.device
	r := rand.New(rand.NewPCG(1, 1))
	for _, size := range []int{4, 12, 252, 256, 260, 4100, 1<<20 + 4} {
		held := randomBytes(r, size)
		b := filled(t, d, held)
		expect(t, "the whole", read(t, d, b, 0, int64(size)), held)
		for range 8 {
			offset := r.IntN(size/4) * 4
			n := r.IntN((size-offset)/4+1) * 4
			part := randomBytes(r, n)
			write(t, d, b, int64(offset), part)
			copy(held[offset:], part)
			from := r.IntN(size/4+1) * 4
			expect(t, "a part", read(t, d, b, int64(from), int64(size-from)), held[from:])
		}
		expect(t, "the whole at last", read(t, d, b, 0, int64(size)), held)
	}
	// Longer than what an implementation moves at once.
	large := randomBytes(r, 4096)
	large = bytes.Repeat(large, (65<<20)/4096)
	large = append(large, 1, 2, 3, 4)
	b := filled(t, d, large)
	if !bytes.Equal(read(t, d, b, 0, int64(len(large))), large) {
		t.Errorf("%d bytes do not come back as they were written", len(large))
	}
}

// A program sees its window and nothing beside it.
func (s *suite) windows(t *testing.T) {
	d := s.device
	align := d.Info().OffsetAlignment
	p, add := newProgram(t, d, affine), newProgram(t, d, sum)
	held := make([]uint32, 3*align/4)
	for i := range held {
		held[i] = uint32(i)
	}
	b := filled(t, d, words(held...))
	run(t, d, affineStep(p, b, int64(align), align/4, 1, 1000))
	for i := align / 4; i < align/2; i++ {
		held[i] += 1000
	}
	expect(t, "the middle window", read(t, d, b, 0, b.Bytes()), words(held...))

	// The length that the program sees is the window's, or with Bytes 0 the rest of the buffer's.
	y := newBuffer(t, d, int64(3*align))
	for _, w := range []device.Binding{{Buffer: y, Offset: int64(align), Bytes: 8}, {Buffer: y, Offset: int64(2 * align)}} {
		run(t, d, device.Step{Program: add, Bindings: []device.Binding{{Buffer: b}, w}, Groups: [3]int{align}})
	}
	want := make([]uint32, len(held))
	copy(want[align/4:], held[:2])
	copy(want[align/2:], held[:align/4])
	expect(t, "two windows", read(t, d, y, 0, y.Bytes()), words(want...))

	// Two windows of one buffer may be written by one step, or both read.
	two := device.Source{Name: "two", Bindings: []device.Access{device.ReadWrite, device.ReadWrite}, WGSL: `
@group(0) @binding(0) var<storage, read_write> x: array<u32>;
@group(0) @binding(1) var<storage, read_write> y: array<u32>;
@compute @workgroup_size(1) fn main() { x[0] = 7u; y[0] = 8u; }`}
	run(t, d, device.Step{Program: newProgram(t, d, two), Bindings: []device.Binding{
		{Buffer: y, Bytes: int64(align)}, {Buffer: y, Offset: int64(align), Bytes: int64(align)},
	}})
	want[0], want[align/4] = 7, 8
	expect(t, "two written windows", read(t, d, y, 0, y.Bytes()), words(want...))
}

// model is what a device should hold, as plain Go.
type model [3][]uint32

// randomSteps runs lists of random steps on three buffers, cut at random by their costs, with writes and reads between the lists, and
// compares the buffers with the same done in Go. It finds any step that is lost, repeated or out of order.
func (s *suite) randomSteps(t *testing.T) {
	d := s.device
	r := rand.New(rand.NewPCG(2, 2))
	const n = 300
	align := d.Info().OffsetAlignment
	p, add := newProgram(t, d, affine), newProgram(t, d, sum)
	var buffers [3]device.Buffer
	var m model
	for i := range buffers {
		buffers[i], m[i] = newBuffer(t, d, 4*n), make([]uint32, n)
	}
	for range 60 {
		var steps []device.Step
		for range r.IntN(40) {
			steps = append(steps, randomStep(r, &m, buffers, p, add, align))
		}
		if err := d.Run(context.Background(), steps); err != nil {
			t.Fatal(err)
		}
		i := r.IntN(3)
		if r.IntN(2) == 0 {
			at, value := r.IntN(n), r.Uint32()
			m[i][at] = value
			write(t, d, buffers[i], int64(4*at), words(value))
		} else {
			expect(t, "after a list", read(t, d, buffers[i], 0, 4*n), words(m[i]...))
		}
	}
	for i, b := range buffers {
		expect(t, "at last", read(t, d, b, 0, 4*n), words(m[i]...))
	}
}

// randomStep makes a step and does it to m.
func randomStep(r *rand.Rand, m *model, buffers [3]device.Buffer, p, add device.Program, align int) device.Step {
	i := r.IntN(3)
	j := (i + 1 + r.IntN(2)) % 3
	n := len(m[i])
	switch r.IntN(3) {
	case 0:
		first := r.IntN(n*4/align+1) * align / 4
		count := 1 + r.IntN(n-first)
		mul, shift := r.Uint32(), r.Uint32()
		for k := first; k < first+count; k++ {
			m[i][k] = m[i][k]*mul + shift
		}
		step := affineStep(p, buffers[i], int64(4*first), count, mul, shift)
		step.Cost = float64(r.IntN(3)) * 1e10 // some of them fill a submission
		return step
	case 1:
		for k := range m[i] {
			m[i][k] += m[j][k]
		}
		return device.Step{Program: add, Bindings: []device.Binding{{Buffer: buffers[j]}, {Buffer: buffers[i]}}, Groups: [3]int{(n + 63) / 64}}
	}
	from, to := r.IntN(n), r.IntN(n)
	count := r.IntN(n - max(from, to) + 1)
	copy(m[i][to:to+count], m[j][from:from+count])
	return device.Step{Copy: &device.Copy{
		From: buffers[j], To: buffers[i], FromOffset: int64(4 * from), ToOffset: int64(4 * to), Bytes: int64(4 * count),
	}}
}

// Each step of a list sees its own parameters, more steps than any implementation can keep in one uniform binding, and not what the
// caller does to the slice later.
func (s *suite) parameters(t *testing.T) {
	d := s.device
	p := newProgram(t, d, affine)
	b := newBuffer(t, d, 4)
	const n = 3000
	steps := make([]device.Step, n)
	want := uint32(0)
	for i := range steps {
		steps[i] = affineStep(p, b, 0, 1, 3, uint32(i))
		want = want*3 + uint32(i)
	}
	run(t, d, steps...)
	for i := range steps {
		clear(steps[i].Parameters)
	}
	expect(t, "3000 steps", read(t, d, b, 0, 4), words(want))
	run(t, d) // no steps are no mistake

	large := device.Source{Name: "large", Bindings: []device.Access{device.ReadWrite}, Parameters: 256, WGSL: `
@group(0) @binding(0) var<storage, read_write> x: array<vec4<u32>>;
@group(0) @binding(1) var<uniform> p: array<vec4<u32>, 16>;
@compute @workgroup_size(16) fn main(@builtin(local_invocation_id) id: vec3<u32>) { x[id.x] = p[id.x]; }`}
	block := randomBytes(rand.New(rand.NewPCG(3, 3)), 256)
	out := newBuffer(t, d, 256)
	run(t, d, device.Step{Program: newProgram(t, d, large), Bindings: []device.Binding{{Buffer: out}}, Parameters: block})
	expect(t, "a block of 256 bytes", read(t, d, out, 0, 256), block)
}

func (s *suite) groups(t *testing.T) {
	d := s.device
	count := device.Source{Name: "count", Bindings: []device.Access{device.ReadWrite}, WGSL: `
@group(0) @binding(0) var<storage, read_write> x: array<atomic<u32>>;
@compute @workgroup_size(1) fn main(@builtin(workgroup_id) id: vec3<u32>) { atomicAdd(&x[id.x + 5u * (id.y + 7u * id.z)], 1u); }`}
	p := newProgram(t, d, count)
	for _, c := range []struct {
		groups [3]int
		total  int
	}{{[3]int{5, 7, 3}, 105}, {[3]int{5, 7, 0}, 35}, {[3]int{5, 0, 0}, 5}, {[3]int{}, 1}} {
		b := newBuffer(t, d, 4*105)
		run(t, d, device.Step{Program: p, Bindings: []device.Binding{{Buffer: b}}, Groups: c.groups})
		want := make([]uint32, 105)
		for i := range c.total {
			want[i] = 1
		}
		expect(t, "the groups that ran", read(t, d, b, 0, 4*105), words(want...))
	}
}
