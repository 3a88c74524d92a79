package main

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"

	"github.com/medley-lora/medley/shared/checkpoint"
	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/lora"
	"github.com/medley-lora/medley/shared/peft"
)

// writeAdapter composes, writes and reads back. It returns the adapter on disk and how far its update is from the method's definition.
func writeAdapter(out string, method lora.Method, modules []*lora.Adapter, weights []float64, o lora.Options, base string) (*lora.Adapter, difference, error) {
	composed, err := lora.Compose(method, modules, weights, o)
	if err != nil {
		return nil, difference{}, err
	}
	composed.Name = filepath.Base(out)
	if err := peft.Write(out, composed, peft.WriteOptions{TaskType: "SEQ_2_SEQ_LM", BaseModel: base}); err != nil {
		return nil, difference{}, fault.In("--out "+out, err)
	}
	written, err := loadAdapter(out)
	if err != nil {
		return nil, difference{}, fault.In("reading back "+out, err)
	}
	_, total, err := lora.Difference(written, method, modules, weights, o)
	return written, difference{MaxAbs: total.MaxAbs, Relative: finite(total.Relative)}, err
}

// largestRank is the rank of an adapter for people, whose layers may differ in it.
func largestRank(a *lora.Adapter) int {
	rank := 0
	for _, l := range a.Layers {
		rank = max(rank, l.Rank)
	}
	return rank
}

// digestOf names the content of a base model's folder: its configuration, weights and tokenizer.
func digestOf(folder string) (string, error) {
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
	for _, name := range []string{"config.json", "tokenizer.json", "spiece.model", "tokenizer_config.json"} {
		if data, err := os.ReadFile(filepath.Join(folder, name)); err == nil {
			sum := sha256.Sum256(data)
			h.Write([]byte(name))
			h.Write(sum[:])
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
