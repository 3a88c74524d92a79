package peft

import (
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/lora"
	"github.com/medley-lora/medley/shared/zoo/zootest"
)

func mustOpen(t testing.TB, dir string) *Module {
	t.Helper()
	m, err := Open(dir, OpenOptions{AllowPickle: true})
	if err != nil {
		t.Fatalf("%s: %v", filepath.Base(dir), err)
	}
	return m
}

func mustLoad(t testing.TB, m *Module) *lora.Adapter {
	t.Helper()
	a, err := m.Load()
	if err != nil {
		t.Fatalf("%s: %v", m.Name, err)
	}
	return a
}

// supported are all the folders of the zoo that must load.
func supported(t testing.TB, zoo string) []string {
	t.Helper()
	modules, err := filepath.Glob(filepath.Join(zoo, "modules", "*"))
	if err != nil || len(modules) != 22 {
		t.Fatalf("%d modules, %v", len(modules), err)
	}
	for _, name := range []string{"all_linear_r16", "bin_r8", "rank_pattern", "regex_targets_r3", "rslora_r4"} {
		modules = append(modules, filepath.Join(zoo, "variants", name))
	}
	return modules
}

func TestZoo(t *testing.T) {
	zoo := zootest.Dir(t)
	for _, dir := range supported(t, zoo) {
		m := mustOpen(t, dir)
		if m.Name != filepath.Base(dir) || m.Config.TaskType != "SEQ_2_SEQ_LM" || m.Config.BaseModel != "medley/tiny-t5" {
			t.Errorf("%s: %+v", dir, m.Config)
		}
		a := mustLoad(t, m)
		if a.Name != m.Name || a.Base != "medley/tiny-t5" || len(a.Layers) != len(m.Layers) {
			t.Errorf("%s: adapter %s of %s with %d layers", m.Name, a.Name, a.Base, len(a.Layers))
		}
		for i, l := range a.Layers {
			info := m.Layers[i]
			if (LayerInfo{l.Target, l.In, l.Out, l.Rank, l.Scale}) != info || len(l.A) != l.Rank*l.In || len(l.B) != l.Out*l.Rank {
				t.Errorf("%s: layer %d is not as announced", m.Name, i)
			}
			if i > 0 && a.Layers[i-1].Target >= l.Target {
				t.Errorf("%s: %s is out of order", m.Name, l.Target)
			}
		}
	}
}

func TestVariants(t *testing.T) {
	variants := filepath.Join(zootest.Dir(t), "variants")
	type shape struct {
		rank  int
		scale float64
	}
	for name, c := range map[string]struct {
		layers int
		want   map[string]shape
	}{
		"all_linear_r16":   {54, map[string]shape{"decoder.block.0.layer.0.SelfAttention.k": {16, 0.5}}},
		"bin_r8":           {18, map[string]shape{"decoder.block.0.layer.0.SelfAttention.q": {8, 2}}},
		"regex_targets_r3": {6, map[string]shape{"decoder.block.0.layer.1.EncDecAttention.q": {3, 3.5 / 3}}},
		"rslora_r4":        {18, map[string]shape{"decoder.block.0.layer.0.SelfAttention.q": {4, 4}}},
		"rank_pattern": {24, map[string]shape{
			"decoder.block.0.layer.0.SelfAttention.q": {8, 2}, "encoder.block.0.layer.0.SelfAttention.q": {2, 8},
			"encoder.block.1.layer.1.DenseReluDense.wo": {4, 3},
		}},
	} {
		m := mustOpen(t, filepath.Join(variants, name))
		if len(m.Layers) != c.layers {
			t.Errorf("%s: %d layers; want %d", name, len(m.Layers), c.layers)
		}
		for target, want := range c.want {
			i := slices.IndexFunc(m.Layers, func(l LayerInfo) bool { return l.Target == target })
			if i < 0 || m.Layers[i].Rank != want.rank || m.Layers[i].Scale != want.scale {
				t.Errorf("%s: %s is %+v; want %+v", name, target, m.Layers[max(i, 0)], want)
			}
		}
	}
	for name, field := range map[string]string{
		"unsupported_dora": "use_dora", "unsupported_bias": "bias", "unsupported_saved_head": "modules_to_save",
	} {
		_, err := Open(filepath.Join(variants, name), OpenOptions{})
		var f *fault.Error
		if !errors.As(err, &f) || f.Code != fault.Unsupported || f.Field != field {
			t.Errorf("%s: %v; want it refused for %s", name, err, field)
		}
	}
	if _, err := Open(filepath.Join(variants, "bin_r8"), OpenOptions{}); fault.CodeOf(err) != fault.Unsupported || !strings.Contains(err.Error(), "adapter_model.bin") {
		t.Errorf("a .bin that was not allowed: %v", err)
	}
}

// The tensors of what is refused for its configuration are refused too when the configuration does not say so.
func TestExtraTensorsAreRefused(t *testing.T) {
	variants := filepath.Join(zootest.Dir(t), "variants")
	honest, err := os.ReadFile(filepath.Join(variants, "unsupported_bias", configName))
	if err != nil {
		t.Fatal(err)
	}
	config := []byte(strings.Replace(string(honest), `"bias": "all"`, `"bias": "none"`, 1))
	for name, want := range map[string]string{
		"unsupported_dora": "lora_magnitude_vector: belongs to DoRA", "unsupported_saved_head": "tensor base_model.model.lm_head.weight",
	} {
		weights, err := os.ReadFile(filepath.Join(variants, name, weightsName))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Parse(name, config, weights); fault.CodeOf(err) != fault.Unsupported || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %q", name, err, want)
		}
	}
}

func TestRoundTrip(t *testing.T) {
	zoo := zootest.Dir(t)
	for _, dir := range supported(t, zoo) {
		before := mustLoad(t, mustOpen(t, dir))
		out := filepath.Join(t.TempDir(), "new", before.Name)
		if err := Write(out, before, WriteOptions{TaskType: "SEQ_2_SEQ_LM"}); err != nil {
			t.Fatalf("%s: %v", before.Name, err)
		}
		m, err := Open(out, OpenOptions{})
		if err != nil {
			t.Fatalf("%s: %v", before.Name, err)
		}
		sameAdapter(t, before, mustLoad(t, m))
	}
}

func sameAdapter(t *testing.T, want, got *lora.Adapter) {
	t.Helper()
	if got.Name != want.Name || got.Base != want.Base || len(got.Layers) != len(want.Layers) {
		t.Fatalf("%s of %s with %d layers; want %s of %s with %d", got.Name, got.Base, len(got.Layers), want.Name, want.Base, len(want.Layers))
	}
	for i, l := range got.Layers {
		w := want.Layers[i]
		if l.Target != w.Target || l.In != w.In || l.Out != w.Out || l.Rank != w.Rank || !slices.Equal(l.A, w.A) || !slices.Equal(l.B, w.B) {
			t.Errorf("layer %s differs", w.Target)
		}
		if l.Scale != w.Scale && math.Nextafter(l.Scale, w.Scale) != w.Scale {
			t.Errorf("%s: scale %v; want %v", w.Target, l.Scale, w.Scale)
		}
	}
}

// layer makes a small layer of random weights.
func layer(target string, rank int, scale float64) lora.Layer {
	random := rand.New(rand.NewPCG(uint64(rank), 7))
	l := lora.Layer{Target: target, In: 3, Out: 2, Rank: rank, Scale: scale, A: make([]float32, rank*3), B: make([]float32, 2*rank)}
	for i := range l.A {
		l.A[i] = float32(random.NormFloat64())
	}
	for i := range l.B {
		l.B[i] = float32(random.NormFloat64())
	}
	return l
}

func adapterOf(layers ...lora.Layer) *lora.Adapter {
	slices.SortFunc(layers, func(a, b lora.Layer) int { return strings.Compare(a.Target, b.Target) })
	return &lora.Adapter{Name: "mixed", Base: "some/base", Layers: layers}
}

// Patterns must not reach layers they are not for: names that end in others, dots that match other characters, names with
// characters that mean something in a regular expression.
func TestRoundTripMixed(t *testing.T) {
	third := 1.0 / 3
	for name, adapter := range map[string]*lora.Adapter{
		"suffixes": adapterOf(layer("q", 1, 1), layer("a.q", 2, 2), layer("b.a.q", 3, 3), layer("z", 4, 1), layer("y", 4, 1)),
		"dots":     adapterOf(layer("a.b", 2, 1), layer("axb", 3, 1), layer("c", 4, 1), layer("d", 4, 1)),
		"symbols":  adapterOf(layer("a+(b)[c]", 2, 0.1), layer("aab", 3, 0.7), layer("c", 4, third), layer("d$", 4, -third)),
		"scales":   adapterOf(layer("a", 3, third), layer("b", 3, math.Pi), layer("c", 3, 0), layer("d", 3, 1e-30), layer("e", 3, 1e30)),
		"prefix":   adapterOf(layer("base_model.model.a", 2, 1), layer("lora_A.weight", 3, 1)),
		"one":      adapterOf(layer("a", 700, 1)), // more than In and Out: what concatenation makes
	} {
		dir := filepath.Join(t.TempDir(), "mixed")
		if err := Write(dir, adapter, WriteOptions{}); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		sameAdapter(t, adapter, mustLoad(t, mustOpen(t, dir)))
	}
}

// A scale comes back as it was unless no float64 divided by the rank gives it, and then as its neighbour.
func TestAlphaOf(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	exact := 0
	const n = 10000
	for range n {
		scale, rank := math.Exp(4*random.NormFloat64()), 1+random.IntN(256)
		got := alphaOf(scale, rank) / float64(rank)
		if got == scale {
			exact++
		} else if math.Nextafter(got, scale) != scale {
			t.Fatalf("scale %v at rank %d came back as %v", scale, rank, got)
		}
	}
	if exact < n*8/10 {
		t.Errorf("only %d of %d scales are exact", exact, n)
	}
	for _, c := range []struct {
		alpha float64
		rank  int
	}{{16, 3}, {1, 7}, {32, 6}, {3.5, 3}, {11, 49}} {
		if got := alphaOf(c.alpha/float64(c.rank), c.rank); got != c.alpha {
			t.Errorf("alpha %v at rank %d became %v", c.alpha, c.rank, got)
		}
	}
}

func TestWriteConfig(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a")
	adapter := adapterOf(layer("m.q", 2, 8), layer("m.v", 2, 8), layer("m.o", 4, 4), layer("n.o", 2, 0.25))
	if err := Write(dir, adapter, WriteOptions{TaskType: "CAUSAL_LM", BaseModel: "other/base"}); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(dir, configName))
	if err != nil {
		t.Fatal(err)
	}
	const want = `{
  "peft_type": "LORA",
  "task_type": "CAUSAL_LM",
  "base_model_name_or_path": "other/base",
  "inference_mode": true,
  "r": 2,
  "lora_alpha": 16,
  "rank_pattern": {
    "m.o": 4
  },
  "alpha_pattern": {
    "n.o": 0.5
  },
  "target_modules": [
    "m.o",
    "m.q",
    "m.v",
    "n.o"
  ],
  "lora_dropout": 0,
  "bias": "none",
  "use_rslora": false,
  "use_dora": false,
  "fan_in_fan_out": false,
  "init_lora_weights": true
}
`
	if string(got) != want {
		t.Errorf("wrote %s; want %s", got, want)
	}
}

func TestWriteRefuses(t *testing.T) {
	nan := layer("a", 2, 1)
	nan.B[1] = float32(math.NaN())
	short := layer("a", 2, 1)
	short.A = short.A[1:]
	for name, c := range map[string]struct {
		adapter *lora.Adapter
		options WriteOptions
		want    string
	}{
		"empty": {adapterOf(), WriteOptions{}, "no layers"},
		"NaN":   {adapterOf(nan), WriteOptions{}, "layer a: tensor lora_B: element 1"},
		"short": {adapterOf(short), WriteOptions{}, "layer a: rank 2"},
		"scale": {adapterOf(layer("a", 2, math.Inf(1))), WriteOptions{}, "layer a: its scale"},
		"large": {adapterOf(layer("a", 2, 1e39)), WriteOptions{}, "layer a: its scale"},
		"twice": {adapterOf(layer("a", 2, 1), layer("a", 2, 1)), WriteOptions{}, "layer a"},
		"name":  {adapterOf(layer("a b", 2, 1)), WriteOptions{}, "name"},
		"task":  {adapterOf(layer("a", 2, 1)), WriteOptions{TaskType: "CHAT"}, "task_type"},
		"base":  {adapterOf(layer("a", 2, 1)), WriteOptions{BaseModel: strings.Repeat("b", maxText+1)}, "base_model_name_or_path"},
	} {
		parent := t.TempDir()
		err := Write(filepath.Join(parent, "a"), c.adapter, c.options)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v; want %q", name, err, c.want)
		}
		if left, _ := os.ReadDir(parent); len(left) != 0 {
			t.Errorf("%s: left %v behind", name, left)
		}
	}
}

func TestWriteIntoFolders(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "out")
	first, second := adapterOf(layer("a", 2, 1)), adapterOf(layer("b", 3, 1))
	first.Name, second.Name = "out", "out"
	names := func() (list []string) {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			list = append(list, e.Name())
		}
		return list
	}
	write := func(a *lora.Adapter, options WriteOptions) {
		t.Helper()
		if err := Write(dir, a, options); err != nil {
			t.Fatal(err)
		}
		sameAdapter(t, a, mustLoad(t, mustOpen(t, dir)))
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	write(first, WriteOptions{}) // empty
	if err := os.WriteFile(filepath.Join(dir, "README.md"), []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	write(second, WriteOptions{}) // an adapter
	if got := names(); !slices.Equal(got, []string{"README.md", configName, weightsName}) {
		t.Errorf("the folder holds %v", got)
	}
	if err := os.Remove(filepath.Join(dir, configName)); err != nil {
		t.Fatal(err)
	}
	if err := Write(dir, first, WriteOptions{}); fault.CodeOf(err) != fault.Invalid || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("a folder that is no adapter: %v", err)
	}
	write(first, WriteOptions{Overwrite: true})
	if got := names(); !slices.Equal(got, []string{"README.md", configName, weightsName}) {
		t.Errorf("the folder holds %v", got)
	}
	if err := Write(filepath.Join(dir, "README.md"), first, WriteOptions{}); err == nil || strings.Contains(err.Error(), "README") {
		t.Errorf("a file in the place of the folder: %v", err)
	}
}

// TestEncode: in memory the files are those on disk.
func TestEncode(t *testing.T) {
	a := mustLoad(t, mustOpen(t, filepath.Join(zootest.Dir(t), "variants", "rank_pattern")))
	o := WriteOptions{TaskType: "SEQ_2_SEQ_LM", BaseModel: "somebody/base"}
	files, err := Encode(a, o)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "adapter")
	if err := Write(dir, a, o); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != len(files) {
		t.Fatalf("%d files on disk, %d in memory: %v", len(entries), len(files), err)
	}
	for _, e := range entries {
		if data, err := os.ReadFile(filepath.Join(dir, e.Name())); err != nil || string(data) != string(files[e.Name()]) {
			t.Errorf("%s differs: %v", e.Name(), err)
		}
	}
	if _, err := Encode(&lora.Adapter{}, o); fault.CodeOf(err) != fault.Invalid {
		t.Errorf("an adapter without layers: %v", err)
	}
}
