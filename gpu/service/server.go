// Package service is the evaluator: a process that owns the device (Host) and answers scores and generations over HTTP (Server), the
// client that speaks to it (Client, Session), and the supervisor that starts it, watches it and starts it again when it dies
// (Supervisor). Drivers crash, and a crash takes the process with it; a search should survive that with the same numbers.
//
// The same API is served to other machines (ServeTCP) by a process that has a supervisor and finds the folders of what is asked for
// (Relay); Remote is its client.
package service

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"sync"
	"time"

	"github.com/medley-lora/medley/shared/fault"
)

// Bounds on a request.
const (
	maxBody   = 64 << 20         // bytes
	bodyTime  = 30 * time.Second // for the body to arrive
	writeTime = time.Minute      // for a piece of the answer to be taken
)

// statuses maps codes to HTTP; 499 is what proxies log for a request whose client has gone.
var statuses = map[fault.Code]int{
	fault.Invalid:     http.StatusBadRequest,
	fault.Unsupported: http.StatusUnprocessableEntity,
	fault.NotFound:    http.StatusNotFound,
	fault.TooLarge:    http.StatusRequestEntityTooLarge,
	fault.Canceled:    499,
	fault.Internal:    http.StatusInternalServerError,
}

// newProblem keeps the code, the field and the sentence of an error. The sentence of an error that is no fault is kept too: the
// channel is private, and whoever relays to others decides what they see.
func newProblem(err error) *problem {
	p := &problem{Code: fault.CodeOf(err), Detail: err.Error()}
	var f *fault.Error
	switch {
	case errors.As(err, &f) && f.Error() == p.Detail:
		p.Field, p.Detail = f.Field, f.Message
	case f == nil && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)):
		p.Code = fault.Canceled
	}
	p.Status = statuses[p.Code]
	if p.Title = http.StatusText(p.Status); p.Title == "" {
		p.Title = "Canceled"
	}
	return p
}

// unready is the error of a server that cannot be asked yet.
type unready struct{ error }

func (u unready) Unwrap() error { return u.error }

// handler answers a request, or returns an error before anything is written.
type handler func(w http.ResponseWriter, r *http.Request) error

// serve answers with a problem document if the handler returns an error.
func (s *Server) serve(h handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := h(w, r); err != nil {
			s.problem(err).write(w)
		}
	})
}

func (p *problem) write(w http.ResponseWriter) {
	w.Header().Set("Content-Type", problemType)
	w.WriteHeader(p.Status)
	json.NewEncoder(w).Encode(p) //nolint:errcheck // nobody is left to tell
}

// problem is newProblem for those who ask this server.
func (s *Server) problem(err error) *problem {
	p := newProblem(err)
	switch {
	case errors.As(err, new(unready)):
		p.Status, p.Title = http.StatusServiceUnavailable, http.StatusText(http.StatusServiceUnavailable)
	case s.options.Report != nil && p.Code == fault.Internal:
		s.options.Report(err)
	}
	if s.options.Public {
		p.hidePaths()
	}
	return p
}

func reply(w http.ResponseWriter, v any) error {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(v) //nolint:errcheck // nobody is left to tell
	return nil
}

// decode reads the body of a request: one JSON value with no field that T lacks.
func decode[T any](w http.ResponseWriter, r *http.Request) (T, error) {
	var v T
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return v, fault.New(fault.Unsupported, "Content-Type", "is not application/json")
	}
	control := http.NewResponseController(w)
	control.SetReadDeadline(time.Now().Add(bodyTime)) //nolint:errcheck // a transport without deadlines has none to miss
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil {
		return v, badBody(err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) { // the end is read too: from then on the server notices when the client goes
		if err == nil {
			err = errors.New("more than one JSON value")
		}
		return v, badBody(err)
	}
	control.SetReadDeadline(time.Time{}) //nolint:errcheck // as above
	return v, nil
}

func badBody(err error) error {
	var large *http.MaxBytesError
	var kind *json.UnmarshalTypeError
	var f *fault.Error
	switch {
	case errors.As(err, &large):
		return fault.Wrap(err, fault.TooLarge, "body", "has more than %d bytes", large.Limit)
	case errors.As(err, &kind):
		return fault.Wrap(err, fault.Invalid, kind.Field, "is a JSON %s, which is not expected", kind.Value)
	case errors.As(err, &f):
		return fault.In("body", err)
	}
	return fault.Wrap(err, fault.Invalid, "body", "is not the JSON expected: %v", err)
}

// ServerOptions is for a server that others than its own supervisor can reach. The zero value has no limit.
type ServerOptions struct {
	// Idle is how long a session may be without a request before it is closed; 0 is for ever. See DefaultIdle.
	Idle time.Duration
	// Public takes paths and the last lines of a dead evaluator out of errors.
	Public bool
	// Report, if set, is told of errors that are nobody's mistake, as they are.
	Report func(error)
}

// DefaultIdle is a sensible ServerOptions.Idle for clients that may vanish; Remote opens its sessions again.
const DefaultIdle = time.Hour

// Server is the evaluator's HTTP API: sessions on the models of an Opener.
type Server struct {
	opener  Opener
	options ServerOptions
	routes  http.Handler

	mu       sync.Mutex
	closed   bool
	sessions map[string]*hosted
}

// NewServer makes a server, which closes the opener with itself.
func NewServer(opener Opener, o ServerOptions) *Server {
	s := &Server{opener: opener, options: o, sessions: map[string]*hosted{}}
	s.routes = s.newRoutes()
	return s
}

// Close ends every session and closes the opener. Closing twice does nothing.
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
	return s.opener.Close()
}

// ServeHTTP answers
//
//	GET    /v1/health                  Health
//	GET    /v1/ready                   whether models can be opened; status 503 while not
//	GET    /v1/backend                 Backend, opened if it is not yet
//	GET    /v1/bases                   Base of each
//	POST   /v1/sessions                OpenRequest -> id and Backend
//	DELETE /v1/sessions/{id}
//	POST   /v1/sessions/{id}/tokens    examples -> tokens of each side, texts of the outputs', warnings
//	POST   /v1/sessions/{id}/score     examples, weight vectors -> loss, losses of examples and log-probabilities of each vector
//	POST   /v1/sessions/{id}/generate  inputs, one weight vector, sampling -> JSON lines of events as they come
//
// Bodies are JSON; an error is a problem document (RFC 9457) with a fault's code and field. A request ends with its connection.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.routes.ServeHTTP(w, r) }

func (s *Server) newRoutes() http.Handler {
	routes := http.NewServeMux()
	for pattern, h := range map[string]handler{
		"GET /v1/health":                  s.getHealth,
		"GET /v1/ready":                   s.getReady,
		"GET /v1/backend":                 s.getBackend,
		"GET /v1/bases":                   s.getBases,
		"POST /v1/sessions":               s.openSession,
		"DELETE /v1/sessions/{id}":        s.closeSession,
		"POST /v1/sessions/{id}/tokens":   s.tokens,
		"POST /v1/sessions/{id}/score":    s.score,
		"POST /v1/sessions/{id}/generate": s.generate,
		"/": func(http.ResponseWriter, *http.Request) error {
			return fault.New(fault.NotFound, "", "there is nothing at this address for this method")
		},
	} {
		routes.Handle(pattern, s.serve(h))
	}
	return routes
}
