package engine

import (
	"context"
	"sync"

	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/lora"
	"github.com/medley-lora/medley/shared/search"
	"github.com/medley-lora/medley/shared/task"
)

// Mixer scores and generates under weight vectors over a fixed list of modules. A module is read when a weight other than zero first
// asks for it, and only once; it then lives on the backend alone. A Mixer is safe for concurrent use.
type Mixer struct {
	engine  *Engine
	names   []string
	modules Modules
	product bool

	mu      sync.Mutex
	numbers map[int]int   // engine's number of each module read so far
	first   *lora.Adapter // its Shape, for product's rules
}

// Modules gives mixers their modules in an engine. It is safe for concurrent use.
type Modules interface {
	// Acquire returns the number of a module, which stays the module's until Release, and its Shape.
	Acquire(name string) (number int, shape *lora.Adapter, err error)
	Release(name string, number int)
}

// NewMixer makes a mixer for the composition method lora.Delta or lora.Product; the other methods are static merges and are refused.
func NewMixer(e *Engine, method lora.Method, names []string, load func(name string) (*lora.Adapter, error)) (*Mixer, error) {
	return NewMixerOf(e, method, names, ownModules{e, load})
}

// NewMixerOf is NewMixer for modules that others may use too.
func NewMixerOf(e *Engine, method lora.Method, names []string, modules Modules) (*Mixer, error) {
	if method != lora.Delta && method != lora.Product {
		return nil, fault.New(fault.Unsupported, "method", "%q is a static merge; a search composes by %q or %q (medley merge makes static merges)", method, lora.Delta, lora.Product)
	}
	return &Mixer{engine: e, names: names, modules: modules, product: method == lora.Product, numbers: map[int]int{}}, nil
}

// ownModules are one mixer's alone.
type ownModules struct {
	engine *Engine
	load   func(name string) (*lora.Adapter, error)
}

func (o ownModules) Acquire(name string) (int, *lora.Adapter, error) {
	a, err := o.load(name)
	if err != nil {
		return 0, nil, err
	}
	number, err := o.engine.AddModule(a)
	return number, Shape(a), err
}

func (o ownModules) Release(_ string, number int) { o.engine.RemoveModule(number) }

// Shape is an adapter without its numbers.
func Shape(a *lora.Adapter) *lora.Adapter {
	shape := &lora.Adapter{Name: a.Name}
	for _, l := range a.Layers {
		l.A, l.B = nil, nil
		shape.Layers = append(shape.Layers, l)
	}
	return shape
}

// Close gives the modules' memory back; it never fails. The mixer is of no use afterwards.
func (m *Mixer) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, number := range m.numbers {
		m.modules.Release(m.names[i], number)
	}
	m.numbers = map[int]int{}
	return nil
}

// Read counts the modules read so far.
func (m *Mixer) Read() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.numbers)
}

// Composition turns weights, one per module, into what the engine runs, reading the modules that it needs.
func (m *Mixer) Composition(weights []float64) (Composition, error) {
	if len(weights) != len(m.names) {
		return Composition{}, fault.New(fault.Invalid, "weights", "%d for %d modules", len(weights), len(m.names))
	}
	c := Composition{Product: m.product}
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, w := range weights {
		if w == 0 {
			continue
		}
		number, err := m.number(i)
		if err != nil {
			return Composition{}, err
		}
		c.Terms = append(c.Terms, backend.Term{Module: number, Weight: float32(w)})
	}
	return c, nil
}

// number returns the engine's number of module i, reading it at first use.
func (m *Mixer) number(i int) (int, error) {
	if n, ok := m.numbers[i]; ok {
		return n, nil
	}
	n, shape, err := m.modules.Acquire(m.names[i])
	if err != nil {
		return 0, err
	}
	if m.product {
		if err := m.suits(shape); err != nil {
			m.modules.Release(m.names[i], n)
			return 0, err
		}
	}
	m.numbers[i] = n
	return n, nil
}

// suits holds the modules of a product to one shape, as its definition needs.
func (m *Mixer) suits(a *lora.Adapter) error {
	if m.first == nil {
		m.first = a
		return nil
	}
	refuse := func(what string) error {
		return fault.New(fault.Unsupported, "method", "product needs modules alike in targets, rank and scale; %s and %s differ in %s",
			m.first.Name, a.Name, what)
	}
	if len(a.Layers) != len(m.first.Layers) {
		return refuse("targets")
	}
	for i, l := range a.Layers {
		switch f := m.first.Layers[i]; {
		case l.Target != f.Target:
			return refuse("targets")
		case l.Rank != f.Rank:
			return refuse("the rank of " + l.Target)
		case l.Scale != f.Scale:
			return refuse("the scale of " + l.Target)
		}
	}
	return nil
}

// Tokens returns the number of target tokens of each example, end token included.
func (m *Mixer) Tokens(examples []task.Example) ([]int, error) {
	counts, err := m.Count(context.Background(), examples)
	return counts.Outputs, err
}

// Count tells what the tokenizer makes of examples.
func (m *Mixer) Count(_ context.Context, examples []task.Example) (c task.Counts, err error) {
	encoded, warnings := m.engine.Encode(examples)
	c = task.Counts{Inputs: make([]int, len(encoded)), Outputs: make([]int, len(encoded)), Pieces: [][]string{}, Warnings: warnings}
	told := 0
	for i, x := range encoded {
		c.Inputs[i], c.Outputs[i] = len(x.Source), len(x.Target)
		if told += len(x.Target); told <= task.MostPieces {
			c.Pieces = append(c.Pieces, m.engine.Pieces(x.Target))
		}
	}
	return c, nil
}

// Score scores weight vectors on examples in one batch; objectives are left zero.
func (m *Mixer) Score(ctx context.Context, examples []task.Example, weights [][]float64) ([]search.Score, error) {
	q, err := m.ScoreRequest(examples, weights)
	if err != nil {
		return nil, err
	}
	return m.engine.Score(ctx, q.Examples, q.Compositions)
}

// ScoreRequest is what Score asks of the engine. The modules in it stay until Close.
func (m *Mixer) ScoreRequest(examples []task.Example, weights [][]float64) (ScoreRequest, error) {
	q := ScoreRequest{Compositions: make([]Composition, len(weights))}
	for i, w := range weights {
		var err error
		if q.Compositions[i], err = m.Composition(w); err != nil {
			return ScoreRequest{}, err
		}
	}
	q.Examples, _ = m.engine.Encode(examples)
	return q, q.Check()
}

// Generate answers each input greedily under one weight vector. progress is called with the number of answers done.
func (m *Mixer) Generate(ctx context.Context, inputs []string, weights []float64, progress func(done int)) ([]string, error) {
	return Greedy(ctx, m, inputs, weights, progress)
}
