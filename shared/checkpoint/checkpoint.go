// Package checkpoint reads and writes model weights: safetensors files (whole, sharded, or bytes at hand) and, for reading
// only, llama.cpp's GGUF files, and PyTorch's zip files through an unpickler that can build nothing but tensors.
//
// Files are hostile until parsed: every length, count and offset is checked before anything of its size is allocated, by the
// rules of the safetensors reference implementation (huggingface/safetensors 0.8, SafeTensors::read_metadata). Errors name
// the tensor or the header field, never a path; the caller knows what the user typed.
package checkpoint

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"

	"github.com/medley-lora/medley/shared/fault"
)

// DType is the type of a tensor's elements, as safetensors spells it.
type DType string

// The types that Float32 converts. Tensors of other types may stand in a file; they are refused when they are asked for.
const (
	F32  DType = "F32"
	F16  DType = "F16"
	BF16 DType = "BF16"
)

// bitsOf holds every type that safetensors knows.
var bitsOf = map[DType]int64{
	"BOOL": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8,
	"F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "I16": 16, "U16": 16, F16: 16, BF16: 16, "I32": 32, "U32": 32, F32: 32,
	"C64": 64, "F64": 64, "I64": 64, "U64": 64,
}

// Info describes a tensor. Shape must not be modified.
type Info struct {
	DType DType
	Shape []int // empty for a scalar
	Bytes int64 // length of the elements in the file
}

// Elements is the product of Shape. It cannot overflow for an Info that a Store returned.
func (i Info) Elements() int {
	n := 1
	for _, d := range i.Shape {
		n *= d
	}
	return n
}

// entry is a tensor and where its elements lie.
type entry struct {
	info    Info
	source  *source
	offset  int64 // of the first element, in bytes from the start of the source
	strides []int // in elements; nil when the elements are contiguous and row-major, as they always are in safetensors
}

// Store is a set of named tensors in one or more files. Its methods may be called concurrently, except Close.
type Store struct {
	entries  map[string]entry
	names    []string // sorted
	sources  []*source
	metadata map[string]string
}

// Size counts the numbers of all tensors and the bytes that they take in the files.
func (s *Store) Size() (parameters, bytes int64) {
	for _, name := range s.names {
		info, _ := s.Info(name)
		parameters += int64(info.Elements())
		bytes += info.Bytes
	}
	return parameters, bytes
}

// Names lists the tensors, sorted.
func (s *Store) Names() []string { return slices.Clone(s.names) }

// Info describes the named tensor; the second result is false when there is none.
func (s *Store) Info(name string) (Info, bool) {
	e, ok := s.entries[name]
	return e.info, ok
}

// Metadata is the free text that a safetensors file carries in __metadata__; of shards, the union.
func (s *Store) Metadata() map[string]string { return maps.Clone(s.metadata) }

// Float32 returns the elements of a F32, F16 or BF16 tensor, or of one in blocks, row-major. For F32 on a little-endian machine the result is
// a view into the memory-mapped file where the tensor is aligned, which is valid until Close and must not be written to;
// otherwise it is a converted copy.
//
// A file must be replaced by renaming, as Write does: one that is cut short in place while it is mapped makes reads of
// a view fault. CopyFloat32 reads through the file instead and reports an error.
func (s *Store) Float32(name string) ([]float32, error) {
	e, err := s.floatEntry(name)
	if err != nil {
		return nil, err
	}
	if e.info.DType == F32 && e.strides == nil {
		if view, ok := e.source.float32View(e.offset, e.info.Elements()); ok {
			return view, fault.In(tensorField(name), e.source.unchanged())
		}
	}
	dst := make([]float32, e.info.Elements())
	if err := e.copyTo(dst); err != nil {
		return nil, fault.In(tensorField(name), err)
	}
	return dst, nil
}

// CopyFloat32 converts the named tensor into dst, which must have exactly its number of elements.
func (s *Store) CopyFloat32(name string, dst []float32) error {
	e, err := s.floatEntry(name)
	if err != nil {
		return err
	}
	if n := e.info.Elements(); len(dst) != n {
		return fault.New(fault.Internal, tensorField(name), "has %d elements, asked for %d", n, len(dst))
	}
	return fault.In(tensorField(name), e.copyTo(dst))
}

// Release tells the system that the mapped pages of a tensor are not needed for now, so that copying a model elsewhere
// tensor by tensor does not hold it in memory twice. Views stay valid: touching one reads the file again. It does nothing
// where files are not mapped.
func (s *Store) Release(name string) {
	if e, ok := s.entries[name]; ok && e.strides == nil {
		e.source.release(e.offset, e.info.Bytes)
	}
}

// Digest is the SHA-256 of the file's content in hexadecimal, the same as sha256sum prints. For a sharded model it is the
// SHA-256 of the lines "DIGEST NAME\n" of its shards, sorted by name.
func (s *Store) Digest() (string, error) {
	if len(s.sources) == 1 {
		return s.sources[0].digest()
	}
	h := sha256.New()
	for _, src := range s.sources {
		d, err := src.digest()
		if err != nil {
			return "", fault.In(src.name, err)
		}
		fmt.Fprintf(h, "%s %s\n", d, src.name)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// Unchanged reports an error if a file's size or modification time is no longer what it was when the Store was opened: what
// was read in between may be a mixture of two files.
func (s *Store) Unchanged() error {
	for _, src := range s.sources {
		if err := src.unchanged(); err != nil {
			return err
		}
	}
	return nil
}

// Close unmaps and closes the files. Views that Float32 returned must no longer be used.
func (s *Store) Close() error {
	var first error
	for _, src := range s.sources {
		if err := src.Close(); err != nil && first == nil {
			first = err
		}
	}
	return first
}

// CheckFinite refuses NaN and infinite weights by the tensor's name. One such number makes every output NaN, far from its
// cause, so loaders check once. Denormal numbers are weights like any other.
func CheckFinite(name string, values []float32) error {
	const exponent = 0x7f800000 // all ones in Inf and NaN only
	for i, v := range values {
		if math.Float32bits(v)&exponent == exponent {
			return fault.New(fault.Invalid, tensorField(name), "element %d is %v; weights must be finite numbers", i, v)
		}
	}
	return nil
}

func (s *Store) floatEntry(name string) (entry, error) {
	e, ok := s.entries[name]
	if !ok {
		return e, fault.New(fault.NotFound, tensorField(name), "is not in the file")
	}
	switch e.info.DType {
	case F32, F16, BF16:
		return e, nil
	}
	if _, packed := blocks[e.info.DType]; packed {
		return e, nil
	}
	return e, fault.New(fault.Unsupported, tensorField(name), "has type %s; only F32, F16 and BF16 are supported, and %s of GGUF files", e.info.DType, packedNames())
}

// add makes the entries of another file part of s. It takes over src even when it fails.
func (s *Store) add(src *source, entries map[string]entry, metadata map[string]string) error {
	s.sources = append(s.sources, src)
	if len(s.entries)+len(entries) > maxTensors {
		return fault.New(fault.TooLarge, "", "there are more than %d tensors", maxTensors)
	}
	for name, e := range entries {
		if _, ok := s.entries[name]; ok {
			return fault.New(fault.Invalid, tensorField(name), "is in more than one shard")
		}
		s.entries[name] = e
	}
	maps.Copy(s.metadata, metadata)
	return nil
}

func newStore() *Store { return &Store{entries: map[string]entry{}, metadata: map[string]string{}} }

// sorted finishes a store to which every file has been added.
func (s *Store) sorted() *Store {
	s.names = slices.Sorted(maps.Keys(s.entries))
	return s
}

// tensorField is how an error names a tensor: as it is if it is short and printable, else quoted and cut, since names come
// from strangers and errors are shown in terminals.
func tensorField(name string) string {
	const limit = 200
	if len(name) > limit {
		return "tensor " + strconv.QuoteToASCII(name[:limit]) + "…"
	}
	for _, r := range name {
		if !strconv.IsPrint(r) {
			return "tensor " + strconv.QuoteToASCII(name)
		}
	}
	return "tensor " + name
}

// elements multiplies a shape, refusing products whose bytes would not fit an int.
func elements(shape []int) (int, bool) {
	n := 1
	for _, d := range shape {
		if d != 0 && n > math.MaxInt/16/d {
			return 0, false
		}
		n *= d
	}
	return n, true
}
