package blob_test

import (
	"bytes"
	"context"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/medley-lora/medley/edge/blob"
	"github.com/medley-lora/medley/edge/blob/blobtest"
	"github.com/medley-lora/medley/shared/fault"
)

func TestMemory(t *testing.T) { blobtest.Run(t, func(*testing.T) string { return "mem://" }) }

func TestFolder(t *testing.T) {
	blobtest.Run(t, func(t *testing.T) string { return "file://" + filepath.Join(t.TempDir(), "new", "folder") })
}

func TestOpen(t *testing.T) {
	for _, location := range []string{"", "data", "/data", "gs://bucket", "http://host/?password=hunter2", "file\x00://", "://"} {
		_, err := blob.Open(t.Context(), location)
		if fault.CodeOf(err) != fault.Invalid || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v", location, err)
		}
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := blob.Open(t.Context(), "file://"+file); fault.CodeOf(err) != fault.Invalid || strings.Contains(err.Error(), file) {
		t.Errorf("a file as folder: %v", err)
	}
}

func folder(t testing.TB) (string, *blob.Store) {
	dir := t.TempDir()
	s, err := blob.Open(context.Background(), "file://"+dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return dir, s
}

// files lists what is below a folder.
func files(t *testing.T, dir string) (found []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			found = append(found, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestNothingIsLeft(t *testing.T) {
	dir, s := folder(t)
	if _, _, err := s.Put(t.Context(), strings.NewReader("too large"), 3); fault.CodeOf(err) != fault.TooLarge {
		t.Fatal(err)
	}
	if left := files(t, dir); len(left) != 0 {
		t.Errorf("left %q", left)
	}
	if _, _, err := s.Put(t.Context(), strings.NewReader("x"), 3); err != nil {
		t.Fatal(err)
	}
	if left := files(t, dir); len(left) != 1 {
		t.Errorf("left %q", left)
	}
}

// Whatever a killed process left goes with its grace; what is not ours stays.
func TestSweep(t *testing.T) {
	dir, s := folder(t)
	old := time.Now().Add(-2 * time.Hour)
	for name, kept := range map[string]bool{
		"uploads/ABC": false, "uploads/ABC.17a.tmp": false, "blobs/ab/abc.17a.tmp": false, "blobs/README": true, "other/file.tmp": true, "uploads/young": true,
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		if name != "uploads/young" {
			if err := os.Chtimes(path, old, old); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.Collect(t.Context(), time.Hour, func(context.Context, string) (bool, error) { return false, nil }); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(path); (err == nil) != kept {
			t.Errorf("%s: %v, to be kept: %v", name, err, kept)
		}
	}
}

func TestDamage(t *testing.T) {
	dir, s := folder(t)
	name, _, err := s.Put(t.Context(), strings.NewReader("content"), 100)
	if err != nil {
		t.Fatal(err)
	}
	path := files(t, dir)[0]
	for _, damaged := range []string{"CONTENT", "conten", "contents", ""} {
		if err := os.WriteFile(path, []byte(damaged), 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := s.Open(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(r); fault.CodeOf(err) != fault.Internal {
			t.Errorf("%q: %v", damaged, err)
		}
		r.Close()
	}
}

// A gigabyte passes through in the memory of a few buffers.
func TestMemoryOfPut(t *testing.T) {
	const size = 1 << 30
	_, s := folder(t)
	block := make([]byte, 1<<16)
	rand.NewChaCha8([32]byte{1}).Read(block) //nolint:errcheck // never fails
	content := io.LimitReader(repeat(block), size)
	runtime.GC()
	var before runtime.MemStats
	runtime.ReadMemStats(&before)
	peak := watch(t)
	_, n, err := s.Put(t.Context(), content, size)
	if err != nil || n != size {
		t.Fatalf("%d bytes: %v", n, err)
	}
	if used := peak() - int64(before.HeapInuse); used > 16<<20 {
		t.Errorf("a put of %d MiB took %d MiB", size>>20, used>>20)
	} else {
		t.Logf("a put of %d MiB took %.1f MiB", size>>20, float64(used)/(1<<20))
	}
}

func repeat(block []byte) io.Reader {
	r := bytes.NewReader(block)
	return readerFunc(func(p []byte) (int, error) {
		if r.Len() == 0 {
			r.Reset(block)
		}
		return r.Read(p)
	})
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// watch looks at the heap from now on until the function that it returns is asked for the largest.
func watch(t *testing.T) (peak func() int64) {
	var largest atomic.Int64
	ended, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			largest.Store(max(largest.Load(), int64(m.HeapInuse)))
			select {
			case <-ended:
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	}()
	return func() int64 {
		close(ended)
		<-stopped
		return largest.Load()
	}
}
