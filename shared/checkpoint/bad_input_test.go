package checkpoint

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/medley-lora/medley/shared/fault"
)

// file makes a safetensors file of a header and data.
func file(header string, data []byte) []byte {
	return append(append(binary.LittleEndian.AppendUint64(nil, uint64(len(header))), header...), data...)
}

// one is a file of one F32 tensor "t" with the given shape, offsets and bytes.
func one(shape, offsets string, data int) []byte {
	return file(fmt.Sprintf(`{"t":{"dtype":"F32","shape":%s,"data_offsets":%s}}`, shape, offsets), make([]byte, data))
}

// refused checks that parse fails with the code and says want, without allocating out of proportion to the input.
func refused(t *testing.T, parse func([]byte) (*Store, error), data []byte, code fault.Code, want string) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start := time.Now()
	_, err := parse(data)
	took := time.Since(start)
	runtime.ReadMemStats(&after)
	if err == nil {
		t.Fatalf("accepted; want an error about %q", want)
	}
	if fault.CodeOf(err) != code || !strings.Contains(err.Error(), want) {
		t.Errorf("error %q of code %s; want %s and %q", err, fault.CodeOf(err), code, want)
	}
	if len(err.Error()) > 1000 {
		t.Errorf("the error has %d bytes", len(err.Error()))
	}
	if used, limit := after.TotalAlloc-before.TotalAlloc, uint64(8*len(data)+8<<20); used > limit {
		t.Errorf("allocated %d bytes for an input of %d", used, len(data))
	}
	if took > 20*time.Second {
		t.Errorf("took %v", took)
	}
}

func TestBadInput_01_EmptyFile(t *testing.T) {
	refused(t, Parse, nil, fault.Invalid, "0 bytes")
}

func TestBadInput_02_LessThanEightBytes(t *testing.T) {
	refused(t, Parse, []byte("1234567"), fault.Invalid, "7 bytes")
}

func TestBadInput_03_HeaderLengthZero(t *testing.T) {
	refused(t, Parse, file("", nil), fault.Invalid, "header")
	refused(t, Parse, file("", []byte("{}")), fault.Invalid, "header")
}

func TestBadInput_04_HeaderLongerThanFile(t *testing.T) {
	data := one("[1]", "[0,4]", 4)
	binary.LittleEndian.PutUint64(data, uint64(len(data)))
	refused(t, Parse, data, fault.Invalid, "only")
}

func TestBadInput_05_HugeHeaderLength(t *testing.T) {
	for _, n := range []uint64{1 << 63, math.MaxUint64, math.MaxUint64 - 7, maxHeader + 1} {
		data := one("[1]", "[0,4]", 4)
		binary.LittleEndian.PutUint64(data, n)
		refused(t, Parse, data, fault.TooLarge, "limit")
	}
}

func TestBadInput_06_HeaderOfSpaces(t *testing.T) {
	spaces := strings.Repeat(" ", maxHeader-2)
	refused(t, Parse, file(spaces, nil), fault.Invalid, "'{'")
	refused(t, Parse, file("{"+spaces, nil), fault.Invalid, "expected")
	store, err := Parse(file("{"+spaces+"}", nil)) // valid: the format allows padding
	if err != nil || len(store.Names()) != 0 {
		t.Errorf("an empty file padded with spaces: %v", err)
	}
}

// manyTensors is a header of n tensors of one byte.
func manyTensors(n int) []byte {
	var b bytes.Buffer
	for i := range n {
		fmt.Fprintf(&b, `,"model.layers.%d.mlp.experts.%d.down_proj.weight":{"dtype":"U8","shape":[1],"data_offsets":[%d,%d]}`, i%64, i, i, i+1)
	}
	return file("{"+b.String()[1:]+"}", make([]byte, n))
}

func TestBadInput_07_ManyTensors(t *testing.T) {
	data := manyTensors(100_000)
	start := time.Now()
	store, err := Parse(data)
	if err != nil || len(store.Names()) != 100_000 {
		t.Fatalf("100,000 tensors: %v", err)
	}
	if took := time.Since(start); took > 20*time.Second { // 0.3 s on two idle cores; the rest is for busy ones and the race detector
		t.Errorf("took %v", took)
	}
	refused(t, Parse, manyTensors(maxTensors+1), fault.TooLarge, "more than")
}

func TestBadInput_08_DeeplyNested(t *testing.T) {
	deep := strings.Repeat("[", 1_000_000)
	for _, header := range []string{
		`{"t":` + deep + "}",
		`{"t":{"dtype":"F32","shape":` + deep,
		`{"__metadata__":{"a":` + deep,
	} {
		refused(t, Parse, file(header, nil), fault.Invalid, "expected")
	}
	refused(t, Parse, file(`{"t":{"x":`+deep, nil), fault.Invalid, "not a field")
	refused(t, Parse, file(`{"t":`+strings.Repeat(`{"a":`, 1_000_000), nil), fault.Invalid, "not a field")
}

func TestBadInput_09_DuplicateKeys(t *testing.T) {
	tensor := `{"dtype":"F32","shape":[1],"data_offsets":[0,4]}`
	empty := `{"dtype":"F32","shape":[0],"data_offsets":[0,0]}`
	data := make([]byte, 4)
	refused(t, Parse, file(`{"t":`+tensor+`,"t":`+tensor+`}`, data), fault.Invalid, "tensor t")
	refused(t, Parse, file(`{"t":`+empty+`,"\u0074":`+tensor+`}`, data), fault.Invalid, "twice")
	refused(t, Parse, file(`{"t":{"dtype":"F32","dtype":"F16","shape":[1],"data_offsets":[0,4]}}`, data), fault.Invalid, "twice")
	refused(t, Parse, file(`{"__metadata__":{},"__metadata__":{},"t":`+tensor+`}`, data), fault.Invalid, "__metadata__")
	refused(t, Parse, file(`{"__metadata__":{"a":"1","a":"2"},"t":`+tensor+`}`, data), fault.Invalid, "__metadata__")
}

func TestBadInput_10_InvalidUTF8(t *testing.T) {
	refused(t, Parse, file("{\"\xff\":{}}", nil), fault.Invalid, "UTF-8")
	refused(t, Parse, file(`{"\ud800":{}}`, nil), fault.Invalid, "escape")
	refused(t, Parse, file(`{"\ud800\u0041":{}}`, nil), fault.Invalid, "escape")
	refused(t, Parse, file("{\"a\x00\":{}}", nil), fault.Invalid, "control")
	// A name made to break a terminal is legal, and shown quoted.
	refused(t, Parse, file(`{"\u001b[2J":{"dtype":"Q9","shape":[],"data_offsets":[0,0]}}`, nil), fault.Unsupported, `"\x1b[2J"`)
}

func TestBadInput_11_TrailingBytes(t *testing.T) {
	data := one("[1]", "[0,4]", 4)
	refused(t, Parse, append(data, "PK\x03\x04 and a zip file"...), fault.Invalid, "follow the last tensor")
	refused(t, Parse, file(`{}x`, nil), fault.Invalid, "after the closing")
	refused(t, Parse, []byte("PK\x03\x04\x00\x00\x00\x00\x00\x00\x00"), fault.Invalid, "zip")
}

func TestBadInput_12_OffsetsReversed(t *testing.T) {
	refused(t, Parse, one("[1]", "[4,0]", 4), fault.Invalid, "tensor t: ends")
	refused(t, Parse, one("[0]", "[4,0]", 4), fault.Invalid, "tensor t: ends")
}

// two is a file of tensors a and b of two floats each.
func two(a, b string, data int) []byte {
	return file(fmt.Sprintf(`{"a":{"dtype":"F32","shape":[2],"data_offsets":%s},"b":{"dtype":"F32","shape":[2],"data_offsets":%s}}`, a, b), make([]byte, data))
}

func TestBadInput_13_Overlap(t *testing.T) {
	refused(t, Parse, two("[0,8]", "[0,8]", 8), fault.Invalid, "tensor b: begins")
	refused(t, Parse, two("[0,8]", "[4,12]", 12), fault.Invalid, "tensor b: begins")
}

func TestBadInput_14_Gap(t *testing.T) {
	refused(t, Parse, two("[0,8]", "[12,20]", 20), fault.Invalid, "tensor b: begins at byte 12, leaving a gap")
	refused(t, Parse, one("[1]", "[4,8]", 8), fault.Invalid, "gap")
}

func TestBadInput_15_ZeroSizeSharingOffset(t *testing.T) {
	store, err := Parse(file(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[3,0],"data_offsets":[0,0]},`+
		`"c":{"dtype":"F32","shape":[0],"data_offsets":[4,4]}}`, make([]byte, 4)))
	if err != nil {
		t.Fatal(err) // the reference accepts it: an empty tensor covers nothing
	}
	for _, name := range []string{"b", "c"} {
		if v, err := store.Float32(name); err != nil || len(v) != 0 {
			t.Errorf("%s: %v %v", name, v, err)
		}
	}
	refused(t, Parse, file(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[0],"data_offsets":[4,4]}}`, make([]byte, 8)), fault.Invalid, "tensor b")
}

func TestBadInput_16_ShapeOverflow(t *testing.T) {
	for _, shape := range []string{
		"[4194305,4194305,211106198978564]", "[9223372036854775807,2]", "[4294967296,4294967296]", "[2,9223372036854775807,0]",
	} {
		refused(t, Parse, one(shape, "[0,4]", 4), fault.Invalid, "overflows")
	}
}

func TestBadInput_17_OddDimensions(t *testing.T) {
	for _, shape := range []string{"[-1]", "[1.0]", "[1e0]", "[1e999999999]", "[01]", "[1,]", "[,1]", `["1"]`, "[null]", "[true]", "1", "null"} {
		refused(t, Parse, one(shape, "[0,4]", 4), fault.Invalid, "expected")
	}
	refused(t, Parse, one("[99999999999999999999]", "[0,4]", 4), fault.Invalid, "too large")
	refused(t, Parse, one("["+strings.Repeat("1,", maxRank)+"1]", "[0,4]", 4), fault.Invalid, "more than")
	for _, offsets := range []string{"[0]", "[]", "[0,4,8]", "[0,-4]", "[0,4.0]"} {
		refused(t, Parse, one("[1]", offsets, 4), fault.Invalid, "tensor t")
	}
}

func TestBadInput_18_DTypes(t *testing.T) {
	of := func(dtype string, size int) []byte {
		return file(fmt.Sprintf(`{"t":{"dtype":%q,"shape":[2],"data_offsets":[0,%d]}}`, dtype, size), make([]byte, size))
	}
	refused(t, Parse, of("Q4_K", 2), fault.Unsupported, `"Q4_K"`)
	refused(t, Parse, of("f32", 8), fault.Unsupported, `"f32"`)
	refused(t, Parse, of(strings.Repeat("F", 1<<20), 8), fault.Unsupported, "unknown type")
	refused(t, Parse, of("BF16", 3), fault.Invalid, "has 3 bytes")
	for dtype, size := range map[string]int{"BOOL": 2, "F8_E4M3": 2, "I64": 16, "F64": 16, "F4": 1} {
		store, err := Parse(of(dtype, size))
		if err != nil {
			t.Fatalf("%s: %v", dtype, err) // it may stand in the file
		}
		if _, err := store.Float32("t"); fault.CodeOf(err) != fault.Unsupported || !strings.Contains(err.Error(), dtype) {
			t.Errorf("%s: %v", dtype, err)
		}
	}
	// BF16 at an odd address.
	store, err := Parse(file(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"BF16","shape":[1],"data_offsets":[1,3]},`+
		`"c":{"dtype":"F32","shape":[1],"data_offsets":[3,7]}}`, []byte{9, 0x80, 0x3f, 0, 0, 0, 0x40}))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]float32{"b": 1, "c": 2} {
		if v, err := store.Float32(name); err != nil || v[0] != want {
			t.Errorf("%s: %v, %v; want %v", name, v, err, want)
		}
	}
}

func TestBadInput_19_Metadata(t *testing.T) {
	refused(t, Parse, file(`{"__metadata__":"text"}`, nil), fault.Invalid, "__metadata__")
	refused(t, Parse, file(`{"__metadata__":{"step":1}}`, nil), fault.Invalid, "__metadata__")
	refused(t, Parse, file(`{"__metadata__":{"a":"`+strings.Repeat("x", 50<<20)+`"}}`, nil), fault.TooLarge, "__metadata__")
}

func TestBadInput_20_NonFiniteWeights(t *testing.T) {
	values := []float32{float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1)), math.SmallestNonzeroFloat32, float32(math.Copysign(0, -1)), math.MaxFloat32}
	for i, v := range values {
		var b bytes.Buffer
		if err := Encode(&b, []Tensor{{Name: "w", DType: F32, Shape: []int{3}, Data: []float32{1, 2, v}}}, nil); err != nil {
			t.Fatal(err)
		}
		store, err := Parse(b.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		got, err := store.Float32("w")
		if err != nil || math.Float32bits(got[2]) != math.Float32bits(v) {
			t.Errorf("%v became %v, %v", v, got[2], err)
		}
		err = CheckFinite("w", got)
		if want := i < 3; (err != nil) != want || (want && !strings.Contains(err.Error(), "tensor w: element 2")) {
			t.Errorf("CheckFinite of %v: %v", v, err)
		}
	}
}

func TestBadInput_21_Truncated(t *testing.T) {
	data := one("[4]", "[0,16]", 16)
	for n := range len(data) {
		if _, err := Parse(data[:n]); err == nil {
			t.Errorf("the first %d of %d bytes were accepted", n, len(data))
		}
	}
	refused(t, Parse, data[:len(data)-1], fault.Invalid, "tensor t: ends at byte 16")
}

func TestBadInput_22_FileReplacedWhileRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "model.safetensors")
	write := func(v float32) {
		t.Helper()
		if err := Write(path, []Tensor{{Name: "w", DType: F32, Shape: []int{1 << 16}, Produce: func() ([]float32, error) {
			return repeated(1<<16, v), nil
		}}}, nil); err != nil {
			t.Fatal(err)
		}
	}
	write(1)
	store, err := OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()

	// A new file of the same name: the store keeps reading the old one.
	write(2)
	if v, err := store.Float32("w"); err != nil || v[0] != 1 || v[len(v)-1] != 1 {
		t.Errorf("after the file was replaced: %v", err)
	}
	if err := store.Unchanged(); err != nil {
		t.Errorf("the open file did not change: %v", err)
	}

	// The same file cut short: an error, not a fault of the process.
	again, err := OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if err := os.Truncate(path, 1000); err != nil {
		t.Fatal(err)
	}
	if err := again.CopyFloat32("w", make([]float32, 1<<16)); fault.CodeOf(err) != fault.Invalid || !strings.Contains(err.Error(), "cut short") {
		t.Errorf("CopyFloat32 of a file cut short: %v", err)
	}
	if _, err := again.Float32("w"); fault.CodeOf(err) != fault.Invalid {
		t.Errorf("Float32 of a file cut short: %v", err)
	}
	if _, err := again.Digest(); fault.CodeOf(err) != fault.Invalid {
		t.Errorf("Digest of a file cut short: %v", err)
	}
	if err := again.Unchanged(); fault.CodeOf(err) != fault.Invalid {
		t.Errorf("Unchanged of a file cut short: %v", err)
	}
}

func repeated(n int, v float32) []float32 {
	out := make([]float32, n)
	for i := range out {
		out[i] = v
	}
	return out
}
