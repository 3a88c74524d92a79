package engine

import (
	"context"

	"github.com/medley-lora/medley/shared/fault"
)

// Request is one text to continue, under its own composition.
type Request struct {
	Source      []int32
	Composition *Composition // nil for the bare base
	MaxTokens   int          // if not 0, a limit of its own, at most the sampling's
	Salt        string       // requests share what their sources begin with if it is equal
}

// Sampling says how tokens are chosen. The zero value is greedy decoding of up to 256 tokens.
type Sampling struct {
	MaxTokens   int      // end token not counted; default 256
	Temperature float64  // 0: greedy
	TopK        int      // 0: the whole vocabulary
	TopP        float64  // 0 or 1: no nucleus
	Seed        uint64   // each request draws from its own stream, so the batch does not matter
	Stop        []string // an Answer ends before the first of them; Generate, which has no texts, takes none
}

// Bounds on Sampling.Stop.
const (
	maxStops = 16
	maxStop  = 1024 // bytes of one
)

func (s Sampling) withDefaults() Sampling {
	if s.MaxTokens == 0 {
		s.MaxTokens = 256
	}
	return s
}

func (s Sampling) check() error {
	switch {
	case s.MaxTokens < 0 || s.MaxTokens > 1<<16:
		return fault.New(fault.Invalid, "max-tokens", "%d is outside [1, 65536]", s.MaxTokens)
	case !(s.Temperature >= 0 && s.Temperature <= 100):
		return fault.New(fault.Invalid, "temperature", "%g is outside [0, 100]", s.Temperature)
	case s.TopK < 0:
		return fault.New(fault.Invalid, "top-k", "%d is negative", s.TopK)
	case !(s.TopP >= 0 && s.TopP <= 1):
		return fault.New(fault.Invalid, "top-p", "%g is outside [0, 1]", s.TopP)
	case len(s.Stop) > maxStops:
		return fault.New(fault.Invalid, "stop", "are %d texts; the limit is %d", len(s.Stop), maxStops)
	}
	for _, text := range s.Stop {
		if text == "" || len(text) > maxStop {
			return fault.New(fault.Invalid, "stop", "a text of %d bytes is outside [1, %d]", len(text), maxStop)
		}
	}
	return nil
}

// Listener hears of tokens as they come. Either function may be nil.
type Listener struct {
	Token func(request int, id int32) (more bool) // in order within a request; requests take turns. No more ends the request
	Done  func(request int)                       // after a request's last token
}

func (l Listener) token(request int, id int32) (more bool) {
	return l.Token == nil || l.Token(request, id)
}

func (l Listener) done(request int) {
	if l.Done != nil {
		l.Done(request)
	}
}

// Generate continues every request until its end token or the limit, and returns the tokens without start and end. Calls under way at once
// are continued together: they share the steps of one pass, and the keys and values of what their sources begin with. No number depends on it.
func (e *Engine) Generate(ctx context.Context, requests []Request, s Sampling, l Listener) ([][]int32, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	if len(s.Stop) > 0 {
		return nil, fault.New(fault.Unsupported, "stop", "is of texts, and these are tokens")
	}
	if len(requests) == 0 {
		return [][]int32{}, nil
	}
	c := newCall(ctx, requests, s.withDefaults())
	for i, r := range requests {
		if err := e.model.takes(r.Source, c.limit(i)); err != nil {
			return nil, err
		}
	}
	e.generator.submit(c)
	defer context.AfterFunc(ctx, e.generator.leave)()
	return c.hear(l)
}
