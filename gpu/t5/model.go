package t5

import (
	"fmt"
	"slices"
	"strings"

	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/gpu/model"
)

// Model is a T5 on a backend. It is immutable and safe for concurrent use.
type Model struct {
	model.Loaded
	Config  Config
	embed   backend.Resident // [vocabulary, width]
	head    backend.Resident // [vocabulary, width]
	encoder stack
	decoder stack
}

// stack is one side of the model: T5Stack.
type stack struct {
	layers []layer
	norm   model.Norm // final_layer_norm
	bias   []float32  // relative_attention_bias [buckets, heads], learned in layer 0 and shared by all
}

// layer is T5Block; cross is used in the decoder alone.
type layer struct {
	self  attention
	cross attention
	ff    feedForward
}

type attention struct {
	norm       model.Norm
	q, k, v, o model.Linear
	absorbed   model.Linear // k's transpose, of the decoder's cross-attention; see Targets.Absorb. Without weight if the backend cannot use it.
}

// feedForward is wo(act(wi x)), or wo(act(wi_0 x)·wi_1 x) when gated.
type feedForward struct {
	norm     model.Norm
	wi, gate model.Linear // wi or wi_0; wi_1
	wo       model.Linear
}

// Load uploads a checkpoint to b.
func Load(c Config, w model.Weights, b backend.Backend) (*Model, error) {
	m := &Model{Config: c}
	l := loader{model.NewLoader(w, b, &m.Loaded), m}
	l.loadEnds()
	m.encoder = l.stack("encoder", c.EncoderLayers)
	m.decoder = l.stack("decoder", c.DecoderLayers)
	if l.Err != nil {
		m.Free()
		return nil, l.Err
	}
	return m, nil
}

// loader knows the names of the family's tensors.
type loader struct {
	*model.Loader
	model *Model
}

func (l *loader) loadEnds() {
	c := l.model.Config
	embedding := "shared.weight"
	if !l.Has(embedding) {
		embedding = "encoder.embed_tokens.weight"
	}
	head := "lm_head.weight"
	if !l.Has(head) {
		head = embedding // tied
	}
	l.model.head = l.Matrix(head, c.VocabSize, c.Width)
	l.model.embed = l.Table(embedding, c.VocabSize, c.Width)
}

func (l *loader) stack(side string, layers int) stack {
	c, decoder := l.model.Config, side == "decoder"
	s := stack{layers: make([]layer, layers)}
	s.bias = slices.Clone(l.Tensor(side+".block.0.layer.0.SelfAttention.relative_attention_bias.weight", c.Buckets, c.Heads))
	scale := float32(1)
	if decoder && c.scaleHead {
		scale = 1 / sqrt32(c.Width) // T5 1.0 scales the decoder's output before its tied head: folded into the last norm
	}
	s.norm = l.norm(side+".final_layer_norm.weight", scale)
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
	width, inner := l.model.Config.Width, l.model.Config.Heads*l.model.Config.HeadDim
	return attention{
		norm: l.norm(prefix+"layer_norm.weight", 1),
		q:    l.linear(prefix+kind+"q", inner, width),
		k:    l.linear(prefix+kind+"k", inner, width),
		v:    l.linear(prefix+kind+"v", inner, width),
		o:    l.linear(prefix+kind+"o", width, inner),
	}
}

func (l *loader) feedForward(prefix string) feedForward {
	width, wide := l.model.Config.Width, l.model.Config.FFWidth
	f := feedForward{norm: l.norm(prefix+"layer_norm.weight", 1)}
	if l.model.Config.gated {
		f.wi = l.linear(prefix+"DenseReluDense.wi_0", wide, width)
		f.gate = l.linear(prefix+"DenseReluDense.wi_1", wide, width)
	} else {
		f.wi = l.linear(prefix+"DenseReluDense.wi", wide, width)
	}
	f.wo = l.linear(prefix+"DenseReluDense.wo", width, wide)
	return f
}

func (l *loader) linear(name string, out, in int) model.Linear { return l.Linear(name, out, in, false) }

// transposed is the transpose of a map [out, in] if the backend can use it.
func (l *loader) transposed(name string, out, in int) model.Linear {
	if !backend.SplitsHeads(l.Backend) {
		return model.Linear{}
	}
	w := l.Tensor(name+".weight", out, in)
	if l.Err != nil {
		return model.Linear{}
	}
	flipped := model.Transpose(w, out, in)
	r := l.Keep(name+".weight", func() (backend.Resident, error) { return l.Backend.Matrix(flipped, in, out) })
	l.Weights.Release(name + ".weight")
	return model.Linear{Name: transposedName(name), Weight: r}
}

func transposedName(name string) string { return name + ".transposed" }

// Transposed is what Updates call the transpose of a map, or false if the model has no use for it.
func (m *Model) Transposed(name string) (string, bool) {
	uses := m.decoder.layers[0].cross.absorbed.Weight != nil && strings.HasSuffix(name, ".EncDecAttention.k")
	return transposedName(name), uses
}

func (l *loader) norm(name string, scale float32) model.Norm {
	return model.Norm{Gain: l.Vector(name, l.model.Config.Width, scale), Epsilon: l.model.Config.Epsilon}
}
