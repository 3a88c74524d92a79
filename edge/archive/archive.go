// Package archive keeps an adapter in one file: a zip archive of adapter_config.json and adapter_model.safetensors, and nothing else.
//
// Archives of ours are canonical: the same two files make the same bytes, so that a module's digest depends on its content alone. Archives
// of others are hostile until they have been unpacked, checked and packed anew; only what has been is stored.
package archive

import (
	"archive/zip"
	"context"
	"errors"
	"hash/crc32"
	"io"
	"math"
	"os"
	"path/filepath"

	"github.com/medley-lora/medley/shared/fault"
)

// The files of an adapter.
const (
	Config  = "adapter_config.json"
	Weights = "adapter_model.safetensors"
)

// order is that of the files in an archive.
var order = []string{Config, Weights}

// epoch is the earliest day that a zip archive can have: 1 January 1980.
const epoch = 1<<5 | 1

// Pack writes the adapter in folder as a canonical archive. The files are stored and not compressed, because weights hardly get smaller.
// The errors are fault.NotFound about a file that is missing, w's, and fault.Internal.
func Pack(w io.Writer, folder string) error {
	z := zip.NewWriter(w)
	for _, name := range order {
		if err := pack(z, folder, name); err != nil {
			return err
		}
	}
	return z.Close()
}

// Stream reads the adapter in folder as the archive that Pack writes. The caller closes it; it ends with ctx.
func Stream(ctx context.Context, folder string) io.ReadCloser {
	r, w := io.Pipe()
	stop := context.AfterFunc(ctx, func() { w.CloseWithError(context.Cause(ctx)) })
	go func() {
		defer stop()
		w.CloseWithError(Pack(w, folder))
	}()
	return r
}

// pack reads the file twice: an entry whose header has its checksum can be read as a stream.
func pack(z *zip.Writer, folder, name string) error {
	file, err := os.Open(filepath.Join(folder, name))
	if errors.Is(err, os.ErrNotExist) {
		return fault.Wrap(err, fault.NotFound, name, "is missing")
	}
	if err != nil {
		return failed(err, "reading "+name)
	}
	defer file.Close()
	sum := crc32.NewIEEE()
	size, err := io.Copy(sum, file)
	if err == nil {
		_, err = file.Seek(0, io.SeekStart)
	}
	if err != nil {
		return failed(err, "reading "+name)
	}
	entry, err := z.CreateRaw(&zip.FileHeader{
		Name: name, Method: zip.Store, CRC32: sum.Sum32(), CompressedSize64: uint64(size), UncompressedSize64: uint64(size),
		ModifiedDate: epoch, //nolint:staticcheck // CreateRaw takes the time from nowhere else
	})
	if err != nil {
		return err
	}
	n, err := io.Copy(entry, io.LimitReader(file, size))
	if err == nil && n != size {
		err = fault.New(fault.Internal, name, "changed while it was read")
	}
	return err
}

// maxDirectory bounds what is read of an archive before its files: two entries and a comment take less. Every entry of a longer
// directory would take memory.
const maxDirectory = 256 << 10

// unpack writes the two files of an archive into folder, each of at most its bound of bytes. Whatever else the archive has is refused.
func unpack(r io.ReaderAt, size int64, folder string, limits Limits) error {
	bounded := &boundedReaderAt{r: r, left: maxDirectory}
	z, err := zip.NewReader(bounded, size)
	switch {
	case bounded.left < 0:
		return fault.Wrap(err, fault.Invalid, "archive", "has more than %s and %s", Config, Weights)
	case err != nil:
		return fault.Wrap(err, fault.Invalid, "archive", "is no zip archive that can be read")
	}
	bounded.left = math.MaxInt64 // from here on only what is asked for is read
	entries := map[string]*zip.File{}
	for _, entry := range z.File {
		if err := checkEntry(entry, entries); err != nil {
			return err
		}
		entries[entry.Name] = entry
	}
	for _, name := range order {
		if entries[name] == nil {
			return fault.New(fault.Invalid, name, "is missing in the archive")
		}
	}
	for _, name := range order {
		if err := unpackEntry(entries[name], folder, limits.of(name)); err != nil {
			return fault.In(name, err)
		}
	}
	return nil
}

func checkEntry(entry *zip.File, before map[string]*zip.File) error {
	const encrypted = 1
	switch {
	case entry.Name != Config && entry.Name != Weights:
		return fault.New(fault.Invalid, "archive", "has %.100q; it may have %s and %s at its top and nothing else", entry.Name, Config, Weights)
	case before[entry.Name] != nil:
		return fault.New(fault.Invalid, "archive", "has %s twice", entry.Name)
	case !entry.Mode().IsRegular():
		return fault.New(fault.Invalid, entry.Name, "is not a regular file in the archive")
	case entry.Flags&encrypted != 0:
		return fault.New(fault.Unsupported, entry.Name, "is encrypted in the archive")
	case entry.Method != zip.Store && entry.Method != zip.Deflate:
		return fault.New(fault.Unsupported, entry.Name, "is compressed in a way that is not supported; use deflate, or store it")
	}
	return nil
}

func unpackEntry(entry *zip.File, folder string, limit int64) error {
	content, err := entry.Open()
	if err != nil {
		return fault.Wrap(err, fault.Invalid, "", "cannot be read in the archive")
	}
	defer content.Close()
	return receive(filepath.Join(folder, entry.Name), content, limit, func(err error) error {
		return fault.Wrap(err, fault.Invalid, "", "is damaged in the archive")
	})
}

// receive writes a new file of at most limit bytes from r, on the disk when it returns. What r fails with goes through broken, unless
// it is a fault.
func receive(path string, r io.Reader, limit int64, broken func(error) error) (err error) {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return failed(err, "keeping an upload")
	}
	defer func() {
		if closed := file.Close(); err == nil && closed != nil {
			err = failed(closed, "keeping an upload")
		}
	}()
	source := &failingReader{r: r}
	n, err := io.Copy(file, io.LimitReader(source, limit+1))
	if _, ok := errors.AsType[*fault.Error](source.err); ok {
		return source.err
	}
	switch {
	case source.err != nil:
		return broken(source.err)
	case err != nil:
		return failed(err, "keeping an upload")
	case n > limit:
		return fault.New(fault.TooLarge, "", "is larger than %d bytes", limit)
	}
	if err := file.Sync(); err != nil {
		return failed(err, "keeping an upload")
	}
	return nil
}

// failingReader remembers what reading failed with, which io.Copy does not tell from writing.
type failingReader struct {
	r   io.Reader
	err error
}

func (f *failingReader) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	if err != nil && err != io.EOF {
		f.err = err
	}
	return n, err
}

// boundedReaderAt fails after left bytes.
type boundedReaderAt struct {
	r    io.ReaderAt
	left int64
}

func (b *boundedReaderAt) ReadAt(p []byte, offset int64) (int, error) {
	if b.left -= int64(len(p)); b.left < 0 {
		return 0, errors.New("more is read than the archive may need")
	}
	return b.r.ReadAt(p, offset)
}

// failed is an error of this machine's files, whose paths are for logs alone.
func failed(err error, doing string) error {
	return fault.Wrap(err, fault.Internal, "", "%s failed", doing)
}

// Limits bound the files of an adapter, in bytes.
type Limits struct{ Config, Weights int64 }

// DefaultLimits are those of the API.
var DefaultLimits = Limits{Config: 1 << 20, Weights: 2 << 30}

func (l Limits) of(name string) int64 {
	if name == Config {
		return l.Config
	}
	return l.Weights
}

// archive is the most that an archive of the two may have; compressed ones of random bytes are a little longer than these.
func (l Limits) archive() int64 { return l.Config + l.Weights + l.Weights/1000 + maxDirectory }
