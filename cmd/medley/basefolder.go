package main

import (
	"os"
	"path/filepath"

	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/gpu/engine"
	"github.com/medley-lora/medley/gpu/t5"
	"github.com/medley-lora/medley/shared/checkpoint"
	"github.com/medley-lora/medley/shared/fault"
)

// baseFolder is a base model's folder that was checked as an engine checks it, without the cost of loading it.
type baseFolder struct {
	*engine.Folder
	dir  string
	maps map[string]t5.Map // that adapters may update
}

// openBaseFolder refuses what engine.Open would refuse. The caller closes the store.
func openBaseFolder(dir string) (*baseFolder, error) {
	f, err := engine.OpenFolder(dir)
	if err != nil {
		return nil, err
	}
	model, err := t5.Load(f.Config, shapes{f.Store}, nowhere{})
	if err != nil {
		f.Store.Close()
		return nil, err
	}
	return &baseFolder{Folder: f, dir: dir, maps: model.Maps()}, nil
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
