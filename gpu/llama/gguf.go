package llama

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/gpu/model"
	"github.com/medley-lora/medley/shared/checkpoint"
	"github.com/medley-lora/medley/shared/fault"
)

// GGUF is a decoder-only model in a GGUF file, its tensors under the names that Transformers gives them.
type GGUF struct {
	Config Config

	file  *checkpoint.GGUF
	names map[string]string // by Transformers' name
	heads map[string]int    // of maps whose rows the file has in another order: their heads
}

// ggufArchitectures are the families by the file's name for them. Mistral is "llama" there.
var ggufArchitectures = map[string]string{"llama": "llama", "qwen2": "qwen2", "qwen3": "qwen3"}

// ggufScalars are fields of config.json that are single values in a file.
var ggufScalars = map[string]string{
	"embedding_length": "hidden_size", "feed_forward_length": "intermediate_size", "block_count": "num_hidden_layers",
	"attention.head_count": "num_attention_heads", "attention.head_count_kv": "num_key_value_heads", "attention.key_length": "head_dim",
	"context_length": "max_position_embeddings", "attention.layer_norm_rms_epsilon": "rms_norm_eps", "rope.freq_base": "rope_theta",
	"attention.sliding_window": "sliding_window",
}

// OpenGGUF reads the configuration of a file, whose tokenizer has so many tokens, and refuses what would change the numbers.
func OpenGGUF(file *checkpoint.GGUF, tokens int) (*GGUF, error) {
	architecture, _ := file.Values["general.architecture"].(string)
	kind, known := ggufArchitectures[architecture]
	if !known {
		return nil, fault.New(fault.Unsupported, "general.architecture", "%.100q is not supported; expected llama, qwen2 or qwen3", architecture)
	}
	g := &GGUF{file: file, names: map[string]string{}, heads: map[string]int{}}
	embedding, _ := file.Info("token_embd.weight")
	if len(embedding.Shape) != 2 || embedding.Shape[0] < tokens {
		return nil, fault.New(fault.Invalid, "tensor token_embd.weight", "has shape %v; expected a row for each of %d tokens", embedding.Shape, tokens)
	}
	fields := map[string]any{"model_type": kind, "vocab_size": embedding.Shape[0]}
	if err := g.scalars(architecture, fields); err != nil {
		return nil, err
	}
	if _, windowed := fields["sliding_window"]; windowed && kind == "llama" {
		fields["model_type"] = "mistral"
	} else if windowed {
		return nil, fault.New(fault.Unsupported, architecture+".attention.sliding_window", "is not supported in %s", architecture)
	}
	if err := g.name(); err != nil {
		return nil, err
	}
	_, headed := g.names["lm_head.weight"]
	fields["tie_word_embeddings"] = !headed
	if _, biased := g.names["model.layers.0.self_attn.q_proj.bias"]; biased && kind == "llama" {
		fields["attention_bias"] = true
	}
	if _, biased := g.names["model.layers.0.mlp.gate_proj.bias"]; biased {
		fields["mlp_bias"] = true
	}
	data, err := json.Marshal(fields)
	if err != nil {
		return nil, fault.Wrap(err, fault.Internal, "", "%v", err)
	}
	if g.Config, err = ParseConfig(data); err != nil {
		return nil, err
	}
	if kind == "llama" {
		g.reorder()
	}
	if err := g.unused(); err != nil {
		return nil, err
	}
	return g, g.factors(architecture)
}

// scalars copies what the file says into fields of config.json.
func (g *GGUF) scalars(architecture string, fields map[string]any) error {
	prefix := architecture + "."
	for key, field := range ggufScalars {
		if v, there := g.file.Values[prefix+key]; there {
			fields[field] = v
		}
	}
	if n, there := g.file.Values[prefix+"expert_count"].(uint64); there && n > 0 {
		return fault.New(fault.Unsupported, prefix+"expert_count", "mixtures of experts are not supported")
	}
	if scaling, _ := g.file.Values[prefix+"rope.scaling.type"].(string); scaling != "" && scaling != "none" {
		rope := map[string]any{"rope_type": scaling, "factor": g.file.Values[prefix+"rope.scaling.factor"]}
		if original, there := g.file.Values[prefix+"rope.scaling.original_context_length"]; there {
			rope["original_max_position_embeddings"] = original
		}
		fields["rope_scaling"] = rope
	}
	return nil
}

// ggufTensor takes the name of a layer's tensor apart.
var ggufTensor = regexp.MustCompile(`^blk\.(\d{1,4})\.(\w+)\.(weight|bias)$`)

var ggufLayerNames = map[string]string{
	"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
	"attn_output": "self_attn.o_proj", "attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
	"ffn_down": "mlp.down_proj",
}

const ropeFactors = "rope_freqs.weight"

// name gives every tensor its name in Transformers; one that has none there would go unused and is refused.
func (g *GGUF) name() error {
	ends := map[string]string{"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight", "output.weight": "lm_head.weight"}
	for _, name := range g.file.Names() {
		to, known := ends[name]
		if m := ggufTensor.FindStringSubmatch(name); m != nil {
			var part string
			part, known = ggufLayerNames[m[2]]
			to = fmt.Sprintf("model.layers.%s.%s.%s", m[1], part, m[3])
		}
		if !known && name != ropeFactors {
			return fault.New(fault.Unsupported, "tensor "+name, "is not known in this family")
		}
		g.names[to] = name
	}
	delete(g.names, "")
	return nil
}

// unused refuses biases and norms that the family would leave aside.
func (g *GGUF) unused() error {
	c := &g.Config
	for to, name := range g.names {
		biased := strings.HasSuffix(to, ".bias")
		used := !biased
		switch {
		case strings.Contains(to, ".self_attn.") && strings.Contains(to, "_norm."):
			used = !biased && c.kind.headNorms
		case biased && strings.Contains(to, "o_proj"):
			used = c.AttentionBias
		case biased && strings.Contains(to, ".self_attn."):
			used = c.AttentionBias || c.kind.qkvBias
		case biased && strings.Contains(to, ".mlp."):
			used = c.MLPBias
		}
		if !used {
			return fault.New(fault.Unsupported, "tensor "+name, "is not known in %s", c.ModelType)
		}
	}
	return nil
}

// reorder notes the maps whose rows llama.cpp's converter interleaves: it turns pairs of neighbouring rows, Transformers rows half a head
// apart.
func (g *GGUF) reorder() {
	for _, name := range slices.Collect(maps.Keys(g.names)) {
		switch {
		case strings.Contains(name, ".self_attn.q_proj."):
			g.heads[name] = g.Config.Heads
		case strings.Contains(name, ".self_attn.k_proj."):
			g.heads[name] = g.Config.KVHeads
		}
	}
}

// factors divides the frequencies by what a file may have beside them, as those of Llama 3.1 and later do, and holds the widths to each other.
func (g *GGUF) factors(architecture string) error {
	for _, key := range []string{"rope.dimension_count", "attention.value_length"} {
		if n, there := g.file.Values[architecture+"."+key].(uint64); there && n != uint64(g.Config.HeadDim) {
			return fault.New(fault.Unsupported, architecture+"."+key, "%d differs from the %d columns of a head", n, g.Config.HeadDim)
		}
	}
	info, there := g.file.Info(ropeFactors)
	if !there {
		return nil
	}
	if len(info.Shape) != 1 || info.Shape[0] != g.Config.HeadDim/2 {
		return fault.New(fault.Invalid, "tensor "+ropeFactors, "has shape %v; expected [%d]", info.Shape, g.Config.HeadDim/2)
	}
	factors, err := g.file.Float32(ropeFactors)
	if err != nil {
		return err
	}
	for i, f := range factors {
		if !(f > 0 && f < 1e6) {
			return fault.New(fault.Invalid, "tensor "+ropeFactors, "element %d is %g", i, f)
		}
		g.Config.rope.frequencies[i] /= f
	}
	return nil
}

// Shape implements model.Weights.
func (g *GGUF) Shape(name string) ([]int, bool) {
	info, ok := g.file.Info(g.names[name])
	return info.Shape, ok
}

// Float32 implements model.Weights.
func (g *GGUF) Float32(name string) ([]float32, error) {
	data, err := g.file.Float32(g.names[name])
	if heads := g.heads[name]; err == nil && heads > 0 {
		info, _ := g.file.Info(g.names[name])
		data = apart(data, heads, info.Shape[0])
	}
	return data, err
}

// Packed implements model.PackedWeights.
func (g *GGUF) Packed(name string) (backend.Packed, bool) {
	info, _ := g.file.Info(g.names[name])
	data, ok := g.file.Packed(g.names[name])
	if !ok || len(info.Shape) != 2 {
		return backend.Packed{}, false
	}
	if heads := g.heads[name]; heads > 0 {
		data = apart(data, heads, info.Shape[0])
	}
	return backend.Packed{Type: info.DType, Data: data, Rows: info.Shape[0], Cols: info.Shape[1]}, true
}

// Release implements model.Weights.
func (g *GGUF) Release(name string) { g.file.Release(g.names[name]) }

// apart moves the rows of every head from pairs to halves: rows 2i and 2i+1 become rows i and i + d/2.
func apart[T any](data []T, heads, rows int) []T {
	moved := make([]T, len(data))
	row, d := len(data)/rows, rows/heads
	for r := range rows {
		head, i := r/d*d, r%d
		to := head + i/2 + i%2*(d/2)
		copy(moved[to*row:(to+1)*row], data[r*row:])
	}
	return moved
}

var _ model.PackedWeights = (*GGUF)(nil)
