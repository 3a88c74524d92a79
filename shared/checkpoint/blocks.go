package checkpoint

import (
	"encoding/binary"
	"math"

	"github.com/medley-lora/medley/shared/fault"
)

// The types of GGUF that hold blocks of small integers, each block with scales of its own (ggml/src/ggml-quants.c).
const (
	Q40 DType = "Q4_0" // 32 of 4 bits: d·(q − 8)
	Q41 DType = "Q4_1" // 32 of 4 bits: d·q + m
	Q80 DType = "Q8_0" // 32 of 8 bits: d·q
	Q4K DType = "Q4_K" // 256 of 4 bits, by 32: d·s·q − dmin·m
	Q5K DType = "Q5_K" // 256 of 5 bits, likewise
	Q6K DType = "Q6_K" // 256 of 6 bits, by 16: d·s·(q − 32)
)

// block is how a type stores some elements of a row.
type block struct {
	elements, bytes int
	decode          func(dst []float32, src []byte)
}

var blocks = map[DType]block{
	Q40: {32, 18, decodeQ40}, Q41: {32, 20, decodeQ41}, Q80: {32, 34, decodeQ80},
	Q4K: {256, 144, decodeQ4K}, Q5K: {256, 176, decodeQ5K}, Q6K: {256, 210, decodeQ6K},
}

// PackedBytes is the size of so many elements of a type in blocks, or false if it is no such type or they are no whole number of blocks.
func PackedBytes(t DType, elements int) (int, bool) {
	b, ok := blocks[t]
	if !ok || elements%b.elements != 0 {
		return 0, false
	}
	return elements / b.elements * b.bytes, true
}

// Unpack turns whole blocks into the numbers that they stand for.
func Unpack(t DType, dst []float32, src []byte) {
	b := blocks[t]
	for i := 0; i*b.elements < len(dst); i++ {
		b.decode(dst[i*b.elements:(i+1)*b.elements], src[i*b.bytes:])
	}
}

// Pack turns numbers, whole blocks of them, into Q8_0 or Q4_1: each integer is the nearest under the scale that the block's largest number, or
// its range, asks for. A number beyond what such a scale can hold is refused.
func Pack(t DType, src []float32) ([]byte, error) {
	if (t != Q80 && t != Q41) || len(src)%32 != 0 {
		return nil, fault.New(fault.Internal, "pack", "%d numbers into %s", len(src), t)
	}
	dst := make([]byte, 0, len(src)/32*blocks[t].bytes)
	for i := 0; i < len(src); i += 32 {
		low, high := src[i], src[i]
		for j, v := range src[i : i+32] {
			if low, high = min(low, v), max(high, v); !(v > -65504*15 && v < 65504*15) {
				return nil, fault.New(fault.Invalid, "", "element %d is %v, which blocks of integers do not hold", i+j, v)
			}
		}
		scale, offset := max(high, -low)/127, float32(0)
		if t == Q41 {
			scale, offset = (high-low)/15, low
		}
		bits := ToF16(scale)
		dst = binary.LittleEndian.AppendUint16(dst, bits)
		if scale = FromF16(bits); t == Q41 {
			start := ToF16(offset)
			dst = binary.LittleEndian.AppendUint16(dst, start)
			offset = FromF16(start)
		}
		if math.IsInf(float64(scale), 0) || math.IsInf(float64(offset), 0) {
			return nil, fault.New(fault.Invalid, "", "elements %d to %d, from %v to %v, are beyond what blocks of integers hold", i, i+31, low, high)
		}
		dst = appendIntegers(dst, t, src[i:i+32], scale, offset)
	}
	return dst, nil
}

// appendIntegers rounds one block.
func appendIntegers(dst []byte, t DType, src []float32, scale, offset float32) []byte {
	var integers [32]int
	for i, v := range src {
		if scale > 0 {
			integers[i] = int(math.Round(float64((v - offset) / scale)))
		}
	}
	if t == Q80 {
		for _, q := range integers {
			dst = append(dst, byte(int8(min(max(q, -127), 127))))
		}
		return dst
	}
	for i := range 16 {
		dst = append(dst, byte(min(max(integers[i], 0), 15)|min(max(integers[i+16], 0), 15)<<4))
	}
	return dst
}

// half reads a number of 16 bits.
func half(src []byte) float32 { return FromF16(binary.LittleEndian.Uint16(src)) }

func decodeQ40(dst []float32, src []byte) {
	d := half(src)
	for i, q := range src[2:18] {
		dst[i], dst[i+16] = d*float32(int(q&15)-8), d*float32(int(q>>4)-8)
	}
}

func decodeQ41(dst []float32, src []byte) {
	d, m := half(src), half(src[2:])
	for i, q := range src[4:20] {
		dst[i], dst[i+16] = d*float32(q&15)+m, d*float32(q>>4)+m
	}
}

func decodeQ80(dst []float32, src []byte) {
	d := half(src)
	for i, q := range src[2:34] {
		dst[i] = d * float32(int8(q))
	}
}

// scaleMin takes the j-th pair of 6-bit numbers out of 12 bytes.
func scaleMin(packed []byte, j int) (scale, minimum float32) {
	if j < 4 {
		return float32(packed[j] & 63), float32(packed[j+4] & 63)
	}
	return float32(packed[j+4]&15 | packed[j-4]>>6<<4), float32(packed[j+4]>>4 | packed[j]>>6<<4)
}

func decodeQ4K(dst []float32, src []byte) {
	d, dmin, scales, quants := half(src), half(src[2:]), src[4:16], src[16:144]
	for j := range 8 {
		scale, minimum := scaleMin(scales, j)
		for i := range 32 {
			q := quants[j/2*32+i] >> (j % 2 * 4) & 15
			dst[j*32+i] = d*scale*float32(q) - dmin*minimum
		}
	}
}

func decodeQ5K(dst []float32, src []byte) {
	d, dmin, scales, high, quants := half(src), half(src[2:]), src[4:16], src[16:48], src[48:176]
	for j := range 8 {
		scale, minimum := scaleMin(scales, j)
		for i := range 32 {
			q := quants[j/2*32+i]>>(j%2*4)&15 | high[i]>>j&1<<4
			dst[j*32+i] = d*scale*float32(q) - dmin*minimum
		}
	}
}

func decodeQ6K(dst []float32, src []byte) {
	low, high, scales, d := src[:128], src[128:192], src[192:208], half(src[208:])
	for i := range 256 {
		part, within := i/128, i%128 // halves of 128, each of four groups of 32
		group, at := within/32, within%32
		q := low[part*64+group%2*32+at]>>(group/2*4)&15 | high[part*32+at]>>(2*group)&3<<4
		dst[i] = d * float32(int8(scales[part*8+group*2+at/16])) * float32(int(q)-32)
	}
}

// Packed says that a tensor's elements are blocks of small integers, and returns them as the file has them, row by row, valid until Close.
func (s *Store) Packed(name string) ([]byte, bool) {
	e, ok := s.entries[name]
	if _, packed := blocks[e.info.DType]; !ok || !packed {
		return nil, false
	}
	if data := e.source.content(); data != nil {
		return data[e.offset : e.offset+e.info.Bytes], true
	}
	data := make([]byte, e.info.Bytes)
	return data, e.source.read(data, e.offset) == nil
}
