package service

import (
	"context"
	"crypto/rand"
	"net/http"
	"path/filepath"
	"sync"

	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/gpu/engine"
	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/lora"
	"github.com/medley-lora/medley/shared/peft"
)

// maxSessions bounds what a client that never closes sessions can hold.
const maxSessions = 1024

// Server is the evaluator's HTTP API over one backend. Sessions of one base folder with the same limits share the loaded model,
// which goes with the last of them.
type Server struct {
	open   func(ctx context.Context) (backend.Backend, string, error)
	routes http.Handler

	opening gate // held while the backend or a base is opened, so that each is opened once
	backend backend.Backend
	info    Backend
	pace    pace

	mu       sync.Mutex
	closed   bool
	bases    map[baseKey]*base
	sessions map[string]*hosted
}

// NewServer makes a server whose backend is what open returns, with the reason for the choice, when a request first needs one. A failure
// is the request's; the next request tries again.
func NewServer(open func(ctx context.Context) (backend.Backend, string, error)) *Server {
	s := &Server{open: open, opening: newGate(), bases: map[baseKey]*base{}, sessions: map[string]*hosted{}}
	s.routes = s.newRoutes()
	return s
}

// Close ends every session and frees everything, the backend last. Closing twice does nothing.
func (s *Server) Close() error {
	s.mu.Lock()
	again := s.closed
	s.closed = true
	sessions := s.sessions
	s.sessions = nil
	s.mu.Unlock()
	if again {
		return nil
	}
	for _, h := range sessions {
		s.end(h)
	}
	s.opening <- struct{}{} // for good: nothing is opened any more
	if s.backend == nil {
		return nil
	}
	return s.backend.Close()
}

// use opens the backend if it is not open. The caller holds s.opening.
func (s *Server) use(ctx context.Context) (backend.Backend, error) {
	if s.backend == nil {
		s.pace.count(1)
		defer s.pace.count(-1)
		b, reason, err := s.open(ctx)
		if err != nil {
			return nil, err
		}
		s.backend, s.info = s.pace.of(b), newBackend(b.Info(), reason)
	}
	return s.backend, nil
}

// lost is the error of a backend that works no more. It is panicked with, because only another process can begin again: see Serve.
type lost struct{ error }

// inspect looks, after an error that is nobody's mistake, whether the backend still works.
func (s *Server) inspect(ctx context.Context, err error) {
	if err == nil || newProblem(err).Code != fault.Internal || s.opening.enter(ctx) != nil {
		return
	}
	b := s.backend
	s.opening.leave()
	if b == nil {
		return
	}
	p := b.Begin(context.WithoutCancel(ctx))
	defer p.End()
	if _, err := p.Read(p.Zeros(1, 1)); err != nil {
		panic(lost{err})
	}
}

// baseKey says which sessions share a loaded model.
type baseKey struct {
	path   string
	limits Limits
}

// base is a loaded model and the number of sessions on it.
type base struct {
	key      baseKey
	engine   *engine.Engine
	sessions int // under Server.mu
}

// acquire loads a base, or finds it loaded. The caller holds s.opening.
func (s *Server) acquire(ctx context.Context, b backend.Backend, f Folder, l Limits) (*base, error) {
	key := baseKey{filepath.Clean(f.Path), l}
	s.mu.Lock()
	loaded, ok := s.bases[key]
	if ok {
		loaded.sessions++
	}
	s.mu.Unlock()
	if ok {
		return loaded, nil
	}
	e, err := engine.Open(ctx, f.Path, b, l.options())
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, canceled(ctx)
	case err != nil && f.Name != "":
		return nil, fault.In(f.Name, err)
	case err != nil:
		return nil, err
	}
	loaded = &base{key: key, engine: e, sessions: 1}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bases[key] = loaded
	return loaded, nil
}

func (s *Server) release(b *base) {
	s.mu.Lock()
	b.sessions--
	last := b.sessions == 0
	if last {
		delete(s.bases, b.key)
	}
	s.mu.Unlock()
	if last {
		b.engine.Close()
	}
}

// hosted is a session: a base with modules on it.
type hosted struct {
	base   *base
	mixer  *engine.Mixer
	life   context.Context // ends with the session
	cancel context.CancelFunc

	mu     sync.RWMutex // held for reading by requests, and for writing to free what they use
	closed bool
}

// host makes a session.
func (s *Server) host(ctx context.Context, q OpenRequest) (id string, err error) {
	if err := checkOpen(q); err != nil {
		return "", err
	}
	if err := s.opening.enter(ctx); err != nil {
		return "", err
	}
	defer s.opening.leave()
	b, err := s.use(ctx)
	if err != nil {
		return "", err
	}
	loaded, err := s.acquire(ctx, b, q.Base, q.Limits)
	if err != nil {
		return "", err
	}
	names := make([]string, len(q.Modules))
	for i, m := range q.Modules {
		names[i] = m.Name
	}
	mixer, err := engine.NewMixer(loaded.engine, lora.Method(q.Method), names, loader(q.Modules))
	if err != nil {
		s.release(loaded)
		return "", err
	}
	h := &hosted{base: loaded, mixer: mixer}
	h.life, h.cancel = context.WithCancel(context.Background())
	if id, err = s.enlist(h); err != nil {
		s.end(h)
	}
	return id, err
}

func checkOpen(q OpenRequest) error {
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
	return q.Limits.check()
}

func (s *Server) enlist(h *hosted) (id string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return "", fault.New(fault.Canceled, "", "the evaluator is closing")
	}
	if len(s.sessions) >= maxSessions {
		return "", fault.New(fault.TooLarge, "sessions", "%d are open, which is the most", maxSessions)
	}
	id = rand.Text() // not to be guessed by other clients
	s.sessions[id] = h
	return id, nil
}

// end cancels what the session is doing, waits for that, and frees it.
func (s *Server) end(h *hosted) {
	h.cancel()
	h.mu.Lock()
	h.closed = true
	h.mixer.Close()
	h.mu.Unlock()
	s.release(h.base)
}

// enter finds the session of a request and keeps it until leave is called. The context ends with the request or with the session.
func (s *Server) enter(r *http.Request) (h *hosted, ctx context.Context, leave func(), err error) {
	s.mu.Lock()
	h, ok := s.sessions[r.PathValue("id")]
	s.mu.Unlock()
	if ok {
		h.mu.RLock()
		if !h.closed {
			ctx, cancel := context.WithCancel(r.Context())
			stop := context.AfterFunc(h.life, cancel)
			return h, ctx, func() { stop(); cancel(); h.mu.RUnlock() }, nil
		}
		h.mu.RUnlock()
	}
	return nil, nil, nil, fault.New(fault.NotFound, "session", "there is none of that id")
}

// loader reads modules by name, with the errors of the command line.
func loader(modules []Folder) func(name string) (*lora.Adapter, error) {
	paths := make(map[string]string, len(modules))
	for _, m := range modules {
		paths[m.Name] = m.Path
	}
	return func(name string) (*lora.Adapter, error) {
		m, err := peft.Open(paths[name], peft.OpenOptions{AllowPickle: true})
		if err != nil {
			return nil, fault.In("module "+name, err)
		}
		a, err := m.Load()
		if err != nil {
			return nil, fault.In("module "+name, err)
		}
		a.Name = name
		return a, nil
	}
}
