package main

import (
	"math"
	"path/filepath"
	"slices"
	"testing"

	"github.com/medley-lora/medley/shared/lora"
	"github.com/medley-lora/medley/shared/peft"
)

// near-duplicates of a module are alike, modules of other tasks are not.
func TestSketcherTellsModulesApart(t *testing.T) {
	p := newPlace(t)
	succeed(t, append([]string{"merge", "--out", p.to("copy"), "--weights=1,0.03"}, p.modules("plural", "add")...)...)
	modules, err := modulesFlag{Modules: []string{filepath.Join(p.zoo, "modules", "*"), p.to("copy")}}.find()
	if err != nil {
		t.Fatal(err)
	}
	sketchOf := sketcher(modules)
	sketches := make([][]float64, len(modules))
	for i := range modules {
		if sketches[i], err = sketchOf(i); err != nil || len(sketches[i]) != sketchSize {
			t.Fatalf("%s: %d numbers, %v", modules[i].name, len(sketches[i]), err)
		}
	}
	plural, last := slices.IndexFunc(modules, func(m module) bool { return m.name == "plural" }), len(modules)-1
	for i := range modules {
		for j := range i {
			c := cosine(sketches[i], sketches[j])
			if duplicate := i == last && j == plural; duplicate != (c > 0.98) { // narrow's threshold
				t.Errorf("%s and %s: cosine %.3f", modules[i].name, modules[j].name, c)
			}
		}
	}
}

// A module whose sampled layers are all zero is told apart by the others.
func TestSketchOfUntrainedLayers(t *testing.T) {
	p := newPlace(t)
	whole, err := loadAdapter(p.variant("all_linear_r16"))
	if err != nil {
		t.Fatal(err)
	}
	m, err := peft.Open(p.variant("all_linear_r16"), peft.OpenOptions{})
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
	writeFolder(t, p.to("untrained"), whole)
	got, err := sketcher([]module{{"untrained", p.to("untrained")}})(0)
	if err != nil || !slices.Equal(got, lora.Sketch(whole, sketchSize)) {
		t.Errorf("not the sketch of the whole: %v, %v", got[:3], err)
	}
	if got[0] == 0 {
		t.Error("the sketch is zero")
	}
}

func cosine(a, b []float64) float64 {
	var ab, aa, bb float64
	for i := range a {
		ab, aa, bb = ab+a[i]*b[i], aa+a[i]*a[i], bb+b[i]*b[i]
	}
	return ab / math.Sqrt(aa*bb)
}
