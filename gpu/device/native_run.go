//go:build cgo && !js

package device

import (
	"context"
	"time"

	"github.com/cogentcore/webgpu/wgpu"

	"github.com/medley-lora/medley/shared/fault"
)

const (
	writeChunk  = 16 << 20 // bytes of one write, which the library copies
	writeAhead  = 64 << 20 // bytes written before they are submitted, so that the copies go
	readChunk   = 64 << 20 // bytes mapped at a time
	wgpuSuccess = 0
)

// Write copies data in stretches, since the library holds a copy of each until it has been submitted and has ended.
func (d *native) Write(b Buffer, offset int64, data []byte) error {
	if err := d.with(func() error { return checkWindow(d, "write", b, offset, int64(len(data))) }); err != nil {
		return err
	}
	for len(data) > 0 {
		n := min(len(data), writeChunk)
		var ahead bool
		err := d.with(func() error {
			target, err := d.find(b)
			if err != nil {
				return err
			}
			d.written += int64(n)
			ahead = d.written >= writeAhead
			return d.queue.WriteBuffer(target.raw, uint64(offset), data[:n])
		})
		if err == nil && ahead {
			if err = d.room(context.Background()); err == nil {
				err = d.with(func() error { d.send(); return nil })
			}
		}
		if err != nil {
			return fault.In("write", err)
		}
		offset += int64(n)
		data = data[n:]
	}
	return nil
}

// checkWindow refuses a stretch that is not of b. The caller holds the lock.
func checkWindow(d *native, field string, b Buffer, offset, bytes int64) error {
	size, err := d.bytesOf(b)
	if err != nil {
		return fault.In(field, err)
	}
	return checkRange(field, size, offset, bytes)
}

// Run checks all steps before the first is submitted.
func (d *native) Run(ctx context.Context, steps []Step) error {
	if err := d.with(func() error { return checkSteps(&d.info, d, steps) }); err != nil {
		return err
	}
	for len(steps) > 0 {
		if err := d.room(ctx); err != nil {
			return err
		}
		n := cut(steps, d.budget)
		if err := d.with(func() error { return d.submit(steps[:n]) }); err != nil {
			return err
		}
		steps = steps[n:]
	}
	return canceled(ctx)
}

// submit records the steps and submits them. The caller holds the lock, as for all that follow but room, wait and settle.
func (d *native) submit(steps []Step) error {
	encoder, err := d.device.CreateCommandEncoder(nil)
	if err != nil {
		return err
	}
	defer encoder.Release()
	if err := d.writeParameters(steps); err != nil {
		return err
	}
	for i := 0; i < len(steps); {
		if c := steps[i].Copy; c != nil {
			err = d.copy(encoder, c)
			i++
		} else {
			first := i
			for i < len(steps) && steps[i].Copy == nil {
				i++
			}
			err = d.dispatch(encoder, steps[first:i], first)
		}
		if err != nil {
			return err
		}
	}
	return d.finish(encoder)
}

// writeParameters lays the parameters of step i at i·maxParameters. The library orders the write after earlier submissions.
func (d *native) writeParameters(steps []Step) error {
	d.scratch = d.scratch[:0]
	for i := range steps {
		if p := steps[i].Parameters; len(p) > 0 {
			start := i * maxParameters
			d.scratch = append(d.scratch, make([]byte, start+len(p)-len(d.scratch))...)
			copy(d.scratch[start:], p)
		}
	}
	if len(d.scratch) == 0 {
		return nil
	}
	return d.queue.WriteBuffer(d.parameters, 0, d.scratch)
}

func (d *native) copy(encoder *wgpu.CommandEncoder, c *Copy) error {
	from, err := d.find(c.From)
	if err != nil {
		return err
	}
	to, err := d.find(c.To)
	if err != nil || c.Bytes == 0 {
		return err
	}
	return encoder.CopyBufferToBuffer(from.raw, uint64(c.FromOffset), to.raw, uint64(c.ToOffset), uint64(c.Bytes))
}

// dispatch records steps without copies, the first of which is step number first of its submission. The library puts a barrier
// between two that touch what one of them writes.
func (d *native) dispatch(encoder *wgpu.CommandEncoder, steps []Step, first int) error {
	pass := encoder.BeginComputePass(nil)
	defer pass.Release()
	groups := make([]*wgpu.BindGroup, 0, len(steps))
	defer func() {
		for _, g := range groups { // the pass looks them up when it ends
			g.Release()
		}
	}()
	for i := range steps {
		s := &steps[i]
		p, err := d.findProgram(s.Program)
		if err != nil {
			_ = pass.End() // all that was recorded is given up
			return err
		}
		group, err := d.bind(p, s, int64(first+i)*maxParameters)
		if err != nil {
			_ = pass.End()
			return fault.In(p.source.Name, err)
		}
		groups = append(groups, group)
		pass.SetPipeline(p.pipeline)
		pass.SetBindGroup(0, group, nil)
		pass.DispatchWorkgroups(uint32(max(1, s.Groups[0])), uint32(max(1, s.Groups[1])), uint32(max(1, s.Groups[2])))
	}
	return pass.End()
}

// bind makes the bind group of a step whose parameters lie at that offset. Making one is cheaper than finding a kept one safely.
func (d *native) bind(p *program, s *Step, parameters int64) (*wgpu.BindGroup, error) {
	entries := make([]wgpu.BindGroupEntry, 0, len(s.Bindings)+1)
	for i, b := range s.Bindings {
		target, err := d.find(b.Buffer)
		if err != nil {
			return nil, err
		}
		entries = append(entries, wgpu.BindGroupEntry{
			Binding: uint32(i), Buffer: target.raw, Offset: uint64(b.Offset), Size: uint64(windowBytes(b, target.bytes)),
		})
	}
	if n := len(s.Parameters); n > 0 {
		entries = append(entries, wgpu.BindGroupEntry{
			Binding: uint32(len(entries)), Buffer: d.parameters, Offset: uint64(parameters), Size: uint64(n),
		})
	}
	return d.device.CreateBindGroup(&wgpu.BindGroupDescriptor{Layout: p.layout, Entries: entries})
}

// finish submits what was recorded.
func (d *native) finish(encoder *wgpu.CommandEncoder) error {
	commands, err := encoder.Finish(nil)
	if err != nil {
		return err
	}
	defer commands.Release()
	d.send(commands)
	return nil
}

func (d *native) send(commands ...*wgpu.CommandBuffer) {
	if len(d.flights) == 0 {
		d.progress = time.Now()
	}
	d.queue.Submit(commands...)
	d.flights = append(d.flights, workDone(d.queue))
	d.submitted++
	d.written = 0
}

// poll lets the library see what has ended, without waiting: its own wait gives up after five seconds, says that the work has ended,
// and frees it under the device.
func (d *native) poll() {
	d.device.Poll(false, nil)
	for len(d.flights) > 0 && d.flights[0].done() {
		d.flights[0].drop()
		d.flights = d.flights[1:]
		d.progress = time.Now()
	}
}

// room waits until another submission may be queued. To submit without it is right too, but llvmpipe then waits within the call, where
// nothing can cancel it.
func (d *native) room(ctx context.Context) error {
	return d.wait(ctx, func() bool { return len(d.flights) < d.depth })
}

// wait polls until ready, which it calls under the lock.
func (d *native) wait(ctx context.Context, ready func() bool) error {
	for n := 0; ; n++ {
		if err := canceled(ctx); err != nil {
			return err
		}
		var yes bool
		err := d.with(func() error {
			d.poll()
			if yes = ready(); !yes && len(d.flights) > 0 && time.Since(d.progress) > d.patience {
				d.failed = fault.New(fault.Internal, d.info.Adapter, "a submission did not end within %v: the device is given up", d.patience)
				return d.failed
			}
			return nil
		})
		if yes || err != nil {
			return err
		}
		pause(n)
	}
}

// pause is the n-th of a wait: short at first, for results that are nearly there.
func pause(n int) { sleep(min(1000, 5+5*n)) }

// settle waits for the last submission of a closing device, and reports whether it ended.
func (d *native) settle() bool {
	for n := 0; ; n++ {
		d.mu.Lock()
		d.poll()
		left, stuck := len(d.flights), time.Since(d.progress) > d.patience
		d.mu.Unlock()
		if left == 0 || stuck {
			return left == 0
		}
		pause(n)
	}
}

// Read maps a copy of what is asked for, in stretches.
func (d *native) Read(ctx context.Context, b Buffer, offset, bytes int64) ([]byte, error) {
	d.reading.RLock()
	defer d.reading.RUnlock()
	if err := d.with(func() error { return checkWindow(d, "read", b, offset, bytes) }); err != nil {
		return nil, err
	}
	if bytes == 0 {
		return []byte{}, d.wait(ctx, func() bool { return len(d.flights) == 0 })
	}
	out := make([]byte, bytes)
	for at := int64(0); at < bytes; at += readChunk {
		if err := d.readStretch(ctx, b, offset+at, out[at:min(bytes, at+readChunk)]); err != nil {
			return nil, fault.In("read", err)
		}
	}
	return out, nil
}

func (d *native) readStretch(ctx context.Context, b Buffer, offset int64, out []byte) error {
	if err := d.room(ctx); err != nil {
		return err
	}
	var staging *wgpu.Buffer
	var mapped signal
	err := d.with(func() (err error) {
		staging, mapped, err = d.copyOut(b, offset, int64(len(out)))
		return err
	})
	if err != nil {
		return err
	}
	err = d.wait(ctx, mapped.done)
	d.mu.Lock()
	defer d.mu.Unlock()
	if err == nil && mapped.status() != wgpuSuccess {
		err = fault.New(fault.Internal, "", "WebGPU: mapping ended with status %d", mapped.status())
	}
	if err == nil {
		copy(out, staging.GetMappedRange(0, uint(len(out))))
	}
	mapped.drop()
	staging.Release()
	return err
}

// copyOut submits a copy of the stretch into a buffer of its own and starts to map that.
func (d *native) copyOut(b Buffer, offset, bytes int64) (staging *wgpu.Buffer, mapped signal, err error) {
	source, err := d.find(b)
	if err != nil {
		return nil, signal{}, err
	}
	staging, err = d.device.CreateBuffer(&wgpu.BufferDescriptor{Size: uint64(bytes), Usage: wgpu.BufferUsageMapRead | wgpu.BufferUsageCopyDst})
	if err != nil {
		return nil, signal{}, err
	}
	encoder, err := d.device.CreateCommandEncoder(nil)
	if err == nil {
		defer encoder.Release()
		err = encoder.CopyBufferToBuffer(source.raw, uint64(offset), staging, 0, uint64(bytes))
	}
	if err == nil {
		err = d.finish(encoder)
	}
	if err != nil {
		staging.Release()
		return nil, signal{}, err
	}
	return staging, mapForReading(staging, bytes), nil
}
