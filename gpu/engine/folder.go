package engine

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/gpu/chat"
	"github.com/medley-lora/medley/gpu/llama"
	"github.com/medley-lora/medley/gpu/model"
	"github.com/medley-lora/medley/gpu/t5"
	"github.com/medley-lora/medley/gpu/tokenizer"
	"github.com/medley-lora/medley/shared/checkpoint"
	"github.com/medley-lora/medley/shared/fault"
)

// Folder is a base model, a folder in Hugging Face's layout or a GGUF file, checked but with no weights read.
type Folder struct {
	Summary   Summary
	Tokenizer *tokenizer.Tokenizer
	Store     *checkpoint.Store // for the caller to close
	GGUF      bool              // it is such a file

	t5    *t5.Config // of these two one is set
	llama *llama.Config
	named model.Weights // the store's tensors by the names that models know

	chat string // the chat template, "" for none
}

// Summary describes a base model for people.
type Summary struct {
	Family                           string // config.json's model_type
	EncoderLayers, DecoderLayers     int    // of a decoder-only model the former are 0
	Width, Heads, KVHeads, VocabSize int
}

// maxConfig bounds config.json in bytes.
const maxConfig = 4 << 20

// OpenFolder opens a folder or a GGUF file. It refuses a folder without config.json, tokenizer or weights, and one whose tokenizer has more
// tokens than the model.
func OpenFolder(path string) (*Folder, error) {
	if info, err := os.Stat(path); err == nil && !info.IsDir() {
		return OpenGGUF(os.DirFS(filepath.Dir(path)), filepath.Base(path))
	}
	return OpenFolderFS(os.DirFS(path))
}

// OpenGGUF opens a GGUF file of fsys.
func OpenGGUF(fsys fs.FS, name string) (*Folder, error) {
	file, err := checkpoint.OpenGGUF(fsys, name)
	if err != nil {
		return nil, err
	}
	f := &Folder{Store: file.Store, GGUF: true}
	f.chat, _ = file.Values["tokenizer.chat_template"].(string)
	if f.Tokenizer, err = tokenizer.FromGGUF(file.Values); err == nil {
		var g *llama.GGUF
		if g, err = llama.OpenGGUF(file, f.Tokenizer.VocabSize()); err == nil {
			f.named = g
			f.describe(&g.Config)
			return f, nil
		}
	}
	file.Close()
	return nil, err
}

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
	if f.chat, err = chatTemplate(fsys); err != nil {
		return nil, err
	}
	if f.Store, err = checkpoint.OpenModelFS(fsys); err != nil {
		return nil, err
	}
	f.named = stored{f.Store}
	return f, nil
}

// chatTemplate reads the template of a folder: a file of its own, or a field of tokenizer_config.json, where it may be one of several.
func chatTemplate(fsys fs.FS) (string, error) {
	data, err := checkpoint.ReadFile(fsys, "chat_template.jinja", maxConfig)
	if err == nil {
		return string(data), nil
	}
	if fault.CodeOf(err) == fault.NotFound {
		data, err = checkpoint.ReadFile(fsys, "tokenizer_config.json", maxConfig)
	}
	if err != nil {
		if fault.CodeOf(err) == fault.NotFound {
			return "", nil
		}
		return "", fault.In("chat_template", err)
	}
	var config struct {
		Template json.RawMessage `json:"chat_template"`
	}
	if err := json.Unmarshal(data, &config); err != nil || len(config.Template) == 0 || string(config.Template) == "null" {
		return "", nil //nolint:nilerr // the tokenizer has read the file and said what is wrong with it
	}
	var one string
	var several []struct{ Name, Template string }
	if json.Unmarshal(config.Template, &one) == nil {
		return one, nil
	}
	if err := json.Unmarshal(config.Template, &several); err != nil {
		return "", fault.New(fault.Invalid, "tokenizer_config.json: chat_template", "is neither a text nor a list of named ones")
	}
	for _, t := range several {
		if t.Name == "default" {
			return t.Template, nil
		}
	}
	return "", nil
}

// sizes are the parameters that become numbers of a backend, and the bytes of those that it keeps in blocks, as they are or as quantise says.
func (f *Folder) sizes(b backend.Backend, quantise string) (parameters, packed int64, err error) {
	packer, packs := b.(backend.Packer)
	for _, name := range f.Store.Names() {
		info, _ := f.Store.Info(name)
		if _, blocks := checkpoint.PackedBytes(info.DType, info.Elements()); blocks && packs && packer.Packs(info.DType) {
			packed += info.Bytes
		} else {
			parameters += int64(info.Elements())
		}
	}
	kind, ok := quantised[quantise]
	if !ok || f.GGUF { // whose maps are in blocks already, most of them
		return parameters, packed, nil
	}
	maps, err := f.Maps()
	for _, m := range maps {
		if row, whole := checkpoint.PackedBytes(kind, m.In); whole {
			parameters, packed = parameters-int64(m.In)*int64(m.Out), packed+int64(row)*int64(m.Out)
		}
	}
	return parameters, packed, err
}

func (f *Folder) template() chat.Template {
	return chat.Template{Text: f.chat, BOS: f.Tokenizer.Text(f.Tokenizer.BOS()), EOS: f.Tokenizer.Text(f.Tokenizer.EOS())}
}

// configure reads config.json by the family that it names.
func (f *Folder) configure(data []byte) error {
	var named struct {
		ModelType string `json:"model_type"`
	}
	if err := json.Unmarshal(data, &named); err == nil && llama.Handles(named.ModelType) {
		c, err := llama.ParseConfig(data)
		f.describe(&c)
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

// describe takes a decoder-only model's configuration.
func (f *Folder) describe(c *llama.Config) {
	f.llama = c
	f.Summary = Summary{Family: c.ModelType, DecoderLayers: c.Layers, Width: c.Width, Heads: c.Heads, KVHeads: c.KVHeads, VocabSize: c.VocabSize}
}

// Maps are the linear maps that adapters may update. It refuses, without the cost of loading, what Open would refuse.
func (f *Folder) Maps() (map[string]model.Map, error) {
	m, err := f.load(shapes{f.named}, nowhere{}, false)
	if err != nil {
		return nil, err
	}
	return m.Maps(), nil
}

// load uploads the model. chatting says whether inputs are messages.
func (f *Folder) load(w model.Weights, b backend.Backend, chatting bool) (family, error) {
	var frame *chat.Frame
	if chatting {
		if f.chat == "" {
			return nil, fault.New(fault.Unsupported, "chat", "the base has no chat template")
		}
		var err error
		if frame, err = chat.NewFrame(f.template()); err != nil {
			return nil, err
		}
	}
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
	c, err := newCausal(m, f.Tokenizer, frame)
	if err != nil {
		m.Free()
		return nil, err
	}
	return c, nil
}

// stored are the tensors of a store under their own names.
type stored struct{ *checkpoint.Store }

func (s stored) Shape(name string) ([]int, bool) {
	info, ok := s.Info(name)
	return info.Shape, ok
}

// shapes are weights without their numbers: a model loaded from them on nowhere has had its shapes checked, and no more.
type shapes struct{ model.Weights }

func (shapes) Float32(string) ([]float32, error) { return nil, nil }
func (shapes) Release(string)                    {}

// nowhere is a backend that models are loaded on only for their shapes; it runs nothing.
type nowhere struct{ backend.Backend }

func (nowhere) Matrix([]float32, int, int) (backend.Resident, error) { return nothing{}, nil }
func (nowhere) Table([]float32, int, int) (backend.Resident, error)  { return nothing{}, nil }
func (nowhere) Vector([]float32) (backend.Resident, error)           { return nothing{}, nil }

type nothing struct{}

func (nothing) Bytes() int64 { return 0 }
func (nothing) Free()        {}
