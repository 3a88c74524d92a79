package device

import (
	"context"
	"fmt"
	"strings"
	"syscall/js"

	"github.com/medley-lora/medley/shared/fault"
)

// buffer and program belong to a device until they are freed: raw and pipeline are undefined from then on. A number is never used again.
type buffer struct {
	owner  *browser
	number uint64
	raw    js.Value
	bytes  int64
}

type program struct {
	owner    *browser
	number   uint64
	source   Source
	pipeline js.Value
	layout   js.Value
}

// NewBuffer relies on WebGPU for the zeros.
func (d *browser) NewBuffer(bytes int64) (Buffer, error) {
	size, err := checkNewBuffer(&d.info, bytes)
	if err != nil {
		return nil, err
	}
	raw, err := d.allocate(context.Background(), size, usageStorage|usageCopySrc|usageCopyDst)
	if err != nil {
		return nil, fault.In("buffer", err)
	}
	return &buffer{owner: d, number: d.newNumber(), raw: raw, bytes: size}, nil
}

func (d *browser) newNumber() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.made++
	return d.made
}

// allocate makes a buffer and waits for the browser to say that there is room.
func (d *browser) allocate(ctx context.Context, bytes int64, usage int) (raw js.Value, err error) {
	err = d.checked(ctx, func() { raw = d.device.Call("createBuffer", object{"size": bytes, "usage": usage}) })
	return raw, err
}

func (b *buffer) Bytes() int64 { return b.bytes }

// Free leaves it to the browser to keep the memory until what uses it has ended.
func (b *buffer) Free() {
	b.owner.mu.Lock()
	defer b.owner.mu.Unlock()
	if !b.raw.IsUndefined() {
		b.raw.Call("destroy")
		b.raw = js.Undefined()
	}
}

// NewProgram compiles s with a layout of its own making: the browser's guess would leave out bindings that the source does not use.
func (d *browser) NewProgram(s Source) (Program, error) {
	if err := checkSource(&d.info, &s); err != nil {
		return nil, err
	}
	s.Bindings = append([]Access(nil), s.Bindings...)
	p := &program{owner: d, number: d.newNumber(), source: s}
	if err := p.compile(context.Background()); err != nil {
		return nil, fault.In(s.Name, err)
	}
	return p, nil
}

func (p *program) compile(ctx context.Context) error {
	d := p.owner.device
	var module, layout js.Value
	err := p.owner.checked(ctx, func() {
		module = d.Call("createShaderModule", object{"label": p.source.Name, "code": p.source.WGSL})
		p.layout = d.Call("createBindGroupLayout", object{"entries": layoutEntries(&p.source)})
		layout = d.Call("createPipelineLayout", object{"bindGroupLayouts": []any{p.layout}})
	})
	if !module.IsUndefined() { // its own messages say more than the error
		if mistakes := p.mistakes(ctx, module); mistakes != nil {
			return mistakes
		}
	}
	if err != nil {
		return err
	}
	p.pipeline, err = call(ctx, d, "createComputePipelineAsync", object{
		"label": p.source.Name, "layout": layout, "compute": object{"module": module, "entryPoint": "main"},
	})
	return err
}

// mistakes is the first error in the source, with the line that it is in.
func (p *program) mistakes(ctx context.Context, module js.Value) error {
	report, err := call(ctx, module, "getCompilationInfo")
	if err != nil {
		return err
	}
	messages := report.Get("messages")
	for i := range messages.Length() {
		m := messages.Index(i)
		if m.Get("type").String() != "error" {
			continue
		}
		text := m.Get("message").String()
		if n := m.Get("lineNum").Int(); n > 0 {
			text = fmt.Sprintf("line %d: %s", n, text)
			if lines := strings.Split(p.source.WGSL, "\n"); n <= len(lines) {
				text += ": " + strings.TrimSpace(lines[n-1])
			}
		}
		return fault.New(fault.Internal, "", "WebGPU: %s", text)
	}
	return nil
}

func layoutEntries(s *Source) []any {
	var entries []any
	add := func(buffer object) {
		entries = append(entries, object{"binding": len(entries), "visibility": stageCompute, "buffer": buffer})
	}
	for _, a := range s.Bindings {
		if a == ReadOnly {
			add(object{"type": "read-only-storage"})
		} else {
			add(object{"type": "storage"})
		}
	}
	if s.Parameters > 0 {
		add(object{"type": "uniform", "minBindingSize": s.Parameters, "hasDynamicOffset": true}) // steps differ in the offset alone
	}
	return entries
}

func (p *program) Free() {
	p.owner.mu.Lock()
	defer p.owner.mu.Unlock()
	p.pipeline, p.layout = js.Undefined(), js.Undefined()
}

// find returns the buffer behind b. The caller holds the lock, as for the rest.
func (d *browser) find(b Buffer) (*buffer, error) {
	if n, ok := b.(*buffer); ok && n != nil && n.owner == d && !n.raw.IsUndefined() {
		return n, nil
	}
	return nil, errBuffer
}

func (d *browser) findProgram(p Program) (*program, error) {
	if n, ok := p.(*program); ok && n != nil && n.owner == d && !n.pipeline.IsUndefined() {
		return n, nil
	}
	return nil, errProgram
}

var (
	errBuffer  = wrong("", "the buffer is nil, freed, or another device's")
	errProgram = wrong("", "the program is nil, freed, or another device's")
)

func (d *browser) bytesOf(b Buffer) (int64, error) {
	n, err := d.find(b)
	if err != nil {
		return 0, err
	}
	return n.bytes, nil
}

func (d *browser) sourceOf(p Program) (*Source, error) {
	n, err := d.findProgram(p)
	if err != nil {
		return nil, err
	}
	return &n.source, nil
}
