package main

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/medley-lora/medley/shared/adapters"
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
	return adapters.CheckRank("--rank", c.Rank, lora.Method(c.Method), slices.Collect(maps.Values(modules)))
}
