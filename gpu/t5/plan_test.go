package t5

import (
	"fmt"
	"testing"

	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/gpu/reference"
)

// counting is a pass that counts the bytes of the tensors alive in it.
type counting struct {
	backend.Pass
	live, peak int64
	made       []backend.Tensor // in the scope that is open
}

func (c *counting) count(t backend.Tensor) backend.Tensor {
	c.live += bytesOf(t)
	c.peak = max(c.peak, c.live)
	c.made = append(c.made, t)
	return t
}

func bytesOf(t backend.Tensor) int64 {
	rows, cols := t.Dims()
	return int64(rows) * int64(cols) * 4
}

func (c *counting) Embed(table backend.Resident, ids []int32) backend.Tensor {
	return c.count(c.Pass.Embed(table, ids))
}

func (c *counting) Norm(x backend.Tensor, gain backend.Resident, eps float32) backend.Tensor {
	return c.count(c.Pass.Norm(x, gain, eps))
}

func (c *counting) Linear(x backend.Tensor, w backend.Resident, opt backend.Linear) backend.Tensor {
	return c.count(c.Pass.Linear(x, w, opt))
}

func (c *counting) Attend(q, k, v backend.Tensor, a backend.Attention) backend.Tensor {
	return c.count(c.Pass.Attend(q, k, v, a))
}

func (c *counting) Gate(act backend.Activation, a, b backend.Tensor) backend.Tensor {
	return c.count(c.Pass.Gate(act, a, b))
}

func (c *counting) SplitHeads(x backend.Tensor, heads int) backend.Tensor {
	return c.count(c.Pass.(backend.HeadSplitter).SplitHeads(x, heads))
}

func (c *counting) JoinHeads(x backend.Tensor, heads int) backend.Tensor {
	return c.count(c.Pass.(backend.HeadSplitter).JoinHeads(x, heads))
}

func (c *counting) Zeros(rows, cols int) backend.Tensor { return c.count(c.Pass.Zeros(rows, cols)) }

func (c *counting) LogProbs(x backend.Tensor, head backend.Resident, targets []int32) backend.Tensor {
	return c.count(c.Pass.LogProbs(x, head, targets))
}

func (c *counting) Scope(f func() backend.Tensor) backend.Tensor {
	outer := c.made
	c.made = nil
	result := c.Pass.Scope(f)
	for _, t := range c.made {
		if t != result {
			c.live -= bytesOf(t)
		}
	}
	c.made = outer
	if result != nil {
		c.made = append(c.made, result)
	}
	return result
}

// zeros is a checkpoint of the right shapes, all zero.
type zeros map[string][]int

func (z zeros) Shape(name string) ([]int, bool) { s, ok := z[name]; return s, ok }

func (z zeros) Float32(name string) ([]float32, error) {
	n := 1
	for _, d := range z[name] {
		n *= d
	}
	return make([]float32, n), nil
}

func (z zeros) Release(string) {}

func modelOfZeros(t *testing.T, c Config) *Model {
	t.Helper()
	inner := c.Heads * c.HeadDim
	z := zeros{"shared.weight": {c.VocabSize, c.Width}}
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
					check(t, fmt.Sprint("scoring ", rows, absorb), perSource*int64(rows[0])+perTarget*int64(rows[1]), func(p backend.Pass) {
						m.LogProbs(p, m.Decode(p, Targets{In: target, Source: source, Encoded: m.Encode(p, Stretch{In: source}), Absorb: absorb}), target.IDs)
					})
				}
				perSource, perSequence := m.GenerateBytes(rows[1])
				check(t, fmt.Sprint("generating ", rows), perSource*int64(rows[0])+perSequence, func(p backend.Pass) {
					d := m.StartDecoding(p, m.Encode(p, Stretch{In: source}), source, rows[1], nil)
					p.Scope(func() backend.Tensor { d.Step(p, []int{0}, []int32{0}, 0, nil); return nil })
				})
			}
		})
	}
}

func packed(n int) Packed {
	var p Packed
	p.Append(make([]int32, n))
	return p
}

func check(t *testing.T, what string, planned int64, run func(backend.Pass)) {
	t.Helper()
	p := &counting{Pass: reference.New().Begin(t.Context())}
	run(p)
	if _, err := p.Read(p.Zeros(1, 1)); err != nil {
		t.Fatal(err)
	}
	if p.peak > planned || planned > 3*p.peak {
		t.Errorf("%s: planned %d bytes, used %d", what, planned, p.peak)
	}
}
