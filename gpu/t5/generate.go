package t5

import (
	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/gpu/model"
)

// Decoding is the state of generating tokens for sources. Its tensors belong to a pass.
type Decoding struct {
	Cache *model.Cache // of cross-attention and of self-attention
	model *Model
	bias  []float32
	zero  int // its row of distance 0
}

// Feed is a token that a target is fed in a step. The cache has been extended by it, and fits.
type Feed struct {
	Source, Target *model.Sequence // both private
	ID, Row        int32
}

// StartDecoding starts without sources.
func (m *Model) StartDecoding() *Decoding {
	return &Decoding{Cache: model.NewCache(len(m.decoder.layers), m.Config.Heads*m.Config.HeadDim), model: m}
}

// Take encodes sources, and stores the keys and values of cross-attention for each of the sequences. ahead is the cache's: see Cache.Fit.
func (d *Decoding) Take(p backend.Pass, sequences []*model.Sequence, in model.Packed, up model.Updates, ahead int) {
	var rows []int32
	for i, s := range sequences {
		rows = append(rows, d.Cache.Extend(s, in.IDs[in.Starts[i]:in.Starts[i+1]])...)
	}
	d.Cache.Fit(p, ahead)
	p.Scope(func() backend.Tensor {
		encoded := d.model.Encode(p, model.Stretch{In: in, Up: up})
		for i := range d.model.decoder.layers {
			p.Scope(func() backend.Tensor {
				k, v := d.model.decoder.layers[i].cross.keysValues(p, encoded, up)
				d.Cache.Store(p, i, k, v, rows)
				return nil
			})
		}
		return nil
	})
}

// Step feeds targets, each at most once, and returns the next token's logits [len(feeds), vocabulary].
func (d *Decoding) Step(p backend.Pass, feeds []Feed, up model.Updates) backend.Tensor {
	m := d.model
	ids, rows, longest := make([]int32, len(feeds)), make([]int32, len(feeds)), 1
	self := backend.Attention{Heads: m.Config.Heads, Scale: 1, Spans: make([]backend.Span, len(feeds))}
	cross := backend.Attention{Heads: m.Config.Heads, Scale: 1, Spans: make([]backend.Span, len(feeds))}
	for i, f := range feeds {
		ids[i], rows[i], longest = f.ID, f.Row, max(longest, f.Target.Len())
		self.Spans[i], cross.Spans[i] = f.Target.Span(i, 1), f.Source.Span(i, 1)
	}
	if longest > d.zero+1 || d.bias == nil {
		d.bias, d.zero = m.bias(m.decoder, max(longest, 2*(d.zero+1)), false)
	}
	self.Bias, self.BiasZero = d.bias, d.zero
	x := p.Scope(func() backend.Tensor {
		return model.Through(p, p.Embed(m.embed, ids), 0, len(m.decoder.layers), func(i int, x backend.Tensor) backend.Tensor {
			l := &m.decoder.layers[i]
			h := l.self.forward(p, x, self, up, func(k, v backend.Tensor) (keys, values backend.Tensor) { return d.Cache.Store(p, i, k, v, rows) })
			c := d.Cache.Layer(i)
			h = l.cross.attend(p, h, c.Keys, c.Values, cross, up)
			return l.ff.forward(p, h, m.Config.activation, up)
		})
	})
	return m.Logits(p, m.decoder.norm.Forward(p, x))
}
