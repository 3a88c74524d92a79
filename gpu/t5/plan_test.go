package t5

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
	inner := c.Heads * c.HeadDim
	z := modeltest.Zeros{"shared.weight": {c.VocabSize, c.Width}}
	for side, layers := range map[string]int{"encoder": c.EncoderLayers, "decoder": c.DecoderLayers} {
		z[side+".final_layer_norm.weight"] = []int{c.Width}
		z[side+".block.0.layer.0.SelfAttention.relative_attention_bias.weight"] = []int{c.Buckets, c.Heads}
		for i := range layers {
			attentions := []string{"SelfAttention"}
			if side == "decoder" {
				attentions = append(attentions, "EncDecAttention")
			}
			for j, a := range attentions {
				prefix := fmt.Sprintf("%s.block.%d.layer.%d.", side, i, j)
				z[prefix+"layer_norm.weight"] = []int{c.Width}
				for _, m := range "qkv" {
					z[prefix+a+"."+string(m)+".weight"] = []int{inner, c.Width}
				}
				z[prefix+a+".o.weight"] = []int{c.Width, inner}
			}
			prefix := fmt.Sprintf("%s.block.%d.layer.%d.", side, i, len(attentions))
			z[prefix+"layer_norm.weight"] = []int{c.Width}
			z[prefix+"DenseReluDense.wi_0.weight"], z[prefix+"DenseReluDense.wi_1.weight"] = []int{c.FFWidth, c.Width}, []int{c.FFWidth, c.Width}
			z[prefix+"DenseReluDense.wo.weight"] = []int{c.Width, c.FFWidth}
		}
	}
	m, err := Load(c, z, reference.New())
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestPlans holds the plans to what passes allocate: never less, and at most three times as much (encoding and decoding a token
// are planned as if they happened at once).
func TestPlans(t *testing.T) {
	configs := map[string]string{
		"gated, deep":       `{"model_type":"t5","vocab_size":40,"d_model":24,"d_kv":8,"num_heads":3,"d_ff":64,"num_layers":6,"feed_forward_proj":"gated-gelu"}`,
		"wide inner":        `{"model_type":"t5","vocab_size":40,"d_model":16,"d_kv":32,"num_heads":4,"d_ff":16,"num_layers":2,"feed_forward_proj":"gated-gelu"}`,
		"shallow, big d_ff": `{"model_type":"t5","vocab_size":40,"d_model":16,"d_kv":8,"num_heads":2,"d_ff":256,"num_layers":1,"feed_forward_proj":"gated-gelu"}`,
	}
	for name, text := range configs {
		t.Run(name, func(t *testing.T) {
			c, err := ParseConfig([]byte(text))
			if err != nil {
				t.Fatal(err)
			}
			m := modelOfZeros(t, c)
			for _, rows := range [][2]int{{50, 10}, {10, 50}, {30, 30}} {
				source, target := packed(rows[0]), packed(rows[1])
				for _, absorb := range []bool{false, true} {
					perSource, perTarget := m.ScoreBytes(absorb)
					modeltest.Planned(t, fmt.Sprint("scoring ", rows, absorb), perSource*int64(rows[0])+perTarget*int64(rows[1]), func(p backend.Pass) {
						m.LogProbs(p, m.Decode(p, Targets{In: target, Source: source, Encoded: m.Encode(p, model.Stretch{In: source}), Absorb: absorb}), target.IDs)
					})
				}
				perSource, perTarget := m.StepBytes()
				d := m.StartDecoding()
				planned := perSource*int64(rows[0]) + perTarget + d.Cache.PageBytes()*int64(backend.PagesOf(rows[0])+1)
				modeltest.Planned(t, fmt.Sprint("generating ", rows), planned, func(p backend.Pass) {
					source, sequences := packed(rows[0]), [2]model.Sequence{{Private: true}, {Private: true}}
					d.Take(p, []*model.Sequence{&sequences[0]}, source, nil, 1)
					feed := Feed{Source: &sequences[0], Target: &sequences[1], Row: d.Cache.Extend(&sequences[1], []int32{0})[0]}
					d.Cache.Fit(p, 0)
					d.Step(p, []Feed{feed}, nil)
				})
			}
		})
	}
}

func packed(n int) model.Packed {
	var p model.Packed
	p.Append(make([]int32, n))
	return p
}
