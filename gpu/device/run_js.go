package device

import (
	"context"
	"encoding/binary"
	"syscall/js"

	"github.com/medley-lora/medley/shared/fault"
)

const (
	writeChunk = 4 << 20  // bytes that pass through a JavaScript array at a time
	readChunk  = 64 << 20 // bytes mapped at a time
	mostGroups = 4096     // bind groups kept
)

// Write copies data in stretches, through JavaScript's memory.
func (d *browser) Write(b Buffer, offset int64, data []byte) error {
	if err := d.with(func() error { return d.checkWindow("write", b, offset, int64(len(data))) }); err != nil {
		return err
	}
	for len(data) > 0 {
		n := min(len(data), writeChunk)
		err := d.enqueue(context.Background(), func() error {
			target, err := d.find(b)
			if err != nil {
				return err
			}
			d.writeRaw(target.raw, offset, data[:n])
			return nil
		})
		if err != nil {
			return fault.In("write", err)
		}
		offset += int64(n)
		data = data[n:]
	}
	return nil
}

func (d *browser) writeRaw(raw js.Value, offset int64, data []byte) {
	array := js.Global().Get("Uint8Array").New(len(data))
	js.CopyBytesToJS(array, data)
	d.queue.Call("writeBuffer", raw, offset, array)
}

// checkWindow refuses a stretch that is not of b. The caller holds the lock.
func (d *browser) checkWindow(field string, b Buffer, offset, bytes int64) error {
	size, err := d.bytesOf(b)
	if err != nil {
		return fault.In(field, err)
	}
	return checkRange(field, size, offset, bytes)
}

// Run checks all steps before the first is submitted.
func (d *browser) Run(ctx context.Context, steps []Step) error {
	if err := d.with(func() error { return checkSteps(&d.info, d, steps) }); err != nil {
		return err
	}
	for len(steps) > 0 {
		if err := canceled(ctx); err != nil {
			return err
		}
		n := cut(steps, d.budget)
		if err := d.enqueue(ctx, func() error { return d.submit(steps[:n]) }); err != nil {
			return err
		}
		steps = steps[n:]
	}
	return canceled(ctx)
}

// submit records the steps and submits them. The caller holds the lock, as for all that follow but Read and readStretch.
func (d *browser) submit(steps []Step) error {
	d.writeParameters(steps)
	encoder := d.device.Call("createCommandEncoder")
	var pass js.Value // undefined between passes; WebGPU orders the steps of one that touch the same buffer
	endPass := func() {
		if !pass.IsUndefined() {
			pass.Call("end")
			pass = js.Undefined()
		}
	}
	for i := range steps {
		if c := steps[i].Copy; c != nil {
			endPass()
			if err := d.copy(encoder, c); err != nil {
				return err
			}
			continue
		}
		if pass.IsUndefined() {
			pass = encoder.Call("beginComputePass")
		}
		if err := d.dispatch(pass, &steps[i], i*maxParameters); err != nil {
			return err
		}
	}
	endPass()
	d.queue.Call("submit", []any{encoder.Call("finish")})
	return nil
}

// writeParameters lays the parameters of step i at i·maxParameters. The queue orders the write after earlier submissions.
func (d *browser) writeParameters(steps []Step) {
	var all []byte
	for i := range steps {
		if p := steps[i].Parameters; len(p) > 0 {
			start := i * maxParameters
			all = append(all, make([]byte, start+len(p)-len(all))...)
			copy(all[start:], p)
		}
	}
	if len(all) > 0 {
		d.writeRaw(d.parameters, 0, all)
	}
}

func (d *browser) copy(encoder js.Value, c *Copy) error {
	from, err := d.find(c.From)
	if err != nil {
		return err
	}
	to, err := d.find(c.To)
	if err != nil {
		return err
	}
	encoder.Call("copyBufferToBuffer", from.raw, c.FromOffset, to.raw, c.ToOffset, c.Bytes)
	return nil
}

func (d *browser) dispatch(pass js.Value, s *Step, parameters int) error {
	p, err := d.findProgram(s.Program)
	if err != nil {
		return err
	}
	group, err := d.group(p, s)
	if err != nil {
		return err
	}
	pass.Call("setPipeline", p.pipeline)
	if p.source.Parameters > 0 {
		pass.Call("setBindGroup", 0, group, []any{parameters})
	} else {
		pass.Call("setBindGroup", 0, group)
	}
	pass.Call("dispatchWorkgroups", max(1, s.Groups[0]), max(1, s.Groups[1]), max(1, s.Groups[2]))
	return nil
}

// group returns the bind group of a step, which batches of the same shape ask for again and again.
func (d *browser) group(p *program, s *Step) (js.Value, error) {
	targets := make([]*buffer, len(s.Bindings))
	d.key = binary.LittleEndian.AppendUint64(d.key[:0], p.number)
	for i, b := range s.Bindings {
		var err error
		if targets[i], err = d.find(b.Buffer); err != nil {
			return js.Undefined(), err
		}
		for _, part := range []uint64{targets[i].number, uint64(b.Offset), uint64(b.Bytes)} {
			d.key = binary.LittleEndian.AppendUint64(d.key, part)
		}
	}
	if known, ok := d.groups[string(d.key)]; ok {
		return known, nil
	}
	var entries []any
	add := func(raw js.Value, offset, size int64) {
		entries = append(entries, object{"binding": len(entries), "resource": object{"buffer": raw, "offset": offset, "size": size}})
	}
	for i, b := range s.Bindings {
		add(targets[i].raw, b.Offset, windowBytes(b, targets[i].bytes))
	}
	if p.source.Parameters > 0 {
		add(d.parameters, 0, int64(p.source.Parameters))
	}
	if len(d.groups) == mostGroups {
		clear(d.groups) // those of freed buffers among them
	}
	made := d.device.Call("createBindGroup", object{"layout": p.layout, "entries": entries})
	d.groups[string(d.key)] = made
	return made, nil
}

// Read maps a copy of what is asked for, in stretches.
func (d *browser) Read(ctx context.Context, b Buffer, offset, bytes int64) ([]byte, error) {
	if err := d.with(func() error { return d.checkWindow("read", b, offset, bytes) }); err != nil {
		return nil, err
	}
	out := make([]byte, bytes)
	for at := int64(0); at < bytes; at += readChunk {
		if err := d.readStretch(ctx, b, offset+at, out[at:min(bytes, at+readChunk)]); err != nil {
			return nil, fault.In("read", err)
		}
	}
	if err := d.settle(ctx, 0); err != nil {
		return nil, err
	}
	return out, canceled(ctx)
}

// readStretch copies into a buffer of its own and maps that, which waits for everything submitted.
func (d *browser) readStretch(ctx context.Context, b Buffer, offset int64, out []byte) error {
	if err := canceled(ctx); err != nil {
		return err
	}
	var staging, mapped, verdict js.Value
	err := d.with(func() error {
		source, err := d.find(b)
		if err != nil {
			return err
		}
		verdict, err = d.watched(func() {
			staging = d.device.Call("createBuffer", object{"size": len(out), "usage": usageMapRead | usageCopyDst})
			encoder := d.device.Call("createCommandEncoder")
			encoder.Call("copyBufferToBuffer", source.raw, offset, staging, 0, len(out))
			d.queue.Call("submit", []any{encoder.Call("finish")})
			mapped = staging.Call("mapAsync", mapRead)
		})
		return err
	})
	if err != nil {
		return err
	}
	defer staging.Call("destroy")
	_, err = await(ctx, mapped)
	if cause := judge(ctx, verdict); cause != nil { // says more than the mapping's own error
		err = cause
	}
	if err != nil {
		return err
	}
	array := js.Global().Get("Uint8Array").New(staging.Call("getMappedRange"))
	js.CopyBytesToGo(out, array)
	return nil
}
