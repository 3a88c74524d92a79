package host

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/tetratelabs/wazero"

	"github.com/medley-lora/medley/shared/fault"
)

// privateDir makes dir if it is missing, and refuses one that others could put machine code into.
func privateDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fault.Wrap(err, fault.Invalid, "cache", "cannot be made: %v", cause(err))
	}
	info, err := os.Stat(dir)
	if err != nil {
		return fault.Wrap(err, fault.Invalid, "cache", "cannot be read: %v", cause(err))
	}
	if !info.IsDir() {
		return fault.New(fault.Invalid, "cache", "is not a folder")
	}
	if runtime.GOOS != "windows" && (info.Mode().Perm()&0o022 != 0 || !owned(info)) { // modes say nothing there
		return fault.New(fault.Invalid, "cache", "can be written to by others, who could have their machine code run")
	}
	return nil
}

// cause is an error of the operating system without the path in it.
func cause(err error) error {
	if p := new(fs.PathError); errors.As(err, &p) {
		return p.Err
	}
	return err
}

// entry is the cache of one module: wazero's own files in a folder of the module's hash, each with its SHA-256 beside it. wazero checks
// the machine code by CRC-32 and the offsets into it not at all, and a wrong offset ends the process.
type entry struct {
	dir    string
	cache  wazero.CompilationCache
	sealed map[string]bool // paths of the files whose sum is right
}

const sumSuffix = ".sha256"

// openEntry opens the cache of a module, rid of every file that is damaged or not sealed yet. Another process may do the same at once:
// files appear whole, by rename, and one that is removed too early is compiled again.
func openEntry(root string, wasm []byte) (*entry, error) {
	hash := sha256.Sum256(wasm)
	e := &entry{dir: filepath.Join(root, hex.EncodeToString(hash[:])), sealed: map[string]bool{}}
	err := e.walk(func(path, sum string) {
		want, err := os.ReadFile(path + sumSuffix)
		if err != nil || string(want) != sum {
			os.Remove(path)
			return
		}
		e.sealed[path] = true
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	e.cache, err = wazero.NewCompilationCacheWithDir(e.dir)
	return e, err
}

// seal writes the sums of what is new. An error costs the next run the time to compile.
func (e *entry) seal() {
	anew := false
	_ = e.walk(func(path, sum string) {
		writeFile(path+sumSuffix, sum)
		anew = true
	})
	if anew {
		prune(filepath.Dir(e.dir))
	}
}

// keptModules is how many modules a cache holds, of some megabytes each: every version of a program brings a new one.
const keptModules = 16

// prune removes the modules that were compiled first. One that is in use has been read already.
func prune(root string) {
	entries, err := os.ReadDir(root)
	if err != nil || len(entries) <= keptModules {
		return
	}
	age := func(d fs.DirEntry) int64 {
		info, err := d.Info()
		if err != nil {
			return 0 // another process has just removed it
		}
		return info.ModTime().UnixNano()
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return cmp.Compare(age(b), age(a)) })
	for _, d := range entries[keptModules:] {
		if name, err := hex.DecodeString(d.Name()); d.IsDir() && err == nil && len(name) == sha256.Size { // ours
			os.RemoveAll(filepath.Join(root, d.Name()))
		}
	}
}

// writeFile makes a file appear whole, or not at all.
func writeFile(path, text string) {
	f, err := os.CreateTemp(filepath.Dir(path), "*.tmp")
	if err != nil {
		return
	}
	_, err = f.WriteString(text)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
}

// walk visits the compiled files that are not known to be sealed, with the hex SHA-256 of each.
func (e *entry) walk(visit func(path, sum string)) error {
	return filepath.WalkDir(e.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if !d.Type().IsRegular() || strings.HasSuffix(path, sumSuffix) || strings.HasSuffix(path, ".tmp") || e.sealed[path] {
			return nil
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return nil //nolint:nilerr // another process has just removed it
		}
		sum := sha256.Sum256(content)
		visit(path, hex.EncodeToString(sum[:]))
		return nil
	})
}
