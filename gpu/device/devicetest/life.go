package devicetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/medley-lora/medley/gpu/device"
	"github.com/medley-lora/medley/shared/fault"
)

func (s *suite) freed(t *testing.T) {
	d := s.device
	ctx := context.Background()
	p, gone := newProgram(t, d, affine), newProgram(t, d, affine)
	b, freed := newBuffer(t, d, 256), newBuffer(t, d, 256)
	for range 2 {
		gone.Free()
		freed.Free()
	}
	_, err := d.Read(ctx, freed, 0, 4)
	for what, err := range map[string]error{
		"running a freed program":       d.Run(ctx, []device.Step{affineStep(gone, b, 0, 1, 1, 1)}),
		"running with a freed buffer":   d.Run(ctx, []device.Step{affineStep(p, freed, 0, 1, 1, 1)}),
		"copying from a freed buffer":   d.Run(ctx, []device.Step{{Copy: &device.Copy{From: freed, To: b, Bytes: 4}}}),
		"writing into a freed buffer":   d.Write(freed, 0, words(1)),
		"reading out of a freed buffer": err,
	} {
		expectCode(t, what, err, fault.Internal)
	}
	works(t, d)
}

func (s *suite) freeInFlight(t *testing.T) {
	d := s.device
	for i := range 20 {
		p, err := d.NewProgram(affine)
		if err != nil {
			t.Fatal(err)
		}
		from, to := newBuffer(t, d, 1<<16), newBuffer(t, d, 1<<16)
		steps := []device.Step{slowStep(p, newBuffer(t, d, 256)), affineStep(p, from, 0, 1<<14, 1, uint32(i+1))}
		run(t, d, append(steps, device.Step{Copy: &device.Copy{From: from, To: to, Bytes: 1 << 16}})...)
		p.Free()
		from.Free()
		expect(t, "what a freed program did to a freed buffer", read(t, d, to, 0, 1<<16), bytes.Repeat(words(uint32(i+1)), 1<<14))
	}
}

// Goroutines with buffers of their own get their own results and their own errors.
func (s *suite) concurrent(t *testing.T) {
	d := s.device
	var group sync.WaitGroup
	for g := range 8 {
		group.Go(func() {
			if err := worker(d, g); err != nil {
				t.Errorf("goroutine %d: %v", g, err)
			}
		})
	}
	group.Wait()
}

func worker(d device.Device, g int) error {
	ctx := context.Background()
	p, err := d.NewProgram(affine)
	if err != nil {
		return err
	}
	defer p.Free()
	for round := range 40 {
		name := fmt.Sprintf("mistake_%d_%d", g, round)
		_, err := d.NewProgram(device.Source{Name: "bad", WGSL: name})
		if err == nil {
			return errors.New(name + " compiles")
		}
		if !strings.Contains(err.Error(), name) {
			return fmt.Errorf("the error of %s is another's: %w", name, err)
		}
		b, err := d.NewBuffer(int64(4 * (g + 1)))
		if err != nil {
			return err
		}
		start := make([]uint32, g+1)
		want := make([]uint32, g+1)
		for i := range start {
			start[i] = uint32(round)
			want[i] = (uint32(round)*3+uint32(g))*5 + 1
		}
		if err := d.Write(b, 0, words(start...)); err != nil {
			return err
		}
		if err := d.Run(ctx, []device.Step{affineStep(p, b, 0, g+1, 3, uint32(g)), affineStep(p, b, 0, g+1, 5, 1)}); err != nil {
			return err
		}
		got, err := d.Read(ctx, b, 0, b.Bytes())
		if err != nil {
			return err
		}
		if !bytes.Equal(got, words(want...)) {
			return fmt.Errorf("round %d: % x, want %v", round, got, want)
		}
		b.Free()
	}
	return nil
}

func (s *suite) collected(t *testing.T) {
	d := s.device
	stop := make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				runtime.GC()
				runtime.Gosched()
			}
		}
	})
	defer group.Wait()
	defer close(stop)
	p := newProgram(t, d, affine)
	b := newBuffer(t, d, 1<<12)
	for i := range 200 {
		run(t, d, affineStep(p, b, 0, 1<<10, 1, 1))
		expect(t, "a read under collection", read(t, d, b, 0, 1<<12), bytes.Repeat(words(uint32(i+1)), 1<<10))
	}
}

func (s *suite) cancel(t *testing.T) {
	d := s.device
	p := newProgram(t, d, affine)
	b := newBuffer(t, d, 4)
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := d.Read(ended, b, 0, 4)
	for what, err := range map[string]error{"running": d.Run(ended, []device.Step{affineStep(p, b, 0, 1, 1, 1)}), "reading": err} {
		expectCode(t, what+" with an ended context", err, fault.Canceled)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v does not wrap the context's error", what, err)
		}
	}
	expect(t, "the buffer after a canceled run", read(t, d, b, 0, 4), words(0))

	// Some seconds of work on a processor, of which only what is queued already is done. A graphics processor may be faster than the
	// cancellation, and then there is no error.
	wide := newBuffer(t, d, 1<<14)
	steps := make([]device.Step, 50)
	for i := range steps {
		steps[i] = slowStep(p, wide)
	}
	for what, f := range map[string]func(context.Context) error{
		"running": func(ctx context.Context) error { return d.Run(ctx, steps) },
		"reading": func(ctx context.Context) error {
			if err := d.Run(context.Background(), steps[:2]); err != nil {
				return err
			}
			_, err := d.Read(ctx, wide, 0, 4)
			return err
		},
	} {
		ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
		err := f(ctx)
		cancel()
		if err != nil || d.Info().Software {
			expectCode(t, what+" for longer than the context", err, fault.Canceled)
		}
		works(t, d)
	}
}

func (s *suite) close(t *testing.T) {
	d := s.opened(t)
	ctx := context.Background()
	p, b := newProgram(t, d, affine), newBuffer(t, d, 256)
	run(t, d, slowStep(p, b)) // closed with work on the way
	for range 2 {
		if err := d.Close(); err != nil {
			t.Errorf("closing: %v", err)
		}
	}
	_, noBuffer := d.NewBuffer(4)
	_, noProgram := d.NewProgram(affine)
	_, noRead := d.Read(ctx, b, 0, 4)
	for what, err := range map[string]error{
		"a buffer": noBuffer, "a program": noProgram, "reading": noRead, "writing": d.Write(b, 0, words(1)),
		"running": d.Run(ctx, []device.Step{affineStep(p, b, 0, 1, 1, 1)}),
	} {
		expectCode(t, what+" after closing", err, fault.Internal)
	}
	if d.Info() != s.device.Info() {
		t.Error("a closed device has forgotten what it was")
	}
	b.Free()
	p.Free()
	works(t, s.device) // the other device has not noticed
}

// Closing while others work ends their calls, with their results or with an error.
func (s *suite) closeUnderWay(t *testing.T) {
	for range 4 {
		d := s.opened(t)
		p, b := newProgram(t, d, affine), newBuffer(t, d, 1<<12)
		var group sync.WaitGroup
		for range 4 {
			group.Go(func() {
				for {
					if d.Run(context.Background(), []device.Step{slowStep(p, b)}) != nil {
						return
					}
					if _, err := d.Read(context.Background(), b, 0, 1<<12); err != nil {
						return
					}
				}
			})
		}
		time.Sleep(5 * time.Millisecond)
		if err := d.Close(); err != nil {
			t.Errorf("closing: %v", err)
		}
		group.Wait()
	}
}

// A leak of buffers would be 128 MiB here, one of programs or bind groups some kilobytes a cycle.
func (s *suite) memory(t *testing.T) {
	d := s.device
	cycle := func(i int) {
		p := newProgram(t, d, sum)
		x, y := newBuffer(t, d, 1<<16), newBuffer(t, d, 1<<16)
		if i%20 == 0 { // a driver compiles a program when it runs first, which takes it much longer than all else here
			run(t, d, device.Step{Program: p, Bindings: []device.Binding{{Buffer: x}, {Buffer: y}}})
			read(t, d, y, 0, 4)
		}
		run(t, d, device.Step{Copy: &device.Copy{From: x, To: y, Bytes: 1 << 16}})
		x.Free()
		y.Free()
		p.Free()
	}
	for i := range 200 {
		cycle(i)
	}
	before := resident(t)
	for i := range 2000 {
		cycle(i)
	}
	read(t, d, newBuffer(t, d, 4), 0, 4)
	if grown := resident(t) - before; grown > 16<<20 {
		t.Errorf("2000 cycles of making, running and freeing left %d KiB behind", grown>>10)
	}
}

// resident is the memory of this process in bytes, or 0 where it is not known.
func resident(t *testing.T) int64 {
	if runtime.GOOS != "linux" {
		t.Logf("the memory of a process is not measured on %s", runtime.GOOS)
		return 0
	}
	runtime.GC()
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	var size, pages int64
	if _, err := fmt.Sscan(string(text), &size, &pages); err != nil {
		t.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}
