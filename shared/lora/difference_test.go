package lora_test

import (
	"math"
	"slices"
	"testing"

	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/lora"
)

// Every method agrees with its own definition up to the rounding to single precision, if nothing is cut off.
func TestComposeAgreesWithTheDefinition(t *testing.T) {
	modules := equalised(2, module("one", 1, "a:2", "b:2"), module("two", 2, "a:2", "b:2"), module("three", 3, "a:2", "b:2"))
	for _, c := range []struct {
		method lora.Method
		o      lora.Options
	}{
		{lora.Delta, lora.Options{}},
		{lora.Delta, lora.Options{Rank: 6}},
		{lora.Product, lora.Options{}},
		{lora.Linear, lora.Options{}},
		{lora.Cat, lora.Options{}},
		{lora.SVD, lora.Options{Rank: 6}},
		{lora.TIES, lora.Options{Density: 0.5}},
		{lora.DARELinear, lora.Options{Density: 0.5, Seed: 3}},
		{lora.DARETIES, lora.Options{Density: 0.5, Seed: 3}},
		{lora.MagnitudePrune, lora.Options{Density: 0.5}},
		{lora.TIESSVD, lora.Options{Density: 0.5, Rank: 10}},
		{lora.DARELinearSVD, lora.Options{Density: 0.5, Seed: 3, Rank: 10}},
		{lora.DARETIESSVD, lora.Options{Density: 0.5, Seed: 3, Rank: 10}},
		{lora.MagnitudePruneSVD, lora.Options{Density: 0.5, Rank: 10}},
	} {
		for _, w := range [][]float64{{1, -0.5, 0.25}, {0, 0, 0}} {
			a := compose(t, c.method, modules, w, c.o)
			layers, all, err := lora.Difference(a, c.method, modules, w, c.o)
			if err != nil {
				t.Fatal(err)
			}
			if len(layers) != 2 || all.Target != "" || all.Relative > 2e-7 || all.MaxAbs > 1e-5 {
				t.Errorf("%s %v %v: %v, all %v", c.method, c.o, w, layers, all)
			}
		}
	}
}

func TestDifferenceSeesDamage(t *testing.T) {
	modules := raggedModules()
	w := []float64{0.5, -1.5, 0.25}
	good := compose(t, lora.Delta, modules, w, lora.Options{})
	alter := func(change func(*lora.Adapter)) *lora.Adapter {
		a := &lora.Adapter{Layers: slices.Clone(good.Layers)}
		for i := range a.Layers {
			a.Layers[i].A = slices.Clone(a.Layers[i].A)
		}
		change(a)
		return a
	}
	for _, c := range []struct {
		name    string
		made    *lora.Adapter
		target  string
		want    float64 // Relative there, within 1e-6
		overall bool    // whether it is that of all layers too
	}{
		{"nothing", alter(func(*lora.Adapter) {}), "q", 0, true},
		{"scale doubled", alter(func(a *lora.Adapter) { a.Layers[1].Scale *= 2 }), "q", 1, false},
		{"layer lost", alter(func(a *lora.Adapter) { a.Layers = a.Layers[:2] }), "v", 1, false},
		{"all lost", &lora.Adapter{}, "v", 1, true},
		{"layer too many", alter(func(a *lora.Adapter) { a.Layers = append(a.Layers, module("x", 4, "x:1").Layers...) }), "x", math.Inf(1), false},
		{"wrong sign", alter(func(a *lora.Adapter) {
			for i := range a.Layers {
				a.Layers[i].Scale = -1
			}
		}), "k", 2, true},
		{"not a number", alter(func(a *lora.Adapter) { a.Layers[0].A[0] = float32(math.NaN()) }), "k", math.NaN(), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			layers, all, err := lora.Difference(c.made, lora.Delta, modules, w, lora.Options{})
			if err != nil {
				t.Fatal(err)
			}
			i := slices.IndexFunc(layers, func(d lora.Deviation) bool { return d.Target == c.target })
			if i < 0 {
				t.Fatalf("%s is not in %v", c.target, layers)
			}
			if !near(layers[i].Relative, c.want) || near(all.Relative, c.want) != c.overall {
				t.Errorf("relative is %v, of all %v, want %v", layers[i].Relative, all.Relative, c.want)
			}
			if bad := c.want != 0; bad && layers[i].MaxAbs < 0.01 {
				t.Errorf("largest difference is %v", layers[i].MaxAbs)
			}
		})
	}
}

// near tells whether got is want to 1e-6; NaN is near NaN.
func near(got, want float64) bool {
	return got == want || math.IsNaN(got) && math.IsNaN(want) || math.Abs(got-want) < 1e-6
}

func TestDifferenceRefusesAnotherShape(t *testing.T) {
	modules := raggedModules()
	_, _, err := lora.Difference(module("x", 1, "q:2:3:4"), lora.Delta, modules, []float64{1, 1, 1}, lora.Options{})
	if fault.CodeOf(err) != fault.Invalid || err.Error() != "q: it is 3 by 4, the modules' is 12 by 10" {
		t.Error(err)
	}
}

func TestAddTo(t *testing.T) {
	l := module("one", 1, "q:3:7:11").Layers[0]
	w := make([]float32, 7*11)
	for i := range w {
		w[i] = float32(i)
	}
	want := bySum("q", []*lora.Adapter{{Layers: []lora.Layer{l}}}, []float64{1})
	for i := range want {
		want[i] += float64(i)
	}
	if err := l.AddTo(w); err != nil {
		t.Fatal(err)
	}
	if d := farthest(w, want); d > 1e-5 {
		t.Errorf("off by %v", d)
	}
	if err := l.AddTo(w[1:]); fault.CodeOf(err) != fault.Invalid || err.Error() != "q: the base has 76 numbers there, the adapter is for 7 by 11" {
		t.Error(err)
	}
}

func TestLayerByTarget(t *testing.T) {
	a := module("one", 1, "a:1", "c:1")
	for target, want := range map[string]*lora.Layer{"a": &a.Layers[0], "c": &a.Layers[1], "b": nil, "": nil, "d": nil} {
		if got := a.Layer(target); got != want {
			t.Errorf("layer %q is %v", target, got)
		}
	}
}
