// Package webgpu is the backend on a graphics processor: it turns the operations of a pass into steps of gpu/kernel's programs on a
// gpu/device. A pass records its steps and runs them in long lists, so a forward pass costs few submissions and one readback.
//
// The shape of every kernel is chosen per device when the backend opens, never per batch: a row's numbers do not depend on what stands
// beside it.
package webgpu

import (
	"context"
	"slices"
	"strings"
	"sync"

	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/gpu/device"
	"github.com/medley-lora/medley/gpu/kernel"
	"github.com/medley-lora/medley/shared/fault"
)

// Options configures a backend. The zero value works.
type Options struct {
	// Storage is how weight matrices are kept; arithmetic is f32 whatever it is. Default kernel.F32.
	Storage kernel.Storage
	// Tile is the shape of matrix products. Default: the fastest on this device, as measured; a fixed one on a software device.
	Tile kernel.Tile
	// Cache is a file in which the measured shapes are kept, by device. "" keeps them nowhere.
	Cache string
}

// New starts a backend on d, which it closes when it is closed. On a graphics processor that Cache does not know it measures for
// less than two seconds. It fails with fault.Invalid for an unknown storage, and with fault.Unsupported for a device whose limits are too small.
func New(d device.Device, opt Options) (backend.Backend, error) {
	info := d.Info()
	if opt.Storage == "" {
		opt.Storage = kernel.F32
	}
	if !slices.Contains([]kernel.Storage{kernel.F32, kernel.F16, kernel.Int8}, opt.Storage) {
		return nil, fault.New(fault.Invalid, "storage", "%q is not known; expected f32, f16 or int8", opt.Storage)
	}
	b := &webgpu{
		device: d, info: info, storage: opt.Storage, stepCost: gpuStepCost,
		programs: map[kernel.Kernel]device.Program{}, memory: arena{device: d}, factors: heap{device: d, most: min(info.BindingBytes, info.BufferBytes)},
	}
	if info.Software {
		b.stepCost = softwareStepCost
	}
	var err error
	if b.tile, err = b.chooseTile(opt); err != nil {
		return nil, err
	}
	return b, nil
}

// A step is not made larger than this many floating-point operations, so that none takes long enough for a driver to end it.
const gpuStepCost, softwareStepCost = 1e11, 2e9

// webgpu implements backend.Backend.
type webgpu struct {
	device   device.Device
	info     device.Info
	storage  kernel.Storage
	tile     kernel.Tile
	stepCost float64
	memory   arena

	mu       sync.Mutex
	programs map[kernel.Kernel]device.Program
	factors  heap
	closed   bool
}

func (b *webgpu) Info() backend.Info {
	parts := []string{b.info.Adapter}
	for _, part := range []string{b.info.Driver, b.info.API} {
		if part != "" && !strings.Contains(strings.ToLower(b.info.Adapter), strings.ToLower(part)) {
			parts = append(parts, part)
		}
	}
	name := strings.Join(parts, ", ")
	if b.info.Software {
		name += " (software)"
	}
	return backend.Info{Name: "webgpu", Device: name, Software: b.info.Software}
}

func (b *webgpu) Begin(ctx context.Context) backend.Pass {
	p := &pass{b: b, Course: backend.Course{Context: ctx}}
	p.made.Release = p.release
	return p
}

// Close closes the device. Residents and passes that are still open fail from then on.
func (b *webgpu) Close() error {
	b.mu.Lock()
	closed := b.closed
	b.closed = true
	b.mu.Unlock()
	if closed {
		return nil
	}
	b.memory.close()
	return b.device.Close()
}

var errClosed = fault.New(fault.Internal, "", "the webgpu backend is closed")

// program compiles k at its first use.
func (b *webgpu) program(k kernel.Kernel) (device.Program, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if p, ok := b.programs[k]; ok {
		return p, nil
	}
	p, err := b.device.NewProgram(k.Source())
	if err == nil {
		b.programs[k] = p
	}
	return p, err
}
