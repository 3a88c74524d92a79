package main

import (
	"os"
	"path/filepath"

	"github.com/medley-lora/medley/gpu/engine"
	"github.com/medley-lora/medley/gpu/model"
	"github.com/medley-lora/medley/shared/checkpoint"
	"github.com/medley-lora/medley/shared/fault"
)

// baseFolder is a base model's folder that was checked as an engine checks it, without the cost of loading it.
type baseFolder struct {
	*engine.Folder
	dir  string
	maps map[string]model.Map // that adapters may update
}

// openBaseFolder refuses what engine.Open would refuse. The caller closes the store.
func openBaseFolder(dir string) (*baseFolder, error) {
	f, err := engine.OpenFolder(dir)
	if err != nil {
		return nil, err
	}
	maps, err := f.Maps()
	if err != nil {
		f.Store.Close()
		return nil, err
	}
	return &baseFolder{Folder: f, dir: dir, maps: maps}, nil
}

// baseFiles is what a base model's folder holds beside weights.
var baseFiles = []string{
	"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
	"spiece.model", "chat_template.jinja", "LICENSE", "LICENSE.txt",
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
