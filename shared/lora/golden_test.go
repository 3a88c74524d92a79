package lora_test

import (
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/medley-lora/medley/shared/lora"
	"github.com/medley-lora/medley/shared/peft"
	"github.com/medley-lora/medley/shared/zoo/zootest"
)

// reader reads modules and variants of the zoo, each once.
func reader(t *testing.T) func(name string) *lora.Adapter {
	dir := zootest.Dir(t)
	have := map[string]*lora.Adapter{}
	return func(name string) *lora.Adapter {
		t.Helper()
		if have[name] != nil {
			return have[name]
		}
		folder := filepath.Join(dir, "modules", name)
		if _, err := os.Stat(folder); err != nil {
			folder = filepath.Join(dir, "variants", name)
		}
		have[name] = readFolder(t, folder)
		return have[name]
	}
}

func readFolder(t *testing.T, folder string) *lora.Adapter {
	t.Helper()
	m, err := peft.Open(folder, peft.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	a, err := m.Load()
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// at leaves only one layer of a module: layers are composed one by one, and the dense decompositions of all take long.
func at(target string, a *lora.Adapter) *lora.Adapter {
	one := &lora.Adapter{Name: a.Name}
	if l := a.Layer(target); l != nil {
		one.Layers = []lora.Layer{*l}
	}
	return one
}

func norm(x []float32) float64 {
	sum := 0.0
	for _, v := range x {
		sum += float64(v) * float64(v)
	}
	return math.Sqrt(sum)
}

func TestComposesAsPEFT(t *testing.T) {
	// PEFT computes in single precision; entries are up to about 0.1, the norms up to 4.
	const tolerance = 1e-5
	read := reader(t)
	for _, g := range zootest.LoadGolden(t).PEFTMerge {
		modules := make([]*lora.Adapter, len(g.Modules))
		for i, name := range g.Modules {
			modules[i] = at(g.Layer, read(name))
		}
		o := lora.Options{Density: g.Options.Density, Rank: g.Options.SVDRank}
		l := compose(t, lora.Method(g.Method), modules, g.Weights, o).Layer(g.Layer)
		if l == nil || l.Out != g.Shape[0] || l.In != g.Shape[1] {
			t.Fatalf("%s %v: layer %s is %+v", g.Method, g.Weights, g.Layer, l)
		}
		update := l.Update()
		if got := norm(update); math.Abs(got-g.Norm) > tolerance {
			t.Errorf("%s %v: norm %v, want %v", g.Method, g.Weights, got, g.Norm)
		}
		for i, row := range g.Corner {
			for j, want := range row {
				if got := float64(update[i*l.In+j]); math.Abs(got-want) > tolerance {
					t.Errorf("%s %v: entry %d, %d is %v, want %v", g.Method, g.Weights, i, j, got, want)
				}
			}
		}
	}
}

// The numbers are those of PEFT 0.21.2 with torch 2.15.0: norm and entries [1, 0] to [1, 3] of the update at one layer, for
// modules whose ranks and targets differ, the election by frequency, and a single module.
func TestComposesUnequalModulesAsPEFT(t *testing.T) {
	const (
		tolerance = 1e-5 // of single precision; relative for the norm, entries are up to about 1
		q         = "encoder.block.0.layer.0.SelfAttention.q"
		wo        = "decoder.block.1.layer.2.DenseReluDense.wo" // which not all modules have
	)
	read := reader(t)
	for _, c := range []struct {
		method  lora.Method
		o       lora.Options
		modules []string
		weights []float64
		layer   string
		norm    float64
		entries [4]float64
	}{
		{lora.SVD, lora.Options{}, []string{"antonym", "rslora_r4", "all_linear_r16"}, []float64{1, -0.5, 0.7},
			q, 27.704904556, [4]float64{-0.49996152520, -0.35544446111, -0.23997242749, 0.37301853299}},
		{lora.SVD, lora.Options{}, []string{"antonym", "rslora_r4", "all_linear_r16"}, []float64{1, -0.5, 0.7},
			wo, 12.153907776, [4]float64{0.14178930223, -0.02680311725, 0.05448487774, 0.02518380992}},
		{lora.SVD, lora.Options{Rank: 6}, []string{"antonym", "rslora_r4", "all_linear_r16", "rank_pattern"},
			[]float64{1, -0.5, 0.7, 0.3}, q, 33.853729248, [4]float64{-0.41132149100, -0.43196478486, -0.16774241626, 0.41977033019}},
		{lora.SVD, lora.Options{Rank: 6}, []string{"antonym", "rslora_r4", "all_linear_r16", "rank_pattern"},
			[]float64{1, -0.5, 0.7, 0.3}, wo, 16.835374832, [4]float64{-0.04200543463, -0.05967104434, -0.07636256516, 0.02038138546}},
		{lora.Cat, lora.Options{}, []string{"antonym", "rank_pattern", "rslora_r4", "all_linear_r16"}, []float64{1, -0.5, 0.7, 0},
			q, 51.018627167, [4]float64{0.59110993147, 0.69233798981, 0.12871856987, -0.54787552357}},
		{lora.TIES, lora.Options{Density: 0.3, MajoritySign: "frequency"}, []string{"antonym", "plural", "french", "add"},
			[]float64{1, -0.5, 0.7, 0}, q, 1.5954959393, [4]float64{0.01264336146, -0.00642582914, 0.00441316515, 0.01932606101}},
		{lora.TIESSVD, lora.Options{Density: 0.2, MajoritySign: "frequency", Rank: 12},
			[]string{"antonym", "all_linear_r16", "french", "rslora_r4"}, []float64{1, -0.5, 0.7, -1},
			q, 34.082809448, [4]float64{-1.03309655190, -0.72143622174, -0.00949428324, 0.61872887611}},
		{lora.TIESSVD, lora.Options{Density: 0.2, MajoritySign: "frequency", Rank: 12},
			[]string{"antonym", "all_linear_r16", "french", "rslora_r4"}, []float64{1, -0.5, 0.7, -1},
			wo, 5.8511562347, [4]float64{-0.04305061325, 0.01558172330, -0.00786996353, -0.00881903246}},
		{lora.SVD, lora.Options{Rank: 4}, []string{"antonym"}, []float64{-0.5},
			q, 1.0276896954, [4]float64{-0.00535627315, -0.00044639793, 0.00833229627, -0.00116922928}},
	} {
		var modules []*lora.Adapter
		for _, name := range c.modules {
			modules = append(modules, at(c.layer, read(name)))
		}
		l := compose(t, c.method, modules, c.weights, c.o).Layer(c.layer)
		if l == nil {
			t.Fatalf("%s %v: no layer %s", c.method, c.o, c.layer)
		}
		update := l.Update()
		if got := norm(update); math.Abs(got/c.norm-1) > tolerance {
			t.Errorf("%s %v at %s: norm %v, want %v", c.method, c.o, c.layer, got, c.norm)
		}
		for j, want := range c.entries {
			if got := float64(update[l.In+j]); math.Abs(got-want) > tolerance {
				t.Errorf("%s %v at %s: entry 1, %d is %v, want %v", c.method, c.o, c.layer, j, got, want)
			}
		}
	}
}

// What is written and read back is what was composed, with ranks and targets that differ from layer to layer, and with
// nothing left of the modules.
func TestComposedSurvivesTheFile(t *testing.T) {
	read := reader(t)
	modules := []*lora.Adapter{read("antonym"), read("rslora_r4"), read("rank_pattern"), read("regex_targets_r3")}
	for _, w := range [][]float64{{0.5, -1.5, 0.25, 1}, {0.5, 0, 0, 1}, {0, 0, 0, 0}} {
		for _, o := range []lora.Options{{}, {Rank: 9}} {
			composed := compose(t, lora.Delta, modules, w, o)
			dir := filepath.Join(t.TempDir(), "composed")
			if err := peft.Write(dir, composed, peft.WriteOptions{}); err != nil {
				t.Fatal(err)
			}
			back := readFolder(t, dir)
			_, fromComposed, err := lora.Difference(back, lora.Delta, []*lora.Adapter{composed}, []float64{1}, lora.Options{})
			if err != nil || fromComposed.Relative > 1e-15 {
				t.Errorf("%v %v: differs from the composed adapter by %v, %v", w, o, fromComposed, err)
			}
			if _, d, err := lora.Difference(back, lora.Delta, modules, w, lora.Options{}); err != nil || o.Rank == 0 && d.Relative > 1e-7 {
				t.Errorf("%v %v: differs from the definition by %v, %v", w, o, d, err)
			}
		}
	}
}
