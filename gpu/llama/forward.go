package llama

import (
	"math"

	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/gpu/model"
)

// Forward runs the layers over at least one stretch of whole sequences: [tokens of the last] -> [tokens of the last, width].
func (m *Model) Forward(p backend.Pass, stretches ...model.Stretch) (backend.Tensor, error) {
	longest := 1
	for _, s := range stretches {
		longest = max(longest, s.In.Longest())
	}
	angles, err := m.angles(longest)
	if err != nil {
		return nil, err
	}
	x := model.Run(p, m.embed, len(m.layers), stretches, func(x backend.Tensor, s model.Stretch, first, end int) backend.Tensor {
		turn := p.Embed(angles, positions(s.In))
		spec := m.attention(model.Spans(s.In, s.In))
		return model.Through(p, x, first, end, func(i int, x backend.Tensor) backend.Tensor { return m.layers[i].forward(p, x, turn, spec, s.Up, keep) })
	})
	return m.norm.Forward(p, x), nil
}

// LogProbs is the log-probability of each target after the rows chosen of Forward's result: -> [len(rows), 1].
func (m *Model) LogProbs(p backend.Pass, x backend.Tensor, rows, targets []int32) backend.Tensor {
	return p.LogProbs(p.Gather(x, rows), m.head, targets)
}

// Logits are the scores of the whole vocabulary: [n, width] -> [n, vocabulary].
func (m *Model) Logits(p backend.Pass, x backend.Tensor) backend.Tensor {
	return p.Linear(x, m.head, backend.Linear{})
}

func (m *Model) attention(spans []backend.Span) backend.Attention {
	c := m.Config
	return backend.Attention{Heads: c.Heads, KVHeads: c.KVHeads, Scale: float32(1 / math.Sqrt(float64(c.HeadDim))), Causal: true, Spans: spans}
}

// store says what attention reads for the keys and values just computed: themselves, or a cache they go into.
type store func(k, v backend.Tensor) (keys, values backend.Tensor)

func keep(k, v backend.Tensor) (keys, values backend.Tensor) { return k, v }

// forward is h + down(silu(gate(norm(h)))·up(norm(h))) of h = x + o(attend(norm(x))).
func (l *layer) forward(p backend.Pass, x, turn backend.Tensor, spec backend.Attention, up model.Updates, to store) backend.Tensor {
	h := l.input.Forward(p, x)
	q := p.Rotate(l.headNorm(p, l.q.Forward(p, h, up), &l.qNorm), turn, spec.Heads)
	k := p.Rotate(l.headNorm(p, l.k.Forward(p, h, up), &l.kNorm), turn, spec.KVHeads)
	keys, values := to(k, l.v.Forward(p, h, up))
	spec.Window = l.window
	x = l.o.AddTo(p, x, p.Attend(q, keys, values, spec), up)
	h = l.post.Forward(p, x)
	return l.down.AddTo(p, x, p.Gate(backend.SiLU, l.gate.Forward(p, h, up), l.up.Forward(p, h, up)), up)
}

// headNorm normalises every head by itself where the family does so.
func (*layer) headNorm(p backend.Pass, x backend.Tensor, n *model.Norm) backend.Tensor {
	if n.Gain == nil {
		return x
	}
	return n.Forward(p, x)
}

// positions counts the tokens of each sequence from 0.
func positions(in model.Packed) []int32 {
	all := make([]int32, 0, len(in.IDs))
	for i := range in.Len() {
		for p := range in.Starts[i+1] - in.Starts[i] {
			all = append(all, int32(p))
		}
	}
	return all
}
