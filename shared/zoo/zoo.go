// Package zoo is the built-in model zoo: a tiny T5 base, 22 LoRA modules and 9 unseen tasks, all synthetic and our own. It
// exists so that everything can be tried and tested without a download; it says nothing about real models.
package zoo

import (
	"embed"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

//go:embed data
var files embed.FS

// Files holds base/, modules/NAME/ and tasks/NAME.{few,eval}.jsonl.
func Files() fs.FS {
	sub, err := fs.Sub(files, "data")
	if err != nil {
		panic(err) // the embedded folder is part of the program
	}
	return sub
}

// Extract writes the zoo into dir, which is made if absent.
func Extract(dir string) error { return extract(Files(), dir) }

// Tasks lists the unseen tasks, sorted.
func Tasks() []string {
	entries, err := fs.Glob(Files(), "tasks/*.few.jsonl")
	if err != nil {
		panic(err) // the pattern is constant
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = strings.TrimSuffix(strings.TrimPrefix(e, "tasks/"), ".few.jsonl")
	}
	return names
}

func extract(source fs.FS, dir string) error {
	return fs.WalkDir(source, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		target := filepath.Join(dir, filepath.FromSlash(path))
		if d.IsDir() {
			return os.MkdirAll(target, 0o755)
		}
		data, err := fs.ReadFile(source, path)
		if err != nil {
			return err
		}
		return os.WriteFile(target, data, 0o644)
	})
}
