package service

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/medley-lora/medley/gpu/engine"
	"github.com/medley-lora/medley/shared/adapters"
	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/lora"
	"github.com/medley-lora/medley/shared/search"
	"github.com/medley-lora/medley/shared/task"
)

// hostModel is a model of a host: a base with modules.
type hostModel struct {
	host     *Host
	resident *resident
	base     *base
	mixer    *engine.Mixer
	uses     atomic.Int64 // until Close one, and one for each request whose batch is not over
}

// drop takes a use away; the last frees what the model has.
func (m *hostModel) drop() {
	if m.uses.Add(-1) == 0 {
		m.mixer.Close()
		m.host.resident.release(m.resident)
	}
}

func (m *hostModel) Close() error {
	m.base.gather.asks(-1)
	m.drop()
	return nil
}

func (m *hostModel) Backend() Backend { return m.host.info }

func (m *hostModel) Quantised() []engine.Quantised { return m.base.engine.Quantised() }

func (m *hostModel) Count(ctx context.Context, examples []task.Example) (task.Counts, error) {
	return m.mixer.Count(ctx, examples)
}

func (m *hostModel) Score(ctx context.Context, examples []task.Example, weights [][]float64) (scores []search.Score, err error) {
	defer func() { m.host.inspect(ctx, err) }()
	q, err := m.mixer.ScoreRequest(examples, weights)
	if err != nil {
		return nil, err
	}
	m.uses.Add(1)
	return m.base.gather.score(ctx, q, m.drop)
}

func (m *hostModel) Answer(ctx context.Context, prompts []engine.Prompt, weights []float64, s engine.Sampling, l engine.AnswerListener) (answers []engine.Answer, err error) {
	defer func() { m.host.inspect(ctx, err) }()
	m.host.counts.generations.Add(1)
	return m.mixer.Answer(ctx, prompts, weights, s, l)
}

// sharedModules are a model's modules; those with a digest are shared with other models of the base.
type sharedModules struct {
	residency *residency
	base      *resident
	digests   map[string]string // by name
	load      func(name string) (*lora.Adapter, error)

	mu   sync.Mutex
	held map[string]*resident // by name
}

func newSharedModules(r *residency, base *resident, modules []Folder) *sharedModules {
	s := &sharedModules{residency: r, base: base, digests: map[string]string{}, held: map[string]*resident{}}
	folders := make([]adapters.Folder, len(modules))
	for i, m := range modules {
		folders[i] = adapters.Folder{Name: m.Name, Path: m.Path}
		s.digests[m.Name] = m.Digest
	}
	s.load = adapters.Loader(folders)
	return s
}

// moduleKey finds a shared module.
type moduleKey struct {
	base   *resident
	digest string
}

// loadedModule is the value of a resident.
type loadedModule struct {
	number int
	shape  *lora.Adapter
}

// Acquire is engine.Modules'.
func (s *sharedModules) Acquire(name string) (int, *lora.Adapter, error) {
	b := s.base.value.(*base)
	b.loading.Lock()
	defer b.loading.Unlock()
	var key any = moduleKey{s.base, s.digests[name]}
	if s.digests[name] == "" {
		key = new(moduleKey) // no other is equal
	}
	x := s.residency.find(key)
	if x == nil {
		var err error
		if x, err = s.upload(key, name, b.engine); err != nil {
			return 0, nil, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held[name] = x
	m := x.value.(loadedModule)
	shape := *m.shape
	shape.Name = name // here; another model may call it otherwise
	return m.number, &shape, nil
}

func (s *sharedModules) upload(key any, name string, e *engine.Engine) (*resident, error) {
	a, err := s.load(name)
	if err != nil {
		return nil, err
	}
	var expected int64
	for _, l := range a.Layers {
		expected += 4 * int64(len(l.A)+len(l.B))
	}
	if err := s.residency.reserve(expected); err != nil {
		return nil, fault.In("module "+name, err)
	}
	number, err := e.AddModule(a)
	if err != nil {
		s.residency.unreserve(expected)
		return nil, err
	}
	bytes := e.ModuleBytes(number)
	if err := s.residency.settle(expected, bytes); err != nil {
		e.RemoveModule(number)
		s.residency.unreserve(expected)
		return nil, fault.In("module "+name, err)
	}
	return s.residency.put(&resident{
		value: loadedModule{number, engine.Shape(a)}, key: key, bytes: bytes, base: s.base, shared: s.digests[name] != "",
		free: func() { e.RemoveModule(number) },
	}), nil
}

// Release is engine.Modules'.
func (s *sharedModules) Release(name string, _ int) {
	s.mu.Lock()
	x := s.held[name]
	delete(s.held, name)
	s.mu.Unlock()
	s.residency.release(x)
}
