package checkpoint

import (
	"encoding/binary"
	"math"
	"unsafe"

	"github.com/medley-lora/medley/shared/fault"
)

// chunkBytes is how much is converted at a time: small enough for the second-level cache.
const chunkBytes = 256 << 10

// copyTo fills dst, whose length is the tensor's.
func (e entry) copyTo(dst []float32) error {
	if e.strides == nil {
		return e.source.readFloat32(dst, e.info.DType, e.offset)
	}
	if len(dst) == 0 {
		return nil
	}
	// The elements are scattered over this many (at most the length of the storage, which is in the file).
	span := 1
	for i, d := range e.info.Shape {
		span += (d - 1) * e.strides[i]
	}
	all := make([]float32, span)
	if err := e.source.readFloat32(all, e.info.DType, e.offset); err != nil {
		return err
	}
	gather(dst, all, e.info.Shape, e.strides)
	return nil
}

// gather copies a strided tensor into row-major order.
func gather(dst, src []float32, shape, strides []int) {
	index := make([]int, len(shape))
	from := 0
	for i := range dst {
		dst[i] = src[from]
		for axis := len(shape) - 1; axis >= 0; axis-- {
			index[axis]++
			from += strides[axis]
			if index[axis] < shape[axis] {
				break
			}
			from -= index[axis] * strides[axis]
			index[axis] = 0
		}
	}
}

// readFloat32 converts len(dst) contiguous elements of a supported type.
func (s *source) readFloat32(dst []float32, dtype DType, offset int64) error {
	if len(dst) == 0 {
		return nil
	}
	if dtype == F32 && littleEndian {
		return s.read(unsafe.Slice((*byte)(unsafe.Pointer(&dst[0])), 4*len(dst)), offset)
	}
	b, packed := blocks[dtype]
	if !packed {
		b = block{elements: 1, bytes: int(bitsOf[dtype] / 8)}
	}
	buffer := make([]byte, min(chunkBytes/b.bytes, len(dst)/b.elements)*b.bytes)
	for len(dst) > 0 {
		n := min(len(dst)/b.elements, len(buffer)/b.bytes) // blocks
		if err := s.read(buffer[:n*b.bytes], offset); err != nil {
			return err
		}
		if packed {
			Unpack(dtype, dst[:n*b.elements], buffer)
		} else {
			decode(dst[:n], buffer, dtype)
		}
		dst, offset = dst[n*b.elements:], offset+int64(n*b.bytes)
	}
	return nil
}

func decode(dst []float32, src []byte, dtype DType) {
	switch dtype {
	case F32:
		for i := range dst {
			dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(src[4*i:]))
		}
	case F16:
		for i := range dst {
			dst[i] = FromF16(binary.LittleEndian.Uint16(src[2*i:]))
		}
	case BF16:
		for i := range dst {
			dst[i] = math.Float32frombits(uint32(binary.LittleEndian.Uint16(src[2*i:])) << 16)
		}
	}
}

// encode appends the elements from index first on to dst, little-endian, rounding to nearest even. A finite number that would
// become infinite is refused: PyTorch would let it, and every output after it is NaN.
func encode(dst []byte, values []float32, dtype DType, first int) ([]byte, error) {
	for i, v := range values {
		var half uint16
		infinite := false
		switch dtype {
		case F32:
			dst = binary.LittleEndian.AppendUint32(dst, math.Float32bits(v))
			continue
		case F16:
			half = ToF16(v)
			infinite = half&0x7fff == 0x7c00
		case BF16:
			half = toBF16(v)
			infinite = half&0x7fff == 0x7f80
		}
		if infinite && !math.IsInf(float64(v), 0) {
			return nil, fault.New(fault.Invalid, "", "element %d is %v, too large for %s", first+i, v, dtype)
		}
		dst = binary.LittleEndian.AppendUint16(dst, half)
	}
	return dst, nil
}

// FromF16 widens an IEEE 754 binary16, exactly.
func FromF16(h uint16) float32 {
	sign, exponent, mantissa := uint32(h>>15)<<31, uint32(h>>10)&31, uint32(h)&1023
	switch exponent {
	case 0: // zero or denormal: mantissa · 2^-24
		f := float32(mantissa) * (1.0 / (1 << 24))
		return math.Float32frombits(math.Float32bits(f) | sign)
	case 31: // infinite or NaN
		return math.Float32frombits(sign | 0x7f800000 | mantissa<<13)
	}
	return math.Float32frombits(sign | (exponent+112)<<23 | mantissa<<13)
}

// ToF16 rounds to the nearest IEEE 754 binary16, ties to even; too large becomes infinite.
func ToF16(f float32) uint16 {
	bits := math.Float32bits(f)
	sign, magnitude := uint16(bits>>16)&0x8000, bits&0x7fffffff
	switch {
	case magnitude > 0x7f800000: // NaN stays NaN
		return sign | 0x7e00
	case magnitude >= 0x47800000: // 65536 and more
		return sign | 0x7c00
	case magnitude < 0x38800000: // below 2^-14: denormal, in units of 2^-24
		return sign | uint16(math.RoundToEven(float64(math.Float32frombits(magnitude))*(1<<24)))
	}
	// Rounding may carry into the exponent, which is what the format wants, up to infinity.
	rounded := magnitude + 0xfff + magnitude>>13&1
	return sign | uint16((rounded-0x38000000)>>13)
}

// toBF16 rounds to the nearest bfloat16, ties to even.
func toBF16(f float32) uint16 {
	bits := math.Float32bits(f)
	if bits&0x7fffffff > 0x7f800000 {
		return uint16(bits>>16) | 0x40 // NaN stays NaN even if its payload is in the low bits
	}
	return uint16((bits + 0x7fff + bits>>16&1) >> 16)
}
