package peft

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/medley-lora/medley/shared/checkpoint"
	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/zoo/zootest"
)

func TestConfigIsNotJSON(t *testing.T) {
	weights := plainWeights(t)
	for text, want := range map[string]string{
		"":                                 "JSON object",
		"[]":                               "JSON object",
		"null":                             "JSON object",
		`{"peft_type":"LORA"`:              "JSON",
		`{"peft_type":"LORA"} {}`:          "after the closing",
		`{"peft_type":"LORA","r":2,"r":2}`: "r: is there twice",
		`{"peft_type":"LORA","rank_pattern":{"q":2,"q":3}}`:                   "q: is there twice",
		`{"peft_type":"LORA","r":}`:                                           "r: does not hold valid JSON",
		`{"peft_type":"LORA",}`:                                               "JSON",
		`{"r":2}`:                                                             "peft_type: is missing",
		`{"peft_type":null}`:                                                  "peft_type",
		`{"peft_type":"IA3"}`:                                                 `peft_type: is "IA3"`,
		`{"peft_type":"LORA","task_type":3}`:                                  "task_type",
		"{\"peft_type\":\"LORA\",\"r\xff\":2}":                                "UTF-8",
		`{"peft_type":"LORA","x":` + strings.Repeat("[", 100_000):             "x: does not hold",
		`{"peft_type":"LORA","\u001b[2J` + strings.Repeat("n", 5000) + `":1}`: `"\x1b[2Jnnn`,
	} {
		_, err := Parse("bad", []byte(text), weights)
		if code := fault.CodeOf(err); (code != fault.Invalid && code != fault.Unsupported) || !strings.Contains(err.Error(), want) || len(err.Error()) > 500 {
			t.Errorf("%.60q: %v; want %q", text, err, want)
		}
	}
}

func TestTensorNames(t *testing.T) {
	config := configWith(t)
	for name, c := range map[string]struct {
		names []string // A, B, A, B, …
		want  string   // of the error; empty if the first target is m.q
	}{
		"saved":       {[]string{"base_model.model.m.q.lora_A.weight", "base_model.model.m.q.lora_B.weight"}, ""},
		"no prefix":   {[]string{"m.q.lora_A.weight", "m.q.lora_B.weight"}, ""},
		"adapter":     {[]string{"base_model.model.m.q.lora_A.default.weight", "base_model.model.m.q.lora_B.default.weight"}, ""},
		"other name":  {[]string{"m.q.lora_A.french-v2.weight", "m.q.lora_B.french-v2.weight"}, ""},
		"two":         {[]string{"m.q.lora_A.a.weight", "m.q.lora_B.b.weight"}, "another adapter"},
		"two targets": {[]string{"m.q.lora_A.a.weight", "m.q.lora_B.a.weight", "m.v.lora_A.b.weight", "m.v.lora_B.b.weight"}, "another adapter"},
		"twice":       {[]string{"m.q.lora_A.weight", "m.q.lora_B.weight", "base_model.model.m.q.lora_A.weight", "base_model.model.m.q.lora_B.weight"}, "second lora_A"},
		"embedding":   {[]string{"m.q.lora_embedding_A", "m.q.lora_embedding_B"}, "embedding"},
		"bias":        {[]string{"m.q.lora_A.weight", "m.q.lora_B.weight", "m.q.lora_B.bias"}, "bias"},
		"base":        {[]string{"m.q.lora_A.weight", "m.q.lora_B.weight", "m.q.weight"}, "m.q.weight: is not a lora_A"},
		"half C":      {[]string{"m.q.lora_C.weight"}, "is not a lora_A"},
		"no target":   {[]string{"base_model.model.lora_A.weight", "lora_A.weight"}, "is not a lora_A"},
		"deep":        {[]string{"m.q.lora_A.a.b.weight", "m.q.lora_B.a.b.weight"}, "is not a lora_A"},
		"empty name":  {[]string{"m.q.lora_A..weight", "m.q.lora_B..weight"}, "is not a lora_A"},
		"terminal":    {[]string{"m\x1b[2J.q.lora_A.weight"}, `\x1b[2J`},
	} {
		var tensors []checkpoint.Tensor
		for i, tensor := range c.names {
			shape := []int{2, 3}
			if i%2 == 1 {
				shape = []int{4, 2}
			}
			tensors = append(tensors, tensorOf(tensor, shape...))
		}
		m, err := Parse("x", config, weightsOf(t, tensors...))
		if c.want == "" {
			if err != nil || m.Layers[0] != (LayerInfo{Target: "m.q", In: 3, Out: 4, Rank: 2, Scale: 2}) {
				t.Errorf("%s: %v", name, err)
			}
		} else if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v; want %q", name, err, c.want)
		}
	}
	half := tensorOf("m.q.lora_A.weight", 2, 3)
	half.DType = checkpoint.BF16
	accepted(t, config, weightsOf(t, half, tensorOf("m.q.lora_B.weight", 4, 2)))
}

// The answers are those of Python's re.match(rf"(.*\.)?({pattern})$", target).
func TestOverridesMatchAsPEFT(t *testing.T) {
	const target = "model.layers.10.self_attn.q_proj"
	for pattern, want := range map[string]bool{
		"q_proj": true, "self_attn.q_proj": true, target: true, "proj": false, "_proj": false, "q_pro": false, "q.proj": true,
		"layers.10": false, "0.self_attn.q_proj": false, "10.self_attn.q_proj": true, "k_proj": false, "x." + target: false,
		`.*\.10\..*`: true, `layers\.\d+\..*`: true, `layers\.\d\..*`: false, "^model.*": true, "^layers.*": false, "^" + target: true,
		"q_proj$": true, "(k|q)_proj": true, "k_proj|q_proj": true, "q_proj|k_proj": true, "model": false, `q_proj)|(zzz`: true, `zzz)|(proj`: false,
		`\w+_proj`: true, `layers\.[0-9]{2}\.self_attn\.q_proj`: true, "": false,
	} {
		table, err := compileOverrides("rank_pattern", []Override{{pattern, 5}}, 1)
		if err != nil {
			t.Errorf("%q: %v", pattern, err)
			continue
		}
		if got := table.value(target, 1) == 5; got != want {
			t.Errorf("%q matches: %v; want %v", pattern, got, want)
		}
	}
	// The first that matches counts, in the order of the file.
	m, err := Parse("x", configWith(t, "alpha_pattern", `{"z":1,"m.q":6,"q":8,".*":10}`), plainWeights(t))
	if err != nil || m.Layers[0].Scale != 3 || m.Layers[1].Scale != 5 {
		t.Errorf("%+v, %v", m, err)
	}
}

func TestOpenFindsNothing(t *testing.T) {
	dir := t.TempDir()
	if _, err := Open(filepath.Join(dir, "absent"), OpenOptions{}); fault.CodeOf(err) != fault.NotFound || strings.Contains(err.Error(), "absent") {
		t.Errorf("no folder: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, configName), configWith(t), 0o644); err != nil {
		t.Fatal(err)
	}
	var f *fault.Error
	if _, err := Open(dir, OpenOptions{AllowPickle: true}); !errors.As(err, &f) || f.Code != fault.NotFound || f.Field != weightsName {
		t.Errorf("no weights: %v", err)
	}
}

func FuzzConfig(f *testing.F) {
	dir := zootest.Dir(f)
	seeds, err := filepath.Glob(filepath.Join(dir, "variants", "*", configName))
	if err != nil || len(seeds) == 0 {
		f.Fatalf("no seeds: %v", err)
	}
	for _, path := range seeds {
		text, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte(`{"peft_type":"LORA","r":2,"rank_pattern":{"^m\\.q":2,"(v|w)":2},"alpha_pattern":{"q":3.5},"target_modules":".*(q|v)"}`))
	weights := plainWeights(f)
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := Parse("x", text, weights)
		if err != nil {
			if fault.CodeOf(err) == fault.Internal {
				t.Fatalf("an internal error: %v", err)
			}
			return
		}
		if !json.Valid(text) {
			t.Fatalf("accepted what is not JSON")
		}
		a, err := m.Load()
		if err != nil {
			t.Fatal(err)
		}
		a.Name = "out"
		out := filepath.Join(t.TempDir(), "out")
		if err := Write(out, a, WriteOptions{}); err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		sameAdapter(t, a, mustLoad(t, mustOpen(t, out)))
	})
}
