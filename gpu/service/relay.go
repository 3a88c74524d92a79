package service

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/medley-lora/medley/gpu/engine"
	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/lora"
)

// RelayOptions says what a relay's clients can name. Both functions must be set.
type RelayOptions struct {
	// Resolve returns a request with the folders of its base, by the name, and of its modules, by their digests, and with the base's
	// digest. release, unless nil, is called when the model is closed: until then the folders must stay, for an evaluator that takes
	// another's place reads them again. It is called concurrently.
	Resolve func(ctx context.Context, q OpenRequest) (resolved OpenRequest, release func(), err error)
	// Bases lists the bases that Resolve knows.
	Bases func(ctx context.Context) ([]Base, error)
	// Loaded, unless nil, is told by Warm of each base that was loaded, and of its weights that were quantised.
	Loaded func(base string, changes []engine.Quantised)
}

// Relay opens models in a supervised evaluator process, for clients that name bases and the digests of modules instead of folders.
type Relay struct {
	supervisor *Supervisor
	options    RelayOptions
	warm       atomic.Bool
}

var _ Opener = (*Relay)(nil)

// NewRelay makes a relay, which closes the supervisor with itself.
func NewRelay(s *Supervisor, o RelayOptions) *Relay { return &Relay{supervisor: s, options: o} }

// Warm opens the backend, which tests it, and loads bases by name; with a digest they stay loaded until their room is needed. The relay
// is ready after it.
func (r *Relay) Warm(ctx context.Context, bases ...string) error {
	if _, err := r.supervisor.Backend(ctx); err != nil {
		return err
	}
	for _, name := range bases {
		m, err := r.Open(ctx, OpenRequest{Base: Folder{Name: name}, Method: string(lora.Delta)})
		if err != nil {
			return err
		}
		if r.options.Loaded != nil {
			r.options.Loaded(name, m.Quantised())
		}
		if err := m.Close(); err != nil {
			return err
		}
	}
	r.warm.Store(true)
	return nil
}

// Ready is Opener's.
func (r *Relay) Ready(context.Context) error {
	if !r.warm.Load() {
		return fault.New(fault.Internal, "evaluator", "is starting: its backend and its bases are not ready yet")
	}
	return nil
}

// Backend is Opener's.
func (r *Relay) Backend(ctx context.Context) (Backend, error) { return r.supervisor.Backend(ctx) }

// Bases is Opener's.
func (r *Relay) Bases(ctx context.Context) ([]Base, error) { return r.options.Bases(ctx) }

// stateTime is how long the state of the evaluator is waited for.
const stateTime = time.Second

// State is Opener's: the evaluator's, or nothing if it does not answer at once.
func (r *Relay) State(ctx context.Context) State {
	ctx, cancel := context.WithTimeout(ctx, stateTime)
	defer cancel()
	h, err := r.supervisor.Health(ctx)
	if err != nil {
		return State{}
	}
	return h.State
}

// Close is Opener's.
func (r *Relay) Close() error { return r.supervisor.Close() }

// Open is Opener's. Folders and the memory of passes are not the client's to choose.
func (r *Relay) Open(ctx context.Context, q OpenRequest) (Model, error) {
	switch {
	case q.Base.Name == "" || q.Base.Path != "":
		return nil, fault.New(fault.Invalid, "base", "is expected by its name alone")
	case q.Limits.Memory != 0:
		return nil, fault.New(fault.Invalid, "limits", "the memory is the evaluator's to choose")
	}
	for _, m := range q.Modules {
		if m.Name == "" || m.Path != "" || m.Digest == "" {
			return nil, fault.New(fault.Invalid, "modules", "each is expected by a name and its digest")
		}
	}
	if err := q.checkDigests(); err != nil {
		return nil, err
	}
	resolved, release, err := r.options.Resolve(ctx, q)
	if err != nil {
		return nil, err
	}
	if release == nil {
		release = func() {}
	}
	s, err := r.supervisor.Open(ctx, resolved)
	if err != nil {
		release()
		return nil, err
	}
	return &relayed{Session: s, release: release}, nil
}

// relayed is a session in the evaluator, with what was resolved for it.
type relayed struct {
	*Session
	release func()
}

func (r *relayed) Close() error {
	defer r.release()
	return r.Session.Close()
}
