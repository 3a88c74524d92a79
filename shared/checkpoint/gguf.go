package checkpoint

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"math"
	"unicode/utf8"

	"github.com/medley-lora/medley/shared/fault"
)

// GGUF is the model file of llama.cpp (ggml/docs/gguf.md): values by key, and tensors, most of them quantised in blocks. A tensor's Shape is
// in row-major order, as everywhere in this package, the reverse of the file's.
type GGUF struct {
	*Store
	// Values are uint64, int64, float64, bool or string, or slices of these.
	Values map[string]any
}

// Bounds on a GGUF file beside those of safetensors.
const (
	maxGGUFHeader = 512 << 20 // bytes; a vocabulary of 250,000 tokens takes some 10 MB
	maxGGUFValues = 1 << 16
	maxGGUFString = 16 << 20 // bytes; chat templates are the longest
	maxAlignment  = 1 << 20
)

// OpenGGUF opens a file of fsys and reads its header; tensors are read when they are asked for. Versions 2 and 3, little-endian.
func OpenGGUF(fsys fs.FS, name string) (*GGUF, error) {
	src, err := openSource(fsys, name)
	if err != nil {
		return nil, err
	}
	return newGGUF(src)
}

// ParseGGUF reads bytes at hand, which must not change.
func ParseGGUF(data []byte) (*GGUF, error) { return newGGUF(fromBytes(data)) }

func newGGUF(src *source) (*GGUF, error) {
	g := &GGUF{}
	store, err := parsed(src, func(s *source) (map[string]entry, map[string]string, error) {
		entries, err := g.read(s)
		return entries, nil, err
	})
	if err != nil {
		return nil, err
	}
	g.Store = store
	return g, nil
}

// ggufTypes are the types of tensors by the file's number.
var ggufTypes = map[uint32]DType{
	0: F32, 1: F16, 2: Q40, 3: Q41, 6: Q50, 7: Q51, 8: Q80, 12: Q4K, 13: Q5K, 14: Q6K, 24: "I8", 25: "I16", 26: "I32", 27: "I64", 28: "F64", 30: BF16,
}

// ggufOthers are names of types that are not read, for people.
var ggufOthers = map[uint32]string{
	9: "Q8_1", 10: "Q2_K", 11: "Q3_K", 15: "Q8_K", 16: "IQ2_XXS", 17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S", 20: "IQ4_NL", 21: "IQ3_S", 22: "IQ2_S", 23: "IQ4_XS",
	29: "IQ1_M", 34: "TQ1_0", 35: "TQ2_0", 39: "MXFP4",
}

// ggufType is the name of a type, or its number.
func ggufType(kind uint32) string {
	if name, known := ggufOthers[kind]; known {
		return name
	}
	return fmt.Sprintf("number %d", kind)
}

// ggufHeader reads the numbers of a header. It keeps the first error, after which it returns zeros.
type ggufHeader struct {
	r    *bufio.Reader
	at   int64 // bytes read
	size int64 // of the file
	err  error
}

func (g *GGUF) read(src *source) (map[string]entry, error) {
	h := &ggufHeader{r: bufio.NewReaderSize(io.NewSectionReader(src.reader, 0, min(src.size, maxGGUFHeader)), 1<<16), size: src.size}
	if magic := h.u32(); h.err != nil || magic != 0x46554747 {
		return nil, fault.New(fault.Invalid, "magic", "is not that of a GGUF file")
	}
	if version := h.u32(); h.err == nil && version != 2 && version != 3 {
		return nil, fault.New(fault.Unsupported, "version", "%d is not supported; expected 2 or 3 in little-endian order", version)
	}
	tensors, values := h.u64(), h.u64()
	if tensors > maxTensors || values > maxGGUFValues {
		return nil, fault.New(fault.TooLarge, "header", "counts %d tensors and %d values; the limits are %d and %d", tensors, values, maxTensors, maxGGUFValues)
	}
	g.Values = map[string]any{}
	for i := uint64(0); i < values && h.err == nil; i++ {
		key := h.text(maxName)
		value := h.value(h.u32(), true)
		if _, twice := g.Values[key]; twice && h.err == nil {
			h.fail(fault.Invalid, "%.100q is there twice", key)
		}
		g.Values[key] = value
	}
	entries, err := h.tensors(int(tensors), src, g.alignment())
	if h.err != nil {
		return nil, fault.In("header", h.err)
	}
	return entries, err
}

// alignment is that of the tensors, 0 if the file's is none.
func (g *GGUF) alignment() int64 {
	a, there := g.Values["general.alignment"]
	if !there {
		return 32
	}
	n, ok := a.(uint64)
	if !ok || n == 0 || n > maxAlignment || n&(n-1) != 0 {
		return 0
	}
	return int64(n)
}

// tensors reads the descriptions, which must follow each other in the data without gaps, as llama.cpp demands.
func (h *ggufHeader) tensors(count int, src *source, alignment int64) (map[string]entry, error) {
	if alignment == 0 {
		return nil, fault.New(fault.Invalid, "general.alignment", "is not a power of two up to %d", maxAlignment)
	}
	entries := map[string]entry{}
	names := []string{}
	next := int64(0)
	for range count {
		name := h.text(maxName)
		e := entry{source: src}
		e.info.Shape = h.shape()
		kind, offset := h.u32(), h.u64()
		if h.err != nil {
			return nil, nil //nolint:nilerr // the caller looks at h.err
		}
		var ok bool
		if e.info.DType, ok = ggufTypes[kind]; !ok {
			return nil, fault.New(fault.Unsupported, tensorField(name), "has type %s; only F32, F16 and BF16 are supported, and %s", ggufType(kind), packedNames())
		}
		if e.info.Bytes, ok = ggufBytes(e.info); !ok {
			return nil, fault.New(fault.Invalid, tensorField(name), "has shape %v, which is too large or no whole number of blocks of %s", e.info.Shape, e.info.DType)
		}
		if offset != uint64(next) {
			return nil, fault.New(fault.Invalid, tensorField(name), "lies at %d where %d is expected", offset, next)
		}
		if _, twice := entries[name]; twice {
			return nil, fault.New(fault.Invalid, tensorField(name), "is in the header twice")
		}
		e.offset = next
		if next += (e.info.Bytes + alignment - 1) / alignment * alignment; next > src.size+alignment {
			return nil, fault.New(fault.Invalid, tensorField(name), "ends %d bytes into the data of a file of %d", next, src.size)
		}
		entries[name] = e
		names = append(names, name)
	}
	start := (h.at + alignment - 1) / alignment * alignment
	for _, name := range names {
		e := entries[name]
		if e.offset += start; e.offset+e.info.Bytes > src.size {
			return nil, fault.New(fault.Invalid, tensorField(name), "ends at byte %d of %d", e.offset+e.info.Bytes, src.size)
		}
		entries[name] = e
	}
	return entries, nil
}

// shape reads the dimensions and turns their order round.
func (h *ggufHeader) shape() []int {
	rank := h.u32()
	if rank > 4 {
		h.fail(fault.Invalid, "a tensor has %d dimensions; at most 4 are expected", rank)
		return nil
	}
	shape := make([]int, rank)
	for i := range shape {
		d := h.u64()
		if d > math.MaxInt/16 {
			h.fail(fault.Invalid, "a tensor has a dimension of %d", d)
			d = 0
		}
		shape[len(shape)-1-i] = int(d)
	}
	return shape
}

// ggufBytes is what a tensor takes, and false for a row that is no whole number of blocks.
func ggufBytes(i Info) (int64, bool) {
	n, ok := elements(i.Shape)
	if !ok {
		return 0, false
	}
	if bits, plain := bitsOf[i.DType]; plain {
		return int64(n) * bits / 8, true
	}
	b := blocks[i.DType]
	row := 0
	if len(i.Shape) > 0 {
		row = i.Shape[len(i.Shape)-1]
	}
	return int64(n/b.elements) * int64(b.bytes), row%b.elements == 0 && row > 0
}

func (h *ggufHeader) fail(code fault.Code, format string, args ...any) {
	if h.err == nil {
		h.err = fault.New(code, "", format, args...)
	}
}

// bytes reads n bytes, which must be in the file.
func (h *ggufHeader) bytes(n int64) []byte {
	if h.err == nil && (n > h.size-h.at || n > maxGGUFHeader-h.at) {
		h.fail(fault.Invalid, "goes on for %d bytes at byte %d of a file of %d", n, h.at, h.size)
	}
	if h.err != nil {
		return make([]byte, min(n, 8))
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(h.r, b); err != nil {
		h.fail(fault.Invalid, "is cut short at byte %d", h.at)
	}
	h.at += n
	return b
}

func (h *ggufHeader) u32() uint32 { return binary.LittleEndian.Uint32(h.bytes(4)) }
func (h *ggufHeader) u64() uint64 { return binary.LittleEndian.Uint64(h.bytes(8)) }

func (h *ggufHeader) text(limit uint64) string {
	n := h.u64()
	if n > limit {
		h.fail(fault.TooLarge, "a text of %d bytes; the limit is %d", n, limit)
	}
	if h.err != nil {
		return ""
	}
	b := h.bytes(int64(n))
	if !utf8.Valid(b) && limit == maxName {
		h.fail(fault.Invalid, "the name %.100q is not UTF-8", b)
	}
	return string(b)
}

// widths are the bytes of the numbers by type; 0 for texts and lists.
var widths = []int64{1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8}

const (
	ggufText = 8
	ggufList = 9
)

func (h *ggufHeader) value(kind uint32, listAllowed bool) any {
	switch {
	case h.err != nil:
		return nil
	case kind == ggufText:
		return h.text(maxGGUFString)
	case kind == ggufList && listAllowed:
		return h.list()
	case kind >= uint32(len(widths)) || widths[kind] == 0:
		h.fail(fault.Unsupported, "a value has type number %d", kind)
		return nil
	}
	b := make([]byte, 8)
	copy(b, h.bytes(widths[kind]))
	bits := binary.LittleEndian.Uint64(b)
	unused := 64 - 8*widths[kind]
	switch kind {
	case 6:
		return float64(math.Float32frombits(uint32(bits)))
	case 12:
		return math.Float64frombits(bits)
	case 7:
		return bits != 0
	case 1, 3, 5, 11:
		return int64(bits<<unused) >> unused
	}
	return bits
}

// list reads a list of texts or numbers of one type. Its length is held to the file's before memory for it is found.
func (h *ggufHeader) list() any {
	kind, n := h.u32(), h.u64()
	if h.err != nil {
		return nil
	}
	least := int64(8) // of an element: a text's length
	if kind < uint32(len(widths)) && widths[kind] > 0 {
		least = widths[kind]
	}
	if n > uint64((h.size-h.at)/least) {
		h.fail(fault.Invalid, "a list of %d at byte %d of a file of %d", n, h.at, h.size)
		return nil
	}
	switch kind {
	case 6, 12:
		return collect[float64](h, kind, n)
	case 7:
		return collect[bool](h, kind, n)
	case 1, 3, 5, 11:
		return collect[int64](h, kind, n)
	case ggufText:
		return collect[string](h, kind, n)
	}
	return collect[uint64](h, kind, n)
}

func collect[T any](h *ggufHeader, kind uint32, n uint64) []T {
	var all []T
	for range n {
		v, ok := h.value(kind, false).(T)
		if !ok || h.err != nil {
			return nil
		}
		all = append(all, v)
	}
	return all
}
