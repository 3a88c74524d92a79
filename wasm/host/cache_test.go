package host_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/wasm/host"
)

// files maps the files of a cache to their contents.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		found[path] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// sealed tells whether the sum of a file is there and right.
func sealed(found map[string]string, path string) bool {
	sum := sha256.Sum256([]byte(found[path]))
	return found[path+".sha256"] == hex.EncodeToString(sum[:])
}

func compileAndAsk(t *testing.T, dir string) {
	t.Helper()
	r := newRuntime(t, host.Options{CacheDir: dir})
	m := compile(t, r, still().bytes())
	g, err := m.New(t.Context(), one(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := search1(one(), g); err != nil {
		t.Error(err)
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
}

func TestCache(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "cache")
	compileAndAsk(t, dir)
	made := files(t, dir)
	if len(made) != 2 {
		t.Fatalf("the cache holds %d files, expected code and its sum", len(made))
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the cache is open to others: %v, %v", info.Mode(), err)
	}
	var code string
	for path := range made {
		if !strings.HasSuffix(path, ".sha256") {
			code = path
		}
	}
	before, err := os.Stat(code)
	if err != nil {
		t.Fatal(err)
	}
	compileAndAsk(t, dir)
	if after, err := os.Stat(code); err != nil || !os.SameFile(before, after) {
		t.Errorf("compiled again although it was in the cache: %v", err)
	}
	whole := made[code]
	damaged := map[string]string{"empty": "", "cut off": whole[:len(whole)/2], "other text": "hello", "longer": whole + "x"}
	for i := 0; i < len(whole); i += 211 { // offsets, code, checksum
		damaged[fmt.Sprintf("byte %d", i)] = whole[:i] + string(whole[i]^0x55) + whole[i+1:]
	}
	for name, content := range damaged {
		if err := os.WriteFile(code, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		compileAndAsk(t, dir)
		if got := files(t, dir); got[code] == content || !sealed(got, code) {
			t.Errorf("%s: the damaged entry was not replaced", name)
		}
	}
	if err := os.WriteFile(code+".sha256", []byte("no sum"), 0o600); err != nil {
		t.Fatal(err)
	}
	compileAndAsk(t, dir)
	if got := files(t, dir); len(got) != 2 || !sealed(got, code) {
		t.Error("a damaged sum was not replaced")
	}
}

func TestCacheShared(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 4 {
				compileAndAsk(t, dir)
			}
		})
	}
	all.Wait()
	for path := range files(t, dir) {
		if strings.HasSuffix(path, ".tmp") {
			t.Errorf("%s was left", path)
		}
	}
}

// A cache that fails costs time and nothing else.
func TestCacheBlocked(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	compileAndAsk(t, dir)
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Fatalf("entries %v, error %v", entries, err)
	}
	blocked := filepath.Join(dir, entries[0].Name())
	if err := os.RemoveAll(blocked); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(blocked, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	compileAndAsk(t, dir)
}

// A cache keeps the newest modules, and what is not its own.
func TestCachePruned(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	if err := os.MkdirAll(filepath.Join(dir, "not ours"), 0o700); err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-time.Hour)
	for i := range 40 {
		entry := filepath.Join(dir, fmt.Sprintf("%064x", i))
		if err := errors.Join(os.Mkdir(entry, 0o700), os.Chtimes(entry, old, old.Add(time.Duration(i)*time.Second))); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chtimes(filepath.Join(dir, "not ours"), old, old.Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	compileAndAsk(t, dir)
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 16+1 {
		t.Fatalf("%d entries are left, error %v", len(entries), err)
	}
	for _, name := range []string{"not ours", fmt.Sprintf("%064x", 39), fmt.Sprintf("%064x", 25)} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Errorf("%s was removed", name)
		}
	}
	made := len(files(t, dir))
	if compileAndAsk(t, dir); made != 2 || len(files(t, dir)) != made {
		t.Errorf("the new module has %d files, and then %d", made, len(files(t, dir)))
	}
}

func TestCacheRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	open := t.TempDir()
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]string{
		file: "cache: cannot be made: not a directory", open: "cache: can be written to by others, who could have their machine code run",
	} {
		if runtime.GOOS == "windows" && dir == open {
			continue // modes mean nothing there
		}
		if _, err := host.New(t.Context(), host.Options{CacheDir: dir}); fault.CodeOf(err) != fault.Invalid || err.Error() != want {
			t.Errorf("error %v, expected %s", err, want)
		}
	}
}
