package service

import (
	"context"
	"crypto/rand"
	"net/http"
	"sync"
	"time"

	"github.com/medley-lora/medley/shared/fault"
)

// maxSessions bounds what a client that never closes sessions can hold.
const maxSessions = 1024

// hosted is a session: a model under an id.
type hosted struct {
	model  Model
	life   context.Context // ends with the session
	cancel context.CancelFunc

	busy int         // requests under way; under Server.mu
	idle *time.Timer // runs while there are none; nil without a limit

	mu     sync.RWMutex // held for reading by requests, and for writing to free what they use
	closed bool
}

// enlist makes a session of a model.
func (s *Server) enlist(m Model) (id string, err error) {
	h := &hosted{model: m}
	h.life, h.cancel = context.WithCancel(context.Background())
	if id, err = s.add(h); err != nil {
		s.end(h)
	}
	return id, err
}

func (s *Server) add(h *hosted) (id string, err error) {
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
	if s.options.Idle > 0 {
		h.idle = time.AfterFunc(s.options.Idle, func() { s.expire(id, h) })
	}
	return id, nil
}

// expire ends a session that has been idle, unless a request has just come.
func (s *Server) expire(id string, h *hosted) {
	s.mu.Lock()
	over := s.sessions[id] == h && h.busy == 0
	if over {
		delete(s.sessions, id)
	}
	s.mu.Unlock()
	if over {
		s.end(h)
	}
}

// end cancels what the session is doing, waits for that, and frees it.
func (s *Server) end(h *hosted) {
	h.cancel()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	h.model.Close() // an evaluator that has died has freed it too
}

// enter finds the session of a request and keeps it until leave is called. The context ends with the request or with the session.
func (s *Server) enter(r *http.Request) (h *hosted, ctx context.Context, leave func(), err error) {
	if h = s.begin(r.PathValue("id")); h != nil {
		h.mu.RLock()
		if !h.closed {
			ctx, cancel := context.WithCancel(r.Context())
			stop := context.AfterFunc(h.life, cancel)
			return h, ctx, func() { stop(); cancel(); h.mu.RUnlock(); s.rest(h) }, nil
		}
		h.mu.RUnlock()
		s.rest(h)
	}
	return nil, nil, nil, errNoSession
}

// errSessionField tells errNoSession from other things that are not found.
const errSessionField = "session"

var errNoSession = fault.New(fault.NotFound, errSessionField, "there is none of that id")

// begin finds a session and counts a request of it.
func (s *Server) begin(id string) *hosted {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.sessions[id]
	if h != nil {
		h.busy++
		if h.idle != nil {
			h.idle.Stop()
		}
	}
	return h
}

// rest counts the end of a request.
func (s *Server) rest(h *hosted) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h.busy--; h.busy == 0 && h.idle != nil {
		h.idle.Reset(s.options.Idle)
	}
}
