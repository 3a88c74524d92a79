package checkpoint

import (
	"cmp"
	"encoding/binary"
	"io/fs"
	"slices"
	"unicode/utf8"

	"github.com/medley-lora/medley/shared/fault"
)

// Bounds on a file before anything of that size is allocated.
const (
	maxHeader   = 100_000_000 // bytes, the reference implementation's
	maxTensors  = 1 << 18     // in all files of a model; the largest mixtures of experts have about 100,000
	maxName     = 1024        // bytes
	maxMetadata = 16 << 20    // bytes of keys and values
	maxRank     = 32          // dimensions
)

// headerTensor is one tensor as the header describes it; begin and end count from the end of the header.
type headerTensor struct {
	name       string
	dtype      DType
	shape      []int
	begin, end int64
}

// OpenFile opens a safetensors file and reads its header; tensors are read when they are asked for.
func OpenFile(path string) (*Store, error) { return OpenFileFS(disk{}, path) }

// OpenFileFS is OpenFile for a file of fsys; see OpenModelFS.
func OpenFileFS(fsys fs.FS, name string) (*Store, error) {
	src, err := openSource(fsys, name)
	if err != nil {
		return nil, err
	}
	return parsed(src, readSafetensors)
}

// Parse reads safetensors from bytes at hand, which the Store keeps and which must not change.
func Parse(data []byte) (*Store, error) { return parsed(fromBytes(data), readSafetensors) }

// reader finds the tensors of one file format.
type reader func(*source) (map[string]entry, map[string]string, error)

// parsed makes a Store of one source, closing it on failure.
func parsed(src *source, read reader) (*Store, error) {
	entries, metadata, err := read(src)
	store := newStore()
	if err == nil {
		err = store.add(src, entries, metadata)
	}
	if err != nil {
		src.Close()
		return nil, err
	}
	return store.sorted(), nil
}

// readSafetensors checks the whole header: the types, that each shape fits its bytes, and that the tensors cover the rest
// of the file without gap or overlap, so that a file has one meaning only and nothing can hide in it.
func readSafetensors(src *source) (map[string]entry, map[string]string, error) {
	text, err := readHeader(src)
	if err != nil {
		return nil, nil, err
	}
	tensors, metadata, err := parseHeader(text)
	if err != nil {
		return nil, nil, err
	}
	start := 8 + int64(len(text))
	if err := checkLayout(tensors, src.size-start); err != nil {
		return nil, nil, err
	}
	entries := make(map[string]entry, len(tensors))
	for _, t := range tensors {
		if _, ok := entries[t.name]; ok {
			return nil, nil, fault.New(fault.Invalid, tensorField(t.name), "is in the header twice")
		}
		info := Info{DType: t.dtype, Shape: t.shape, Bytes: t.end - t.begin}
		entries[t.name] = entry{info: info, source: src, offset: start + t.begin}
	}
	return entries, metadata, nil
}

func readHeader(src *source) (string, error) {
	invalid := func(format string, args ...any) (string, error) {
		return "", fault.New(fault.Invalid, "header", format, args...)
	}
	if src.size < 8 {
		return invalid("the file has %d bytes; safetensors begins with a header length of 8 bytes", src.size)
	}
	var first [9]byte // the length and the header's first byte
	if err := src.read(first[:min(9, src.size)], 0); err != nil {
		return "", err
	}
	if format := otherFormat(first[:]); format != "" {
		return invalid("this is %s, not safetensors", format)
	}
	length := binary.LittleEndian.Uint64(first[:])
	switch {
	case length > maxHeader:
		return "", fault.New(fault.TooLarge, "header", "its length is %d bytes; the limit is %d", length, maxHeader)
	case length > uint64(src.size-8):
		return invalid("its length is %d bytes, but the file has only %d after it", length, src.size-8)
	case length < 2 || first[8] != '{':
		return invalid("it does not begin with '{'")
	}
	text := make([]byte, length)
	if err := src.read(text, 8); err != nil {
		return "", err
	}
	if !utf8.Valid(text) {
		return invalid("it is not valid UTF-8")
	}
	return string(text), nil
}

// otherFormat recognises what is most often found under the wrong name.
func otherFormat(first []byte) string {
	switch {
	case string(first[:4]) == "PK\x03\x04":
		return "a zip archive (PyTorch's .bin, perhaps)"
	case first[0] == 0x80 && first[1] >= 2 && first[1] <= 5 && first[7] != 0:
		return "a Python pickle"
	case string(first[:6]) == "7z\xbc\xaf\x27\x1c":
		return "a 7z archive"
	case string(first[:4]) == "GGUF":
		return "a GGUF file"
	case string(first[:8]) == "version ":
		return "a Git LFS pointer: the file itself was not downloaded"
	}
	return ""
}

// checkLayout sorts tensors by offset and holds them to the buffer of the given size.
func checkLayout(tensors []headerTensor, size int64) error {
	slices.SortFunc(tensors, func(a, b headerTensor) int {
		return cmp.Or(cmp.Compare(a.begin, b.begin), cmp.Compare(a.end, b.end), cmp.Compare(a.name, b.name))
	})
	var at int64
	for _, t := range tensors {
		field := tensorField(t.name)
		bits, ok := bitsOf[t.dtype]
		if !ok {
			return fault.New(fault.Unsupported, field, "has unknown type %.40q", string(t.dtype))
		}
		n, ok := elements(t.shape)
		if !ok {
			return fault.New(fault.Invalid, field, "has shape %v, whose size overflows", t.shape)
		}
		switch {
		case t.end < t.begin:
			return fault.New(fault.Invalid, field, "ends at byte %d before it begins at byte %d", t.end, t.begin)
		case t.end > size:
			return fault.New(fault.Invalid, field, "ends at byte %d, but the file holds %d bytes of tensors", t.end, size)
		case t.begin < at:
			return fault.New(fault.Invalid, field, "begins at byte %d, inside the tensor before it", t.begin)
		case t.begin > at:
			return fault.New(fault.Invalid, field, "begins at byte %d, leaving a gap after byte %d", t.begin, at)
		case int64(n)*bits%8 != 0 || int64(n)*bits/8 != t.end-t.begin:
			return fault.New(fault.Invalid, field, "has %d bytes, which is not what %s of shape %v takes",
				t.end-t.begin, t.dtype, t.shape)
		}
		at = t.end
	}
	if at != size {
		return fault.New(fault.Invalid, "", "%d bytes follow the last tensor", size-at)
	}
	return nil
}
