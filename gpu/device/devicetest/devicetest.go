// Package devicetest is the contract of device.Device as tests, for any implementation: native or in a browser.
package devicetest

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/medley-lora/medley/gpu/device"
	"github.com/medley-lora/medley/shared/fault"
)

// Run holds the devices that open returns to the contract. Without an adapter it fails: a contract that nobody checked is not kept.
func Run(t *testing.T, open func() (device.Device, error)) {
	t.Helper()
	s := &suite{open: open}
	s.device = s.opened(t)
	t.Run("buffers are zero", s.zeros)
	t.Run("write and read", s.roundTrip)
	t.Run("windows", s.windows)
	t.Run("random steps", s.randomSteps)
	t.Run("parameters", s.parameters)
	t.Run("workgroups in three dimensions", s.groups)
	t.Run("sources", s.sources)
	t.Run("mistakes", s.mistakes)
	t.Run("freed", s.freed)
	t.Run("free in flight", s.freeInFlight)
	t.Run("concurrent", s.concurrent)
	t.Run("reads under garbage collection", s.collected)
	t.Run("cancel", s.cancel)
	t.Run("close", s.close)
	t.Run("close under way", s.closeUnderWay)
	t.Run("memory is given back", s.memory)
}

type suite struct {
	open   func() (device.Device, error)
	device device.Device // shared by the tests that leave it usable
}

// opened opens a device, which the test closes.
func (s *suite) opened(t *testing.T) device.Device {
	t.Helper()
	d, err := s.open()
	if err != nil {
		t.Fatalf("opening the device: %v\n\"go tool -modfile=tools/go.mod task setup\" installs an adapter that computes on the processor", err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Errorf("closing the device: %v", err)
		}
	})
	return d
}

// Two programs on unsigned integers, which are exact everywhere.
var (
	// affine is x[i] = x[i]·mul + add for i < n. With turns, it adds a number that takes so many turns of a loop to know.
	affine = device.Source{Name: "affine", Bindings: []device.Access{device.ReadWrite}, Parameters: 16, WGSL: `
struct Parameters { n: u32, mul: u32, add: u32, turns: u32 }
@group(0) @binding(0) var<storage, read_write> x: array<u32>;
@group(0) @binding(1) var<uniform> p: Parameters;
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if id.x >= p.n { return; }
    var a = p.add;
    for (var i = 0u; i < p.turns; i++) { a = (a ^ i) * 747796405u; }
    x[id.x] = x[id.x] * p.mul + a;
}`}
	// sum is y[i] += x[i] for all i of y.
	sum = device.Source{Name: "sum", Bindings: []device.Access{device.ReadOnly, device.ReadWrite}, WGSL: `
@group(0) @binding(0) var<storage, read> x: array<u32>;
@group(0) @binding(1) var<storage, read_write> y: array<u32>;
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if id.x < arrayLength(&y) { y[id.x] += x[id.x]; }
}`}
)

// affineStep is a step of p, an affine, on n words of b at the byte offset.
func affineStep(p device.Program, b device.Buffer, offset int64, n int, mul, add uint32) device.Step {
	return device.Step{
		Program: p, Bindings: []device.Binding{{Buffer: b, Offset: offset, Bytes: int64(4 * n)}},
		Parameters: words(uint32(n), mul, add, 0), Groups: [3]int{(n + 63) / 64},
	}
}

// slowStep takes some milliseconds on a processor.
func slowStep(p device.Program, b device.Buffer) device.Step {
	s := affineStep(p, b, 0, int(b.Bytes()/4), 1, 1)
	s.Parameters = words(uint32(b.Bytes()/4), 1, 1, 50000)
	s.Iterations, s.Cost = 50001, float64(b.Bytes()/4)*50000*2
	return s
}

func words(values ...uint32) []byte {
	out := make([]byte, 0, 4*len(values))
	for _, v := range values {
		out = binary.LittleEndian.AppendUint32(out, v)
	}
	return out
}

func randomBytes(r *rand.Rand, n int) []byte {
	out := make([]byte, n)
	for i := range out {
		out[i] = byte(r.Uint32())
	}
	return out
}

func newBuffer(t *testing.T, d device.Device, bytes int64) device.Buffer {
	t.Helper()
	b, err := d.NewBuffer(bytes)
	if err != nil {
		t.Fatalf("a buffer of %d bytes: %v", bytes, err)
	}
	t.Cleanup(b.Free)
	return b
}

// filled makes a buffer that holds data.
func filled(t *testing.T, d device.Device, data []byte) device.Buffer {
	t.Helper()
	b := newBuffer(t, d, int64(len(data)))
	write(t, d, b, 0, data)
	return b
}

func newProgram(t *testing.T, d device.Device, s device.Source) device.Program {
	t.Helper()
	p, err := d.NewProgram(s)
	if err != nil {
		t.Fatalf("program %s: %v", s.Name, err)
	}
	t.Cleanup(p.Free)
	return p
}

func write(t *testing.T, d device.Device, b device.Buffer, offset int64, data []byte) {
	t.Helper()
	if err := d.Write(b, offset, data); err != nil {
		t.Fatalf("writing %d bytes at %d: %v", len(data), offset, err)
	}
}

func read(t *testing.T, d device.Device, b device.Buffer, offset, bytes int64) []byte {
	t.Helper()
	out, err := d.Read(context.Background(), b, offset, bytes)
	if err != nil {
		t.Fatalf("reading %d bytes at %d: %v", bytes, offset, err)
	}
	if int64(len(out)) != bytes {
		t.Fatalf("read %d bytes, asked for %d", len(out), bytes)
	}
	return out
}

func run(t *testing.T, d device.Device, steps ...device.Step) {
	t.Helper()
	if err := d.Run(context.Background(), steps); err != nil {
		t.Fatalf("running %d steps: %v", len(steps), err)
	}
}

// works fails the test unless d still computes.
func works(t *testing.T, d device.Device) {
	t.Helper()
	p := newProgram(t, d, affine)
	b := filled(t, d, words(5, 6))
	run(t, d, affineStep(p, b, 0, 2, 10, 3))
	expect(t, "the device afterwards", read(t, d, b, 0, 8), words(53, 63))
}

// expect compares bytes and names the first word that differs.
func expect(t *testing.T, what string, got, want []byte) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d bytes, want %d", what, len(got), len(want))
	}
	for i := range want {
		if got[i] != want[i] {
			i &^= 3
			t.Fatalf("%s: at byte %d of %d: % x, want % x", what, i, len(want), got[i:min(len(got), i+8)], want[i:min(len(want), i+8)])
		}
	}
}

func expectCode(t *testing.T, what string, err error, code fault.Code) {
	t.Helper()
	if fault.CodeOf(err) != code {
		t.Errorf("%s: %v (%s), want an error of code %s", what, err, fault.CodeOf(err), code)
	}
}
