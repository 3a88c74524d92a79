//go:build cgo && !js

package device

import (
	"errors"

	"github.com/cogentcore/webgpu/wgpu"

	"github.com/medley-lora/medley/shared/fault"
)

// buffer and program belong to a device until they are freed: raw and pipeline are nil from then on.
type buffer struct {
	owner *native
	raw   *wgpu.Buffer
	bytes int64
}

type program struct {
	owner    *native
	source   Source
	pipeline *wgpu.ComputePipeline
	layout   *wgpu.BindGroupLayout
}

const storage = wgpu.BufferUsageStorage | wgpu.BufferUsageCopySrc | wgpu.BufferUsageCopyDst

// NewBuffer relies on WebGPU for the zeros.
func (d *native) NewBuffer(bytes int64) (Buffer, error) {
	size, err := checkNewBuffer(&d.info, bytes)
	if err != nil {
		return nil, err
	}
	b := &buffer{owner: d, bytes: size}
	err = d.with(func() (err error) {
		d.poll() // gives back what was freed since
		if b.raw, err = d.device.CreateBuffer(&wgpu.BufferDescriptor{Size: uint64(size), Usage: storage}); err == nil {
			d.buffers[b] = struct{}{}
		}
		return err
	})
	if err != nil {
		b.Free()
		return nil, fault.In("buffer", err)
	}
	return b, nil
}

func (b *buffer) Bytes() int64 { return b.bytes }

// Free leaves it to the library to keep the memory until what uses it has ended.
func (b *buffer) Free() {
	b.owner.mu.Lock()
	defer b.owner.mu.Unlock()
	b.release()
}

func (b *buffer) release() {
	if b.raw != nil {
		b.raw.Release()
		b.raw = nil
		delete(b.owner.buffers, b)
	}
}

// NewProgram compiles s with a layout of its own making: the browser has no other way, and the library's guess would leave out
// bindings that the source does not use.
func (d *native) NewProgram(s Source) (Program, error) {
	if err := checkSource(&d.info, &s); err != nil {
		return nil, err
	}
	s.Bindings = append([]Access(nil), s.Bindings...)
	p := &program{owner: d, source: s}
	err := d.with(func() error { return p.compile(d.device) })
	if err != nil {
		p.Free()
		return nil, fault.In(s.Name, err)
	}
	return p, nil
}

func (p *program) compile(device *wgpu.Device) error {
	module, err := device.CreateShaderModule(&wgpu.ShaderModuleDescriptor{
		Label: p.source.Name, WGSLDescriptor: &wgpu.ShaderModuleWGSLDescriptor{Code: p.source.WGSL},
	})
	if err != nil {
		return err
	}
	defer module.Release()
	if p.layout, err = device.CreateBindGroupLayout(&wgpu.BindGroupLayoutDescriptor{Entries: layoutEntries(&p.source)}); err != nil {
		return err
	}
	layout, err := device.CreatePipelineLayout(&wgpu.PipelineLayoutDescriptor{BindGroupLayouts: []*wgpu.BindGroupLayout{p.layout}})
	if err != nil {
		return err
	}
	defer layout.Release()
	p.pipeline, err = device.CreateComputePipeline(&wgpu.ComputePipelineDescriptor{
		Label: p.source.Name, Layout: layout,
		Compute: wgpu.ProgrammableStageDescriptor{Module: module, EntryPoint: "main"},
	})
	if err == nil {
		p.owner.programs[p] = struct{}{}
	}
	return err
}

func layoutEntries(s *Source) []wgpu.BindGroupLayoutEntry {
	var entries []wgpu.BindGroupLayoutEntry
	add := func(kind wgpu.BufferBindingType, least int) {
		entries = append(entries, wgpu.BindGroupLayoutEntry{
			Binding: uint32(len(entries)), Visibility: wgpu.ShaderStageCompute,
			Buffer: wgpu.BufferBindingLayout{Type: kind, MinBindingSize: uint64(least)},
		})
	}
	for _, a := range s.Bindings {
		if a == ReadOnly {
			add(wgpu.BufferBindingTypeReadOnlyStorage, 0)
		} else {
			add(wgpu.BufferBindingTypeStorage, 0)
		}
	}
	if s.Parameters > 0 {
		add(wgpu.BufferBindingTypeUniform, s.Parameters)
	}
	return entries
}

func (p *program) Free() {
	p.owner.mu.Lock()
	defer p.owner.mu.Unlock()
	p.release()
}

func (p *program) release() {
	if p.pipeline != nil {
		p.pipeline.Release()
		p.pipeline = nil
		delete(p.owner.programs, p)
	}
	if p.layout != nil {
		p.layout.Release()
		p.layout = nil
	}
}

var (
	errBuffer  = errors.New("the buffer is nil, freed, or another device's")
	errProgram = errors.New("the program is nil, freed, or another device's")
)

// find returns the buffer behind b. The caller holds the lock.
func (d *native) find(b Buffer) (*buffer, error) {
	if n, ok := b.(*buffer); ok && n != nil && n.owner == d && n.raw != nil {
		return n, nil
	}
	return nil, fault.Wrap(errBuffer, fault.Internal, "", "%v", errBuffer)
}

func (d *native) findProgram(p Program) (*program, error) {
	if n, ok := p.(*program); ok && n != nil && n.owner == d && n.pipeline != nil {
		return n, nil
	}
	return nil, fault.Wrap(errProgram, fault.Internal, "", "%v", errProgram)
}

func (d *native) bytesOf(b Buffer) (int64, error) {
	n, err := d.find(b)
	if err != nil {
		return 0, err
	}
	return n.bytes, nil
}

func (d *native) sourceOf(p Program) (*Source, error) {
	n, err := d.findProgram(p)
	if err != nil {
		return nil, err
	}
	return &n.source, nil
}
