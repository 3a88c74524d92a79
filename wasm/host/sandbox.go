package host

import (
	"bufio"
	"context"
	"errors"
	"io"
	"math"
	"runtime"
	"runtime/debug"

	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/search"
)

// Sandbox is the inside of NewIsolated: the whole program of a process that runs one guest. It answers requests that it reads from in, on
// out, and returns when in ends. The program must then exit, since a guest may still be running. On Linux it gives up, for the whole
// process and for good, opening files, growing them, dumping core, and memory beyond what the guest may have.
func Sandbox(in io.Reader, out io.Writer) error {
	runtime.GOMAXPROCS(max(2, runtime.GOMAXPROCS(0))) // so that the end of in is seen while a guest runs
	requests := make(chan request)
	go func() {
		s := &sandbox{}
		for q := range requests {
			if writeFrame(out, s.answer(q)) != nil {
				break // in has ended too, or will
			}
		}
		for range requests { // so that the reader never waits
		}
	}()
	defer close(requests)
	r := bufio.NewReader(in)
	for {
		q := request{}
		if err := readFrame(r, math.MaxInt32, &q); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fault.Wrap(err, fault.Invalid, "", "the input is not what medley sends to a sandbox")
		}
		requests <- q
	}
}

// sandbox is the state between requests.
type sandbox struct{ guest *Guest }

func (s *sandbox) answer(q request) response {
	if q.Op == opOpen && s.guest == nil {
		g, err := open(q)
		if err != nil {
			return response{Error: newFailure(err, true)}
		}
		s.guest = g
		return response{Info: &g.info}
	}
	if s.guest == nil {
		return response{Error: newFailure(fault.New(fault.Invalid, "", "nothing was opened"), true)}
	}
	var x [][]float64
	var err error
	switch q.Op {
	case opAsk:
		x, err = s.guest.Ask(q.N)
	case opTell:
		err = s.guest.Tell(slicesOf(q.X), scores(q.S))
	case opBest:
		if best := s.guest.Best(); best != nil {
			x = [][]float64{best}
		}
		err = s.guest.Err()
	default:
		err = fault.New(fault.Invalid, "", "%q is no request", q.Op)
	}
	if err != nil {
		return response{Error: newFailure(err, s.guest.Err() != nil)}
	}
	return response{X: vectors(x)}
}

// open starts the guest, and gives up what compiling needed and running does not.
func open(q request) (*Guest, error) {
	if err := confine(q.Limits); err != nil {
		return nil, fault.Wrap(err, fault.Internal, field, "cannot be confined")
	}
	ctx := context.Background()
	r, err := New(ctx, Options{Interpreter: q.Interpreter, Limits: q.Limits, reserve: true})
	if err != nil {
		return nil, err
	}
	m, err := r.Compile(ctx, q.Wasm)
	if err != nil {
		return nil, err
	}
	g, err := m.New(ctx, q.Problem, q.Options)
	if err != nil {
		return nil, err
	}
	debug.FreeOSMemory()
	if err := tighten(); err != nil {
		return nil, fault.Wrap(err, fault.Internal, field, "cannot be confined")
	}
	return g, nil
}

func scores(s []told) []search.Score {
	out := make([]search.Score, len(s))
	for i, t := range s {
		out[i] = search.Score{Objective: math.NaN(), LogProbs: t.LogProbs}
		if len(t.Objective) == 1 {
			out[i].Objective = t.Objective[0]
		}
	}
	return out
}
