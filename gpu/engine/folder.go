package engine

import (
	"encoding/json"
	"io/fs"
	"os"

	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/gpu/llama"
	"github.com/medley-lora/medley/gpu/model"
	"github.com/medley-lora/medley/gpu/t5"
	"github.com/medley-lora/medley/gpu/tokenizer"
	"github.com/medley-lora/medley/shared/checkpoint"
	"github.com/medley-lora/medley/shared/fault"
)

// Folder is a base model's folder in Hugging Face's layout, checked but with no weights read.
type Folder struct {
	Summary   Summary
	Tokenizer *tokenizer.Tokenizer
	Store     *checkpoint.Store // for the caller to close

	t5    *t5.Config // of these one is set
	llama *llama.Config
}

// Summary describes a base model for people.
type Summary struct {
	Family                           string // config.json's model_type
	EncoderLayers, DecoderLayers     int    // of a decoder-only model the former are 0
	Width, Heads, KVHeads, VocabSize int
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
	if err := f.configure(data); err != nil {
		return nil, err
	}
	if f.Tokenizer, err = tokenizer.OpenFS(fsys); err != nil {
		return nil, err
	}
	if n := f.Tokenizer.VocabSize(); n > f.Summary.VocabSize {
		return nil, fault.New(fault.Invalid, "tokenizer", "has %d tokens, the model only %d", n, f.Summary.VocabSize)
	}
	f.Store, err = checkpoint.OpenModelFS(fsys)
	return f, err
}

// configure reads config.json by the family that it names.
func (f *Folder) configure(data []byte) error {
	var named struct {
		ModelType string `json:"model_type"`
	}
	if err := json.Unmarshal(data, &named); err == nil && llama.Handles(named.ModelType) {
		c, err := llama.ParseConfig(data)
		f.llama = &c
		f.Summary = Summary{Family: c.ModelType, DecoderLayers: c.Layers, Width: c.Width, Heads: c.Heads, KVHeads: c.KVHeads, VocabSize: c.VocabSize}
		return err
	}
	c, err := t5.ParseConfig(data)
	f.t5 = &c
	f.Summary = Summary{
		Family: c.ModelType, EncoderLayers: c.EncoderLayers, DecoderLayers: c.DecoderLayers, Width: c.Width, Heads: c.Heads, KVHeads: c.Heads,
		VocabSize: c.VocabSize,
	}
	return err
}

// Load uploads the folder's model, from weights that may be others than its own, to b.
func (f *Folder) Load(w model.Weights, b backend.Backend) (Model, error) { return f.load(w, b) }

func (f *Folder) load(w model.Weights, b backend.Backend) (family, error) {
	if f.t5 != nil {
		m, err := t5.Load(*f.t5, w, b)
		if err != nil {
			return nil, err
		}
		return seq2seq{m}, nil
	}
	m, err := llama.Load(*f.llama, w, b)
	if err != nil {
		return nil, err
	}
	c, err := newCausal(m, f.Tokenizer)
	if err != nil {
		m.Free()
		return nil, err
	}
	return c, nil
}
