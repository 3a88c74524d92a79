package llama

import (
	"math"
	"slices"
	"strings"
	"testing"
)

func TestParseConfig(t *testing.T) {
	layers := func(n, window, from int) []int {
		windows := make([]int, n)
		for i := from; i < n; i++ {
			windows[i] = window
		}
		return windows
	}
	cases := []struct {
		name, text       string
		kvHeads, headDim int
		tied             bool
		ends             []int32
		windows          []int
	}{
		{"Llama by default", `{"model_type":"llama"}`, 32, 128, false, nil, layers(32, 0, 0)},
		{"as published", `{"model_type":"llama","num_key_value_heads":8,"head_dim":null,"tie_word_embeddings":true,"eos_token_id":[5,6]}`, 8, 128, true, []int32{5, 6}, layers(32, 0, 0)},
		{"no end", `{"model_type":"llama","eos_token_id":null,"num_key_value_heads":null}`, 32, 128, false, nil, layers(32, 0, 0)},
		{"Mistral's window", `{"model_type":"mistral","eos_token_id":2}`, 8, 128, false, []int32{2}, layers(32, 4096, 0)},
		{"Mistral without", `{"model_type":"mistral","sliding_window":null}`, 8, 128, false, nil, layers(32, 0, 0)},
		{"a window that Llama ignores", `{"model_type":"llama","sliding_window":5}`, 32, 128, false, nil, layers(32, 0, 0)},
		{"Qwen2's that is off", `{"model_type":"qwen2","sliding_window":5,"use_sliding_window":false}`, 32, 128, false, nil, layers(32, 0, 0)},
		{"Qwen2's above some layers", `{"model_type":"qwen2","sliding_window":5,"use_sliding_window":true,"max_window_layers":30}`, 32, 128, false, nil, layers(32, 5, 30)},
		{"Qwen3's by layer", `{"model_type":"qwen3","num_hidden_layers":2,"sliding_window":5,"use_sliding_window":true,"layer_types":["full_attention","sliding_attention"]}`, 32, 128, false, nil, []int{0, 5}},
		{"Qwen3's heads", `{"model_type":"qwen3","hidden_size":1024,"num_attention_heads":16,"num_key_value_heads":8}`, 8, 128, false, nil, layers(32, 0, 0)},
	}
	for _, c := range cases {
		got, err := ParseConfig([]byte(c.text))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if got.KVHeads != c.kvHeads || got.HeadDim != c.headDim || got.tied != c.tied || !slices.Equal(got.EndIDs, c.ends) || !slices.Equal(got.windowOf, c.windows) {
			t.Errorf("%s: %+v", c.name, got)
		}
	}
}

func TestParseConfigRefuses(t *testing.T) {
	for text, want := range map[string]string{
		``:                                       "config.json",
		`{"model_type":"gemma"}`:                 "model_type",
		`{"model_type":"llama","hidden_size":0}`: "hidden_size",
		`{"model_type":"llama","hidden_size":1e9}`:                                                                  "config.json",
		`{"model_type":"llama","num_hidden_layers":100000}`:                                                         "num_hidden_layers",
		`{"model_type":"llama","num_attention_heads":65536,"head_dim":65536}`:                                       "num_attention_heads",
		`{"model_type":"llama","num_key_value_heads":64}`:                                                           "num_key_value_heads",
		`{"model_type":"llama","num_key_value_heads":5}`:                                                            "num_key_value_heads",
		`{"model_type":"llama","num_attention_heads":0}`:                                                            "head_dim",
		`{"model_type":"llama","head_dim":3}`:                                                                       "head_dim",
		`{"model_type":"qwen3","head_dim":6}`:                                                                       "head_dim",
		`{"model_type":"llama","rms_norm_eps":0}`:                                                                   "rms_norm_eps",
		`{"model_type":"llama","hidden_act":"gelu"}`:                                                                "hidden_act",
		`{"model_type":"llama","eos_token_id":99999}`:                                                               "eos_token_id",
		`{"model_type":"llama","eos_token_id":"x"}`:                                                                 "config.json",
		`{"model_type":"llama","partial_rotary_factor":0.5}`:                                                        "partial_rotary_factor",
		`{"model_type":"llama","quantization_config":{}}`:                                                           "quantization_config",
		`{"model_type":"qwen2","attention_bias":true}`:                                                              "attention_bias",
		`{"model_type":"qwen3","mlp_bias":true}`:                                                                    "mlp_bias",
		`{"model_type":"mistral","sliding_window":-1}`:                                                              "sliding_window",
		`{"model_type":"qwen3","layer_types":["full_attention"]}`:                                                   "layer_types",
		`{"model_type":"qwen3","num_hidden_layers":1,"layer_types":["linear_attention"]}`:                           "layer_types",
		`{"model_type":"qwen3","num_hidden_layers":1,"layer_types":["sliding_attention"]}`:                          "layer_types",
		`{"model_type":"llama","rope_theta":-1}`:                                                                    "rope_theta",
		`{"model_type":"llama","rope_scaling":{"rope_type":"longrope","factor":2}}`:                                 "rope_type",
		`{"model_type":"llama","rope_scaling":{"type":"linear"}}`:                                                   "factor",
		`{"model_type":"llama","rope_scaling":{"type":"default","mrope_section":[1,2]}}`:                            "mrope_section",
		`{"model_type":"llama","rope_parameters":{"rope_type":"llama3","factor":2}}`:                                "high_freq_factor",
		`{"model_type":"llama","rope_parameters":{"rope_type":"yarn","factor":2,"beta_fast":1,"beta_slow":2}}`:      "beta_fast",
		`{"model_type":"llama","rope_parameters":{"rope_type":"yarn","factor":2,"attention_factor":-1}}`:            "attention_factor",
		`{"model_type":"llama","rope_parameters":{"rope_type":"default","partial_rotary_factor":0.5}}`:              "partial_rotary_factor",
		`{"model_type":"llama","rope_scaling":{"type":"dynamic","factor":2,"original_max_position_embeddings":-5}}`: "original_max_position_embeddings",
	} {
		if _, err := ParseConfig([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one that names %s", text, err, want)
		}
	}
}

// TestRopeOfOldFiles: what Transformers 5 writes in one object stood in two fields before.
func TestRopeOfOldFiles(t *testing.T) {
	one, err := ParseConfig([]byte(`{"model_type":"llama","rope_parameters":{"rope_theta":500000,"rope_type":"llama3","factor":8,"low_freq_factor":1,"high_freq_factor":4,"original_max_position_embeddings":8192}}`))
	if err != nil {
		t.Fatal(err)
	}
	two, err := ParseConfig([]byte(`{"model_type":"llama","rope_theta":500000,"rope_scaling":{"rope_type":"llama3","factor":8,"low_freq_factor":1,"high_freq_factor":4,"original_max_position_embeddings":8192}}`))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(one.rope.frequencies, two.rope.frequencies) || one.rope.frequencies[0] != 1 {
		t.Error("the two ways of saying it differ")
	}
	slowest := float64(one.rope.frequencies[63])
	if want := math.Pow(500000, -126.0/128) / 8; math.Abs(slowest-want) > 1e-7*want {
		t.Errorf("the slowest pair turns by %g, want %g", slowest, want)
	}
}

func FuzzParseConfig(f *testing.F) {
	f.Add([]byte(`{"model_type":"qwen2","sliding_window":5,"use_sliding_window":true,"eos_token_id":[1]}`))
	f.Add([]byte(`{"model_type":"llama","rope_parameters":{"rope_type":"yarn","factor":2,"mscale":1,"mscale_all_dim":1}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := ParseConfig(data)
		if err != nil {
			return
		}
		if c.Heads*c.HeadDim > maxWidth || c.Heads%c.KVHeads != 0 || len(c.windowOf) != c.Layers || len(c.rope.frequencies) != c.HeadDim/2 {
			t.Errorf("%+v was taken", c)
		}
		for _, v := range c.rope.angles(0, 2) {
			if math.IsNaN(float64(v)) {
				t.Errorf("%+v has angles that are no numbers", c.rope)
			}
		}
	})
}
