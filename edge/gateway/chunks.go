package gateway

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"

	"github.com/medley-lora/medley/edge/compute"
)

// chunk is an event of a streamed completion.
type chunk struct {
	ID      string          `json:"id"`
	Object  string          `json:"object"`
	Created int64           `json:"created"`
	Model   string          `json:"model"`
	Choices []choice        `json:"choices"`
	Usage   json.RawMessage `json:"usage,omitempty"` // null in all but the last, if it was asked for
}

// choice is what a chunk says of one answer, in one of the two forms.
type choice struct {
	Index        int     `json:"index"`
	Text         *string `json:"text,omitempty"`
	Delta        *delta  `json:"delta,omitempty"`
	FinishReason *string `json:"finish_reason"`
}

// delta is what a message goes on with.
type delta struct {
	Role    string  `json:"role,omitempty"`
	Content *string `json:"content,omitempty"`
}

// chunks writes a completion as it comes, until it cannot be written.
type chunks struct {
	*completing
	w      http.ResponseWriter
	broken context.CancelFunc // ends the completion when nobody reads it

	mu    sync.Mutex
	begun bool
	first []bool // whether an answer has begun
	err   error
}

// writeChunks returns an error only if nothing was written: a later one is the last event.
func (c *completing) writeChunks(w http.ResponseWriter) error {
	ctx, cancel := context.WithCancel(c.ctx)
	defer cancel()
	s := &chunks{completing: c, w: w, broken: cancel, first: make([]bool, len(c.asked.Prompts)*c.asked.N)}
	answers, err := c.Completions.Complete(ctx, principalOf(ctx).ID, c.asked, compute.Listener{
		Text: func(i int, text string) { s.goOn(i, text, "") },
		Done: func(i int, a compute.Answer) { s.goOn(i, "", finishOf(a)) },
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.err != nil:
		return s.err
	case err != nil && !s.begun:
		return err
	case err != nil:
		_, body := openAIError(c.problem(c.ctx, err))
		s.send(body)
		return s.err
	}
	if c.usage {
		used, err := json.Marshal(c.used(answers))
		if err != nil {
			return err
		}
		s.send(s.chunk([]choice{}, used))
	}
	s.event([]byte("[DONE]"))
	return s.err
}

// goOn tells a piece of answer i, or its end.
func (s *chunks) goOn(i int, text, finish string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	first := !s.first[i]
	s.first[i] = true
	if first {
		text = s.before(i) + text
	}
	var usage json.RawMessage
	if s.usage {
		usage = json.RawMessage("null")
	}
	s.send(s.chunk([]choice{s.form.piece(i, text, first, finish)}, usage))
}

func (s *chunks) chunk(choices []choice, usage json.RawMessage) chunk {
	return chunk{ID: s.id, Object: s.form.chunk, Created: s.created, Model: s.asked.Model, Choices: choices, Usage: usage}
}

func (s *chunks) send(v any) {
	data, err := json.Marshal(v)
	if err != nil {
		s.fail(err)
		return
	}
	s.event(data)
}

// event writes an event of one line.
func (s *chunks) event(data []byte) {
	if s.err != nil {
		return
	}
	if !s.begun {
		s.begun = true
		h := s.w.Header()
		h.Set("Content-Type", "text/event-stream")
		h.Set("X-Accel-Buffering", "no") // as for the events of compositions
		s.w.WriteHeader(http.StatusOK)
	}
	frame := append([]byte("data: "), data...)
	if err := send(s.w, append(frame, "\n\n"...)); err != nil {
		s.fail(err)
	}
}

func (s *chunks) fail(err error) {
	s.err = err
	s.broken()
}
