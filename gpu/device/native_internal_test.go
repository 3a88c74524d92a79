//go:build cgo && !js

package device

import (
	"context"
	"testing"
	"time"

	"github.com/medley-lora/medley/shared/fault"
)

var turning = Source{Name: "turning", Bindings: []Access{ReadWrite}, WGSL: `
@group(0) @binding(0) var<storage, read_write> x: array<u32>;
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    var a = x[id.x];
    for (var i = 0u; i < 50000u; i++) { a = (a ^ i) * 747796405u; }
    x[id.x] = a;
}`}

func openTurning(t *testing.T, groups int) (*native, []Step) {
	t.Helper()
	opened, err := Open(context.Background(), Options{Software: true})
	if err != nil {
		t.Fatalf("%v\n\"go tool -modfile=tools/go.mod task setup\" installs an adapter that computes on the processor", err)
	}
	t.Cleanup(func() { _ = opened.Close() })
	p, err := opened.NewProgram(turning)
	if err != nil {
		t.Fatal(err)
	}
	b, err := opened.NewBuffer(int64(groups) * 256)
	if err != nil {
		t.Fatal(err)
	}
	return opened.(*native), []Step{{Program: p, Bindings: []Binding{{Buffer: b}}, Groups: [3]int{groups}, Iterations: 50001}}
}

// A list is cut by its cost, and no more submissions are in flight than the device's kind allows.
func TestLongListsAreCut(t *testing.T) {
	d, steps := openTurning(t, 1)
	for len(steps) < 40 {
		steps = append(steps, steps[0])
	}
	for i := range steps {
		steps[i].Cost = d.budget / 4
	}
	before := d.submitted
	if err := d.Run(context.Background(), steps); err != nil {
		t.Fatal(err)
	}
	if got := d.submitted - before; got != 10 {
		t.Errorf("40 steps of a quarter of the budget went in %d submissions, want 10", got)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.flights) > d.depth {
		t.Errorf("%d submissions in flight, want at most %d", len(d.flights), d.depth)
	}
}

// A submission that does not end fails the device for good, with one error for every call, and closing it does no harm.
func TestStuckSubmission(t *testing.T) {
	d, steps := openTurning(t, 256)
	d.mu.Lock()
	d.patience = 0
	d.mu.Unlock()
	b := steps[0].Bindings[0].Buffer
	if err := d.Run(context.Background(), steps); err != nil {
		t.Fatal(err)
	}
	_, err := d.Read(context.Background(), b, 0, 4)
	if fault.CodeOf(err) != fault.Internal {
		t.Fatalf("reading after a submission that does not end: %v", err)
	}
	if again := d.Run(context.Background(), steps); again == nil || again.Error() != d.failed.Error() {
		t.Errorf("running on a failed device: %v, want %v", again, d.failed)
	}
	if _, err := d.NewBuffer(4); err == nil {
		t.Error("a failed device gives a buffer")
	}
	if err := d.Close(); err != nil {
		t.Errorf("closing: %v", err)
	}
	time.Sleep(50 * time.Millisecond) // the work goes on meanwhile, on memory that must still be there
}

// A canceled read returns at once, and not when the work that it waits for has ended.
func TestCancelDoesNotWait(t *testing.T) {
	d, steps := openTurning(t, 256)
	b := steps[0].Bindings[0].Buffer
	read := func(limit time.Duration) (time.Duration, error) {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		start := time.Now()
		_, err := d.Read(ctx, b, 0, 4)
		return time.Since(start), err
	}
	if err := d.Run(context.Background(), append(steps, steps[0])); err != nil { // the driver compiles in the first
		t.Fatal(err)
	}
	if _, err := read(time.Minute); err != nil {
		t.Fatal(err)
	}
	if err := d.Run(context.Background(), steps); err != nil {
		t.Fatal(err)
	}
	canceled, err := read(time.Millisecond)
	if !d.info.Software && err == nil {
		t.Log("the work ended before it was canceled")
		return
	}
	rest, restErr := read(time.Minute)
	if fault.CodeOf(err) != fault.Canceled || restErr != nil || canceled > rest {
		t.Errorf("canceled after %v (%v), the rest took %v (%v)", canceled, err, rest, restErr)
	}
}

// Without leave to compute on the processor, an adapter that does is as good as none.
func TestSoftwareMustBeAskedFor(t *testing.T) {
	d, err := Open(context.Background(), Options{})
	if err != nil {
		if fault.CodeOf(err) != fault.Unsupported {
			t.Errorf("%v (%s), want an error of code unsupported", err, fault.CodeOf(err))
		}
		return
	}
	defer d.Close()
	if d.Info().Software {
		t.Errorf("%s was taken without leave", d.Info().Adapter)
	}
}

func BenchmarkOpen(b *testing.B) {
	for b.Loop() {
		d, err := Open(context.Background(), Options{Software: true})
		if err != nil {
			b.Fatal(err)
		}
		_ = d.Close()
	}
}

// BenchmarkRun is what submitting and waiting cost beside the work itself.
func BenchmarkRun(b *testing.B) {
	opened, err := Open(context.Background(), Options{Software: true})
	if err != nil {
		b.Fatal(err)
	}
	defer opened.Close()
	p, err := opened.NewProgram(Source{Name: "idle", Bindings: []Access{ReadWrite}, Parameters: 16, WGSL: "@compute @workgroup_size(1) fn main() {}"})
	if err != nil {
		b.Fatal(err)
	}
	x, err := opened.NewBuffer(1 << 20)
	if err != nil {
		b.Fatal(err)
	}
	steps := make([]Step, 1000)
	for i := range steps {
		steps[i] = Step{Program: p, Bindings: []Binding{{Buffer: x}}, Parameters: make([]byte, 16)}
	}
	ctx := context.Background()
	for _, c := range []struct {
		name  string
		steps int
		bytes int64
	}{{"1 step", 1, 0}, {"1000 steps", 1000, 0}, {"read 4 B", 0, 4}, {"read 1 MiB", 0, 1 << 20}} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				if err := opened.Run(ctx, steps[:c.steps]); err != nil {
					b.Fatal(err)
				}
				if _, err := opened.Read(ctx, x, 0, c.bytes); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
