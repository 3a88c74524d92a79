package llama

import (
	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/gpu/model"
)

// Decoding is the state of continuing a batch of prompts: the cache of keys and values. Its tensors belong to the pass.
type Decoding struct {
	model  *Model
	first  []int // row of each sequence's position 0 in a cache
	done   []int // positions of each sequence that are in the cache
	caches []cache
	angles backend.Resident
}

// cache is one layer's, [positions of all sequences, KVHeads·HeadDim].
type cache struct{ keys, values backend.Tensor }

// StartDecoding fills the cache with prompts, without the last token of each, which is for the first Step, and leaves room for so many
// tokens more. up updates the prompts' rows.
func (m *Model) StartDecoding(p backend.Pass, prompts model.Packed, room int, up model.Updates) (*Decoding, error) {
	d := &Decoding{model: m, caches: make([]cache, len(m.layers))}
	rows := 0
	for i := range prompts.Len() {
		d.first, d.done = append(d.first, rows), append(d.done, prompts.Starts[i+1]-prompts.Starts[i])
		rows += d.done[i] + room
	}
	var err error
	if d.angles, err = m.angles(prompts.Longest() + room); err != nil {
		return nil, err
	}
	var to []int32 // where a prompt's tokens go
	for i := range prompts.Len() {
		for r := range d.done[i] {
			to = append(to, int32(d.first[i]+r))
		}
	}
	for i := range d.caches {
		c := &d.caches[i]
		c.keys, c.values = p.Zeros(rows, m.Config.KVHeads*m.Config.HeadDim), p.Zeros(rows, m.Config.KVHeads*m.Config.HeadDim)
	}
	spans := model.Spans(prompts, prompts)
	for i := range spans {
		spans[i].K0, spans[i].K1 = d.first[i], d.first[i]+d.done[i]
	}
	if len(prompts.IDs) > 0 {
		p.Scope(func() backend.Tensor { d.run(p, prompts.IDs, positions(prompts), to, spans, up); return nil })
	}
	return d, nil
}

// Step feeds one token to each of the given sequences, and returns the next token's logits [len(sequences), vocabulary].
func (d *Decoding) Step(p backend.Pass, sequences []int, ids []int32, up model.Updates) backend.Tensor {
	at, rows := make([]int32, len(sequences)), make([]int32, len(sequences))
	spans := make([]backend.Span, len(sequences))
	for i, s := range sequences {
		at[i], rows[i] = int32(d.done[s]), int32(d.first[s]+d.done[s])
		spans[i] = backend.Span{Q0: i, Q1: i + 1, K0: d.first[s], K1: d.first[s] + d.done[s] + 1, QPos: d.done[s]}
		d.done[s]++
	}
	return d.model.Logits(p, d.model.norm.Forward(p, d.run(p, ids, at, rows, spans, up)))
}

// run takes tokens at their positions through the layers, and enters their keys and values at rows of the caches.
func (d *Decoding) run(p backend.Pass, ids, positions, rows []int32, spans []backend.Span, up model.Updates) backend.Tensor {
	m := d.model
	x, turn, spec := p.Embed(m.embed, ids), p.Embed(d.angles, positions), m.attention(spans)
	for i := range m.layers {
		c := d.caches[i]
		remember := func(k, v backend.Tensor) (keys, values backend.Tensor) {
			p.Scatter(c.keys, k, rows)
			p.Scatter(c.values, v, rows)
			return c.keys, c.values
		}
		x = p.Scope(func() backend.Tensor { return m.layers[i].forward(p, x, turn, spec, up, remember) })
	}
	return x
}
