package llama

import (
	"fmt"
	"testing"

	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/gpu/model"
	"github.com/medley-lora/medley/gpu/model/modeltest"
	"github.com/medley-lora/medley/gpu/reference"
)

func modelOfZeros(t *testing.T, c Config) *Model {
	t.Helper()
	z := modeltest.Zeros{"model.embed_tokens.weight": {c.VocabSize, c.Width}, "model.norm.weight": {c.Width}}
	inner, shared := c.Heads*c.HeadDim, c.KVHeads*c.HeadDim
	for i := range c.Layers {
		p := fmt.Sprintf("model.layers.%d.", i)
		z[p+"input_layernorm.weight"], z[p+"post_attention_layernorm.weight"] = []int{c.Width}, []int{c.Width}
		z[p+"self_attn.q_norm.weight"], z[p+"self_attn.k_norm.weight"] = []int{c.HeadDim}, []int{c.HeadDim}
		z[p+"self_attn.q_proj.weight"], z[p+"self_attn.o_proj.weight"] = []int{inner, c.Width}, []int{c.Width, inner}
		z[p+"self_attn.k_proj.weight"], z[p+"self_attn.v_proj.weight"] = []int{shared, c.Width}, []int{shared, c.Width}
		z[p+"mlp.gate_proj.weight"], z[p+"mlp.up_proj.weight"] = []int{c.FFWidth, c.Width}, []int{c.FFWidth, c.Width}
		z[p+"mlp.down_proj.weight"] = []int{c.Width, c.FFWidth}
	}
	m, err := Load(c, z, reference.New())
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestPlans holds the plans to what passes allocate.
func TestPlans(t *testing.T) {
	for name, text := range map[string]string{
		"deep":      `{"model_type":"qwen3","vocab_size":40,"hidden_size":24,"head_dim":8,"num_attention_heads":4,"num_key_value_heads":2,"intermediate_size":64,"num_hidden_layers":6,"tie_word_embeddings":true}`,
		"wide head": `{"model_type":"qwen3","vocab_size":40,"hidden_size":16,"head_dim":32,"num_attention_heads":4,"num_key_value_heads":4,"intermediate_size":16,"num_hidden_layers":2,"tie_word_embeddings":true}`,
		"shallow":   `{"model_type":"llama","vocab_size":40,"hidden_size":16,"num_attention_heads":2,"num_key_value_heads":1,"intermediate_size":256,"num_hidden_layers":1,"tie_word_embeddings":true}`,
	} {
		t.Run(name, func(t *testing.T) {
			c, err := ParseConfig([]byte(text))
			if err != nil {
				t.Fatal(err)
			}
			m := modelOfZeros(t, c)
			for _, rows := range []int{10, 50} {
				var in model.Packed
				in.Append(make([]int32, rows))
				modeltest.Planned(t, fmt.Sprint("scoring ", rows), m.ScoreBytes()*int64(rows), func(p backend.Pass) {
					x, err := m.Forward(p, model.Stretch{In: in})
					if err != nil {
						t.Fatal(err)
					}
					m.LogProbs(p, x, positions(in), in.IDs)
				})
				token, sequence := m.StepBytes()
				d := m.StartDecoding()
				cache := d.Cache.PageBytes() * int64(backend.PagesOf(rows))
				modeltest.Planned(t, fmt.Sprint("generating ", rows), token*int64(rows)+sequence+cache, func(p backend.Pass) {
					var s model.Sequence
					feed := Feed{Sequence: &s, IDs: in.IDs, Rows: d.Cache.Extend(&s, in.IDs), Logits: true}
					d.Cache.Fit(p, 0)
					if _, err := d.Step(p, []Feed{feed}, nil); err != nil {
						t.Fatal(err)
					}
				})
			}
		})
	}
}
