package t5

import (
	"strings"
	"testing"

	"github.com/medley-lora/medley/gpu/backend"
)

func TestParseConfig(t *testing.T) {
	cases := []struct {
		name, text   string
		scaled       bool
		gated        bool
		activation   backend.Activation
		decoderLayer int
	}{
		{"defaults are T5 1.0 small", `{"model_type":"t5"}`, true, false, backend.ReLU, 6},
		{"FLAN-T5 as published", `{"model_type":"t5","feed_forward_proj":"gated-gelu","tie_word_embeddings":false,"num_decoder_layers":8}`, false, true, backend.GELUNew, 8},
		{"Transformers 5 says it twice", `{"model_type":"t5","tie_word_embeddings":true,"scale_decoder_outputs":false}`, false, false, backend.ReLU, 6},
		{"a null layer count", `{"model_type":"t5","num_decoder_layers":null,"num_layers":3}`, true, false, backend.ReLU, 3},
	}
	for _, c := range cases {
		got, err := ParseConfig([]byte(c.text))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if got.scaleHead != c.scaled || got.gated != c.gated || got.activation != c.activation || got.DecoderLayers != c.decoderLayer {
			t.Errorf("%s: %+v", c.name, got)
		}
	}
}

func TestParseConfigRefuses(t *testing.T) {
	for text, want := range map[string]string{
		``:                                  "config.json",
		`[]`:                                "config.json",
		`{"model_type":"bert"}`:             "model_type",
		`{}`:                                "model_type",
		`{"model_type":"t5","d_model":0}`:   "d_model",
		`{"model_type":"t5","d_model":1e9}`: "config.json",
		`{"model_type":"t5","d_kv":-4}`:     "d_kv",
		`{"model_type":"t5","num_layers":100000}`:                 "num_layers",
		`{"model_type":"t5","vocab_size":2000000000}`:             "vocab_size",
		`{"model_type":"t5","num_heads":65536,"d_kv":65536}`:      "num_heads",
		`{"model_type":"t5","feed_forward_proj":"gated-swish"}`:   "feed_forward_proj",
		`{"model_type":"t5","feed_forward_proj":"gelu"}`:          "feed_forward_proj",
		`{"model_type":"t5","layer_norm_epsilon":0}`:              "layer_norm_epsilon",
		`{"model_type":"t5","eos_token_id":40000}`:                "eos_token_id",
		`{"model_type":"t5","relative_attention_num_buckets":1}`:  "relative_attention_num_buckets",
		`{"model_type":"t5","relative_attention_max_distance":3}`: "relative_attention_max_distance",
		`{"model_type":"t5","decoder_start_token_id":-1}`:         "decoder_start_token_id",
		`{"model_type":"t5","vocab_size":"many"}`:                 "config.json",
	} {
		if _, err := ParseConfig([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one that names %s", text, err, want)
		}
	}
}

func FuzzParseConfig(f *testing.F) {
	f.Add([]byte(`{"model_type":"t5","feed_forward_proj":"gated-gelu","tie_word_embeddings":false}`))
	f.Add([]byte(`{"model_type":"t5","d_model":1e400}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := ParseConfig(data)
		if err == nil && (c.Heads*c.HeadDim > maxWidth || c.Heads < 1 || c.DecoderLayers < 1) {
			t.Errorf("%+v was taken", c)
		}
	})
}
