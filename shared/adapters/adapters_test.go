package adapters

import (
	"math"
	"path/filepath"
	"slices"
	"testing"

	"github.com/medley-lora/medley/shared/compose"
	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/lora"
	"github.com/medley-lora/medley/shared/peft"
	"github.com/medley-lora/medley/shared/zoo/zootest"
)

func zooFolders(t *testing.T) (zoo string, folders []Folder) {
	t.Helper()
	zoo = zootest.Dir(t)
	paths, err := filepath.Glob(filepath.Join(zoo, "modules", "*"))
	if err != nil || len(paths) < 2 {
		t.Fatal(paths, err)
	}
	for _, path := range paths {
		folders = append(folders, Folder{filepath.Base(path), path})
	}
	return zoo, folders
}

// near-duplicates of a module are alike, modules of other tasks are not.
func TestSketcherTellsModulesApart(t *testing.T) {
	zoo, folders := zooFolders(t)
	load := Loader(folders)
	var pair []*lora.Adapter
	for _, name := range []string{"plural", "add"} {
		a, err := load(name)
		if err != nil {
			t.Fatal(err)
		}
		pair = append(pair, a)
	}
	out := filepath.Join(t.TempDir(), "copy")
	if _, d, err := Write(out, "out", lora.Delta, pair, []float64{1, 0.03}, lora.Options{}, filepath.Join(zoo, "base")); err != nil || d.Relative > 1e-6 {
		t.Fatal(d, err)
	}
	folders = append(folders, Folder{"copy", out})
	sketchOf := Sketcher(folders)
	sketches := make([][]float64, len(folders))
	for i := range folders {
		var err error
		if sketches[i], err = sketchOf(i); err != nil || len(sketches[i]) != sketchSize {
			t.Fatalf("%s: %d numbers, %v", folders[i].Name, len(sketches[i]), err)
		}
	}
	plural, last := slices.IndexFunc(folders, func(f Folder) bool { return f.Name == "plural" }), len(folders)-1
	for i := range folders {
		for j := range i {
			c := cosine(sketches[i], sketches[j])
			if duplicate := i == last && j == plural; duplicate != (c > 0.98) { // narrow's threshold
				t.Errorf("%s and %s: cosine %.3f", folders[i].Name, folders[j].Name, c)
			}
		}
	}
}

// A module whose sampled layers are all zero is told apart by the others.
func TestSketchOfUntrainedLayers(t *testing.T) {
	variant := filepath.Join(zootest.Dir(t), "variants", "all_linear_r16")
	whole, err := Load(variant)
	if err != nil {
		t.Fatal(err)
	}
	m, err := peft.Open(variant, peft.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	sampled := spread(m.Layers, sketchLayers)
	if len(sampled) != sketchLayers || !slices.IsSorted(sampled) || len(slices.Compact(slices.Clone(sampled))) != sketchLayers {
		t.Fatalf("sampled %v", sampled)
	}
	for i, l := range whole.Layers {
		if slices.Contains(sampled, l.Target) {
			whole.Layers[i].B = make([]float32, len(l.B))
		}
	}
	untrained := filepath.Join(t.TempDir(), "untrained")
	if err := peft.Write(untrained, whole, peft.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	got, err := Sketcher([]Folder{{"untrained", untrained}})(0)
	if err != nil || !slices.Equal(got, lora.Sketch(whole, sketchSize)) {
		t.Errorf("not the sketch of the whole: %v, %v", got[:3], err)
	}
	if got[0] == 0 {
		t.Error("the sketch is zero")
	}
}

// Zero weights are an adapter too, which changes nothing.
func TestExportOfTheBaseItself(t *testing.T) {
	_, folders := zooFolders(t)
	r := &compose.Result{Modules: []string{folders[0].Name, folders[1].Name}, Composed: &compose.Point{Weights: []float64{0, 0}}}
	a, d, err := Export(filepath.Join(t.TempDir(), "zero"), "out", lora.Delta, folders, r, lora.Options{}, "base")
	if err != nil || d.MaxAbs != 0 || Rank(a) < 1 {
		t.Fatal(d, err)
	}
	r.Modules, r.Composed.Weights = []string{"none"}, []float64{1}
	if _, _, err := Export(filepath.Join(t.TempDir(), "none"), "out", lora.Delta, folders, r, lora.Options{}, "base"); fault.CodeOf(err) != fault.NotFound {
		t.Error(err)
	}
}

func cosine(a, b []float64) float64 {
	var ab, aa, bb float64
	for i := range a {
		ab, aa, bb = ab+a[i]*b[i], aa+a[i]*a[i], bb+b[i]*b[i]
	}
	return ab / math.Sqrt(aa*bb)
}
