package peft

import (
	"io/fs"
	"path/filepath"
	"testing"

	"github.com/medley-lora/medley/shared/zoo"
	"github.com/medley-lora/medley/shared/zoo/zootest"
)

// An adapter in memory is the adapter on disk.
func TestOpenFS(t *testing.T) {
	const folder = "modules/french"
	files, err := fs.Sub(zoo.Files(), folder)
	if err != nil {
		t.Fatal(err)
	}
	inMemory, err := OpenFS(files, "french", OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	onDisk := mustOpen(t, filepath.Join(zootest.Dir(t), folder))
	want, err := onDisk.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := inMemory.Digest(); err != nil || got != want || inMemory.Name != onDisk.Name {
		t.Errorf("%s with digest %s, %v; want %s with %s", inMemory.Name, got, err, onDisk.Name, want)
	}
	if a := mustLoad(t, inMemory); len(a.Layers) != len(onDisk.Layers) {
		t.Errorf("%d layers, want %d", len(a.Layers), len(onDisk.Layers))
	}
}
