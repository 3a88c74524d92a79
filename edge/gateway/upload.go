package gateway

import (
	"errors"
	"io"
	"mime/multipart"
	"net/http"
	"os"

	"github.com/medley-lora/medley/edge/api"
	"github.com/medley-lora/medley/shared/fault"
)

// The parts of a module's upload.
const (
	PartArchive = "archive"
	PartConfig  = "adapter_config.json"
	PartWeights = "adapter_model.safetensors"
)

// Bounds of the parts, as the specification has them.
const (
	maxConfig = 1 << 20
	maxModule = 2 << 30
)

// filesOf is the upload in a request: a form, or a body that is the archive itself.
func filesOf(r api.UploadModuleRequestObject) Files {
	if r.MultipartBody != nil {
		return &formFiles{form: r.MultipartBody, seen: map[string]bool{}}
	}
	return &bodyFile{r.Body}
}

// bodyFile is an upload of an archive alone.
type bodyFile struct{ body io.Reader }

func (b *bodyFile) Next() (string, io.Reader, error) {
	body := b.body
	if body == nil {
		return "", nil, io.EOF
	}
	b.body = nil
	return PartArchive, body, nil
}

// formFiles are the parts of a form, read as they come.
type formFiles struct {
	form *multipart.Reader
	seen map[string]bool
}

func (f *formFiles) Next() (string, io.Reader, error) {
	part, err := f.form.NextRawPart()
	if err == io.EOF { // the end as it is; wrapped, it comes too early
		return "", nil, f.end()
	}
	if err != nil {
		return "", nil, formFault(err)
	}
	name := part.FormName()
	switch {
	case name != PartArchive && name != PartConfig && name != PartWeights:
		return "", nil, fault.New(fault.Invalid, shorten(name), "is no part of an upload: send %s, or %s and %s", PartArchive, PartConfig, PartWeights)
	case f.seen[name]:
		return "", nil, fault.New(fault.Invalid, name, "occurs twice")
	case len(f.seen) > 0 && (name == PartArchive || f.seen[PartArchive]):
		return "", nil, fault.New(fault.Invalid, PartArchive, "is all there may be: send either it or the two files")
	}
	f.seen[name] = true
	if name == PartConfig {
		return name, &partReader{part: part, name: name, left: maxConfig}, nil
	}
	return name, &partReader{part: part, name: name, left: maxModule}, nil
}

// end is io.EOF if everything was there.
func (f *formFiles) end() error {
	if f.seen[PartArchive] {
		return io.EOF
	}
	for _, name := range []string{PartConfig, PartWeights} {
		if !f.seen[name] {
			return fault.New(fault.Invalid, name, "is missing")
		}
	}
	return io.EOF
}

// partReader reads a part up to its bound.
type partReader struct {
	part io.Reader
	name string
	left int64
}

func (p *partReader) Read(b []byte) (int, error) {
	n, err := p.part.Read(b)
	if p.left -= int64(n); p.left < 0 {
		return 0, fault.New(fault.TooLarge, p.name, "is too long")
	}
	return n, formFault(err)
}

// formFault tells a form that is none from a connection that broke or a body that is too long, which asFault knows.
func formFault(err error) error {
	if err == nil || err == io.EOF { //nolint:errorlint // the end as it is; wrapped, it comes too early
		return err
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok || errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	return fault.Wrap(err, fault.Invalid, "body", "is not a whole form")
}
