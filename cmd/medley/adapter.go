package main

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"

	"github.com/medley-lora/medley/shared/adapters"
	"github.com/medley-lora/medley/shared/checkpoint"
)

// folders are modules as package adapters has them.
func folders(modules []module) []adapters.Folder {
	all := make([]adapters.Folder, len(modules))
	for i, m := range modules {
		all[i] = adapters.Folder{Name: m.name, Path: m.folder}
	}
	return all
}

// digestOf names the content of a base model's folder: its configuration, weights and tokenizer.
func digestOf(folder string) (string, error) {
	if isFile(folder) { // GGUF has them all in one
		store, err := checkpoint.OpenGGUF(os.DirFS(filepath.Dir(folder)), filepath.Base(folder))
		if err != nil {
			return "", err
		}
		defer store.Close()
		return store.Digest()
	}
	store, err := checkpoint.OpenModel(folder)
	if err != nil {
		return "", err
	}
	defer store.Close()
	weights, err := store.Digest()
	if err != nil {
		return "", err
	}
	h := sha256.New()
	h.Write([]byte(weights))
	for _, name := range []string{"config.json", "tokenizer.json", "spiece.model", "tokenizer_config.json", "chat_template.jinja"} {
		if data, err := os.ReadFile(filepath.Join(folder, name)); err == nil {
			sum := sha256.Sum256(data)
			h.Write([]byte(name))
			h.Write(sum[:])
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
