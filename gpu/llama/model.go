package llama

import (
	"fmt"
	"sync"

	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/gpu/model"
	"github.com/medley-lora/medley/shared/fault"
)

// Model is a decoder-only model on a backend. It is safe for concurrent use.
type Model struct {
	model.Loaded
	Config  Config
	embed   backend.Resident // [vocabulary, width]
	head    backend.Resident // [vocabulary, width]
	layers  []layer
	norm    model.Norm
	backend backend.Backend

	mu     sync.Mutex
	tables []backend.Resident // angles, each twice as long as the one before; the last is in use
	rows   int                // of the last
}

// layer is LlamaDecoderLayer.
type layer struct {
	input, post  model.Norm
	q, k, v, o   model.Linear
	qNorm, kNorm model.Norm // of heads; without gain where the family has none
	gate, up     model.Linear
	down         model.Linear
	window       int
}

// Load uploads a checkpoint to b.
func Load(c Config, w model.Weights, b backend.Backend) (*Model, error) {
	m := &Model{Config: c, backend: b}
	l := loader{model.NewLoader(w, b, &m.Loaded), c}
	const embedding = "model.embed_tokens.weight"
	head := "lm_head.weight"
	if c.tied {
		head = embedding
	}
	m.head = l.Matrix(head, c.VocabSize, c.Width)
	m.embed = l.Table(embedding, c.VocabSize, c.Width)
	m.norm = l.norm("model.norm.weight", c.Width)
	for i := range c.Layers {
		m.layers = append(m.layers, l.layer(i))
	}
	if l.Err != nil {
		m.Free()
		return nil, l.Err
	}
	return m, nil
}

// Free gives the backend's memory back.
func (m *Model) Free() {
	m.Loaded.Free()
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, t := range m.tables {
		t.Free()
	}
	m.tables, m.rows = nil, 0
}

// Layers is the number of layers.
func (m *Model) Layers() int { return len(m.layers) }

// Layer is the number of the layer that a map belongs to.
func (*Model) Layer(name string) (int, bool) {
	var layer int
	n, err := fmt.Sscanf(name, "model.layers.%d.", &layer)
	return layer, n == 1 && err == nil
}

// Transposed is there for models that use transposes of maps; this one uses none.
func (*Model) Transposed(string) (string, bool) { return "", false }

// loader knows the names of the family's tensors.
type loader struct {
	*model.Loader
	config Config
}

func (l *loader) layer(i int) layer {
	c, prefix := l.config, fmt.Sprintf("model.layers.%d.", i)
	attention, mlp := prefix+"self_attn.", prefix+"mlp."
	inner, shared := c.Heads*c.HeadDim, c.KVHeads*c.HeadDim
	qkvBias, outBias := c.kind.qkvBias || c.AttentionBias, c.AttentionBias
	made := layer{
		input:  l.norm(prefix+"input_layernorm.weight", c.Width),
		q:      l.Linear(attention+"q_proj", inner, c.Width, qkvBias),
		k:      l.Linear(attention+"k_proj", shared, c.Width, qkvBias),
		v:      l.Linear(attention+"v_proj", shared, c.Width, qkvBias),
		o:      l.Linear(attention+"o_proj", c.Width, inner, outBias),
		post:   l.norm(prefix+"post_attention_layernorm.weight", c.Width),
		gate:   l.Linear(mlp+"gate_proj", c.FFWidth, c.Width, c.MLPBias),
		up:     l.Linear(mlp+"up_proj", c.FFWidth, c.Width, c.MLPBias),
		down:   l.Linear(mlp+"down_proj", c.Width, c.FFWidth, c.MLPBias),
		window: c.windowOf[i],
	}
	if c.kind.headNorms {
		made.qNorm, made.kNorm = l.norm(attention+"q_norm.weight", c.HeadDim), l.norm(attention+"k_norm.weight", c.HeadDim)
	}
	return made
}

func (l *loader) norm(name string, width int) model.Norm {
	return model.Norm{Gain: l.Vector(name, width, 1), Epsilon: l.config.Epsilon}
}

// angles returns the table of angles of at least so many positions. It grows by doubling; passes under way keep the one that they have.
func (m *Model) angles(positions int) (backend.Resident, error) {
	if most := m.Config.rope.longest; most > 0 && positions > most {
		return nil, fault.New(fault.Unsupported, "config.json: rope", "dynamic scaling is supported up to %d tokens; this takes %d", most, positions)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if positions <= m.rows {
		return m.tables[len(m.tables)-1], nil
	}
	rows := max(256, 2*m.rows)
	for rows < positions {
		rows *= 2
	}
	table, err := m.backend.Table(m.Config.rope.angles(0, rows), rows, m.Config.HeadDim)
	if err != nil {
		return nil, err
	}
	m.tables, m.rows = append(m.tables, table), rows
	return table, nil
}
