package t5

import (
	"fmt"
	"math"

	"github.com/medley-lora/medley/gpu/backend"
)

// Packed is a ragged batch of token sequences, one after the other: sequence i is IDs[Starts[i]:Starts[i+1]].
type Packed struct {
	IDs    []int32
	Starts []int // one more than there are sequences
}

// Len is the number of sequences.
func (b Packed) Len() int { return len(b.Starts) - 1 }

// Longest is the length of the longest sequence.
func (b Packed) Longest() int {
	longest := 0
	for i := range b.Len() {
		longest = max(longest, b.Starts[i+1]-b.Starts[i])
	}
	return longest
}

// Append adds one sequence.
func (b *Packed) Append(ids []int32) {
	if len(b.Starts) == 0 {
		b.Starts = []int{0}
	}
	b.IDs = append(b.IDs, ids...)
	b.Starts = append(b.Starts, len(b.IDs))
}

// Updates returns the low-rank update of a linear map for the rows of one side of the batch, or nil for none.
type Updates func(name string) *backend.Update

func (u Updates) of(name string) *backend.Update {
	if u == nil {
		return nil
	}
	return u(name)
}

// Stretch is a run of encoder layers over one packing of the rows. It starts at Layer and ends where the next stretch starts, so that
// sequences that differ only from some layer on can be computed once until then.
type Stretch struct {
	Layer int     // 0 in the first; the number of layers in one that only copies the result
	Rows  []int32 // for each row, the row of the stretch before that it continues; unused in the first
	In    Packed
	Up    Updates
}

// Encode runs the encoder over at least one stretch: [tokens of the last] -> [tokens of the last, width].
func (m *Model) Encode(p backend.Pass, stretches ...Stretch) backend.Tensor {
	x := p.Embed(m.embed, stretches[0].In.IDs)
	for i, s := range stretches {
		end := len(m.encoder.layers)
		if i+1 < len(stretches) {
			end = stretches[i+1].Layer
		}
		if i > 0 {
			x = p.Gather(x, s.Rows)
		}
		x = m.encodeLayers(p, x, m.encoder.layers[s.Layer:end], s)
	}
	return m.encoder.norm.forward(p, x)
}

func (m *Model) encodeLayers(p backend.Pass, x backend.Tensor, layers []layer, s Stretch) backend.Tensor {
	self := backend.Attention{
		Heads: m.Config.Heads,
		Scale: 1, // T5 folds 1/√d into its initialisation
		Spans: spans(s.In, s.In),
	}
	self.Bias, self.BiasZero = m.bias(m.encoder, s.In.Longest(), true)
	for i := range layers {
		l := &layers[i]
		x = p.Scope(func() backend.Tensor {
			h := l.self.forward(p, x, self, s.Up, keep)
			return l.ff.forward(p, h, m.Config.activation, s.Up)
		})
	}
	return x
}

// EncoderLayer is the number of the encoder layer that a map belongs to, or false for the decoder's.
func EncoderLayer(name string) (int, bool) {
	var layer int
	n, err := fmt.Sscanf(name, "encoder.block.%d.", &layer)
	return layer, n == 1 && err == nil
}

// Targets is what Decode works on. Sequence i of In attends to sequence i of Source, whose rows are Encoded. In starts with the start
// token: it is the target shifted right.
type Targets struct {
	In, Source Packed
	Encoded    backend.Tensor // [source tokens, width]
	Up         Updates        // of the target's rows

	// Cross-attention's keys and values are made from source rows, so SourceUp updates their maps. A target of a few tokens does without
	// them if it Absorbs: q·(K e) = (Kᵀq)·e and Σ p·(V e) = V Σ p·e, so each head of a target row takes its own way through the two maps
	// and attends to Encoded itself (known from arXiv 2405.04434, section 2.1.2). HeadUp then updates them: a row for every head of a
	// target's row. The pass must be a backend.HeadSplitter.
	SourceUp, HeadUp Updates
	Absorb           bool
}

// Absorbs says whether Targets.Absorb saves work, given the tokens of all targets, of all sources, and the number of sequences, and whether
// the backend can do it.
func (m *Model) Absorbs(targets, sources, sequences int) bool {
	if m.decoder.layers[0].cross.absorbed.weight == nil || sequences == 0 {
		return false
	}
	width, inner, average := m.Config.Width, m.Config.Heads*m.Config.HeadDim, sources/sequences
	return targets*m.Config.Heads*(inner*width+average*width) < sources*inner*width+targets*average*inner
}

// Decode runs the decoder over whole target sequences: [target tokens, width].
func (m *Model) Decode(p backend.Pass, d Targets) backend.Tensor {
	self := backend.Attention{Heads: m.Config.Heads, Scale: 1, Causal: true, Spans: spans(d.In, d.In)}
	self.Bias, self.BiasZero = m.bias(m.decoder, d.In.Longest(), false)
	cross := backend.Attention{Heads: m.Config.Heads, Scale: 1, Spans: spans(d.In, d.Source)}
	x := p.Embed(m.embed, d.In.IDs)
	for i := range m.decoder.layers {
		l := &m.decoder.layers[i]
		x = p.Scope(func() backend.Tensor {
			h := l.self.forward(p, x, self, d.Up, keep)
			if d.Absorb {
				h = l.cross.absorb(p, h, cross, d)
			} else {
				k, v := l.cross.keysValues(p, d.Encoded, d.SourceUp)
				h = l.cross.attend(p, h, k, v, cross, d.Up)
			}
			return l.ff.forward(p, h, m.Config.activation, d.Up)
		})
	}
	return m.decoder.norm.forward(p, x)
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
func (a *attention) forward(p backend.Pass, x backend.Tensor, spec backend.Attention, up Updates, to store) backend.Tensor {
	h := a.norm.forward(p, x)
	q := a.q.forward(p, h, up)
	k, v := to(a.k.forward(p, h, up), a.v.forward(p, h, up))
	return a.o.addTo(p, x, p.Attend(q, k, v, spec), up)
}

// attend is x + o(attend(norm(x))), keys and values given.
func (a *attention) attend(p backend.Pass, x, k, v backend.Tensor, spec backend.Attention, up Updates) backend.Tensor {
	q := a.q.forward(p, a.norm.forward(p, x), up)
	return a.o.addTo(p, x, p.Attend(q, k, v, spec), up)
}

// absorb is attend over Encoded itself; see Targets.Absorb.
func (a *attention) absorb(p backend.Pass, x backend.Tensor, spec backend.Attention, d Targets) backend.Tensor {
	split := p.(backend.HeadSplitter)
	heads := spec.Heads
	one := backend.Attention{Heads: 1, Scale: spec.Scale, Spans: make([]backend.Span, len(spec.Spans))}
	for i, s := range spec.Spans {
		one.Spans[i] = backend.Span{Q0: s.Q0 * heads, Q1: s.Q1 * heads, K0: s.K0, K1: s.K1}
	}
	q := split.SplitHeads(a.q.forward(p, a.norm.forward(p, x), d.Up), heads)
	mixed := p.Attend(a.absorbed.forward(p, q, d.HeadUp), d.Encoded, d.Encoded, one)
	return a.o.addTo(p, x, split.JoinHeads(a.v.forward(p, mixed, d.HeadUp), heads), d.Up)
}

// keysValues projects the encoder's output for cross-attention.
func (a *attention) keysValues(p backend.Pass, encoded backend.Tensor, up Updates) (k, v backend.Tensor) {
	return a.k.forward(p, encoded, up), a.v.forward(p, encoded, up)
}

// forward is x + wo(act(wi(norm(x)))).
func (f *feedForward) forward(p backend.Pass, x backend.Tensor, act backend.Activation, up Updates) backend.Tensor {
	h := f.norm.forward(p, x)
	wide := f.wi.forward(p, h, up)
	var gate backend.Tensor
	if f.gate.weight != nil {
		gate = f.gate.forward(p, h, up)
	}
	return f.wo.addTo(p, x, p.Gate(act, wide, gate), up)
}

func (n *norm) forward(p backend.Pass, x backend.Tensor) backend.Tensor {
	return p.Norm(x, n.gain, n.epsilon)
}

func (l *linear) forward(p backend.Pass, x backend.Tensor, up Updates) backend.Tensor {
	return p.Linear(x, l.weight, backend.Linear{Update: up.of(l.name)})
}

func (l *linear) addTo(p backend.Pass, residual, x backend.Tensor, up Updates) backend.Tensor {
	return p.Linear(x, l.weight, backend.Linear{Residual: residual, Update: up.of(l.name)})
}

// spans pairs each sequence of queries with the same sequence of keys.
func spans(queries, keys Packed) []backend.Span {
	s := make([]backend.Span, queries.Len())
	for i := range s {
		s[i] = backend.Span{Q0: queries.Starts[i], Q1: queries.Starts[i+1], K0: keys.Starts[i], K1: keys.Starts[i+1]}
	}
	return s
}

// bias returns the expanded table of one side and the row of distance 0.
func (m *Model) bias(s stack, longest int, bidirectional bool) ([]float32, int) {
	longest = max(longest, 1)
	c := m.Config
	return biasByDistance(s.bias, c.Heads, longest, bidirectional, c.Buckets, c.MaxDistance), longest - 1
}

func sqrt32(n int) float32 { return float32(math.Sqrt(float64(n))) }
