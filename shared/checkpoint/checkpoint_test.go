package checkpoint

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/zoo/zootest"
)

// zooFiles are all the safetensors files of the zoo, which the reference implementation wrote.
func zooFiles(t testing.TB) []string {
	t.Helper()
	dir := zootest.Dir(t)
	var files []string
	for _, pattern := range []string{"base/*.safetensors", "modules/*/*.safetensors", "variants/*/*.safetensors"} {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil || len(found) == 0 {
			t.Fatalf("%s: %v, %v", pattern, found, err)
		}
		files = append(files, found...)
	}
	return files
}

// What the reference wrote, read and written again, is the same file: reader, writer, order, header and padding at once.
func TestSameBytesAsReference(t *testing.T) {
	for _, path := range zooFiles(t) {
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		store, err := OpenFile(path)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		var tensors []Tensor
		for _, name := range store.Names() {
			info, _ := store.Info(name)
			tensors = append(tensors, Tensor{Name: name, DType: info.DType, Shape: info.Shape, Produce: func() ([]float32, error) {
				return store.Float32(name)
			}})
		}
		rand.New(rand.NewPCG(1, 2)).Shuffle(len(tensors), func(i, j int) { tensors[i], tensors[j] = tensors[j], tensors[i] })
		var b bytes.Buffer
		if err := Encode(&b, tensors, store.Metadata()); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if !bytes.Equal(b.Bytes(), want) {
			t.Errorf("%s: other bytes than the reference's", path)
		}
		sum := sha256.Sum256(want)
		if digest, err := store.Digest(); err != nil || digest != hex.EncodeToString(sum[:]) {
			t.Errorf("%s: digest %s, %v", path, digest, err)
		}
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestFloat32IsAView(t *testing.T) {
	path := zooFiles(t)[0]
	store, err := OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	name := store.Names()[0]
	info, _ := store.Info(name)
	view, err := store.Float32(name)
	if err != nil {
		t.Fatal(err)
	}
	copied := make([]float32, info.Elements())
	if err := store.CopyFloat32(name, copied); err != nil || !slices.Equal(view, copied) {
		t.Fatalf("the view and the copy differ (%v)", err)
	}
	again, err := store.Float32(name)
	if err != nil {
		t.Fatal(err)
	}
	if mapped := store.sources[0].data != nil; mapped != (&view[0] == &again[0]) {
		t.Errorf("mapped %v, but the same memory %v", mapped, !mapped)
	}
	store.Release(name)
	store.Release("no such tensor")
	if !slices.Equal(view, copied) {
		t.Error("the view changed after Release")
	}
	if err := store.CopyFloat32(name, copied[1:]); fault.CodeOf(err) != fault.Internal {
		t.Errorf("a destination of the wrong length: %v", err)
	}
	if _, err := store.Float32("w"); fault.CodeOf(err) != fault.NotFound {
		t.Errorf("a tensor that is not there: %v", err)
	}
}

func TestConcurrentReads(t *testing.T) {
	store, err := OpenFile(zooFiles(t)[0])
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for _, name := range store.Names() {
				if v, err := store.Float32(name); err != nil || CheckFinite(name, v) != nil {
					t.Errorf("%s: %v", name, err)
				}
				store.Release(name)
			}
		})
	}
	group.Wait()
}

func TestWriteHalfTypes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.safetensors")
	random := rand.New(rand.NewPCG(3, 4))
	values := make([]float32, chunkBytes/2+17) // more than one chunk, and a rest
	for i := range values {
		values[i] = float32(random.NormFloat64())
	}
	shape := []int{len(values)}
	tensors := []Tensor{
		{Name: "h", DType: F16, Shape: shape, Data: values}, {Name: "b", DType: BF16, Shape: shape, Data: values},
		{Name: "f", DType: F32, Shape: shape, Data: values}, {Name: `scalar "\é`, DType: F32, Data: []float32{7}},
	}
	if err := Write(path, tensors, map[string]string{"k": "v"}); err != nil {
		t.Fatal(err)
	}
	store, err := OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	for name, tolerance := range map[string]float64{"h": 1.0 / 2048, "b": 1.0 / 256, "f": 0} {
		got, err := store.Float32(name)
		if err != nil {
			t.Fatal(err)
		}
		for i := range got {
			if d := math.Abs(float64(got[i] - values[i])); d > tolerance*math.Abs(float64(values[i]))+tolerance/8192 {
				t.Fatalf("%s[%d] = %v; want %v", name, i, got[i], values[i])
			}
		}
	}
	if v, err := store.Float32(`scalar "\é`); err != nil || len(v) != 1 || v[0] != 7 {
		t.Errorf("the scalar: %v, %v", v, err)
	}
	if m := store.Metadata(); len(m) != 1 || m["k"] != "v" {
		t.Errorf("metadata %v", m)
	}
}

func TestWriteRefuses(t *testing.T) {
	good := Tensor{Name: "w", DType: F32, Shape: []int{2}, Data: []float32{1, 2}}
	with := func(change func(*Tensor)) []Tensor {
		w := good
		change(&w)
		return []Tensor{w}
	}
	for name, c := range map[string]struct {
		tensors []Tensor
		want    string
	}{
		"type":     {with(func(w *Tensor) { w.DType = "I64" }), "I64"},
		"length":   {with(func(w *Tensor) { w.Shape = []int{3} }), "2 elements"},
		"negative": {with(func(w *Tensor) { w.Shape = []int{-2} }), "overflows"},
		"overflow": {with(func(w *Tensor) { w.Shape = []int{1 << 40, 1 << 40} }), "overflows"},
		"twice":    {[]Tensor{good, good}, "used twice"},
		"reserved": {with(func(w *Tensor) { w.Name = "__metadata__" }), "reserved"},
		"UTF-8":    {with(func(w *Tensor) { w.Name = "\xff" }), "UTF-8"},
		"name":     {with(func(w *Tensor) { w.Name = strings.Repeat("n", maxName+1) }), "limit"},
		"F16":      {with(func(w *Tensor) { w.DType, w.Data = F16, []float32{1, 1e5} }), "tensor w: element 1 is 100000"},
		"BF16":     {with(func(w *Tensor) { w.DType, w.Data = BF16, []float32{math.MaxFloat32, 1} }), "too large for BF16"},
		"produced": {with(func(w *Tensor) { w.Produce = func() ([]float32, error) { return nil, nil } }), "produced with 0"},
		"failing":  {with(func(w *Tensor) { w.Produce = func() ([]float32, error) { return nil, errors.New("no luck") } }), "no luck"},
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, "m.safetensors")
		if err := os.WriteFile(path, []byte("before"), 0o644); err != nil {
			t.Fatal(err)
		}
		err := Write(path, c.tensors, nil)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v; want %q", name, err, c.want)
		}
		content, _ := os.ReadFile(path)
		entries, _ := os.ReadDir(dir)
		if string(content) != "before" || len(entries) != 1 {
			t.Errorf("%s: left %q and %d files", name, content, len(entries))
		}
	}
}

func TestErrorsNameNoPath(t *testing.T) {
	dir := t.TempDir()
	secret := filepath.Join(dir, "secret")
	if err := os.Mkdir(secret, 0o700); err != nil {
		t.Fatal(err)
	}
	_, missing := OpenFile(filepath.Join(secret, "m.safetensors"))
	_, folder := OpenFile(secret)
	_, pickle := OpenPickle(filepath.Join(secret, "m.bin"))
	_, model := OpenModel(secret)
	write := Write(filepath.Join(secret, "none", "m.safetensors"), nil, nil)
	for i, err := range []error{missing, folder, pickle, model, write} {
		if err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%d: %v", i, err)
		}
	}
	if fault.CodeOf(missing) != fault.NotFound || fault.CodeOf(model) != fault.NotFound || fault.CodeOf(folder) != fault.Invalid {
		t.Errorf("codes of %v, %v, %v", missing, model, folder)
	}
}

func TestOpenModel(t *testing.T) {
	dir := t.TempDir()
	weight := func(names ...string) []Tensor {
		var tensors []Tensor
		for i, name := range names {
			tensors = append(tensors, Tensor{Name: name, DType: F32, Shape: []int{1}, Data: []float32{float32(i)}})
		}
		return tensors
	}
	write := func(name string, tensors []Tensor) {
		t.Helper()
		if err := Write(filepath.Join(dir, name), tensors, map[string]string{name: "here"}); err != nil {
			t.Fatal(err)
		}
	}
	index := func(text string) {
		t.Helper()
		if err := WriteFile(filepath.Join(dir, "model.safetensors.index.json"), []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	write("s1.safetensors", weight("a", "b"))
	write("s2.safetensors", weight("c"))
	write("s3.safetensors", weight("c", "d"))

	index(`{"metadata":{"total_size":12},"weight_map":{"a":"s1.safetensors","b":"s1.safetensors","c":"s2.safetensors"}}`)
	store, err := OpenModel(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got := store.Names(); !slices.Equal(got, []string{"a", "b", "c"}) || len(store.Metadata()) != 2 {
		t.Errorf("names %v, metadata %v", got, store.Metadata())
	}
	if v, err := store.Float32("b"); err != nil || v[0] != 1 {
		t.Errorf("b: %v, %v", v, err)
	}
	digest, err := store.Digest()
	if err != nil || len(digest) != 64 {
		t.Errorf("digest %q, %v", digest, err)
	}
	store.Close()

	for name, c := range map[string]struct{ text, want string }{
		"up":         {`{"weight_map":{"a":"../s1.safetensors"}}`, "plain name"},
		"absolute":   {`{"weight_map":{"a":"/s1.safetensors"}}`, "plain name"},
		"backslash":  {`{"weight_map":{"a":"..\\s1.safetensors"}}`, "plain name"},
		"drive":      {`{"weight_map":{"a":"c:s1.safetensors"}}`, "plain name"},
		"other":      {`{"weight_map":{"a":"config.json"}}`, "plain name"},
		"empty":      {`{"weight_map":{}}`, "weight_map"},
		"none":       {`{}`, "weight_map"},
		"type":       {`{"weight_map":{"a":1}}`, "JSON"},
		"shard":      {`{"weight_map":{"a":"s9.safetensors"}}`, "s9.safetensors"},
		"elsewhere":  {`{"weight_map":{"a":"s1.safetensors","c":"s1.safetensors"}}`, "tensor c"},
		"duplicated": {`{"weight_map":{"c":"s2.safetensors","d":"s3.safetensors"}}`, "more than one shard"},
	} {
		index(c.text)
		if _, err := OpenModel(dir); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v; want %q", name, err, c.want)
		}
	}

	write("model.safetensors", weight("whole")) // has precedence over the index
	store, err = OpenModel(dir)
	if err != nil || !slices.Equal(store.Names(), []string{"whole"}) {
		t.Fatalf("model.safetensors: %v", err)
	}
	store.Close()
}

func FuzzSafetensors(f *testing.F) {
	for _, path := range zooFiles(f)[:2] {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data[:min(len(data), 1<<14)])
	}
	f.Add(one("[2,2]", "[0,16]", 16))
	f.Add(two("[0,8]", "[8,16]", 16))
	f.Add(file(`{"__metadata__":{"a\u00e9":"b\n"},"x":{"dtype":"BF16","shape":[],"data_offsets":[0,2]}}  `, []byte{0x80, 0x3f}))
	f.Add(file(`{"e":{"shape":[0,9],"dtype":"F16","data_offsets":[0,0]}}`, nil))
	f.Fuzz(func(t *testing.T, data []byte) {
		store, err := Parse(data)
		if err != nil {
			if code := fault.CodeOf(err); code == fault.Internal {
				t.Fatalf("an internal error: %v", err)
			}
			return
		}
		var rewritten []Tensor
		for _, name := range store.Names() {
			info, _ := store.Info(name)
			values, err := store.Float32(name)
			if err != nil {
				continue // not a type that is read
			}
			if len(values) != info.Elements() {
				t.Fatalf("%q: %d elements of %d", name, len(values), info.Elements())
			}
			rewritten = append(rewritten, Tensor{Name: name, DType: F32, Shape: info.Shape, Data: values})
		}
		var b bytes.Buffer
		if err := Encode(&b, rewritten, store.Metadata()); err != nil {
			t.Fatal(fmt.Errorf("what was read cannot be written: %w", err))
		}
		if _, err := Parse(b.Bytes()); err != nil {
			t.Fatalf("what was written cannot be read: %v", err)
		}
	})
}
