package checkpoint

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"sync"
	"time"
	"unsafe"

	"github.com/medley-lora/medley/shared/fault"
)

// littleEndian tells whether this machine stores numbers as safetensors does.
var littleEndian = binary.NativeEndian.Uint16([]byte{1, 0}) == 1

// source is the content of one file, or bytes at hand.
type source struct {
	name     string // of the file in its folder; empty for bytes at hand
	reader   io.ReaderAt
	size     int64
	file     fs.File // nil for bytes at hand
	modified time.Time

	mapping sync.Once
	data    []byte // all of the content: bytes at hand, or the mapping once it has been made; nil where there is none
}

func fromBytes(data []byte) *source {
	return &source{reader: bytes.NewReader(data), size: int64(len(data)), data: data}
}

// disk opens files by the paths of the system, of which names of an fs.FS are a part only.
type disk struct{}

func (disk) Open(path string) (fs.File, error)     { return os.Open(path) }
func (disk) Stat(path string) (fs.FileInfo, error) { return os.Stat(path) }

// openSource opens a file that can be read at any offset, as those of os.DirFS, embed.FS and fstest.MapFS can.
func openSource(fsys fs.FS, name string) (*source, error) {
	// Asked before opening, because opening a named pipe waits for a writer.
	if info, err := fs.Stat(fsys, name); err != nil {
		return nil, IOFault(err, "read")
	} else if !info.Mode().IsRegular() {
		return nil, fault.New(fault.Invalid, "", "is not a regular file")
	}
	file, err := fsys.Open(name)
	if err != nil {
		return nil, IOFault(err, "read")
	}
	reader, ok := file.(io.ReaderAt)
	if !ok {
		file.Close()
		return nil, fault.New(fault.Unsupported, "", "cannot be read at an offset, as a compressed file cannot")
	}
	info, err := file.Stat()
	if err != nil {
		file.Close()
		return nil, IOFault(err, "read")
	}
	return &source{name: info.Name(), reader: reader, size: info.Size(), file: file, modified: info.ModTime()}, nil
}

// ReadFile reads a small file that belongs to a checkpoint (a configuration, an index) by the rules of this package: regular
// files only, at most limit bytes, no path in the error. A file that is not there has code NotFound.
func ReadFile(fsys fs.FS, name string, limit int64) ([]byte, error) {
	src, err := openSource(fsys, name)
	if err != nil {
		return nil, err
	}
	defer src.Close()
	if src.size > limit {
		return nil, fault.New(fault.TooLarge, "", "has %d bytes; the limit is %d", src.size, limit)
	}
	data := make([]byte, src.size)
	return data, src.read(data, 0)
}

// IOFault tells why a file cannot be read or written (done says which), without the path that errors of package os carry:
// the caller adds what the user typed.
func IOFault(err error, done string) error {
	reason := err
	var pe *fs.PathError
	var le *os.LinkError
	switch {
	case errors.As(err, &pe):
		reason = pe.Err
	case errors.As(err, &le):
		reason = le.Err
	}
	code := fault.Internal
	switch {
	case errors.Is(err, fs.ErrNotExist):
		code = fault.NotFound
	case errors.Is(err, fs.ErrPermission):
		code = fault.Invalid
	}
	return fault.Wrap(err, code, "", "cannot be %s: %v", done, reason)
}

// read fills dst from offset on.
func (s *source) read(dst []byte, offset int64) error {
	_, err := io.ReadFull(io.NewSectionReader(s.reader, offset, int64(len(dst))), dst)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fault.Wrap(err, fault.Invalid, "", "the file was cut short while it was being read")
	}
	if err != nil {
		return IOFault(err, "read")
	}
	return nil
}

// content maps the file on first use. It is nil where that cannot be; tensors are copied then.
func (s *source) content() []byte {
	s.mapping.Do(func() {
		if file, ok := s.file.(*os.File); ok {
			s.data = mapFile(file, s.size)
		}
	})
	return s.data
}

// float32View returns n numbers from offset on without copying, if the content is mapped and aligned on this machine.
func (s *source) float32View(offset int64, n int) ([]float32, bool) {
	data := s.content()
	if !littleEndian || data == nil || offset+4*int64(n) > int64(len(data)) {
		return nil, false
	}
	if n == 0 {
		return []float32{}, true
	}
	p := unsafe.Pointer(&data[offset])
	if uintptr(p)%4 != 0 {
		return nil, false
	}
	return unsafe.Slice((*float32)(p), n), true
}

// release lets go of the whole pages within [offset, offset+length).
func (s *source) release(offset, length int64) {
	if s.file == nil {
		return
	}
	data := s.content()
	if data == nil {
		return
	}
	page := int64(os.Getpagesize())
	first, last := (offset+page-1)/page*page, (offset+length)/page*page
	if first < last {
		adviseDontNeed(data[first:last])
	}
}

func (s *source) digest() (string, error) {
	h := sha256.New()
	n, err := io.Copy(h, io.NewSectionReader(s.reader, 0, s.size))
	if err != nil {
		return "", IOFault(err, "read")
	}
	if n != s.size {
		return "", fault.New(fault.Invalid, "", "the file was cut short while it was being read")
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

func (s *source) unchanged() error {
	if s.file == nil {
		return nil
	}
	info, err := s.file.Stat()
	if err != nil {
		return IOFault(err, "read")
	}
	if info.Size() != s.size || !info.ModTime().Equal(s.modified) {
		return fault.New(fault.Invalid, "", "the file changed while it was being read")
	}
	return nil
}

func (s *source) Close() error {
	if s.file == nil {
		return nil
	}
	var err error
	if s.data != nil {
		err = unmapFile(s.data)
		s.data = nil
	}
	return errors.Join(err, s.file.Close())
}
