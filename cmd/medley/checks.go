package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/lora"
	"github.com/medley-lora/medley/shared/peft"
)

// checkOut refuses, before any work, a folder that an adapter cannot be written to.
func checkOut(out string, modules []module) error {
	entries, err := os.ReadDir(out)
	switch {
	case err == nil && len(entries) > 0 && !isAdapter(out):
		return fault.New(fault.Invalid, "--out", "%s holds something that is not an adapter; expected a new or empty folder, or an adapter to replace", out)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return fault.Wrap(err, fault.Invalid, "--out", "%s cannot be used: %v; expected a folder", out, errorWithoutPath(err))
	}
	return notAmong(out, modules)
}

// checkFile refuses, before any work, a file that cannot be written.
func checkFile(flag, path string) error {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return fault.New(fault.Invalid, flag, "%s is a folder; expected a file", path)
	}
	if _, err := os.Stat(filepath.Dir(path)); err != nil {
		return fault.Wrap(err, fault.Invalid, flag, "%s cannot be written: %v", path, errorWithoutPath(err))
	}
	return nil
}

// checkRank refuses, before the search, a rank that no composition of the modules could have.
func (c *composeCommand) checkRank(modules map[string]*peft.Module) error {
	switch {
	case c.Rank < 0:
		return fault.New(fault.Invalid, "--rank", "%d is negative", c.Rank)
	case c.Rank > 0 && c.Method != string(lora.Delta):
		return fault.New(fault.Invalid, "--rank", "the method %s does not take a rank", c.Method)
	}
	most := 0
	for _, m := range modules {
		for _, l := range m.Layers {
			most = max(most, min(l.In, l.Out))
		}
	}
	if c.Rank > most {
		return fault.New(fault.Invalid, "--rank", "%d is more than the %d that the largest layer can have", c.Rank, most)
	}
	return nil
}
