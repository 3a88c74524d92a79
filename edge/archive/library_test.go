package archive_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/medley-lora/medley/edge/archive"
	"github.com/medley-lora/medley/edge/blob"
	"github.com/medley-lora/medley/shared/fault"
)

var testTime = time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC)

func library(t *testing.T, blobs *blob.Store, dir string, maxBytes int64) *archive.Library {
	t.Helper()
	l, err := archive.NewLibrary(blobs, dir, maxBytes)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func memory(t *testing.T) *blob.Store {
	t.Helper()
	blobs, err := blob.Open(t.Context(), "mem://")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { blobs.Close() })
	return blobs
}

func put(t *testing.T, blobs *blob.Store, content []byte) string {
	t.Helper()
	digest, _, err := blobs.Put(t.Context(), bytes.NewReader(content), 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	return digest
}

func folder(t *testing.T, l *archive.Library, digest string) (path string, release func()) {
	t.Helper()
	path, release, err := l.Folder(t.Context(), digest)
	if err != nil {
		t.Fatal(err)
	}
	return path, release
}

func exists(path string) bool { _, err := os.Stat(path); return err == nil }

func TestLibraryShares(t *testing.T) {
	blobs, dir := memory(t), t.TempDir()
	source := adapterFolder(t, 1, 4)
	digest := put(t, blobs, pack(t, source))
	l := library(t, blobs, dir, 1<<20)
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			path, release, err := l.Folder(t.Context(), digest)
			if err != nil {
				t.Error(err)
				return
			}
			defer release()
			if readFile(t, path, archive.Weights) != readFile(t, source, archive.Weights) {
				t.Error("the folder has other weights")
			}
		})
	}
	all.Wait()
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("the library has %v", left)
	}
}

func TestLibraryEvicts(t *testing.T) {
	blobs := memory(t)
	var digests []string
	size := 0
	for i := range 3 {
		archived := pack(t, adapterFolder(t, float32(i+1), 64))
		size = len(archived)
		digests = append(digests, put(t, blobs, archived))
	}
	l := library(t, blobs, t.TempDir(), int64(2*size+size/2))
	first, releaseFirst := folder(t, l, digests[0])
	second, releaseSecond := folder(t, l, digests[1])
	releaseSecond()
	releaseSecond() // twice is once
	third, releaseThird := folder(t, l, digests[2])
	if !exists(first) || exists(second) || !exists(third) {
		t.Error("not the one that nobody used was removed")
	}
	second, releaseSecond = folder(t, l, digests[1])
	if !exists(first) || !exists(second) || !exists(third) {
		t.Error("one in use was removed")
	}
	releaseFirst()
	if exists(first) {
		t.Error("there are more bytes than allowed, and one of them is not in use")
	}
	releaseSecond()
	releaseThird()
}

func TestLibraryAfterCrash(t *testing.T) {
	blobs, dir := memory(t), t.TempDir()
	whole, damaged := adapterFolder(t, 1, 4), adapterFolder(t, 2, 4)
	wholeDigest, damagedDigest := put(t, blobs, pack(t, whole)), put(t, blobs, pack(t, damaged))
	l := library(t, blobs, dir, 1<<20)
	_, release := folder(t, l, wholeDigest)
	release()
	path, release := folder(t, l, damagedDigest)
	release()
	if err := os.WriteFile(filepath.Join(path, archive.Weights), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "unpacking-1"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := blobs.Delete(t.Context(), wholeDigest); err != nil { // it is not read again
		t.Fatal(err)
	}
	l = library(t, blobs, dir, 1<<20)
	if exists(filepath.Join(dir, "unpacking-1")) {
		t.Error("what a crash left is still there")
	}
	for digest, source := range map[string]string{wholeDigest: whole, damagedDigest: damaged} {
		path, release := folder(t, l, digest)
		if readFile(t, path, archive.Weights) != readFile(t, source, archive.Weights) {
			t.Error("a folder has other weights after a restart")
		}
		release()
	}
}

func TestLibraryErrors(t *testing.T) {
	blobs := memory(t)
	dir := t.TempDir()
	l := library(t, blobs, dir, 1<<20)
	absent := put(t, blobs, []byte("gone"))
	if err := blobs.Delete(t.Context(), absent); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, digest string
		code         fault.Code
	}{
		{"no digest", "../" + absent, fault.Invalid},
		{"absent", absent, fault.NotFound},
		{"no archive", put(t, blobs, []byte("text")), fault.Invalid},
	} {
		if _, _, err := l.Folder(t.Context(), c.digest); fault.CodeOf(err) != c.code {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	digest := put(t, blobs, pack(t, adapterFolder(t, 1, 4)))
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	for range 20 { // an unpacking that is given up does not disturb the next
		if _, release, err := l.Folder(canceled, digest); err == nil {
			release() // it was there before the end was seen
		} else if !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		path, release := folder(t, l, digest)
		if !exists(filepath.Join(path, archive.Weights)) {
			t.Error("the folder is not whole")
		}
		release()
	}
	if _, _, err := l.Folder(t.Context(), absent); fault.CodeOf(err) != fault.NotFound {
		t.Errorf("asked again: %v", err)
	}
}
