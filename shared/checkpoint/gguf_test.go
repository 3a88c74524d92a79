package checkpoint

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/medley-lora/medley/shared/fault"
)

// testdata/blocks.gguf holds a tensor of every type and values of every kind, testdata/blocks.json what the Python package gguf reads in
// it. Both are written by tools/peers/gguf_blocks.py.
func TestGGUFGolden(t *testing.T) {
	g, err := OpenGGUF(os.DirFS("testdata"), "blocks.gguf")
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	data, err := os.ReadFile(filepath.Join("testdata", "blocks.json"))
	if err != nil {
		t.Fatal(err)
	}
	var want struct {
		Tensors map[string]struct {
			Shape  []int
			Values []float32
		}
		Values map[string]any
	}
	if err := json.Unmarshal(data, &want); err != nil {
		t.Fatal(err)
	}
	if n := 3 + len(PackedTypes()); len(want.Tensors) != n || len(g.Names()) != n {
		t.Fatalf("%d tensors, want %d", len(g.Names()), n)
	}
	for name, w := range want.Tensors {
		info, _ := g.Info(name)
		if !slices.Equal(info.Shape, w.Shape) {
			t.Errorf("%s has shape %v, want %v", name, info.Shape, w.Shape)
		}
		got, err := g.Float32(name)
		if err != nil || len(got) != len(w.Values) {
			t.Fatalf("%s: %d numbers, %v", name, len(got), err)
		}
		for i, v := range w.Values {
			if d := math.Abs(float64(got[i] - v)); d > 1e-6*max(1, math.Abs(float64(v))) {
				t.Errorf("%s[%d] is %g, want %g", name, i, got[i], v)
				break
			}
		}
		if raw, packed := g.Packed(name); packed != (len(name) == 4 && name[0] == 'Q') || (packed && len(raw) != int(info.Bytes)) {
			t.Errorf("%s: packed %v, %d bytes", name, packed, len(raw))
		}
	}
	for key, w := range want.Values {
		got, err := json.Marshal(g.Values[key])
		if err != nil {
			t.Fatal(err)
		}
		if known, _ := json.Marshal(w); !bytes.Equal(got, known) {
			t.Errorf("%s is %s, want %s", key, got, known)
		}
	}
}

// ggufBytesOf writes a header by hand.
type ggufBytesOf struct{ b []byte }

func (w *ggufBytesOf) u32(v uint32) *ggufBytesOf {
	w.b = binary.LittleEndian.AppendUint32(w.b, v)
	return w
}

func (w *ggufBytesOf) u64(v uint64) *ggufBytesOf {
	w.b = binary.LittleEndian.AppendUint64(w.b, v)
	return w
}

func (w *ggufBytesOf) text(s string) *ggufBytesOf {
	w.u64(uint64(len(s)))
	w.b = append(w.b, s...)
	return w
}

func ggufStart(tensors, values uint64) *ggufBytesOf {
	return (&ggufBytesOf{}).u32(0x46554747).u32(3).u64(tensors).u64(values)
}

// tensor adds a description.
func (w *ggufBytesOf) tensor(name string, kind uint32, offset uint64, shape ...uint64) *ggufBytesOf {
	w.text(name).u32(uint32(len(shape)))
	for _, d := range shape {
		w.u64(d)
	}
	return w.u32(kind).u64(offset)
}

// data pads the header and adds n bytes.
func (w *ggufBytesOf) data(n int) []byte {
	padded := (len(w.b) + 31) / 32 * 32
	return append(w.b, make([]byte, padded-len(w.b)+n)...)
}

func parseGGUFStore(data []byte) (*Store, error) {
	g, err := ParseGGUF(data)
	if err != nil {
		return nil, err
	}
	return g.Store, nil
}

func TestBadInput_GGUF(t *testing.T) {
	const huge = 1 << 63
	cases := []struct {
		name string
		data []byte
		code fault.Code
		want string
	}{
		{"empty", nil, fault.Invalid, "GGUF"},
		{"short", []byte("GGUF"), fault.Invalid, "goes on"},
		{"not one", []byte("this is no such file"), fault.Invalid, "magic"},
		{"version 1", (&ggufBytesOf{}).u32(0x46554747).u32(1).u64(0).u64(0).b, fault.Unsupported, "version"},
		{"big-endian", (&ggufBytesOf{}).u32(0x46554747).u32(3 << 24).u64(0).u64(0).b, fault.Unsupported, "version"},
		{"2^63 tensors", ggufStart(huge, 0).b, fault.TooLarge, "counts"},
		{"2^63 values", ggufStart(0, huge).b, fault.TooLarge, "counts"},
		{"values that are not there", ggufStart(0, 1000).b, fault.Invalid, "goes on"},
		{"key of 2^63 bytes", ggufStart(0, 1).u64(huge).b, fault.TooLarge, "text of"},
		{"key beyond the file", ggufStart(0, 1).u64(1000).b, fault.Invalid, "goes on"},
		{"text of 2^63 bytes", ggufStart(0, 1).text("k").u32(8).u64(huge).b, fault.TooLarge, "text of"},
		{"list of 2^63", ggufStart(0, 1).text("k").u32(9).u32(4).u64(huge).b, fault.Invalid, "list of"},
		{"list of 2^63 texts", ggufStart(0, 1).text("k").u32(9).u32(8).u64(huge).b, fault.Invalid, "list of"},
		{"list of lists", ggufStart(0, 1).text("k").u32(9).u32(9).u64(1).u32(4).u64(0).b, fault.Unsupported, "type number 9"},
		{"value of no type", ggufStart(0, 1).text("k").u32(99).u64(0).b, fault.Unsupported, "type number 99"},
		{"key twice", ggufStart(0, 2).text("k").u32(4).u32(1).text("k").u32(4).u32(1).b, fault.Invalid, "twice"},
		{"key not UTF-8", ggufStart(0, 1).text("\xff").u32(4).u32(1).b, fault.Invalid, "UTF-8"},
		{"alignment 3", ggufStart(0, 1).text("general.alignment").u32(4).u32(3).b, fault.Invalid, "general.alignment"},
		{"alignment 0", ggufStart(0, 1).text("general.alignment").u32(4).u32(0).b, fault.Invalid, "general.alignment"},
		{"alignment of text", ggufStart(0, 1).text("general.alignment").u32(8).text("32").b, fault.Invalid, "general.alignment"},
		{"rank 2^31", ggufStart(1, 0).text("t").u32(1 << 31).b, fault.Invalid, "dimensions"},
		{"dimension 2^63", ggufStart(1, 0).tensor("t", 0, 0, huge).data(64), fault.Invalid, "dimension"},
		{"shape overflows", ggufStart(1, 0).tensor("t", 0, 0, 4194305, 4194305, 211106198978564).data(64), fault.Invalid, "too large"},
		{"size beyond the file", ggufStart(1, 0).tensor("t", 0, 0, 1000).data(64), fault.Invalid, "ends"},
		{"size far beyond the file", ggufStart(1, 0).tensor("t", 0, 0, 1<<40).data(64), fault.Invalid, "ends"},
		{"type unknown", ggufStart(1, 0).tensor("t", 99, 0, 32).data(64), fault.Unsupported, "type number 99"},
		{"type that is known and not read", ggufStart(1, 0).tensor("t", 11, 0, 256).data(256), fault.Unsupported, "type Q3_K"},
		{"row of half a super-block", ggufStart(1, 0).tensor("t", 12, 0, 128, 2).data(144), fault.Invalid, "blocks of Q4_K"},
		{"super-block cut short", ggufStart(1, 0).tensor("t", 14, 0, 256).data(192), fault.Invalid, "ends"},
		{"row of half a block", ggufStart(1, 0).tensor("t", 2, 0, 16, 2).data(64), fault.Invalid, "blocks"},
		{"row of nothing", ggufStart(1, 0).tensor("t", 2, 0).data(64), fault.Invalid, "blocks"},
		{"offsets reversed", ggufStart(2, 0).tensor("a", 0, 32, 8).tensor("b", 0, 0, 8).data(64), fault.Invalid, "expected"},
		{"overlap", ggufStart(2, 0).tensor("a", 0, 0, 8).tensor("b", 0, 0, 8).data(64), fault.Invalid, "expected"},
		{"gap", ggufStart(2, 0).tensor("a", 0, 0, 8).tensor("b", 0, 64, 8).data(128), fault.Invalid, "expected"},
		{"offset 2^63", ggufStart(1, 0).tensor("a", 0, huge, 8).data(64), fault.Invalid, "expected"},
		{"name twice", ggufStart(2, 0).tensor("a", 0, 0, 8).tensor("a", 0, 32, 8).data(64), fault.Invalid, "twice"},
		{"tensors that are not there", ggufStart(100, 0).tensor("a", 0, 0, 8).data(64), fault.Invalid, "expected"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) { refused(t, parseGGUFStore, c.data, c.code, c.want) })
	}
}

func FuzzGGUF(f *testing.F) {
	data, err := os.ReadFile(filepath.Join("testdata", "blocks.gguf"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add(ggufStart(2, 1).text("k").u32(9).u32(8).u64(2).text("a").text("b").tensor("a", 0, 0, 8).tensor("b", 2, 32, 32).data(96))
	f.Fuzz(func(t *testing.T, data []byte) {
		g, err := ParseGGUF(data)
		if err != nil {
			return
		}
		total := 0
		for _, name := range g.Names() {
			info, _ := g.Info(name)
			if total += info.Elements(); strings.HasPrefix(string(info.DType), "I") || info.DType == "F64" {
				continue
			}
			if got, err := g.Float32(name); err != nil || len(got) != info.Elements() {
				t.Fatalf("%q: %d numbers of %v, %v", name, len(got), info.Shape, err)
			}
		}
		if total > 2*len(data) { // four bits are the least
			t.Errorf("%d numbers in %d bytes", total, len(data))
		}
	})
}

func TestPack(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 4))
	numbers := make([]float32, 32*50)
	for i := range numbers {
		numbers[i] = float32(r.NormFloat64()) * 0.05
	}
	copy(numbers[64:], make([]float32, 32)) // a block of zeros
	for i := 96; i < 128; i++ {
		numbers[i] = 0.25 // and one of a single number
	}
	for kind, most := range map[DType]float64{Q80: 0.006, Q41: 0.09} {
		data, err := Pack(kind, numbers)
		if size, _ := PackedBytes(kind, len(numbers)); err != nil || len(data) != size {
			t.Fatalf("%s: %d bytes, %v", kind, len(data), err)
		}
		got := make([]float32, len(numbers))
		Unpack(kind, got, data)
		off, squares := 0.0, 0.0
		for i, v := range numbers {
			off += math.Pow(float64(got[i]-v), 2)
			squares += float64(v) * float64(v)
		}
		if e := math.Sqrt(off / squares); !(e < most && e > 0) {
			t.Errorf("%s: off by %g of the numbers", kind, e)
		}
		if slices.ContainsFunc(got[64:96], func(v float32) bool { return v != 0 }) {
			t.Errorf("%s: zeros became %v", kind, got[64:96])
		}
		for _, bad := range []float32{float32(math.NaN()), float32(math.Inf(1)), 1e30} {
			if _, err := Pack(kind, append(slices.Clone(numbers[:31]), bad)); fault.CodeOf(err) != fault.Invalid {
				t.Errorf("%s: %g: %v", kind, bad, err)
			}
		}
		if _, err := Pack(kind, numbers[:31]); err == nil {
			t.Errorf("%s: half a block was packed", kind)
		}
	}
	if _, err := Pack(Q6K, numbers); err == nil {
		t.Error("Q6_K was packed")
	}
}

func TestCheckBlocks(t *testing.T) {
	for _, kind := range PackedTypes() {
		b := blocks[kind]
		data := make([]byte, 3*b.bytes)
		set := func(half int, bits uint16) { binary.LittleEndian.PutUint16(data[b.bytes+b.halves[half]:], bits) }
		for i := range b.halves {
			most := map[DType]uint16{Q40: 0xefff, Q50: 0xebff}[kind] // their zeros are 8 and 16 times that
			if most == 0 {
				most = 0xfbff
			}
			set(i, most)
			if err := CheckBlocks(kind, data); err != nil {
				t.Errorf("%s: %v", kind, err)
			}
			for _, bad := range []uint16{0x7c00, 0xfc00, 0x7e01, most&0xfc00 + 0x400} {
				set(i, bad)
				if err := CheckBlocks(kind, data); fault.CodeOf(err) != fault.Invalid || !strings.Contains(err.Error(), "block 1 of "+string(kind)) {
					t.Errorf("%s, scale %04x: %v", kind, bad, err)
				}
			}
			set(i, 0)
		}
	}
}
