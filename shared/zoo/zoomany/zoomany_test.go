package zoomany

import (
	"bytes"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/lora"
	"github.com/medley-lora/medley/shared/peft"
)

const zooModules = 22

func load(t *testing.T, dir string) *lora.Adapter {
	t.Helper()
	module, err := peft.Open(dir, peft.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	adapter, err := module.Load()
	if err != nil {
		t.Fatal(err)
	}
	return adapter
}

// updates is the update of the first layer of the zoo's "add" and of its i-th variant.
func updates(t *testing.T, dir, name string) (before, after []float32, changed *lora.Layer) {
	t.Helper()
	original, err := open("add", "modules/add")
	if err != nil {
		t.Fatal(err)
	}
	changed = &load(t, filepath.Join(dir, name)).Layers[0]
	return original.Layers[0].Update(), changed.Update(), changed
}

// distance is ‖after − before‖ / ‖before‖.
func distance(before, after []float32) float64 {
	var difference, norm float64
	for i, x := range before {
		difference += math.Pow(float64(after[i]-x), 2)
		norm += math.Pow(float64(x), 2)
	}
	return math.Sqrt(difference / norm)
}

func TestMake(t *testing.T) {
	dir := t.TempDir()
	const n = zooModules*4 + 1
	if err := Make(dir, n, 1); err != nil {
		t.Fatal(err)
	}
	folders, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(folders) != n {
		t.Fatalf("%d folders, %v; want %d", len(folders), err, n)
	}
	for _, folder := range folders {
		load(t, folder)
	}
	for _, name := range []string{"000_add_noised", "022_add_scaled", "044_add_pruned", "066_add_truncated", "088_add_noised"} {
		before, after, layer := updates(t, dir, name)
		if d := distance(before, after); d < 0.01 || d > 1.5 {
			t.Errorf("%s: relative change of the update %.3g; want a change, and not another module", name, d)
		}
		if truncated := name == "066_add_truncated"; truncated != (layer.Rank <= 4) {
			t.Errorf("%s: rank %d", name, layer.Rank)
		}
	}
}

func TestMakeIsDeterminedBySeedAndIndex(t *testing.T) {
	first, second, other := t.TempDir(), t.TempDir(), t.TempDir()
	for dir, args := range map[string]struct {
		n    int
		seed uint64
	}{first: {3, 1}, second: {1, 1}, other: {1, 2}} {
		if err := Make(dir, args.n, args.seed); err != nil {
			t.Fatal(err)
		}
	}
	weights := func(dir string) []byte {
		data, err := os.ReadFile(filepath.Join(dir, "000_add_noised", "adapter_model.safetensors"))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	if !bytes.Equal(weights(first), weights(second)) {
		t.Error("the same seed gave two results")
	}
	if bytes.Equal(weights(first), weights(other)) {
		t.Error("two seeds gave one result")
	}
}

func TestMakeRefusesNegativeNumber(t *testing.T) {
	if err := Make(t.TempDir(), -1, 1); fault.CodeOf(err) != fault.Invalid {
		t.Errorf("got %v", err)
	}
}
