// Package llama is the family of decoder-only models that Llama began, as Hugging Face Transformers computes it: Llama 2 and 3 and SmolLM2
// (models/llama/modeling_llama.py), Mistral, Qwen2, Qwen2.5 and Qwen3.
package llama

import (
	"bytes"
	"encoding/json"

	"github.com/medley-lora/medley/shared/fault"
)

// Config is config.json, with the library's defaults filled in.
type Config struct {
	ModelType     string   `json:"model_type"`
	VocabSize     int      `json:"vocab_size"`
	Width         int      `json:"hidden_size"`
	FFWidth       int      `json:"intermediate_size"`
	Layers        int      `json:"num_hidden_layers"`
	Heads         int      `json:"num_attention_heads"`
	KVHeads       int      `json:"num_key_value_heads"` // 0: as many as Heads
	HeadDim       int      `json:"head_dim"`            // 0: Width / Heads
	Activation    string   `json:"hidden_act"`
	Epsilon       float32  `json:"rms_norm_eps"`
	MaxPositions  int      `json:"max_position_embeddings"`
	TieEmbeddings *bool    `json:"tie_word_embeddings"`
	AttentionBias bool     `json:"attention_bias"`
	MLPBias       bool     `json:"mlp_bias"`
	Window        *int     `json:"sliding_window"`
	UseWindow     *bool    `json:"use_sliding_window"`
	FullLayers    int      `json:"max_window_layers"` // those before the first with a window
	LayerTypes    []string `json:"layer_types"`
	EndIDs        tokenIDs `json:"eos_token_id"`

	Rope     *ropeConfig `json:"rope_parameters"` // Transformers 5; before it rope_theta and rope_scaling
	Scaling  *ropeConfig `json:"rope_scaling"`
	Theta    float64     `json:"rope_theta"`
	Partial  *float64    `json:"partial_rotary_factor"`
	Quantise any         `json:"quantization_config"`

	kind     kind
	rope     rope
	windowOf []int // by layer, 0 for none
	tied     bool
}

// kind is what the families differ in.
type kind struct {
	qkvBias     bool // of queries, keys and values, whatever AttentionBias says
	honoursBias bool // AttentionBias and, in Llama, MLPBias count
	headNorms   bool // queries and keys are normalised, head by head
	windowed    bool // whether sliding_window counts: always in Mistral, in Qwen if use_sliding_window
	byLayer     bool // layer_types and max_window_layers count
	theta       float64
	headDim     int // when the file does not say: 0 for Width / Heads
}

var kinds = map[string]kind{
	"llama":   {honoursBias: true, theta: 10000},
	"mistral": {windowed: true, theta: 10000},
	"qwen2":   {qkvBias: true, byLayer: true, theta: 10000},
	"qwen3":   {honoursBias: true, headNorms: true, byLayer: true, theta: 10000, headDim: 128},
}

// Handles says whether a model_type is of this family.
func Handles(modelType string) bool { _, ok := kinds[modelType]; return ok }

// tokenIDs is one id, several or null.
type tokenIDs []int32

func (t *tokenIDs) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] != '[' {
		var one *int32
		err := json.Unmarshal(data, &one)
		if *t = nil; one != nil {
			*t = tokenIDs{*one}
		}
		return err
	}
	return json.Unmarshal(data, (*[]int32)(t))
}

// The bounds below refuse absurd configurations before anything is allocated.
const (
	maxLayers    = 512
	maxWidth     = 1 << 17
	maxVocab     = 1 << 24
	maxPositions = 1 << 24
	maxEndIDs    = 64
)

// ParseConfig reads and checks config.json. What would change the numbers and is not supported is refused by its name.
func ParseConfig(data []byte) (Config, error) {
	var named struct {
		ModelType string `json:"model_type"`
	}
	if err := json.Unmarshal(data, &named); err != nil {
		return Config{}, fault.Wrap(err, fault.Invalid, "config.json", "not a model configuration: %v", err)
	}
	k, ok := kinds[named.ModelType]
	if !ok {
		return Config{}, fault.New(fault.Unsupported, "config.json: model_type", "%.100q is not supported", named.ModelType)
	}
	c := defaults(named.ModelType, k)
	decoder := json.NewDecoder(bytes.NewReader(data))
	if err := decoder.Decode(&c); err != nil {
		return Config{}, fault.Wrap(err, fault.Invalid, "config.json", "not a model configuration: %v", err)
	}
	if c.KVHeads == 0 {
		c.KVHeads = c.Heads
	}
	if err := c.check(); err != nil {
		return Config{}, err
	}
	if err := c.unsupported(); err != nil {
		return Config{}, err
	}
	if err := c.setWindows(); err != nil {
		return Config{}, err
	}
	// Without the field Transformers does not tie, but for Qwen's small models, which all say so.
	c.tied = c.TieEmbeddings != nil && *c.TieEmbeddings
	var err error
	c.rope, err = c.newRope()
	return c, err
}

// defaults are those of the library's configuration classes.
func defaults(name string, k kind) Config {
	c := Config{
		kind: k, VocabSize: 32000, Width: 4096, FFWidth: 11008, Layers: 32, Heads: 32, Activation: "silu", Epsilon: 1e-6, MaxPositions: 2048, HeadDim: k.headDim,
	}
	switch name {
	case "mistral":
		window := 4096
		c.FFWidth, c.KVHeads, c.MaxPositions, c.Window = 14336, 8, 1<<17, &window
	case "qwen2", "qwen3":
		window := 4096
		c.VocabSize, c.FFWidth, c.MaxPositions, c.KVHeads, c.Window, c.FullLayers = 151936, 22016, 32768, 32, &window, 28
	}
	return c
}

func (c *Config) check() error {
	if c.HeadDim == 0 && c.Heads > 0 {
		c.HeadDim = c.Width / c.Heads
	}
	bounds := []struct {
		field         string
		value, lo, hi int
	}{
		{"vocab_size", c.VocabSize, 2, maxVocab},
		{"hidden_size", c.Width, 1, maxWidth},
		{"intermediate_size", c.FFWidth, 1, maxWidth},
		{"num_hidden_layers", c.Layers, 1, maxLayers},
		{"head_dim", c.HeadDim, 2, maxWidth},
		{"num_attention_heads", c.Heads, 1, maxWidth / min(max(c.HeadDim, 1), maxWidth)},
		{"num_key_value_heads", c.KVHeads, 1, c.Heads},
		{"max_position_embeddings", c.MaxPositions, 1, maxPositions},
		{"eos_token_id", len(c.EndIDs), 0, maxEndIDs},
	}
	for _, id := range c.EndIDs {
		bounds = append(bounds, struct {
			field         string
			value, lo, hi int
		}{"eos_token_id", int(id), 0, c.VocabSize - 1})
	}
	for _, b := range bounds {
		if b.value < b.lo || b.value > b.hi {
			return fault.New(fault.Invalid, "config.json: "+b.field, "%d is outside [%d, %d]", b.value, b.lo, b.hi)
		}
	}
	switch {
	case c.Heads%c.KVHeads != 0:
		return fault.New(fault.Invalid, "config.json: num_key_value_heads", "%d does not divide %d heads", c.KVHeads, c.Heads)
	case c.HeadDim%2 != 0:
		return fault.New(fault.Invalid, "config.json: head_dim", "%d is odd; rotation turns pairs of columns", c.HeadDim)
	case c.kind.headNorms && c.HeadDim%4 != 0:
		return fault.New(fault.Unsupported, "config.json: head_dim", "%d is no multiple of 4, which the norms of heads need", c.HeadDim)
	case !(c.Epsilon > 0 && c.Epsilon < 1):
		return fault.New(fault.Invalid, "config.json: rms_norm_eps", "%g is outside (0, 1)", c.Epsilon)
	}
	return nil
}

func (c *Config) unsupported() error {
	refuse := func(field, format string, args ...any) error {
		return fault.New(fault.Unsupported, "config.json: "+field, format, args...)
	}
	switch {
	case c.Activation != "silu":
		return refuse("hidden_act", "%.100q is not supported; expected \"silu\"", c.Activation)
	case c.Partial != nil && *c.Partial != 1:
		return refuse("partial_rotary_factor", "%g is not supported; expected 1", *c.Partial)
	case c.Quantise != nil:
		return refuse("quantization_config", "weights that were quantised by another library are not supported")
	case c.AttentionBias && !c.kind.honoursBias:
		return refuse("attention_bias", "%s has no such field", c.ModelType)
	case c.MLPBias && c.ModelType != "llama":
		return refuse("mlp_bias", "%s has no such field", c.ModelType)
	}
	return nil
}

// setWindows says which layers attend to how much.
func (c *Config) setWindows() error {
	c.windowOf = make([]int, c.Layers)
	window := 0
	if c.Window != nil && (c.kind.windowed || (c.UseWindow != nil && *c.UseWindow)) {
		window = *c.Window
		if window < 1 || window > maxPositions {
			return fault.New(fault.Invalid, "config.json: sliding_window", "%d is outside [1, %d]", window, maxPositions)
		}
	}
	if c.LayerTypes != nil && c.kind.byLayer && len(c.LayerTypes) != c.Layers {
		return fault.New(fault.Invalid, "config.json: layer_types", "names %d layers of %d", len(c.LayerTypes), c.Layers)
	}
	for i := range c.windowOf {
		switch {
		case !c.kind.byLayer:
			c.windowOf[i] = window
		case c.LayerTypes == nil:
			if i >= c.FullLayers {
				c.windowOf[i] = window
			}
		case c.LayerTypes[i] == "full_attention":
		case c.LayerTypes[i] == "sliding_attention" && window > 0:
			c.windowOf[i] = window
		default:
			return fault.New(fault.Unsupported, "config.json: layer_types", "%.100q is not supported here", c.LayerTypes[i])
		}
	}
	return nil
}
