package peft

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/medley-lora/medley/shared/checkpoint"
	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/zoo/zootest"
)

// configWith is a plain configuration of rank 2 with fields added or replaced; a value is JSON text.
func configWith(t testing.TB, pairs ...string) []byte {
	t.Helper()
	config := map[string]json.RawMessage{"peft_type": []byte(`"LORA"`), "r": []byte("2"), "lora_alpha": []byte("4"), "target_modules": []byte(`["q","v"]`)}
	for i := 0; i < len(pairs); i += 2 {
		config[pairs[i]] = json.RawMessage(pairs[i+1])
	}
	// Not json.Marshal, which would refuse values that are not JSON.
	var members []string
	for name, value := range config {
		key, err := json.Marshal(name)
		if err != nil {
			t.Fatal(err)
		}
		members = append(members, string(key)+": "+string(value))
	}
	return []byte("{" + strings.Join(members, ", ") + "}")
}

// tensorOf is a F32 tensor of ones.
func tensorOf(name string, shape ...int) checkpoint.Tensor {
	n := 1
	for _, d := range shape {
		n *= d
	}
	data := make([]float32, n)
	for i := range data {
		data[i] = 1
	}
	return checkpoint.Tensor{Name: name, DType: checkpoint.F32, Shape: shape, Data: data}
}

func weightsOf(t testing.TB, tensors ...checkpoint.Tensor) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := checkpoint.Encode(&b, tensors, nil); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// pair is the two tensors of a map [4, 3].
func pair(target string, rank int) []checkpoint.Tensor {
	return []checkpoint.Tensor{
		tensorOf("base_model.model."+target+".lora_A.weight", rank, 3), tensorOf("base_model.model."+target+".lora_B.weight", 4, rank),
	}
}

func plainWeights(t testing.TB) []byte {
	return weightsOf(t, append(pair("m.q", 2), pair("m.v", 2)...)...)
}

func refused(t *testing.T, config, weights []byte, code fault.Code, want string) {
	t.Helper()
	m, err := Parse("bad", config, weights)
	if err == nil {
		_, err = m.Load()
	}
	if fault.CodeOf(err) != code || !strings.Contains(fmt.Sprint(err), want) {
		t.Errorf("%.200s: error %v of code %q; want %s and %q", config, err, fault.CodeOf(err), code, want)
	}
	if len(fmt.Sprint(err)) > 1000 {
		t.Errorf("the error has %d bytes", len(fmt.Sprint(err)))
	}
}

func accepted(t *testing.T, config, weights []byte) *Module {
	t.Helper()
	m, err := Parse("good", config, weights)
	if err == nil {
		_, err = m.Load()
	}
	if err != nil {
		t.Fatalf("%s: %v", config, err)
	}
	return m
}

func TestBadInput_23_RankAndAlpha(t *testing.T) {
	weights := plainWeights(t)
	for field, values := range map[string][]string{
		"r":            {"0", "-1", "2147483648", "99999999999999999999", "2.0", "2.5", `"2"`, "null", "true", "[2]", "{}"},
		"lora_alpha":   {`"4"`, "null", "true", "1e39", "-1e39", "1e400", "NaN", "Infinity", "-Infinity", "[4]"},
		"rank_pattern": {"3", `["q"]`, `{"q":0}`, `{"q":"2"}`, `{"q":2.5}`, `{"q":2147483648}`},
		"alpha_pattern": {
			"3", `{"q":"4"}`, `{"q":null}`, `{"q":NaN}`, `{"q":1e400}`,
		},
	} {
		for _, v := range values {
			refused(t, configWith(t, field, v), weights, fault.Invalid, field)
		}
	}
	refused(t, configWith(t, "r", "3"), weights, fault.Invalid, "rank 2, but r and rank_pattern say 3")
	refused(t, configWith(t, "rank_pattern", `{"v":4}`), weights, fault.Invalid, "layer m.v")
	// Odd, but numbers like others; a rank beyond both dimensions is what concatenation of modules makes.
	for _, alpha := range []string{"0", "-3.5", "1e-30"} {
		accepted(t, configWith(t, "lora_alpha", alpha), weights)
	}
	accepted(t, configWith(t, "r", "9"), weightsOf(t, pair("q", 9)...))
	if m := accepted(t, []byte(`{"peft_type":"LORA"}`), weightsOf(t, pair("q", 8)...)); m.Layers[0].Scale != 1 {
		t.Errorf("PEFT's defaults give scale %v; want 1", m.Layers[0].Scale)
	}
}

func TestBadInput_24_MissingHalf(t *testing.T) {
	config := configWith(t)
	q := pair("m.q", 2)
	refused(t, config, weightsOf(t, q[0]), fault.Invalid, "layer m.q: lora_B is missing")
	refused(t, config, weightsOf(t, q[1]), fault.Invalid, "layer m.q: lora_A is missing")
	refused(t, config, weightsOf(t, append(pair("m.v", 2), q[0])...), fault.Invalid, "layer m.q: lora_B is missing")
	refused(t, config, weightsOf(t), fault.Invalid, "no tensors")
}

func TestBadInput_25_ShapesDisagree(t *testing.T) {
	config := configWith(t)
	a, b := "q.lora_A.weight", "q.lora_B.weight"
	for want, tensors := range map[string][]checkpoint.Tensor{
		"lora_A has rank 2 and lora_B has rank 3": {tensorOf(a, 2, 3), tensorOf(b, 4, 3)},
		"tensor q.lora_A.weight: has shape [2]":   {tensorOf(a, 2), tensorOf(b, 4, 2)},
		"has shape [2 3 1 1]":                     {tensorOf(a, 2, 3, 1, 1), tensorOf(b, 4, 2, 1, 1)},
		"has shape [0 3]":                         {tensorOf(a, 0, 3), tensorOf(b, 4, 0)},
		"has shape [0 2]":                         {tensorOf(a, 2, 3), tensorOf(b, 0, 2)},
	} {
		_, err := Parse("bad", config, weightsOf(t, tensors...))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %q", err, want)
		}
	}
}

// Shapes that agree by luck cannot be told from the files: the name of the base is handed on. Shapes that do not agree are for who has the
// base to find (gpu/engine).
func TestBadInput_26_WrongBase(t *testing.T) {
	m := accepted(t, configWith(t, "base_model_name_or_path", `"google/flan-t5-large"`), plainWeights(t))
	a, err := m.Load()
	if err != nil || a.Base != "google/flan-t5-large" {
		t.Errorf("base %q, %v", a.Base, err)
	}
}

func TestBadInput_27_CatastrophicPatterns(t *testing.T) {
	long := strings.Repeat("a", 900)
	weights := weightsOf(t, pair(long, 2)...)
	start := time.Now()
	for _, pattern := range []string{"(a+)+$", "(a|aa)+b", "(.*)*.*b", "(a?){900}a{900}", "((a{100}){100}){100}", strings.Repeat("(a*)", 1000) + "b"} {
		quoted, err := json.Marshal(pattern)
		if err != nil {
			t.Fatal(err)
		}
		_, err = Parse("slow", configWith(t, "target_modules", string(quoted)), weights)
		if err != nil && !strings.Contains(err.Error(), "target_modules: does not name") {
			t.Errorf("target_modules %.40s: %v", pattern, err)
		}
		_, err = Parse("slow", configWith(t, "target_modules", "null", "rank_pattern", fmt.Sprintf("{%s:2}", quoted)), weights)
		if err != nil && fault.CodeOf(err) != fault.Unsupported {
			t.Errorf("rank_pattern %.40s: %v", pattern, err)
		}
	}
	// Many patterns for many layers.
	var table []string
	for i := range 4000 {
		table = append(table, fmt.Sprintf(`"x%d[0-9]+\\.(q|v)":2`, i))
	}
	var many []checkpoint.Tensor
	for i := range 500 {
		many = append(many, pair(fmt.Sprintf("layers.%d.q", i), 2)...)
	}
	refused(t, configWith(t, "rank_pattern", "{"+strings.Join(table, ",")+"}"), weightsOf(t, many...), fault.TooLarge, "rank_pattern")
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("took %v", took)
	}
	// What Go cannot express: the tensors say which maps are adapted, but not their alpha.
	accepted(t, configWith(t, "target_modules", `"(?!x).*\\.(q|v)"`), plainWeights(t))
	refused(t, configWith(t, "alpha_pattern", `{"(?!x)q":8}`), plainWeights(t), fault.Unsupported, "alpha_pattern")
}

// Every field of PEFT that is not understood is refused when it is on, and every field that is off is accepted.
func TestBadInput_28_FieldsHonouredOrRefused(t *testing.T) {
	weights := plainWeights(t)
	for field, on := range map[string][]string{
		"use_dora": {"true", "1", `"yes"`}, "fan_in_fan_out": {"true"}, "lora_bias": {"true"}, "modules_to_save": {`["lm_head"]`},
		"layer_replication": {"[[0,4]]"}, "megatron_config": {`{"a":1}`}, "use_qalora": {"true"}, "target_parameters": {`["experts"]`},
		"ensure_weight_tying": {"true"}, "trainable_token_indices": {"[1,2]", "{}", "[]"}, "alora_invocation_tokens": {"[1]", "[]"},
		"use_bdlora": {"{}", "true"}, "arrow_config": {"{}"}, "velora_config": {"{}"}, "monteclora_config": {"{}"}, "kasa_config": {"{}"},
		"bias":              {`"all"`, `"lora_only"`, "null"},
		"init_lora_weights": {`"pissa"`, `"pissa_niter_16"`, `"olora"`, `"corda"`, `"loftq"`, `"lora_ga"`, `"new"`, "3"},
		"some_new_feature":  {"true", "3", `"on"`, "[0]", `{"a":null}`, "1e400"},
	} {
		for _, v := range on {
			refused(t, configWith(t, field, v), weights, fault.Unsupported, field)
		}
	}
	off := []string{"some_new_feature", "false", "another", "[]", "third", "{}", "fourth", "0.0", "fifth", `""`, "init_lora_weights", `"gaussian"`}
	for field, r := range fields {
		switch r {
		case offOnly:
			off = append(off, field, "false")
		case nullOnly:
			off = append(off, field, "null")
		case harmless:
			off = append(off, field, `{"any":"thing"}`)
		}
	}
	accepted(t, configWith(t, off...), weights)
	// Honoured: TestVariants has the ranks, alphas and rsLoRA of files that PEFT made.
	if m := accepted(t, configWith(t, "use_rslora", "true", "alpha_pattern", `{"v":6}`), weights); m.Layers[0].Scale != 4/math.Sqrt(2) || m.Layers[1].Scale != 6/math.Sqrt(2) {
		t.Errorf("rsLoRA: %+v", m.Layers)
	}
	refused(t, configWith(t, "use_rslora", `"true"`), weights, fault.Invalid, "use_rslora")
	refused(t, configWith(t, "target_modules", `["q"]`), weights, fault.Invalid, "target_modules: does not name m.v")
	refused(t, configWith(t, "target_modules", `"m\\.q"`), weights, fault.Invalid, "target_modules: does not name m.v")
	for _, targets := range []string{"[]", `""`, "3", "[3]", `{"q":1}`} {
		refused(t, configWith(t, "target_modules", targets), weights, fault.Invalid, "target_modules")
	}
	for _, targets := range []string{"null", `"all-linear"`, `["m.q","v"]`, `".*[qv]"`} {
		accepted(t, configWith(t, "target_modules", targets), weights)
	}
}

func TestBadInput_29_BaseModelPath(t *testing.T) {
	weights := plainWeights(t)
	for value, want := range map[string]string{`"../../etc"`: "../../etc", "null": "", `"/etc/passwd"`: "/etc/passwd"} {
		if m := accepted(t, configWith(t, "base_model_name_or_path", value), weights); m.Config.BaseModel != want {
			t.Errorf("base %q; want %q", m.Config.BaseModel, want) // only ever a text
		}
	}
	refused(t, configWith(t, "base_model_name_or_path", `"`+strings.Repeat("b", 1<<20)+`"`), weights, fault.TooLarge, "base_model_name_or_path")
	refused(t, configWith(t, "base_model_name_or_path", "3"), weights, fault.Invalid, "base_model_name_or_path")
	refused(t, configWith(t, "x", `"`+strings.Repeat("b", maxConfig)+`"`), weights, fault.TooLarge, configName)
}

func TestBadInput_30_CustomCode(t *testing.T) {
	weights := plainWeights(t)
	refused(t, configWith(t, "auto_map", `{"AutoModel":"evil.Model"}`), weights, fault.Unsupported, "auto_map")
	refused(t, configWith(t, "_custom_modules", `{"a":"b"}`), weights, fault.Unsupported, "_custom_modules")
	// PEFT writes this one for models without a task type. It names Python classes; here nothing imports them.
	accepted(t, configWith(t, "auto_mapping", `{"base_model_class":"T5","parent_library":"transformers"}`), weights)
}

func TestBadInput_31_PickleNamedSafetensors(t *testing.T) {
	variant := filepath.Join(zootest.Dir(t), "variants", "bin_r8")
	pickle, err := os.ReadFile(filepath.Join(variant, pickleName))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(variant, weightsName), pickle, 0o644); err != nil {
		t.Fatal(err)
	}
	// Refused even where pickles are allowed and the same one lies beside it under its own name.
	_, err = Open(variant, OpenOptions{AllowPickle: true})
	if fault.CodeOf(err) != fault.Invalid || !strings.Contains(err.Error(), "adapter_model.safetensors: header: this is a zip archive") {
		t.Errorf("%v", err)
	}
	refused(t, configWith(t), []byte("7z\xbc\xaf\x27\x1c\x00\x04 and more"), fault.Invalid, "7z")
}

func TestBadInput_32_MixedRanks(t *testing.T) {
	weights := weightsOf(t, append(pair("m.q", 2), pair("m.v", 5)...)...)
	refused(t, configWith(t), weights, fault.Invalid, "layer m.v: its tensors have rank 5")
	m := accepted(t, configWith(t, "rank_pattern", `{"v":5}`), weights)
	if m.Layers[0].Scale != 2 || m.Layers[1].Scale != 0.8 {
		t.Errorf("%+v", m.Layers)
	}
}

func TestBadInput_33_SameNameOtherBytes(t *testing.T) {
	digests := map[string]bool{}
	for _, config := range [][]byte{[]byte(`{"peft_type":"LORA","r":2}`), []byte(`{"peft_type":"LORA","r":2,"lora_alpha":9}`)} {
		for _, w := range [][]byte{plainWeights(t), weightsOf(t, pair("m.q", 2)...)} {
			m, err := Parse("same", config, w)
			if err != nil {
				t.Fatal(err)
			}
			digest, err := m.Digest()
			again, err2 := m.Digest()
			if err != nil || err2 != nil || digest != again || len(digest) != 64 {
				t.Fatalf("digest %q then %q, %v", digest, again, err)
			}
			digests[digest] = true
		}
	}
	if len(digests) != 4 {
		t.Errorf("%d digests of 4 adapters", len(digests))
	}
}

// 20 and 22, for an adapter.
func TestBadInput_20_NonFiniteWeights(t *testing.T) {
	for _, v := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		q := pair("m.q", 2)
		q[1].Data[3] = float32(v)
		refused(t, configWith(t), weightsOf(t, q...), fault.Invalid, "m.q.lora_B.weight: element 3")
	}
}

func TestBadInput_22_AdapterReplacedAfterOpen(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a")
	if err := Write(dir, adapterOf(layer("a", 2, 1)), WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	m := mustOpen(t, dir)
	if err := Write(dir, adapterOf(layer("a", 2, 3)), WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Load(); fault.CodeOf(err) != fault.Invalid || !strings.Contains(err.Error(), "changed") {
		t.Errorf("another scale: %v", err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Load(); fault.CodeOf(err) != fault.NotFound {
		t.Errorf("gone: %v", err)
	}
}
