package checkpoint

import (
	"archive/zip"
	"io"
	"io/fs"
	"strings"

	"github.com/medley-lora/medley/shared/fault"
)

// Bounds on PyTorch's files.
const (
	maxPickle    = 32 << 20 // bytes of data.pkl; 150 bytes a tensor are usual
	maxDirectory = 16 << 20 // bytes of the zip's directory; 80 bytes a tensor are usual
	maxSharing   = 8        // how many times the file's size all of its tensors may have together, storages being shared
)

// OpenPickle opens the weights that torch.save wrote since PyTorch 1.6 (a zip with a pickled dictionary of tensors). Nothing
// in the file runs: the unpickler can build dictionaries, lists, numbers, texts and tensors, and refuses everything else
// by name.
func OpenPickle(path string) (*Store, error) { return OpenPickleFS(disk{}, path) }

// OpenPickleFS is OpenPickle for a file of fsys; see OpenModelFS.
func OpenPickleFS(fsys fs.FS, name string) (*Store, error) {
	src, err := openSource(fsys, name)
	if err != nil {
		return nil, err
	}
	return parsed(src, readPickle)
}

// ParsePickle is OpenPickle for bytes at hand, which the Store keeps and which must not change.
func ParsePickle(data []byte) (*Store, error) { return parsed(fromBytes(data), readPickle) }

// archive is PyTorch's layout in a zip: NAME/data.pkl and a file NAME/data/KEY for each storage.
type archive struct {
	source *source
	prefix string // "NAME/"
	files  map[string]*zip.File
}

func readPickle(src *source) (map[string]entry, map[string]string, error) {
	a, err := openArchive(src)
	if err != nil {
		return nil, nil, err
	}
	program, err := a.contents("data.pkl", maxPickle)
	if err != nil {
		return nil, nil, err
	}
	value, err := unpickle(program)
	if err != nil {
		return nil, nil, fault.In("data.pkl", err)
	}
	state, ok := value.(*dict)
	if !ok {
		return nil, nil, fault.New(fault.Unsupported, "data.pkl", "does not hold a dictionary of tensors")
	}
	entries := make(map[string]entry, len(state.items))
	total := int64(0)
	for name, value := range state.items {
		t, ok := value.(*tensor)
		if !ok {
			return nil, nil, fault.New(fault.Unsupported, tensorField(name), "is not a tensor")
		}
		if len(name) > maxName {
			return nil, nil, fault.New(fault.TooLarge, tensorField(name), "has a name of %d bytes; the limit is %d", len(name), maxName)
		}
		e, err := a.entry(t)
		if err != nil {
			return nil, nil, fault.In(tensorField(name), err)
		}
		if total += e.info.Bytes; total > maxSharing*src.size {
			return nil, nil, fault.New(fault.TooLarge, "", "the tensors share storages so much that they exceed the file %d times", maxSharing)
		}
		entries[strings.Clone(name)] = e
	}
	return entries, nil, nil
}

func openArchive(src *source) (*archive, error) {
	var first [16]byte
	n := min(int64(len(first)), src.size)
	if err := src.read(first[:n], 0); err != nil {
		return nil, err
	}
	switch {
	case strings.HasPrefix(string(first[:]), "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"):
		return nil, fault.New(fault.Unsupported, "",
			"is in PyTorch's format from before version 1.6; load it and save it again with a newer PyTorch")
	case !strings.HasPrefix(string(first[:]), "PK\x03\x04"):
		return nil, fault.New(fault.Invalid, "", "is not a PyTorch zip file")
	}
	limited := &limitedReader{reader: src.reader, left: maxDirectory}
	r, err := zip.NewReader(limited, src.size)
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "", "is not a readable zip file: %v", err)
	}
	limited.left = -1
	a := &archive{source: src, files: make(map[string]*zip.File, len(r.File))}
	for _, f := range r.File {
		if _, ok := a.files[f.Name]; ok {
			return nil, fault.New(fault.Invalid, "", "the entry %.100q is in the zip twice", f.Name)
		}
		a.files[f.Name] = f
		if prefix, ok := strings.CutSuffix(f.Name, "data.pkl"); ok && strings.Count(prefix, "/") == 1 {
			if a.prefix != "" {
				return nil, fault.New(fault.Invalid, "", "there is more than one data.pkl")
			}
			a.prefix = prefix
		}
	}
	if a.prefix == "" {
		return nil, fault.New(fault.Invalid, "", "is a zip file without data.pkl, so not one of PyTorch's")
	}
	return a, a.checkByteOrder()
}

func (a *archive) checkByteOrder() error {
	if a.files[a.prefix+"byteorder"] == nil {
		return nil // before PyTorch 2.1: little-endian in practice
	}
	order, err := a.contents("byteorder", 16)
	if err == nil && order != "little" {
		err = fault.New(fault.Unsupported, "byteorder", "is %.10q; only little is supported", order)
	}
	return err
}

// stored returns where an entry's bytes lie in the file. PyTorch never compresses, so neither may they.
func (a *archive) stored(name string) (offset, size int64, err error) {
	f := a.files[a.prefix+name]
	if f == nil {
		return 0, 0, fault.New(fault.Invalid, "", "the entry %.100q is missing", name)
	}
	if f.Method != zip.Store || f.CompressedSize64 != f.UncompressedSize64 {
		return 0, 0, fault.New(fault.Invalid, "", "the entry %.100q is compressed", name)
	}
	offset, err = f.DataOffset()
	if err != nil {
		return 0, 0, fault.Wrap(err, fault.Invalid, "", "the entry %.100q has no readable header", name)
	}
	if offset < 0 || f.UncompressedSize64 > uint64(a.source.size) || offset > a.source.size-int64(f.UncompressedSize64) {
		return 0, 0, fault.New(fault.Invalid, "", "the entry %.100q reaches past the end of the file", name)
	}
	return offset, int64(f.UncompressedSize64), nil
}

// contents reads a small entry, checking its CRC.
func (a *archive) contents(name string, limit int64) (string, error) {
	_, size, err := a.stored(name)
	if err != nil {
		return "", err
	}
	if size > limit {
		return "", fault.New(fault.TooLarge, name, "has %d bytes; the limit is %d", size, limit)
	}
	f, err := a.files[a.prefix+name].Open()
	if err != nil {
		return "", fault.Wrap(err, fault.Invalid, name, "cannot be read")
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return "", fault.Wrap(err, fault.Invalid, name, "is damaged: %v", err)
	}
	return string(text), nil
}

// entry checks a tensor against its storage.
func (a *archive) entry(t *tensor) (entry, error) {
	offset, size, err := a.stored("data/" + t.storage.key)
	if err != nil {
		return entry{}, err
	}
	width := bitsOf[t.storage.dtype] / 8
	if t.storage.elements > size/width || t.storage.elements*width != size {
		return entry{}, fault.New(fault.Invalid, "", "its storage has %d bytes, not the %d elements of %s it is said to have",
			size, t.storage.elements, t.storage.dtype)
	}
	n, ok := elements(t.shape)
	if !ok || int64(n) > t.storage.elements {
		return entry{}, fault.New(fault.Unsupported, "", "has shape %v, more than the %d elements of its storage",
			t.shape, t.storage.elements)
	}
	if err := t.checkExtent(); err != nil {
		return entry{}, err
	}
	e := entry{
		info:   Info{DType: t.storage.dtype, Shape: t.shape, Bytes: int64(n) * width},
		source: a.source,
		offset: offset + t.offset*width,
	}
	if !t.rowMajor() {
		e.strides = t.strides
	}
	return e, nil
}

// limitedReader bounds what may be read while the zip's directory is parsed, and with it what is allocated for it.
type limitedReader struct {
	reader io.ReaderAt
	left   int64 // negative: no limit
}

func (l *limitedReader) ReadAt(p []byte, offset int64) (int, error) {
	if l.left >= 0 {
		if l.left -= int64(len(p)); l.left < 0 {
			l.left = 0
			return 0, fault.New(fault.TooLarge, "", "its directory exceeds %d bytes", maxDirectory)
		}
	}
	return l.reader.ReadAt(p, offset)
}
