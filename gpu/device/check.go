package device

import (
	"context"
	"fmt"
	"strings"

	"github.com/medley-lora/medley/shared/fault"
)

// The checks below are the argument rules of Device, in one place so that every implementation refuses the same calls with the
// same words, and before the WebGPU library sees them: some of what it is given wrong ends the process.

// handles is what the checks must know of an implementation's buffers and programs. Both methods refuse handles that are nil, freed or
// another device's.
type handles interface {
	bytesOf(Buffer) (int64, error)
	sourceOf(Program) (*Source, error)
}

// wrong is an error in how this package was called.
func wrong(field, format string, args ...any) error {
	return fault.New(fault.Internal, field, format, args...)
}

// canceled is ctx's error, which it wraps, or nil.
func canceled(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fault.Wrap(err, fault.Canceled, "", "%v", err)
	}
	return nil
}

// checkNewBuffer returns the size to allocate.
func checkNewBuffer(info *Info, bytes int64) (int64, error) {
	if bytes < 0 {
		return 0, wrong("buffer", "%d bytes", bytes)
	}
	if bytes > info.BufferBytes {
		return 0, fault.New(fault.TooLarge, "buffer", "%d bytes; %s takes at most %d in one buffer", bytes, info.Adapter, info.BufferBytes)
	}
	return max(4, (bytes+3)&^3), nil // WebGPU cannot bind nothing
}

// checkRange refuses a stretch that is not made of whole words of a buffer of size bytes.
func checkRange(field string, size, offset, bytes int64) error {
	if offset%4 != 0 || bytes%4 != 0 {
		return wrong(field, "%d bytes at %d; both must be multiples of 4", bytes, offset)
	}
	if offset < 0 || bytes < 0 || offset > size || bytes > size-offset {
		return wrong(field, "%d bytes at %d of a buffer of %d", bytes, offset, size)
	}
	return nil
}

// checkSource refuses a program that the device cannot take, as far as its layout tells.
func checkSource(info *Info, s *Source) error {
	if s.WGSL == "" {
		return wrong(s.Name, "the program has no source")
	}
	if strings.ContainsRune(s.WGSL, 0) || strings.ContainsRune(s.Name, 0) {
		return wrong(s.Name, "a zero byte in the name or the source, which would end it there")
	}
	if len(s.Bindings) > info.StorageBuffers {
		return fault.New(fault.TooLarge, s.Name, "%d storage bindings; %s takes at most %d", len(s.Bindings), info.Adapter, info.StorageBuffers)
	}
	for i, a := range s.Bindings {
		if a != ReadOnly && a != ReadWrite {
			return wrong(s.Name, "binding %d has the unknown access %d", i, int(a))
		}
	}
	if s.Parameters < 0 || s.Parameters > maxParameters || s.Parameters%16 != 0 {
		return wrong(s.Name, "%d bytes of parameters, not a multiple of 16 up to %d", s.Parameters, maxParameters)
	}
	return nil
}

// maxParameters is also the distance of two steps' parameters in the uniform buffer: the offset alignment that WebGPU grants everywhere.
const maxParameters = 256

// checkSteps refuses the first step that is wrong, naming it.
func checkSteps(info *Info, h handles, steps []Step) error {
	for i := range steps {
		if err := checkStep(info, h, &steps[i]); err != nil {
			return fault.In(fmt.Sprintf("step %d", i), err)
		}
	}
	return nil
}

func checkStep(info *Info, h handles, s *Step) error {
	if s.Copy != nil {
		return checkCopy(h, s)
	}
	source, err := h.sourceOf(s.Program)
	if err != nil {
		return err
	}
	if len(s.Bindings) != len(source.Bindings) {
		return wrong(source.Name, "%d bindings; the program takes %d", len(s.Bindings), len(source.Bindings))
	}
	if len(s.Parameters) != source.Parameters {
		return wrong(source.Name, "%d bytes of parameters; the program takes %d", len(s.Parameters), source.Parameters)
	}
	for _, n := range s.Groups {
		if n < 0 {
			return wrong(source.Name, "%v workgroups", s.Groups)
		}
		if n > info.Groups {
			return fault.New(fault.TooLarge, source.Name, "%v workgroups; %s takes at most %d in a dimension", s.Groups, info.Adapter, info.Groups)
		}
	}
	if info.LoopIterations > 0 && s.Iterations > info.LoopIterations {
		return fault.New(fault.TooLarge, source.Name, "%d loop iterations; %s stops an invocation silently after %d", s.Iterations, info.Adapter, info.LoopIterations)
	}
	return checkBindings(info, h, source, s.Bindings)
}

func checkCopy(h handles, s *Step) error {
	if s.Program != nil || s.Bindings != nil || s.Parameters != nil || s.Groups != [3]int{} || s.Iterations != 0 || s.Cost != 0 {
		return wrong("copy", "a step is a copy or a dispatch, not both")
	}
	c := s.Copy
	from, err := h.bytesOf(c.From)
	if err != nil {
		return fault.In("copy from", err)
	}
	to, err := h.bytesOf(c.To)
	if err != nil {
		return fault.In("copy to", err)
	}
	if c.From == c.To {
		return wrong("copy", "from and to are the same buffer")
	}
	if err := checkRange("copy from", from, c.FromOffset, c.Bytes); err != nil {
		return err
	}
	return checkRange("copy to", to, c.ToOffset, c.Bytes)
}

// checkBindings also holds to a rule of WebGPU: what a step writes, it sees through one binding only. Two windows of one buffer must
// both be read, or both be written and not overlap.
func checkBindings(info *Info, h handles, source *Source, bindings []Binding) error {
	for i, b := range bindings {
		field := fmt.Sprintf("%s: binding %d", source.Name, i)
		size, err := h.bytesOf(b.Buffer)
		if err != nil {
			return fault.In(field, err)
		}
		if err := checkRange(field, size, b.Offset, b.Bytes); err != nil {
			return err
		}
		if b.Offset%int64(info.OffsetAlignment) != 0 {
			return wrong(field, "offset %d is not a multiple of %d", b.Offset, info.OffsetAlignment)
		}
		bytes := windowBytes(b, size)
		if bytes == 0 {
			return wrong(field, "the window at %d is empty", b.Offset)
		}
		if bytes > info.BindingBytes {
			return fault.New(fault.TooLarge, field, "%d bytes; %s takes at most %d in a binding", bytes, info.Adapter, info.BindingBytes)
		}
		for j, c := range bindings[:i] {
			if c.Buffer != b.Buffer || source.Bindings[i] == ReadOnly && source.Bindings[j] == ReadOnly {
				continue
			}
			if source.Bindings[i] != source.Bindings[j] {
				return wrong(field, "is the same buffer as binding %d, and one is read and the other written", j)
			}
			if b.Offset < c.Offset+windowBytes(c, size) && c.Offset < b.Offset+bytes {
				return wrong(field, "overlaps binding %d, and both are written", j)
			}
		}
	}
	return nil
}

// windowBytes resolves a Binding.Bytes of 0 in a buffer of size bytes.
func windowBytes(b Binding, size int64) int64 {
	if b.Bytes == 0 {
		return size - b.Offset
	}
	return b.Bytes
}
