package t5

import (
	"fmt"
	"math"

	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/gpu/model"
)

// Encode runs the encoder over at least one stretch: [tokens of the last] -> [tokens of the last, width].
func (m *Model) Encode(p backend.Pass, stretches ...model.Stretch) backend.Tensor {
	x := model.Run(p, m.embed, len(m.encoder.layers), stretches, func(x backend.Tensor, s model.Stretch, first, end int) backend.Tensor {
		return m.encodeLayers(p, x, m.encoder.layers[first:end], s)
	})
	return m.encoder.norm.Forward(p, x)
}

func (m *Model) encodeLayers(p backend.Pass, x backend.Tensor, layers []layer, s model.Stretch) backend.Tensor {
	self := backend.Attention{
		Heads: m.Config.Heads,
		Scale: 1, // T5 folds 1/√d into its initialisation
		Spans: model.Spans(s.In, s.In),
	}
	self.Bias, self.BiasZero = m.bias(m.encoder, s.In.Longest(), true)
	return model.Through(p, x, 0, len(layers), func(i int, x backend.Tensor) backend.Tensor {
		l := &layers[i]
		h := l.self.forward(p, x, self, s.Up, keep)
		return l.ff.forward(p, h, m.Config.activation, s.Up)
	})
}

// Layers is the number of encoder layers.
func (m *Model) Layers() int { return len(m.encoder.layers) }

// Layer is the number of the encoder layer that a map belongs to, or false for the decoder's.
func (*Model) Layer(name string) (int, bool) {
	var layer int
	n, err := fmt.Sscanf(name, "encoder.block.%d.", &layer)
	return layer, n == 1 && err == nil
}

// Targets is what Decode works on. Sequence i of In attends to sequence i of Source, whose rows are Encoded. In starts with the start
// token: it is the target shifted right.
type Targets struct {
	In, Source model.Packed
	Encoded    backend.Tensor // [source tokens, width]
	Up         model.Updates  // of the target's rows

	// Cross-attention's keys and values are made from source rows, so SourceUp updates their maps. A target of a few tokens does without
	// them if it Absorbs: q·(K e) = (Kᵀq)·e and Σ p·(V e) = V Σ p·e, so each head of a target row takes its own way through the two maps
	// and attends to Encoded itself (known from arXiv 2405.04434, section 2.1.2). HeadUp then updates them: a row for every head of a
	// target's row. The pass must be a backend.HeadSplitter.
	SourceUp, HeadUp model.Updates
	Absorb           bool
}

// Absorbs says whether Targets.Absorb saves work, given the tokens of all targets, of all sources, and the number of sequences, and whether
// the backend can do it.
func (m *Model) Absorbs(targets, sources, sequences int) bool {
	if m.decoder.layers[0].cross.absorbed.Weight == nil || sequences == 0 {
		return false
	}
	width, inner, average := m.Config.Width, m.Config.Heads*m.Config.HeadDim, sources/sequences
	return targets*m.Config.Heads*(inner*width+average*width) < sources*inner*width+targets*average*inner
}

// Decode runs the decoder over whole target sequences: [target tokens, width].
func (m *Model) Decode(p backend.Pass, d Targets) backend.Tensor {
	self := backend.Attention{Heads: m.Config.Heads, Scale: 1, Causal: true, Spans: model.Spans(d.In, d.In)}
	self.Bias, self.BiasZero = m.bias(m.decoder, d.In.Longest(), false)
	cross := backend.Attention{Heads: m.Config.Heads, Scale: 1, Spans: model.Spans(d.In, d.Source)}
	x := model.Through(p, p.Embed(m.embed, d.In.IDs), 0, len(m.decoder.layers), func(i int, x backend.Tensor) backend.Tensor {
		l := &m.decoder.layers[i]
		h := l.self.forward(p, x, self, d.Up, keep)
		if d.Absorb {
			h = l.cross.absorb(p, h, cross, d)
		} else {
			k, v := l.cross.keysValues(p, d.Encoded, d.SourceUp)
			h = l.cross.attend(p, h, k, v, cross, d.Up)
		}
		return l.ff.forward(p, h, m.Config.activation, d.Up)
	})
	return m.decoder.norm.Forward(p, x)
}

// LogProbs is the log-probability of each target under the decoder's output: [n, width] -> [n, 1].
func (m *Model) LogProbs(p backend.Pass, decoded backend.Tensor, targets []int32) backend.Tensor {
	return p.LogProbs(decoded, m.head, targets)
}

// Logits are the scores of the whole vocabulary: [n, width] -> [n, vocabulary].
func (m *Model) Logits(p backend.Pass, decoded backend.Tensor) backend.Tensor {
	return p.Linear(decoded, m.head, backend.Linear{})
}

// store says what self-attention reads for the keys and values it has just computed: themselves, or a cache they go into.
type store func(k, v backend.Tensor) (keys, values backend.Tensor)

func keep(k, v backend.Tensor) (keys, values backend.Tensor) { return k, v }

// forward is x + o(attend(norm(x))), keys and values from x itself.
func (a *attention) forward(p backend.Pass, x backend.Tensor, spec backend.Attention, up model.Updates, to store) backend.Tensor {
	h := a.norm.Forward(p, x)
	q := a.q.Forward(p, h, up)
	k, v := to(a.k.Forward(p, h, up), a.v.Forward(p, h, up))
	return a.o.AddTo(p, x, p.Attend(q, k, v, spec), up)
}

// attend is x + o(attend(norm(x))), keys and values given.
func (a *attention) attend(p backend.Pass, x, k, v backend.Tensor, spec backend.Attention, up model.Updates) backend.Tensor {
	q := a.q.Forward(p, a.norm.Forward(p, x), up)
	return a.o.AddTo(p, x, p.Attend(q, k, v, spec), up)
}

// absorb is attend over Encoded itself; see Targets.Absorb.
func (a *attention) absorb(p backend.Pass, x backend.Tensor, spec backend.Attention, d Targets) backend.Tensor {
	split := p.(backend.HeadSplitter)
	heads := spec.Heads
	one := backend.Attention{Heads: 1, Scale: spec.Scale, Spans: make([]backend.Span, len(spec.Spans))}
	for i, s := range spec.Spans {
		one.Spans[i] = backend.Span{Q0: s.Q0 * heads, Q1: s.Q1 * heads, K0: s.K0, K1: s.K1}
	}
	q := split.SplitHeads(a.q.Forward(p, a.norm.Forward(p, x), d.Up), heads)
	mixed := p.Attend(a.absorbed.Forward(p, q, d.HeadUp), d.Encoded, d.Encoded, one)
	return a.o.AddTo(p, x, split.JoinHeads(a.v.Forward(p, mixed, d.HeadUp), heads), d.Up)
}

// keysValues projects the encoder's output for cross-attention.
func (a *attention) keysValues(p backend.Pass, encoded backend.Tensor, up model.Updates) (k, v backend.Tensor) {
	return a.k.Forward(p, encoded, up), a.v.Forward(p, encoded, up)
}

// forward is x + wo(act(wi(norm(x)))).
func (f *feedForward) forward(p backend.Pass, x backend.Tensor, act backend.Activation, up model.Updates) backend.Tensor {
	h := f.norm.Forward(p, x)
	wide := f.wi.Forward(p, h, up)
	var gate backend.Tensor
	if f.gate.Weight != nil {
		gate = f.gate.Forward(p, h, up)
	}
	return f.wo.AddTo(p, x, p.Gate(act, wide, gate), up)
}

// bias returns the expanded table of one side and the row of distance 0.
func (m *Model) bias(s stack, longest int, bidirectional bool) ([]float32, int) {
	longest = max(longest, 1)
	c := m.Config
	return biasByDistance(s.bias, c.Heads, longest, bidirectional, c.Buckets, c.MaxDistance), longest - 1
}

func sqrt32(n int) float32 { return float32(math.Sqrt(float64(n))) }
