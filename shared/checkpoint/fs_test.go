package checkpoint

import (
	"archive/zip"
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/zoo"
	"github.com/medley-lora/medley/shared/zoo/zootest"
)

// A model in memory is the model on disk.
func TestOpenModelFS(t *testing.T) {
	base, err := fs.Sub(zoo.Files(), "base")
	if err != nil {
		t.Fatal(err)
	}
	inMemory, err := OpenModelFS(base)
	if err != nil {
		t.Fatal(err)
	}
	defer inMemory.Close()
	onDisk, err := OpenModel(filepath.Join(zootest.Dir(t), "base"))
	if err != nil {
		t.Fatal(err)
	}
	defer onDisk.Close()
	if !slices.Equal(inMemory.Names(), onDisk.Names()) || len(onDisk.Names()) == 0 {
		t.Fatalf("tensors %v, want %v", inMemory.Names(), onDisk.Names())
	}
	for _, name := range onDisk.Names() {
		got, err := inMemory.Float32(name)
		if err != nil {
			t.Fatal(err)
		}
		want, err := onDisk.Float32(name)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s differs", name)
		}
	}
	if err := inMemory.Unchanged(); err != nil {
		t.Error(err)
	}
}

// A folder opened as a file system is mapped like any other: asked for twice, a tensor is the same memory.
func TestFolderFSIsMapped(t *testing.T) {
	store, err := OpenModelFS(os.DirFS(filepath.Join(zootest.Dir(t), "base")))
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	for _, name := range store.Names() {
		a, err := store.Float32(name)
		if err != nil {
			t.Fatal(err)
		}
		b, err := store.Float32(name)
		if err != nil {
			t.Fatal(err)
		}
		if &a[0] != &b[0] {
			t.Fatalf("%s was copied", name)
		}
	}
}

func TestFilesThatCannotSeekAreRefused(t *testing.T) {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	if _, err := w.Create("model.safetensors"); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	compressed, err := zip.NewReader(bytes.NewReader(b.Bytes()), int64(b.Len()))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := OpenModelFS(compressed); fault.CodeOf(err) != fault.Unsupported {
		t.Errorf("got %v, want an error of code %s", err, fault.Unsupported)
	}
}
