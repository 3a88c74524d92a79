package checkpoint

import (
	"encoding/binary"
	"maps"
	"math"
	"math/bits"
	"slices"
	"strings"

	"github.com/medley-lora/medley/shared/fault"
)

// The types of GGUF that hold blocks of small integers, each block with scales of its own (ggml/src/ggml-quants.c).
const (
	Q40 DType = "Q4_0" // 32 of 4 bits: d·(q − 8)
	Q41 DType = "Q4_1" // 32 of 4 bits: d·q + m
	Q50 DType = "Q5_0" // 32 of 5 bits: d·(q − 16)
	Q51 DType = "Q5_1" // 32 of 5 bits: d·q + m
	Q80 DType = "Q8_0" // 32 of 8 bits: d·q
	Q4K DType = "Q4_K" // 256 of 4 bits, by 32: d·s·q − dmin·m
	Q5K DType = "Q5_K" // 256 of 5 bits, likewise
	Q6K DType = "Q6_K" // 256 of 6 bits, by 16: d·s·(q − 32)
)

// block is how a type stores some elements of a row.
type block struct {
	elements, bytes int
	scales          int   // in a block, each of as many elements
	zero            int8  // the integer that stands for 0, but for an offset
	halves          []int // where a scale of 16 bits is, and then an offset
	take            func(p *Parts, src []byte)
}

var blocks = map[DType]block{
	Q40: {32, 18, 1, 8, []int{0}, takeQ40}, Q41: {32, 20, 1, 0, []int{0, 2}, takeQ41}, Q50: {32, 22, 1, 16, []int{0}, takeQ50}, Q51: {32, 24, 1, 0, []int{0, 2}, takeQ51},
	Q80: {32, 34, 1, 0, []int{0}, takeQ80},
	Q4K: {256, 144, 8, 0, []int{0, 2}, takeQ4K}, Q5K: {256, 176, 8, 0, []int{0, 2}, takeQ5K}, Q6K: {256, 210, 16, 32, []int{208}, takeQ6K},
}

// Parts are what a block of GGUF holds. If its n elements have m scales, element i is
//
//	Scale · Scales[i/(n/m)] · (Integers[i] − Zero) + Offset · Offsets[i/(n/m)]
type Parts struct {
	Scale, Offset   uint16 // of 16 bits
	Scales, Offsets [16]int8
	Zero            int8
	Integers        [256]int8
}

// PackedTypes are the types in blocks.
func PackedTypes() []DType { return slices.Sorted(maps.Keys(blocks)) }

// packedNames lists them for people.
func packedNames() string {
	var names []string
	for _, t := range PackedTypes() {
		names = append(names, string(t))
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " and " + names[last]
}

// PackedBytes is the size of so many elements of a type in blocks, or false if it is no such type or they are no whole number of blocks.
func PackedBytes(t DType, elements int) (int, bool) {
	b, ok := blocks[t]
	if !ok || elements%b.elements != 0 {
		return 0, false
	}
	return elements / b.elements * b.bytes, true
}

// Split takes the block at the start of src apart and returns what follows it. Scales and offsets that a type lacks are zero.
func Split(t DType, p *Parts, src []byte) []byte {
	b := blocks[t]
	return b.split(p, src)
}

func (b *block) split(p *Parts, src []byte) []byte {
	p.Scale, p.Offset, p.Scales, p.Offsets, p.Zero = half(src[b.halves[0]:]), 0, [16]int8{}, [16]int8{}, b.zero
	if len(b.halves) > 1 {
		p.Offset = half(src[b.halves[1]:])
	}
	b.take(p, src)
	return src[b.bytes:]
}

// CheckBlocks refuses blocks with scales that are no finite numbers, or so large that what their zero stands for is none of 16 bits: weights that
// no model has.
func CheckBlocks(t DType, data []byte) error {
	b := blocks[t]
	most := uint16(30) // exponent
	if b.scales == 1 && b.zero > 0 {
		most -= uint16(bits.Len8(uint8(b.zero)) - 1)
	}
	for i := 0; i < len(data); i += b.bytes {
		for _, at := range b.halves {
			if h := half(data[i+at:]); h>>10&31 > most {
				return fault.New(fault.Invalid, "", "block %d of %s has a scale of %v; weights must be finite numbers of a model's size", i/b.bytes, t, FromF16(h))
			}
		}
	}
	return nil
}

// Unpack turns whole blocks into the numbers that they stand for.
func Unpack(t DType, dst []float32, src []byte) {
	b := blocks[t]
	each := b.elements / b.scales
	var p Parts
	for len(dst) > 0 {
		src = b.split(&p, src)
		scale, offset := FromF16(p.Scale), FromF16(p.Offset)
		for s := range b.scales {
			d, m := scale*float32(p.Scales[s]), offset*float32(p.Offsets[s])
			for i, q := range p.Integers[s*each : (s+1)*each] {
				dst[s*each+i] = d*float32(q-p.Zero) + m
			}
		}
		dst = dst[b.elements:]
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
func half(src []byte) uint16 { return binary.LittleEndian.Uint16(src) }

// nibbles takes the lower halves of 16 bytes, and then the upper ones.
func (p *Parts) nibbles(src []byte) {
	p.Scales[0] = 1
	for i, q := range src[:16] {
		p.Integers[i], p.Integers[i+16] = int8(q&15), int8(q>>4)
	}
}

// fifth adds a bit to each of 32 integers.
func (p *Parts) fifth(src []byte) {
	for i := range 32 {
		p.Integers[i] |= int8(src[i/8]>>(i%8)&1) << 4
	}
}

func takeQ40(p *Parts, src []byte) {
	p.nibbles(src[2:])
}

func takeQ41(p *Parts, src []byte) {
	p.Offsets[0] = 1
	p.nibbles(src[4:])
}

func takeQ50(p *Parts, src []byte) {
	p.nibbles(src[6:])
	p.fifth(src[2:])
}

func takeQ51(p *Parts, src []byte) {
	p.Offsets[0] = 1
	p.nibbles(src[8:])
	p.fifth(src[4:])
}

func takeQ80(p *Parts, src []byte) {
	p.Scales[0] = 1
	for i, q := range src[2:34] {
		p.Integers[i] = int8(q)
	}
}

// takeScales takes the scales of Q4_K and Q5_K, and the minima, which are subtracted: eight pairs of 6 bits in 12 bytes.
func (p *Parts) takeScales(src []byte) {
	packed := src[4:16]
	for j := range 4 {
		p.Scales[j], p.Offsets[j] = int8(packed[j]&63), -int8(packed[j+4]&63)
		p.Scales[j+4], p.Offsets[j+4] = int8(packed[j+8]&15|packed[j]>>6<<4), -int8(packed[j+8]>>4|packed[j+4]>>6<<4)
	}
}

func takeQ4K(p *Parts, src []byte) {
	p.takeScales(src)
	for j := 0; j < 256; j += 64 {
		low, to := src[16+j/2:][:32], p.Integers[j:j+64]
		for i, q := range low {
			to[i], to[i+32] = int8(q&15), int8(q>>4)
		}
	}
}

func takeQ5K(p *Parts, src []byte) {
	p.takeScales(src)
	for j := 0; j < 256; j += 64 {
		high, low, to := src[16:48], src[48+j/2:][:32], p.Integers[j:j+64]
		for i, q := range low {
			upper := high[i] >> (j / 32)
			to[i], to[i+32] = int8(q&15|upper&1<<4), int8(q>>4|upper>>1&1<<4)
		}
	}
}

func takeQ6K(p *Parts, src []byte) {
	low, high, scales := src[:128], src[128:192], src[192:208]
	for i, s := range scales {
		p.Scales[i] = int8(s)
	}
	for j := 0; j < 256; j += 32 {
		group := j / 32 % 4 // of a half of 128
		low, high, to := low[j/128*64+group%2*32:][:32], high[j/128*32:][:32], p.Integers[j:j+32]
		for i := range to {
			to[i] = int8(low[i]>>(group/2*4)&15 | high[i]>>(2*group)&3<<4)
		}
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
