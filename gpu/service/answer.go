package service

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/medley-lora/medley/gpu/engine"
	"github.com/medley-lora/medley/shared/wire"
)

func (s *Server) getHealth(w http.ResponseWriter, r *http.Request) error {
	s.mu.Lock()
	n := len(s.sessions)
	s.mu.Unlock()
	return reply(w, Health{Status: "ok", Sessions: n, State: s.opener.State(r.Context())})
}

func (s *Server) getReady(w http.ResponseWriter, r *http.Request) error {
	if err := s.opener.Ready(r.Context()); err != nil {
		return unready{err}
	}
	return reply(w, readyReply{Ready: true})
}

func (s *Server) getBackend(w http.ResponseWriter, r *http.Request) error {
	b, err := s.opener.Backend(r.Context())
	if err != nil {
		return err
	}
	return reply(w, b)
}

func (s *Server) getBases(w http.ResponseWriter, r *http.Request) error {
	bases, err := s.opener.Bases(r.Context())
	if err != nil {
		return err
	}
	return reply(w, basesReply{bases})
}

func (s *Server) openSession(w http.ResponseWriter, r *http.Request) error {
	q, err := decode[OpenRequest](w, r)
	if err != nil {
		return err
	}
	m, err := s.opener.Open(r.Context(), q)
	if err != nil {
		return err
	}
	if r.Context().Err() != nil { // nobody would learn the id
		m.Close() // the cancellation is what is told
		return canceled(r.Context())
	}
	id, err := s.enlist(m)
	if err != nil {
		return err
	}
	return reply(w, openReply{ID: id, Backend: m.Backend(), Quantised: m.Quantised()})
}

func (s *Server) closeSession(w http.ResponseWriter, r *http.Request) error {
	h, _, leave, err := s.enter(r)
	if err != nil {
		return err
	}
	leave()
	s.mu.Lock()
	_, mine := s.sessions[r.PathValue("id")] // unless another request has just closed it
	delete(s.sessions, r.PathValue("id"))
	s.mu.Unlock()
	if mine {
		s.end(h)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Server) tokens(w http.ResponseWriter, r *http.Request) error {
	q, err := decode[tokensRequest](w, r)
	if err != nil {
		return err
	}
	h, ctx, leave, err := s.enter(r)
	if err != nil {
		return err
	}
	defer leave()
	c, err := h.model.Count(ctx, q.Examples)
	if err != nil {
		return err
	}
	return reply(w, tokensReply{Inputs: c.Inputs, Tokens: c.Outputs, Pieces: c.Pieces, Warnings: c.Warnings})
}

func (s *Server) score(w http.ResponseWriter, r *http.Request) error {
	q, err := decode[scoreRequest](w, r)
	if err != nil {
		return err
	}
	h, ctx, leave, err := s.enter(r)
	if err != nil {
		return err
	}
	defer leave()
	weights := make([][]float64, len(q.Weights))
	for i, w := range q.Weights {
		weights[i] = wire.Floats(w)
	}
	scores, err := h.model.Score(ctx, q.Examples, weights)
	if err != nil {
		return err
	}
	all := scoreReply{Scores: make([]scoreMessage, len(scores))}
	for i, s := range scores {
		all.Scores[i] = newScoreMessage(s)
	}
	return reply(w, all)
}

// generate sends each token's text as it comes. Once something is sent, an error is the last event.
func (s *Server) generate(w http.ResponseWriter, r *http.Request) error {
	q, err := decode[generateRequest](w, r)
	if err != nil {
		return err
	}
	h, ctx, leave, err := s.enter(r)
	if err != nil {
		return err
	}
	defer leave()
	w.Header().Set("Content-Type", "application/x-ndjson")
	out := &events{lines: json.NewEncoder(w), control: http.NewResponseController(w)}
	_, err = h.model.Answer(ctx, q.Prompts, wire.Floats(q.Weights), q.Sampling.sampling(), engine.AnswerListener{
		Text: func(i int, text string) { out.send(event{Input: i, Text: text}) },
		Done: func(i int, a engine.Answer) { out.send(event{Input: i, Done: newAnswerMessage(a)}) },
	})
	switch {
	case err != nil && out.flushed.IsZero():
		return err
	case err != nil:
		out.send(event{Problem: s.problem(err)})
		return nil
	}
	out.send(event{End: true})
	return nil
}

// events writes the lines of a stream. What cannot be written ends the request's context, and with it the pass.
type events struct {
	lines   *json.Encoder
	control *http.ResponseController
	flushed time.Time // when lines were last pushed out; zero before the first
}

// flushEvery keeps a token from costing a system call each.
const flushEvery = 10 * time.Millisecond

func (e *events) send(v event) {
	e.control.SetWriteDeadline(time.Now().Add(writeTime)) //nolint:errcheck // a transport without deadlines has none to miss
	e.lines.Encode(v)                                     //nolint:errcheck // see events
	if now := time.Now(); now.Sub(e.flushed) >= flushEvery {
		e.flushed = now
		e.control.Flush()
	}
}
