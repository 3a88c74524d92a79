package t5

import (
	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/gpu/model"
)

// Decoding is the state of generating tokens for a batch of sources: the projected encoder output and the cache of keys and values.
// Its tensors belong to the pass.
type Decoding struct {
	model  *Model
	source model.Packed
	room   int // positions per sequence
	caches []cache
	bias   []float32
}

// cache is one layer's: cross-attention [source tokens, inner], self-attention [sequences·room, inner].
type cache struct {
	crossK, crossV backend.Tensor
	selfK, selfV   backend.Tensor
}

// StartDecoding prepares for up to room tokens per sequence. encoded is Encode's output for source.
func (m *Model) StartDecoding(p backend.Pass, encoded backend.Tensor, source model.Packed, room int, encoderUp model.Updates) *Decoding {
	d := &Decoding{model: m, source: source, room: room, caches: make([]cache, len(m.decoder.layers))}
	d.bias, _ = m.bias(m.decoder, room, false)
	inner := m.Config.Heads * m.Config.HeadDim
	for i := range d.caches {
		c := &d.caches[i]
		c.crossK, c.crossV = m.decoder.layers[i].cross.keysValues(p, encoded, encoderUp)
		c.selfK, c.selfV = p.Zeros(source.Len()*room, inner), p.Zeros(source.Len()*room, inner)
	}
	return d
}

// Step feeds one token to each of the given sequences, all at the same position, and returns the next token's logits
// [len(sequences), vocabulary].
func (d *Decoding) Step(p backend.Pass, sequences []int, ids []int32, position int, up model.Updates) backend.Tensor {
	m := d.model
	self := backend.Attention{Heads: m.Config.Heads, Scale: 1, Bias: d.bias, BiasZero: d.room - 1}
	cross := backend.Attention{Heads: m.Config.Heads, Scale: 1}
	rows := make([]int32, len(sequences)) // where this position lives in the cache
	for i, s := range sequences {
		first := s * d.room
		rows[i] = int32(first + position)
		self.Spans = append(self.Spans, backend.Span{Q0: i, Q1: i + 1, K0: first, K1: first + position + 1, QPos: position})
		cross.Spans = append(cross.Spans, backend.Span{Q0: i, Q1: i + 1, K0: d.source.Starts[s], K1: d.source.Starts[s+1]})
	}
	x := p.Embed(m.embed, ids)
	for i := range m.decoder.layers {
		l, c := &m.decoder.layers[i], d.caches[i]
		remember := func(k, v backend.Tensor) (keys, values backend.Tensor) {
			p.Scatter(c.selfK, k, rows)
			p.Scatter(c.selfV, v, rows)
			return c.selfK, c.selfV
		}
		x = p.Scope(func() backend.Tensor {
			h := l.self.forward(p, x, self, up, remember)
			h = l.cross.attend(p, h, c.crossK, c.crossV, cross, up)
			return l.ff.forward(p, h, m.Config.activation, up)
		})
	}
	return m.Logits(p, m.decoder.norm.Forward(p, x))
}
