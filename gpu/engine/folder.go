package engine

import (
	"io/fs"
	"os"

	"github.com/medley-lora/medley/gpu/t5"
	"github.com/medley-lora/medley/gpu/tokenizer"
	"github.com/medley-lora/medley/shared/checkpoint"
	"github.com/medley-lora/medley/shared/fault"
)

// Folder is a base model's folder in Hugging Face's layout, checked but with no weights read.
type Folder struct {
	Config    t5.Config
	Tokenizer *tokenizer.Tokenizer
	Store     *checkpoint.Store // for the caller to close
}

// maxConfig bounds config.json in bytes.
const maxConfig = 4 << 20

// OpenFolder refuses a folder without config.json, tokenizer or weights, and one whose tokenizer has more tokens than the model.
func OpenFolder(dir string) (*Folder, error) { return OpenFolderFS(os.DirFS(dir)) }

// OpenFolderFS is OpenFolder for a file system whose root is the folder; see checkpoint.OpenModelFS.
func OpenFolderFS(fsys fs.FS) (*Folder, error) {
	data, err := checkpoint.ReadFile(fsys, "config.json", maxConfig)
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "config.json", "%v; expected a folder with config.json, weights and a tokenizer", err)
	}
	f := &Folder{}
	if f.Config, err = t5.ParseConfig(data); err != nil {
		return nil, err
	}
	if f.Tokenizer, err = tokenizer.OpenFS(fsys); err != nil {
		return nil, err
	}
	if n := f.Tokenizer.VocabSize(); n > f.Config.VocabSize {
		return nil, fault.New(fault.Invalid, "tokenizer", "has %d tokens, the model only %d", n, f.Config.VocabSize)
	}
	f.Store, err = checkpoint.OpenModelFS(fsys)
	return f, err
}
