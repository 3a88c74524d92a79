package t5

import (
	"fmt"
	"slices"
	"strings"

	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/shared/fault"
)

// Weights is the checkpoint that a model is loaded from.
type Weights interface {
	// Shape returns a tensor's shape, or false if there is none of that name.
	Shape(name string) ([]int, bool)
	// Float32 returns a tensor's numbers, valid until the checkpoint is closed.
	Float32(name string) ([]float32, error)
	// Release says that a tensor's numbers have been copied elsewhere and need not stay in memory.
	Release(name string)
}

// Map is a linear map that an adapter may update.
type Map struct{ In, Out int }

// Model is a T5 on a backend. It is immutable and safe for concurrent use.
type Model struct {
	Config  Config
	maps    map[string]Map
	bytes   int64
	free    []backend.Resident
	embed   backend.Resident // [vocabulary, width]
	head    backend.Resident // [vocabulary, width]
	encoder stack
	decoder stack
}

// stack is one side of the model: T5Stack.
type stack struct {
	layers []layer
	norm   norm      // final_layer_norm
	bias   []float32 // relative_attention_bias [buckets, heads], learned in layer 0 and shared by all
}

// layer is T5Block; cross is used in the decoder alone.
type layer struct {
	self  attention
	cross attention
	ff    feedForward
}

type attention struct {
	norm       norm
	q, k, v, o linear
	absorbed   linear // k's transpose, of the decoder's cross-attention; see Targets.Absorb. Without weight if the backend cannot use it.
}

// feedForward is wo(act(wi x)), or wo(act(wi_0 x)·wi_1 x) when gated.
type feedForward struct {
	norm     norm
	wi, gate linear // wi or wi_0; wi_1
	wo       linear
}

type norm struct {
	gain    backend.Resident // [width]
	epsilon float32
}

// linear is a map without bias, as all of T5's are.
type linear struct {
	name   string // as adapters call it
	weight backend.Resident
}

// Load uploads a checkpoint to b.
func Load(c Config, w Weights, b backend.Backend) (*Model, error) {
	l := loader{config: c, weights: w, backend: b, model: &Model{Config: c, maps: map[string]Map{}}}
	l.loadEnds()
	l.model.encoder = l.stack("encoder", c.EncoderLayers)
	l.model.decoder = l.stack("decoder", c.DecoderLayers)
	if l.err != nil {
		l.model.Free()
		return nil, l.err
	}
	return l.model, nil
}

// Free gives the backend's memory back.
func (m *Model) Free() {
	for _, r := range m.free {
		r.Free()
	}
	m.free = nil
}

// Maps returns the linear maps that adapters may update, by name.
func (m *Model) Maps() map[string]Map { return m.maps }

// Bytes is the memory that the backend holds for the model.
func (m *Model) Bytes() int64 { return m.bytes }

// loader keeps the first error, so that loading reads like the checkpoint's table of contents.
type loader struct {
	config  Config
	weights Weights
	backend backend.Backend
	model   *Model
	err     error
}

func (l *loader) loadEnds() {
	embedding := "shared.weight"
	if _, ok := l.weights.Shape(embedding); !ok {
		embedding = "encoder.embed_tokens.weight"
	}
	head := "lm_head.weight"
	if _, ok := l.weights.Shape(head); !ok {
		head = embedding // tied
	}
	l.model.head = l.matrix(head, l.config.VocabSize, l.config.Width)
	table := l.tensor(embedding, l.config.VocabSize, l.config.Width)
	l.model.embed = l.keep(embedding, func() (backend.Resident, error) {
		return l.backend.Table(table, l.config.VocabSize, l.config.Width)
	})
}

func (l *loader) stack(side string, layers int) stack {
	c, decoder := l.config, side == "decoder"
	s := stack{layers: make([]layer, layers)}
	s.bias = slices.Clone(l.tensor(side+".block.0.layer.0.SelfAttention.relative_attention_bias.weight", c.Buckets, c.Heads))
	scale := float32(1)
	if decoder && c.scaleHead {
		scale = 1 / sqrt32(c.Width) // T5 1.0 scales the decoder's output before its tied head: folded into the last norm
	}
	s.norm = l.norm(side+".final_layer_norm.weight", c.Width, scale)
	for i := range s.layers {
		block := fmt.Sprintf("%s.block.%d.layer.", side, i)
		s.layers[i].self = l.attention(block+"0.", "SelfAttention.")
		next := block + "1."
		if decoder {
			s.layers[i].cross = l.attention(block+"1.", "EncDecAttention.")
			s.layers[i].cross.absorbed = l.transposed(block+"1.EncDecAttention.k", c.Heads*c.HeadDim, c.Width)
			next = block + "2."
		}
		s.layers[i].ff = l.feedForward(next)
	}
	return s
}

func (l *loader) attention(prefix, kind string) attention {
	width, inner := l.config.Width, l.config.Heads*l.config.HeadDim
	return attention{
		norm: l.norm(prefix+"layer_norm.weight", width, 1),
		q:    l.linear(prefix+kind+"q", inner, width),
		k:    l.linear(prefix+kind+"k", inner, width),
		v:    l.linear(prefix+kind+"v", inner, width),
		o:    l.linear(prefix+kind+"o", width, inner),
	}
}

func (l *loader) feedForward(prefix string) feedForward {
	width, wide := l.config.Width, l.config.FFWidth
	f := feedForward{norm: l.norm(prefix+"layer_norm.weight", width, 1)}
	if l.config.gated {
		f.wi = l.linear(prefix+"DenseReluDense.wi_0", wide, width)
		f.gate = l.linear(prefix+"DenseReluDense.wi_1", wide, width)
	} else {
		f.wi = l.linear(prefix+"DenseReluDense.wi", wide, width)
	}
	f.wo = l.linear(prefix+"DenseReluDense.wo", width, wide)
	return f
}

func (l *loader) linear(name string, out, in int) linear {
	l.model.maps[name] = Map{In: in, Out: out}
	return linear{name: name, weight: l.matrix(name+".weight", out, in)}
}

// transposed is the transpose of a map [out, in] if the backend can use it.
func (l *loader) transposed(name string, out, in int) linear {
	if !backend.SplitsHeads(l.backend) {
		return linear{}
	}
	w := l.tensor(name+".weight", out, in)
	if l.err != nil {
		return linear{}
	}
	flipped := Transpose(w, out, in)
	r := l.keep(name+".weight", func() (backend.Resident, error) { return l.backend.Matrix(flipped, in, out) })
	l.weights.Release(name + ".weight")
	return linear{name: transposedName(name), weight: r}
}

// Transpose turns [rows, cols] into [cols, rows].
func Transpose(w []float32, rows, cols int) []float32 {
	flipped := make([]float32, len(w))
	for r := range rows {
		for c := range cols {
			flipped[c*rows+r] = w[r*cols+c]
		}
	}
	return flipped
}

func transposedName(name string) string { return name + ".transposed" }

// Transposed is what Updates call the transpose of a map, or false if the model has no use for it.
func (m *Model) Transposed(name string) (string, bool) {
	uses := m.decoder.layers[0].cross.absorbed.weight != nil && strings.HasSuffix(name, ".EncDecAttention.k")
	return transposedName(name), uses
}

func (l *loader) matrix(name string, out, in int) backend.Resident {
	w := l.tensor(name, out, in)
	r := l.keep(name, func() (backend.Resident, error) { return l.backend.Matrix(w, out, in) })
	l.weights.Release(name)
	return r
}

func (l *loader) norm(name string, n int, scale float32) norm {
	v := slices.Clone(l.tensor(name, n))
	for i := range v {
		v[i] *= scale
	}
	gain := l.keep(name, func() (backend.Resident, error) { return l.backend.Vector(v) })
	return norm{gain: gain, epsilon: l.config.Epsilon}
}

// tensor returns the numbers of a tensor after checking its shape.
func (l *loader) tensor(name string, shape ...int) []float32 {
	if l.err != nil {
		return nil
	}
	got, ok := l.weights.Shape(name)
	switch {
	case !ok:
		l.err = fault.New(fault.Invalid, name, "the checkpoint has no such tensor")
	case !slices.Equal(got, shape):
		l.err = fault.New(fault.Invalid, name, "has shape %v; config.json says %v", got, shape)
	default:
		var data []float32
		if data, l.err = l.weights.Float32(name); l.err == nil {
			return data
		}
	}
	return nil
}

func (l *loader) keep(name string, upload func() (backend.Resident, error)) backend.Resident {
	if l.err != nil {
		return nil
	}
	r, err := upload()
	if err != nil {
		l.err = fault.In(name, err)
		return nil
	}
	l.model.free = append(l.model.free, r)
	l.model.bytes += r.Bytes()
	return r
}
