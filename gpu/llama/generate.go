package llama

import (
	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/gpu/model"
)

// Decoding is the state of continuing sequences. Its tensors belong to a pass.
type Decoding struct {
	Cache *model.Cache
	model *Model
}

// Feed is tokens that a sequence is fed in a step. The cache has been extended by them, and fits.
type Feed struct {
	Sequence *model.Sequence
	IDs      []int32
	Rows     []int32 // of the cache
	Logits   bool    // whether the next token's are wanted
}

// StartDecoding starts without sequences.
func (m *Model) StartDecoding() *Decoding {
	return &Decoding{Cache: model.NewCache(len(m.layers), m.Config.KVHeads*m.Config.HeadDim), model: m}
}

// Takes refuses sequences that would become longer than the model can.
func (m *Model) Takes(tokens int) error {
	_, err := m.angles(tokens)
	return err
}

// Step feeds tokens to sequences, each at most once, and returns the next token's logits after those feeds that want them, in order:
// -> [count, vocabulary]; nil if none does.
func (d *Decoding) Step(p backend.Pass, feeds []Feed, up model.Updates) (backend.Tensor, error) {
	var ids, at, rows, wanted []int32
	spans := make([]backend.Span, len(feeds))
	longest := 1
	for i, f := range feeds {
		spans[i] = f.Sequence.Span(len(ids), len(f.IDs))
		for j := range f.IDs {
			at = append(at, int32(spans[i].QPos+j))
		}
		ids, rows = append(ids, f.IDs...), append(rows, f.Rows...)
		if f.Logits {
			wanted = append(wanted, int32(len(ids)-1))
		}
		longest = max(longest, f.Sequence.Len())
	}
	m := d.model
	angles, err := m.angles(longest)
	if err != nil {
		return nil, err
	}
	x := p.Scope(func() backend.Tensor {
		turn, spec := p.Embed(angles, at), m.attention(spans)
		return model.Through(p, p.Embed(m.embed, ids), 0, len(m.layers), func(i int, x backend.Tensor) backend.Tensor {
			return m.layers[i].forward(p, x, turn, spec, up, func(k, v backend.Tensor) (keys, values backend.Tensor) {
				return d.Cache.Store(p, i, k, v, rows)
			})
		})
	})
	if len(wanted) == 0 {
		return nil, nil
	}
	if len(wanted) < len(ids) {
		x = p.Gather(x, wanted)
	}
	return m.Logits(p, m.norm.Forward(p, x)), nil
}
