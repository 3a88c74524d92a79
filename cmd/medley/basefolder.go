package main

import (
	"os"
	"path/filepath"

	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/gpu/t5"
	"github.com/medley-lora/medley/gpu/tokenizer"
	"github.com/medley-lora/medley/shared/checkpoint"
	"github.com/medley-lora/medley/shared/fault"
)

// baseFolder is a base model's folder that was checked as an engine checks it, without the cost of loading it.
type baseFolder struct {
	config    t5.Config
	tokenizer *tokenizer.Tokenizer
	store     *checkpoint.Store
	maps      map[string]t5.Map // that adapters may update
}

// maxModelConfig bounds config.json in bytes.
const maxModelConfig = 4 << 20

// openBaseFolder refuses what engine.Open would refuse, in the same words. The caller closes the store.
func openBaseFolder(dir string) (*baseFolder, error) {
	data, err := checkpoint.ReadFile(filepath.Join(dir, "config.json"), maxModelConfig)
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "config.json", "%v; expected a folder with config.json, weights and a tokenizer", err)
	}
	b := &baseFolder{}
	if b.config, err = t5.ParseConfig(data); err != nil {
		return nil, err
	}
	if b.tokenizer, err = tokenizer.Open(dir); err != nil {
		return nil, err
	}
	if n := b.tokenizer.VocabSize(); n > b.config.VocabSize {
		return nil, fault.New(fault.Invalid, "tokenizer", "has %d tokens, the model only %d", n, b.config.VocabSize)
	}
	if b.store, err = checkpoint.OpenModel(dir); err != nil {
		return nil, err
	}
	model, err := t5.Load(b.config, shapes{b.store}, nowhere{})
	if err != nil {
		b.store.Close()
		return nil, err
	}
	b.maps = model.Maps()
	return b, nil
}

// sizeOf counts the numbers of all tensors and the bytes that they take in the files.
func sizeOf(store *checkpoint.Store) (parameters, bytes int64) {
	for _, name := range store.Names() {
		info, _ := store.Info(name)
		parameters += int64(info.Elements())
		bytes += info.Bytes
	}
	return parameters, bytes
}

// shapes is a checkpoint without its numbers: a model loaded from it on nowhere has had its shapes checked, and no more.
type shapes struct{ store *checkpoint.Store }

func (s shapes) Shape(name string) ([]int, bool) {
	info, ok := s.store.Info(name)
	return info.Shape, ok
}

func (s shapes) Float32(string) ([]float32, error) { return nil, nil }
func (s shapes) Release(string)                    {}

// nowhere is a backend that models are loaded on only for their shapes; it runs nothing.
type nowhere struct{ backend.Backend }

func (nowhere) Matrix([]float32, int, int) (backend.Resident, error) { return nothing{}, nil }
func (nowhere) Table([]float32, int, int) (backend.Resident, error)  { return nothing{}, nil }
func (nowhere) Vector([]float32) (backend.Resident, error)           { return nothing{}, nil }

type nothing struct{}

func (nothing) Bytes() int64 { return 0 }
func (nothing) Free()        {}

// baseFiles is what a base model's folder holds beside weights.
var baseFiles = []string{
	"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
	"spiece.model", "LICENSE", "LICENSE.txt",
}

// copyBaseFiles copies those of baseFiles that there are.
func copyBaseFiles(to, from string) error {
	for _, name := range baseFiles {
		data, err := os.ReadFile(filepath.Join(from, name))
		if os.IsNotExist(err) {
			continue
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(to, name), data, 0o666)
		}
		if err != nil {
			return fault.In(name, checkpoint.IOFault(err, "copied"))
		}
	}
	return nil
}
