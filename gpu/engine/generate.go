package engine

import (
	"cmp"
	"context"
	"math/rand/v2"

	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/shared/fault"
)

// Request is one text to continue, under its own composition.
type Request struct {
	Source      []int32
	Composition *Composition // requests that share the pointer and follow each other share a segment
	MaxTokens   int          // if not 0, a limit of its own, at most the sampling's
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

// Generate continues every request until its end token or the limit, and returns the tokens without start and end.
func (e *Engine) Generate(ctx context.Context, requests []Request, s Sampling, l Listener) ([][]int32, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	if len(s.Stop) > 0 {
		return nil, fault.New(fault.Unsupported, "stop", "is of texts, and these are tokens")
	}
	s = s.withDefaults()
	outputs := make([][]int32, len(requests))
	for first := 0; first < len(requests); {
		last := e.fillRequests(requests, first, s.MaxTokens)
		g := generation{engine: e, requests: requests[first:last], outputs: outputs[first:last], sampling: s, listener: l, first: first}
		if err := g.run(ctx); err != nil {
			return nil, err
		}
		first = last
	}
	return outputs, nil
}

func (e *Engine) fillRequests(requests []Request, first, room int) int {
	perSource, perSequence := e.model.generateBytes(room)
	var used int64
	for i := first; i < len(requests); i++ {
		used += perSource*int64(len(requests[i].Source)) + perSequence
		if used > e.options.Memory && i > first {
			return i
		}
	}
	return len(requests)
}

// generation is one batch of requests that are decoded together.
type generation struct {
	engine   *Engine
	requests []Request
	outputs  [][]int32
	sampling Sampling
	listener Listener
	first    int // number of the batch's first request
}

func (g *generation) run(ctx context.Context) error {
	e := g.engine
	p := e.backend.Begin(ctx)
	defer p.End()
	known := e.snapshot()
	decoding, ids, err := e.model.start(p, g.requests, g.sampling.MaxTokens, known)
	if err != nil {
		return err
	}
	active, streams := make([]int, len(g.requests)), make([]*rand.Rand, len(g.requests))
	for i := range g.requests {
		active[i] = i
		streams[i] = rand.New(rand.NewPCG(g.sampling.Seed, uint64(g.first+i)))
	}
	for position := 0; len(active) > 0; position++ {
		logits, err := g.step(p, decoding, active, ids, position, known)
		if err != nil {
			return err
		}
		active, ids = g.advance(active, logits, streams)
	}
	return nil
}

// step runs one position and returns the logits [len(active), vocabulary] on the host; nothing of it stays in the pass.
func (g *generation) step(p backend.Pass, d decoding, active []int, ids []int32, position int, known *modules) (logits []float32, err error) {
	var rows segments
	for i, sequence := range active {
		rows.extend(g.requests[sequence].Composition, i+1)
	}
	p.Scope(func() backend.Tensor {
		logits, err = p.Read(d.step(p, active, ids, position, rows.updates(known)))
		return nil
	})
	return logits, err
}

// advance chooses a token for each active sequence and returns those that go on, with what to feed them.
func (g *generation) advance(active []int, logits []float32, streams []*rand.Rand) (next []int, ids []int32) {
	vocabulary := g.engine.model.vocabulary()
	for i, sequence := range active {
		token := choose(logits[i*vocabulary:(i+1)*vocabulary], g.sampling, streams[sequence])
		ended := g.engine.model.ends(token)
		if !ended {
			g.outputs[sequence] = append(g.outputs[sequence], token)
			ended = !g.listener.token(g.first+sequence, token)
		}
		if most := cmp.Or(g.requests[sequence].MaxTokens, g.sampling.MaxTokens); ended || len(g.outputs[sequence]) >= most {
			g.listener.done(g.first + sequence)
			continue
		}
		next, ids = append(next, sequence), append(ids, token)
	}
	return next, ids
}
