// Package t5 is the T5 family as Hugging Face Transformers computes it (models/t5/modeling_t5.py): T5 1.0 (relu, scaled tied
// head), T5 1.1 and FLAN-T5 (gated GELU, untied head).
package t5

import (
	"encoding/json"
	"strings"

	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/shared/fault"
)

// Config is config.json, with the library's defaults filled in.
type Config struct {
	VocabSize     int     `json:"vocab_size"`
	Width         int     `json:"d_model"`
	HeadDim       int     `json:"d_kv"`
	FFWidth       int     `json:"d_ff"`
	EncoderLayers int     `json:"num_layers"`
	DecoderLayers int     `json:"num_decoder_layers"` // 0: as many as the encoder has
	Heads         int     `json:"num_heads"`
	Buckets       int     `json:"relative_attention_num_buckets"`
	MaxDistance   int     `json:"relative_attention_max_distance"`
	Epsilon       float32 `json:"layer_norm_epsilon"`
	FeedForward   string  `json:"feed_forward_proj"`
	PadID         int32   `json:"pad_token_id"`
	EndID         int32   `json:"eos_token_id"`
	StartID       int32   `json:"decoder_start_token_id"`
	TieEmbeddings *bool   `json:"tie_word_embeddings"`
	ScaleOutputs  *bool   `json:"scale_decoder_outputs"`
	ModelType     string  `json:"model_type"`
	MaxPositions  int     `json:"n_positions"` // the length it was trained on; longer inputs are computed all the same
	activation    backend.Activation
	gated         bool
	scaleHead     bool
}

// The bounds below refuse absurd configurations before anything is allocated; the largest published T5 has 24 layers of width
// 4096 with 128 heads and a feed-forward of 65536.
const (
	maxLayers = 512
	maxWidth  = 1 << 17
	maxVocab  = 1 << 24
)

// ParseConfig reads and checks config.json.
func ParseConfig(data []byte) (Config, error) {
	c := Config{
		VocabSize: 32128, Width: 512, HeadDim: 64, FFWidth: 2048, EncoderLayers: 6, Heads: 8, Buckets: 32, MaxDistance: 128,
		Epsilon: 1e-6, FeedForward: "relu", EndID: 1, MaxPositions: 512,
	}
	if err := json.Unmarshal(data, &c); err != nil {
		return Config{}, fault.Wrap(err, fault.Invalid, "config.json", "not a model configuration: %v", err)
	}
	if c.ModelType != "t5" {
		return Config{}, fault.New(fault.Unsupported, "config.json: model_type", "%q is not supported; expected \"t5\"", c.ModelType)
	}
	if c.DecoderLayers == 0 {
		c.DecoderLayers = c.EncoderLayers
	}
	if err := c.setActivation(); err != nil {
		return Config{}, err
	}
	// Transformers 5 writes scale_decoder_outputs; earlier files say it by tying the embeddings, which is the default.
	c.scaleHead = c.TieEmbeddings == nil || *c.TieEmbeddings
	if c.ScaleOutputs != nil {
		c.scaleHead = *c.ScaleOutputs
	}
	return c, c.check()
}

func (c *Config) setActivation() error {
	name, gated := strings.CutPrefix(c.FeedForward, "gated-")
	c.gated = gated
	switch name {
	case "relu":
		c.activation = backend.ReLU
	case "gelu_new":
		c.activation = backend.GELUNew
	case "silu":
		c.activation = backend.SiLU
	case "gelu":
		if gated { // "gated-gelu" has always meant the tanh form
			c.activation = backend.GELUNew
			return nil
		}
		fallthrough
	default:
		return fault.New(fault.Unsupported, "config.json: feed_forward_proj", "%q is not supported; expected relu, gated-gelu or gated-silu", c.FeedForward)
	}
	return nil
}

func (c *Config) check() error {
	bounds := []struct {
		field         string
		value, lo, hi int
	}{
		{"vocab_size", c.VocabSize, 2, maxVocab},
		{"d_model", c.Width, 1, maxWidth},
		{"d_kv", c.HeadDim, 1, maxWidth},
		{"d_ff", c.FFWidth, 1, maxWidth},
		{"num_heads", c.Heads, 1, maxWidth / c.clampedHeadDim()},
		{"num_layers", c.EncoderLayers, 1, maxLayers},
		{"num_decoder_layers", c.DecoderLayers, 1, maxLayers},
		{"relative_attention_num_buckets", c.Buckets, 4, 1 << 16},
		{"relative_attention_max_distance", c.MaxDistance, c.Buckets/2 + 1, 1 << 24},
		{"n_positions", c.MaxPositions, 1, 1 << 24},
		{"pad_token_id", int(c.PadID), 0, c.VocabSize - 1},
		{"eos_token_id", int(c.EndID), 0, c.VocabSize - 1},
		{"decoder_start_token_id", int(c.StartID), 0, c.VocabSize - 1},
	}
	for _, b := range bounds {
		if b.value < b.lo || b.value > b.hi {
			return fault.New(fault.Invalid, "config.json: "+b.field, "%d is outside [%d, %d]", b.value, b.lo, b.hi)
		}
	}
	if !(c.Epsilon > 0 && c.Epsilon < 1) {
		return fault.New(fault.Invalid, "config.json: layer_norm_epsilon", "%g is outside (0, 1)", c.Epsilon)
	}
	return nil
}

func (c *Config) clampedHeadDim() int { return min(max(c.HeadDim, 1), maxWidth) }
