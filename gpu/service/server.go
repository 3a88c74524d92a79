// Package service is the evaluator: a process that owns the device and answers scores and generations over HTTP (Server), the
// client that speaks to it (Client, Session), and the supervisor that starts it, watches it and starts it again when it dies
// (Supervisor). Drivers crash, and a crash takes the process with it; a search should survive that with the same numbers.
package service

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"time"

	"github.com/medley-lora/medley/shared/fault"
)

// Bounds on a request.
const (
	maxBody  = 64 << 20         // bytes
	bodyTime = 30 * time.Second // for the body to arrive
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

// handler answers a request, or returns an error before anything is written.
type handler func(w http.ResponseWriter, r *http.Request) error

func (h handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	err := h(w, r)
	if err == nil {
		return
	}
	p := newProblem(err)
	w.Header().Set("Content-Type", problemType)
	w.WriteHeader(p.Status)
	json.NewEncoder(w).Encode(p) //nolint:errcheck // nobody is left to tell
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

// ServeHTTP answers
//
//	GET    /v1/health                  Health
//	GET    /v1/backend                 Backend, opened if it is not yet
//	POST   /v1/sessions                OpenRequest -> id and Backend
//	DELETE /v1/sessions/{id}
//	POST   /v1/sessions/{id}/tokens    examples -> target tokens of each, warnings
//	POST   /v1/sessions/{id}/score     examples, weight vectors -> loss, losses of examples and log-probabilities of each vector
//	POST   /v1/sessions/{id}/generate  inputs, one weight vector, sampling -> JSON lines of events as they come
//
// Bodies are JSON; an error is a problem document (RFC 9457) with a fault's code and field. A request ends with its connection.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.routes.ServeHTTP(w, r) }

func (s *Server) newRoutes() http.Handler {
	routes := http.NewServeMux()
	for pattern, h := range map[string]handler{
		"GET /v1/health":                  s.getHealth,
		"GET /v1/backend":                 s.getBackend,
		"POST /v1/sessions":               s.openSession,
		"DELETE /v1/sessions/{id}":        s.closeSession,
		"POST /v1/sessions/{id}/tokens":   s.tokens,
		"POST /v1/sessions/{id}/score":    s.score,
		"POST /v1/sessions/{id}/generate": s.generate,
		"/": func(http.ResponseWriter, *http.Request) error {
			return fault.New(fault.NotFound, "", "there is nothing at this address for this method")
		},
	} {
		routes.Handle(pattern, handler(func(w http.ResponseWriter, r *http.Request) error {
			err := h(w, r)
			s.inspect(r.Context(), err)
			return err
		}))
	}
	return routes
}
