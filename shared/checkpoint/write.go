package checkpoint

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"unicode/utf8"

	"github.com/medley-lora/medley/shared/fault"
)

// Tensor is a tensor to be written.
type Tensor struct {
	Name  string
	DType DType // F32, F16 or BF16
	Shape []int // empty for a scalar

	// Data holds the elements, row-major. Where Produce is set it is called instead, once, when the tensor's turn has come;
	// what it returns is not kept, so that a file of any size takes the memory of one tensor.
	Data    []float32
	Produce func() ([]float32, error)
}

// Write writes a safetensors file. The file appears complete or not at all: it is written beside path, synced, and renamed
// over what was there. Values that are finite and do not fit a half type are refused.
func Write(path string, tensors []Tensor, metadata map[string]string) error {
	// What can be wrong with the arguments is found before a file is made.
	ordered, header, err := layout(tensors, metadata)
	if err != nil {
		return err
	}
	return Replace(path, func(w io.Writer) error { return writeTensors(w, ordered, header) })
}

// WriteFile writes a small file beside a checkpoint as Write does: completely or not at all.
func WriteFile(path string, data []byte) error {
	return Replace(path, func(w io.Writer) error {
		if _, err := w.Write(data); err != nil {
			return IOFault(err, "written")
		}
		return nil
	})
}

// Encode writes the same bytes as Write to w.
func Encode(w io.Writer, tensors []Tensor, metadata map[string]string) error {
	ordered, header, err := layout(tensors, metadata)
	if err != nil {
		return err
	}
	return writeTensors(w, ordered, header)
}

// layout sorts the tensors and makes the header, both as the reference implementation does (serialize in safetensors 0.8):
// the widest type first, so that every tensor is aligned to its elements, then by name; the header padded with spaces to a
// multiple of 8 bytes. Metadata is sorted by key, which the reference leaves to chance.
func layout(tensors []Tensor, metadata map[string]string) ([]Tensor, []byte, error) {
	// In the order of the reference's enumeration BF16 stands above F16.
	place := map[DType]int{F32: 0, BF16: 1, F16: 2}
	for _, t := range tensors {
		if _, ok := place[t.DType]; !ok {
			return nil, nil, fault.New(fault.Unsupported, tensorField(t.Name), "type %q cannot be written", t.DType)
		}
	}
	ordered := slices.Clone(tensors)
	slices.SortFunc(ordered, func(a, b Tensor) int {
		return cmp.Or(cmp.Compare(place[a.DType], place[b.DType]), cmp.Compare(a.Name, b.Name))
	})
	header, err := formatHeader(ordered, metadata)
	if err != nil {
		return nil, nil, err
	}
	return ordered, header, nil
}

func formatHeader(ordered []Tensor, metadata map[string]string) ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	if len(metadata) > 0 {
		text, err := jsonText(metadata)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&b, `"__metadata__":%s,`, text)
	}
	seen := make(map[string]bool, len(ordered))
	at := int64(0)
	for _, t := range ordered {
		n, ok := elements(t.Shape)
		if !ok {
			return nil, fault.New(fault.Invalid, tensorField(t.Name), "has shape %v, whose size overflows", t.Shape)
		}
		if seen[t.Name] || t.Name == "__metadata__" || !utf8.ValidString(t.Name) {
			return nil, fault.New(fault.Invalid, tensorField(t.Name), "has a name that is reserved, used twice or not UTF-8")
		}
		seen[t.Name] = true
		if t.Produce == nil && len(t.Data) != n {
			return nil, fault.New(fault.Invalid, tensorField(t.Name), "has %d elements, shape %v takes %d", len(t.Data), t.Shape, n)
		}
		name, err := jsonText(t.Name)
		if err != nil {
			return nil, err
		}
		shape, err := jsonText(append([]int{}, t.Shape...)) // never null
		if err != nil {
			return nil, err
		}
		end := at + int64(n)*bitsOf[t.DType]/8
		fmt.Fprintf(&b, `%s:{"dtype":"%s","shape":%s,"data_offsets":[%d,%d]},`, name, t.DType, shape, at, end)
		at = end
	}
	if b.Len() > 1 {
		b.Truncate(b.Len() - 1) // the last comma
	}
	b.WriteByte('}')
	for b.Len()%8 != 0 {
		b.WriteByte(' ')
	}
	// The reader's bounds are the writer's: nothing is written that could not be read again.
	if b.Len() > maxHeader {
		return nil, fault.New(fault.TooLarge, "header", "its length is %d bytes; the limit is %d", b.Len(), maxHeader)
	}
	if _, _, err := parseHeader(b.String()); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// jsonText formats without the escapes meant for HTML, as the reference does.
func jsonText(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, fault.Wrap(err, fault.Internal, "header", "cannot be made")
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

func writeTensors(w io.Writer, ordered []Tensor, header []byte) error {
	if _, err := w.Write(binary.LittleEndian.AppendUint64(nil, uint64(len(header)))); err != nil {
		return IOFault(err, "written")
	}
	if _, err := w.Write(header); err != nil {
		return IOFault(err, "written")
	}
	buffer := make([]byte, 0, chunkBytes)
	for _, t := range ordered {
		if err := writeTensor(w, t, buffer); err != nil {
			return fault.In(tensorField(t.Name), err)
		}
	}
	return nil
}

func writeTensor(w io.Writer, t Tensor, buffer []byte) error {
	data := t.Data
	if t.Produce != nil {
		var err error
		if data, err = t.Produce(); err != nil {
			return err
		}
		if n, _ := elements(t.Shape); len(data) != n {
			return fault.New(fault.Internal, "", "was produced with %d elements, shape %v takes %d", len(data), t.Shape, n)
		}
	}
	const chunk = chunkBytes / 4
	for first := 0; first < len(data); first += chunk {
		out, err := encode(buffer[:0], data[first:min(first+chunk, len(data))], t.DType, first)
		if err != nil {
			return err
		}
		if _, err := w.Write(out); err != nil {
			return IOFault(err, "written")
		}
	}
	return nil
}

// Replace makes the file at path hold what write writes, or leaves everything as it was. What is there and is no regular file, such as a
// pipe or a terminal, is written to as it is.
func Replace(path string, write func(io.Writer) error) (err error) {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		file, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return IOFault(err, "written")
		}
		defer file.Close() // a second Close is harmless
		return writeTo(file, write, file.Close)
	}
	// Not os.CreateTemp, whose files nobody else may read: a model that was written is meant to be shared.
	temporary := filepath.Join(filepath.Dir(path), fmt.Sprintf(".%s.%08x.tmp", filepath.Base(path), rand.Uint32()))
	file, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return IOFault(err, "written")
	}
	defer func() {
		if err != nil {
			file.Close() // a second Close is harmless
			os.Remove(temporary)
		}
	}()
	return writeTo(file, write,
		file.Sync, // else the name may outlive a power cut and the content not
		file.Close,
		func() error { return os.Rename(temporary, path) })
}

// writeTo writes to file and then takes the steps.
func writeTo(file *os.File, write func(io.Writer) error, steps ...func() error) error {
	w := bufio.NewWriterSize(file, chunkBytes)
	if err := write(w); err != nil {
		return err
	}
	for _, step := range append([]func() error{w.Flush}, steps...) {
		if err := step(); err != nil {
			return IOFault(err, "written")
		}
	}
	return nil
}
