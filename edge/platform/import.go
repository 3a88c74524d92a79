package platform

import (
	"context"
	"io"
	"os"
	"path/filepath"

	"github.com/medley-lora/medley/edge/archive"
	"github.com/medley-lora/medley/edge/gateway"
	"github.com/medley-lora/medley/edge/record"
	"github.com/medley-lora/medley/edge/store"
	"github.com/medley-lora/medley/shared/fault"
)

// Imported is a module in a folder on this machine, as the operator brings it.
type Imported struct {
	Folder, Name, Task, Author, Licence string
}

// Import makes a module everyone's, once: one that was deleted since does not come back. It is for the operator.
func (p *Platform) Import(ctx context.Context, m Imported) (err error) {
	key := "import " + m.Name
	if made, err := p.Store.Made(ctx, System, key); made || err != nil {
		return err
	}
	upload, err := archive.Receive(p.Uploads, &folderParts{folder: m.Folder, names: []string{archive.Config, archive.Weights}}, p.Limits)
	if err != nil {
		return fault.In("module "+m.Name, err)
	}
	defer func() {
		if closed := upload.Close(); err == nil {
			err = closed
		}
	}()
	_, err = p.keepModule(ctx, System, gateway.NewModule{
		Name: m.Name, Task: m.Task, Author: m.Author, Licence: m.Licence, Visibility: record.Shared,
	}, upload, store.Once{Key: key})
	return err
}

// folderParts are the files of a folder as an upload.
type folderParts struct {
	folder string
	names  []string
	open   *os.File
}

// Next is archive.Parts'.
func (f *folderParts) Next() (string, io.Reader, error) {
	if f.open != nil {
		f.open.Close() // it was read to its end
		f.open = nil
	}
	if len(f.names) == 0 {
		return "", nil, io.EOF
	}
	name := f.names[0]
	f.names = f.names[1:]
	file, err := os.Open(filepath.Join(f.folder, name))
	if err != nil {
		return "", nil, fault.Wrap(err, fault.NotFound, name, "cannot be read")
	}
	f.open = file
	return name, file, nil
}
