package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/wasm/samples"
)

type pluginNewCommand struct {
	Lang string `required:"" placeholder:"LANGUAGE" help:"What to write it in: c, assemblyscript, rust or go."`
	Dir  string `arg:"" name:"dir" help:"Folder to begin it in: new, or empty."`
}

// building is what an author types in the folder of a template, and the plugin that comes of it. Each template's README.md says more.
var building = map[string]struct {
	commands []string
	plugin   string
}{
	"c":              {[]string{"make"}, "plugin.wasm"},
	"assemblyscript": {[]string{"npm install", "npm run build"}, "plugin.wasm"},
	"rust":           {[]string{"cargo build --release --target wasm32-unknown-unknown"}, "target/wasm32-unknown-unknown/release/plugin.wasm"},
	"go": {
		[]string{"GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared -trimpath -ldflags=-s -o plugin.wasm main.go es.go config.go"}, "plugin.wasm",
	},
}

func (c *pluginNewCommand) Run(a *app) error {
	if languages := samples.Languages(); !slices.Contains(languages, c.Lang) {
		return fault.New(fault.Invalid, "--lang", "%q is not known; expected %s", c.Lang, strings.Join(languages, ", "))
	}
	if c.Dir == "" {
		return fault.New(fault.Invalid, "<dir>", "is empty; expected a folder to begin the plugin in")
	}
	files, err := samples.Template(c.Lang)
	if err == nil {
		err = writeTemplate(files, c.Dir)
	}
	if err != nil {
		return fault.In(c.Dir, err)
	}
	fmt.Fprintf(a.stdout, "%s holds a plugin that works; its README.md says what it needs. Next:\n\n", c.Dir)
	b := building[c.Lang]
	next := append(slices.Clone(b.commands), "medley plugin check "+b.plugin)
	if dir := filepath.Clean(c.Dir); dir != "." {
		next = append([]string{"cd" + strings.TrimPrefix(commandLine([]string{dir}), "medley")}, next...)
	}
	for _, line := range next {
		fmt.Fprintf(a.stdout, "    %s\n", line)
	}
	return nil
}

// writeTemplate fills dir, which is new or empty, with files: all of them or none.
func writeTemplate(files fs.FS, dir string) error {
	dir = filepath.Clean(dir)
	entries, err := os.ReadDir(dir)
	there := err == nil
	switch {
	case len(entries) > 0:
		return fault.New(fault.Invalid, "", "is not empty; expected a new or an empty folder")
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return fault.Wrap(err, fault.Invalid, "", "cannot be used: %v; expected a new or an empty folder", errorWithoutPath(err))
	}
	beside := filepath.Dir(dir)
	if there {
		beside = dir // it may be another file system than the folder that it is in, and somebody's working folder
	}
	temporary, err := os.MkdirTemp(beside, ".new-*")
	if err != nil {
		return fault.Wrap(err, fault.Invalid, "", "cannot be made: %v", errorWithoutPath(err))
	}
	defer os.RemoveAll(temporary)
	if err = os.CopyFS(temporary, files); err == nil && there {
		err = moveUp(temporary, dir)
	} else if err == nil {
		err = errors.Join(os.Chmod(temporary, 0o755), os.Rename(temporary, dir)) // a temporary folder is for its maker alone
	}
	if err != nil {
		return fault.Wrap(err, fault.Invalid, "", "cannot be written: %v", errorWithoutPath(err))
	}
	return nil
}

// moveUp moves everything in a folder to the folder dir that it is in, or nothing.
func moveUp(folder, dir string) error {
	entries, err := os.ReadDir(folder)
	for i := 0; i < len(entries) && err == nil; i++ {
		name := entries[i].Name()
		if err = os.Rename(filepath.Join(folder, name), filepath.Join(dir, name)); err != nil {
			for _, moved := range entries[:i] {
				os.RemoveAll(filepath.Join(dir, moved.Name()))
			}
		}
	}
	return err
}
