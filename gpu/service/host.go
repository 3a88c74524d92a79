package service

import (
	"context"
	"path/filepath"
	"regexp"
	"sync"
	"time"

	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/gpu/engine"
	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/lora"
)

// Bounds and default of HostOptions.Gather.
const (
	DefaultGather = 2 * time.Millisecond
	MaxGather     = 100 * time.Millisecond
)

// keepCache is engine.Options.KeepCache: people take about as long to go on with a conversation.
const keepCache = time.Minute

// leastCache is the least of engine.Options.Cache: its default.
const leastCache = 1 << 30

// HostOptions bounds a host. The zero value works.
type HostOptions struct {
	// Memory is how many bytes loaded bases and modules may take; the passes' activations come on top (see Limits). What nothing uses
	// makes room for what is asked for, the least recently used first. Default half of the machine's memory.
	Memory int64
	// Gather is how long a request for scores waits for others on the same base, to be scored in one batch with them; it does not wait
	// when every session of the base has one waiting. Default 2 ms, at most 100 ms.
	Gather time.Duration
	// Quantise and Chat are engine.Options', of every base.
	Quantise string
	Chat     bool
}

func (o HostOptions) withDefaults() (HostOptions, error) {
	switch {
	case o.Memory < 0:
		return o, fault.New(fault.Invalid, "memory", "%d is negative", o.Memory)
	case o.Gather < 0 || o.Gather > MaxGather:
		return o, fault.New(fault.Invalid, "gather", "%v is outside [0, %v]", o.Gather, MaxGather)
	}
	if o.Memory == 0 {
		o.Memory = machineMemory() / 2
	}
	if o.Gather == 0 {
		o.Gather = DefaultGather
	}
	return o, nil
}

// Host opens models on one backend, which it owns. Models of one base with the same limits share what is loaded: the base, by its digest
// or while one of them uses it by its folder, and modules by their digests. What has a digest stays loaded until its room is needed.
type Host struct {
	open    func(ctx context.Context) (backend.Backend, string, error)
	options HostOptions

	opening   gate // held while the backend or a base is opened, so that each is opened once
	backend   backend.Backend
	info      Backend
	perWeight float64 // bytes that the backend holds for a number of a matrix

	pace     pace
	resident *residency
	counts   counts
}

// NewHost makes a host whose backend is what open returns, with the reason for the choice, when a request first needs one. A failure is
// the request's; the next request tries again.
func NewHost(open func(ctx context.Context) (backend.Backend, string, error), o HostOptions) (*Host, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	return &Host{open: open, options: o, opening: newGate(), resident: newResidency(o.Memory)}, nil
}

// Close frees everything, the backend last. It waits for passes under way.
func (h *Host) Close() error {
	h.opening <- struct{}{} // for good: nothing is opened any more
	h.resident.mu.Lock()
	var gatherers []*gatherer
	for _, x := range h.resident.things {
		if b, ok := x.value.(*base); ok {
			gatherers = append(gatherers, b.gather)
		}
	}
	h.resident.mu.Unlock()
	for _, g := range gatherers {
		g.passes.Wait()
	}
	h.resident.close()
	if h.backend == nil {
		return nil
	}
	return h.backend.Close()
}

// Backend is Opener's.
func (h *Host) Backend(ctx context.Context) (Backend, error) {
	if err := h.opening.enter(ctx); err != nil {
		return Backend{}, err
	}
	defer h.opening.leave()
	_, err := h.use(ctx)
	return h.info, err
}

// Ready is Opener's: the backend is open, and has passed its test.
func (h *Host) Ready(ctx context.Context) error {
	_, err := h.Backend(ctx)
	return err
}

// Bases is Opener's: those that are loaded.
func (h *Host) Bases(context.Context) ([]Base, error) {
	h.resident.mu.Lock()
	defer h.resident.mu.Unlock()
	bases := []Base{}
	for _, x := range h.resident.things {
		if b, ok := x.value.(*base); ok {
			bases = append(bases, Base{Name: b.folder.Name, Digest: b.folder.Digest, Size: x.bytes})
		}
	}
	return bases, nil
}

// State is Opener's.
func (h *Host) State(context.Context) State {
	c := &h.counts
	s := Stats{
		Requests: c.requests.Load(), Generations: c.generations.Load(), Candidates: c.candidates.Load(), Batches: c.batches.Load(), LargestBatch: c.largest.Load(),
	}
	h.resident.tell(&s)
	return State{Pace: h.pace.now(), Stats: s}
}

// use opens the backend if it is not open. The caller holds h.opening.
func (h *Host) use(ctx context.Context) (backend.Backend, error) {
	if h.backend != nil {
		return h.backend, nil
	}
	h.pace.count(1)
	defer h.pace.count(-1)
	b, reason, err := h.open(ctx)
	if err != nil {
		return nil, err
	}
	const side = 128
	sample, err := b.Matrix(make([]float32, side*side), side, side)
	if err != nil {
		b.Close()
		return nil, err
	}
	h.perWeight = float64(sample.Bytes()) / (side * side)
	sample.Free()
	h.backend, h.info = h.pace.of(b), newBackend(b.Info(), reason)
	return h.backend, nil
}

// lost is the error of a backend that works no more. It is panicked with, because only another process can begin again: see Serve.
type lost struct{ error }

// inspect looks, after an error that is nobody's mistake, whether the backend still works.
func (h *Host) inspect(ctx context.Context, err error) {
	if err == nil || newProblem(err).Code != fault.Internal || h.opening.enter(ctx) != nil {
		return
	}
	b := h.backend
	h.opening.leave()
	if b == nil {
		return
	}
	p := b.Begin(context.WithoutCancel(ctx))
	defer p.End()
	if _, err := p.Read(p.Zeros(1, 1)); err != nil {
		panic(lost{err})
	}
}

// baseKey says which models share a loaded base.
type baseKey struct {
	digest, path string // path without a digest only
	limits       Limits
}

// base is a loaded base, the value of a resident.
type base struct {
	folder Folder
	engine *engine.Engine
	gather *gatherer

	loading sync.Mutex // held while a module is found or loaded, so that each is loaded once
}

// acquire loads a base, or finds it loaded, for the caller to release. What is loaded is found while another is loaded.
func (h *Host) acquire(ctx context.Context, f Folder, l Limits) (*resident, error) {
	key := baseKey{digest: f.Digest, limits: l}
	if f.Digest == "" {
		key.path = filepath.Clean(f.Path)
	}
	if x := h.resident.find(key); x != nil {
		return x, nil
	}
	if err := h.opening.enter(ctx); err != nil {
		return nil, err
	}
	defer h.opening.leave()
	b, err := h.use(ctx)
	if err != nil {
		return nil, err
	}
	if x := h.resident.find(key); x != nil { // loaded meanwhile
		return x, nil
	}
	x, err := h.load(ctx, b, key, f)
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, canceled(ctx)
	case err != nil && f.Name != "":
		return nil, fault.In(f.Name, err)
	}
	return x, err
}

func (h *Host) load(ctx context.Context, b backend.Backend, key baseKey, f Folder) (*resident, error) {
	var reserved int64
	options := key.limits.options()
	options.Quantise, options.Chat, options.KeepCache = h.options.Quantise, h.options.Chat, keepCache
	if options.Memory == 0 { // with limits of its own a base has their multiple
		options.Cache = max(leastCache, h.options.Memory/8)
	}
	options.Admit = func(parameters, packed int64) error {
		expected := int64(float64(parameters)*h.perWeight) + packed
		if err := h.resident.reserve(expected); err != nil {
			return err
		}
		reserved = expected
		return nil
	}
	e, err := engine.Open(ctx, f.Path, b, options)
	if err != nil {
		h.resident.unreserve(reserved)
		return nil, err
	}
	bytes := e.Bytes()
	if err := h.resident.settle(reserved, bytes); err != nil {
		e.Close()
		h.resident.unreserve(reserved)
		return nil, err
	}
	loaded := &base{folder: f, engine: e, gather: &gatherer{engine: e, wait: h.options.Gather, counts: &h.counts}}
	return h.resident.put(&resident{value: loaded, key: key, bytes: bytes, shared: f.Digest != "", free: func() { e.Close() }}), nil
}

// Open is Opener's. Modules are read when a weight other than zero first asks for them.
func (h *Host) Open(ctx context.Context, q OpenRequest) (Model, error) {
	if err := q.check(); err != nil {
		return nil, err
	}
	x, err := h.acquire(ctx, q.Base, q.Limits)
	if err != nil {
		return nil, err
	}
	m := &hostModel{host: h, resident: x, base: x.value.(*base)}
	m.uses.Store(1)
	names := make([]string, len(q.Modules))
	for i, f := range q.Modules {
		names[i] = f.Name
	}
	m.mixer, err = engine.NewMixerOf(m.base.engine, lora.Method(q.Method), names, newSharedModules(h.resident, x, q.Modules))
	if err != nil {
		h.resident.release(x)
		return nil, err
	}
	m.base.gather.asks(1)
	return m, nil
}

var digest = regexp.MustCompile(`^[0-9a-f]{64}$`)

func (q OpenRequest) check() error {
	if q.Base.Path == "" {
		return fault.New(fault.Invalid, "base", "names no folder")
	}
	seen := map[string]bool{}
	for _, m := range q.Modules {
		switch {
		case m.Name == "" || m.Path == "":
			return fault.New(fault.Invalid, "modules", "a module needs a name and a folder")
		case seen[m.Name]:
			return fault.New(fault.Invalid, "modules", "%q occurs twice", m.Name)
		}
		seen[m.Name] = true
	}
	return q.checkDigests()
}

// checkDigests checks what does not depend on folders.
func (q OpenRequest) checkDigests() error {
	if q.Base.Digest != "" && !digest.MatchString(q.Base.Digest) {
		return fault.New(fault.Invalid, "base", "the digest is not a SHA-256 in lower-case hexadecimal")
	}
	for _, m := range q.Modules {
		if m.Digest != "" && !digest.MatchString(m.Digest) {
			return fault.New(fault.Invalid, "modules", "the digest of %q is not a SHA-256 in lower-case hexadecimal", m.Name)
		}
	}
	return q.Limits.check()
}
