package webgpu

import (
	"math"
	"unsafe"

	"github.com/medley-lora/medley/gpu/device"
	"github.com/medley-lora/medley/gpu/kernel"
	"github.com/medley-lora/medley/shared/checkpoint"
	"github.com/medley-lora/medley/shared/fault"
)

// fill makes a buffer of that many bytes, enters it in *buffer and writes it from its start. Numbers are little-endian on every
// device, as they are on every machine that Go's WebGPU runs on.
func (r *resident) fill(buffer *device.Buffer, bytes int64, write func(*writer) error) error {
	made, err := r.b.device.NewBuffer(bytes)
	if err != nil {
		return err
	}
	*buffer = made
	r.bytes += bytes
	to := &writer{device: r.b.device, buffer: made}
	if err := write(to); err != nil {
		return err
	}
	return to.flush()
}

// place writes rank rows of cols columns to the heap, and rows of zeros after them up to a multiple of four.
func (r *resident) place(at *allocation, rank, cols int, row func(to []float32, i int)) error {
	ranks, stride := 4*kernel.Vectors(rank), 4*kernel.Vectors(cols)
	bytes := int64(ranks) * int64(stride) * 4
	r.b.mu.Lock()
	found, err := r.b.factors.take(bytes)
	r.b.mu.Unlock()
	if err != nil {
		return err
	}
	*at = found
	r.bytes += bytes
	to := &writer{device: r.b.device, buffer: found.slab.buffer, offset: found.from}
	for i := range ranks {
		padded := to.more(stride)
		clear(padded)
		if i < rank {
			row(padded, i)
		}
		if to.err != nil {
			return to.err
		}
	}
	return to.flush()
}

// writer collects what goes to a buffer in stretches of some megabytes.
type writer struct {
	device  device.Device
	buffer  device.Buffer
	offset  int64
	staging []float32
	err     error
}

const stagingFloats = 1 << 20

// more is room for the next n numbers, valid until the next call.
func (w *writer) more(n int) []float32 {
	if len(w.staging)+n > stagingFloats {
		w.err = w.flush()
	}
	start := len(w.staging)
	if cap(w.staging) < start+n {
		w.staging = append(w.staging, make([]float32, n)...)
	}
	w.staging = w.staging[:start+n]
	return w.staging[start:]
}

func (w *writer) flush() error {
	if w.err != nil || len(w.staging) == 0 {
		return w.err
	}
	err := w.floats(w.staging)
	w.staging = w.staging[:0]
	return err
}

// floats writes numbers as they are.
func (w *writer) floats(v []float32) error {
	data := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(v))), 4*len(v))
	err := w.device.Write(w.buffer, w.offset, data)
	w.offset += int64(len(data))
	return err
}

// rows writes rows of cols numbers, each filled up with zeros to whole vec4s.
func (w *writer) rows(data []float32, cols int) error {
	if cols%4 == 0 {
		return w.floats(data)
	}
	for ; len(data) > 0 && w.err == nil; data = data[cols:] {
		row := w.more(4 * kernel.Vectors(cols))
		clear(row[copy(row, data[:cols]):])
	}
	return w.err
}

// packMatrix writes the transpose of w [outputs, in] in rows of width numbers, zeros where w has nothing.
func (b *webgpu) packMatrix(to *writer, w []float32, in, width int) error {
	const together = 16 // rows of the transpose, so that w is read a cache line at a time
	outputs, depth := len(w)/in, 4*kernel.Vectors(in)
	words := width * b.storage.Bits() / 32
	columns := make([]float32, together*width)
	var scales []float32
	if b.storage == kernel.Int8 {
		scales = int8Scales(w, in, width)
	}
	for k0 := 0; k0 < depth; k0 += together {
		clear(columns)
		for o := range outputs {
			for k := k0; k < min(k0+together, in); k++ {
				columns[(k-k0)*width+o] = w[o*in+k]
			}
		}
		for k := k0; k < min(k0+together, depth); k++ {
			row := columns[(k-k0)*width : (k-k0+1)*width]
			if err := b.packRow(to.more(words), row, scales); err != nil {
				return err
			}
		}
		if to.err != nil {
			return to.err
		}
	}
	return nil
}

// packRow stores one row of numbers in words.
func (b *webgpu) packRow(words, row, scales []float32) error {
	switch b.storage {
	case kernel.F16:
		for i := range words {
			low, high := checkpoint.ToF16(row[2*i]), checkpoint.ToF16(row[2*i+1])
			if low&0x7fff >= 0x7c00 || high&0x7fff >= 0x7c00 {
				return fault.New(fault.Unsupported, "", "a weight is beyond what f16 holds (65504); use storage f32")
			}
			words[i] = math.Float32frombits(uint32(low) | uint32(high)<<16)
		}
	case kernel.Int8:
		for i := range words {
			var packed uint32
			for q := range 4 {
				if s := scales[4*i+q]; s != 0 {
					packed |= uint32(uint8(int8(math.RoundToEven(float64(row[4*i+q])/float64(s))))) << (8 * q)
				}
			}
			words[i] = math.Float32frombits(packed)
		}
	default:
		copy(words, row)
	}
	return nil
}

// int8Scales returns, for each output of w [outputs, in], what one step of its integers is worth, and zeros up to width.
func int8Scales(w []float32, in, width int) []float32 {
	scales := make([]float32, width)
	for o := range len(w) / in {
		largest := float32(0)
		for _, v := range w[o*in : (o+1)*in] {
			largest = max(largest, float32(math.Abs(float64(v))))
		}
		scales[o] = largest / 127
	}
	return scales
}
