package service

import (
	"context"
	"errors"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/medley-lora/medley/shared/fault"
)

const (
	maxDeaths  = 3               // of evaluators under one request
	deathGrace = time.Second     // for a process to end after its connection broke, before it is killed
	stopTime   = 5 * time.Second // for a process to end when asked to
	firstPause = 50 * time.Millisecond
	longPause  = 5 * time.Second
)

// SupervisorOptions says what to run. Command must be set.
type SupervisorOptions struct {
	// Command returns a fresh command that serves on the socket (see Serve), with its standard input as the lifeline and its standard output
	// as ready. The supervisor connects all three standard files.
	Command func(socket string) *exec.Cmd
	// StartTimeout is how long an evaluator may take until it listens; it opens its backend later. Default 30 s.
	StartTimeout time.Duration
	// Patience is how long the backend of an evaluator may be within one call, and the evaluator may leave a question for its health without
	// an answer, before it counts as hung and is killed. It is meant for hangs that last, so it is long: a call is at most some hundred
	// steps of a pass, which take a graphics processor less than a second. One that computes on the processor has 12 times as long, and
	// each has 20 times as long as its longest call took so far. Default 5 minutes.
	Patience time.Duration
	// Started, if set, is told the process number of each evaluator.
	Started func(pid int)
	// Died, if set, is told of each evaluator that ended when nobody had asked it to. Another is started when it is needed.
	Died func(Death)
}

// Death is the end of an evaluator.
type Death struct {
	Status string   // "signal: killed", "exit status 2"
	Stderr []string // its last lines
}

// String is one sentence, without an end, and the lines below it.
func (d Death) String() string {
	return strings.Join(append([]string{"the evaluator ended (" + d.Status + ")"}, d.Stderr...), "\n  ")
}

// Supervisor keeps an evaluator running while there are requests for it: when the process dies, what was under way is done again in
// another, with its sessions opened again, after a pause that grows while nothing succeeds. One that hangs is killed. A request under
// which three die fails with fault.Internal, saying how the last one ended. It is safe for concurrent use.
type Supervisor struct {
	options SupervisorOptions
	life    context.Context
	cancel  context.CancelFunc
	closed  atomic.Bool

	starting gate // held while an evaluator is started

	mu       sync.Mutex
	child    *child
	failures int // deaths since a request succeeded
}

// NewSupervisor makes a supervisor; the first request starts the first evaluator.
func NewSupervisor(o SupervisorOptions) *Supervisor {
	if o.StartTimeout == 0 {
		o.StartTimeout = 30 * time.Second
	}
	if o.Patience == 0 {
		o.Patience = 5 * time.Minute
	}
	s := &Supervisor{options: o, starting: newGate()}
	s.life, s.cancel = context.WithCancel(context.Background())
	return s
}

// Close ends the evaluator, once; requests under way fail with fault.Canceled, and so do later ones.
func (s *Supervisor) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	s.cancel()
	s.starting <- struct{}{} // for good: nothing is started any more
	s.mu.Lock()
	c := s.child
	s.child = nil
	s.mu.Unlock()
	if c != nil {
		c.stop()
	}
	return nil
}

// Backend returns what the evaluator runs on, and opens it if it is not open yet.
func (s *Supervisor) Backend(ctx context.Context) (b Backend, err error) {
	err = s.do(ctx, func(c *child) error {
		b, err = c.client.Backend(ctx)
		return err
	})
	return b, err
}

// Health asks the evaluator that runs whether it answers; none is started for it.
func (s *Supervisor) Health(ctx context.Context) (Health, error) {
	s.mu.Lock()
	c := s.child
	s.mu.Unlock()
	if c == nil || !c.alive() {
		return Health{}, fault.New(fault.Internal, "evaluator", "does not run")
	}
	return c.client.Health(ctx)
}

// Open opens a session, whose life ctx is: when it ends, calls that take no context fail. The caller closes the session.
func (s *Supervisor) Open(ctx context.Context, q OpenRequest) (*Session, error) {
	q, err := q.absolute()
	if err != nil {
		return nil, err
	}
	k := &kept{request: q, opening: newGate()}
	err = s.do(ctx, func(c *child) error {
		_, err := k.openOn(ctx, c.client)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &Session{
		life: ctx, opened: k.opened,
		with: func(ctx context.Context, send func(*Client, string) error) error {
			return s.do(ctx, func(c *child) error {
				id, err := k.openOn(ctx, c.client)
				if err != nil {
					return err
				}
				return send(c.client, id)
			})
		},
		end: k.close,
	}, nil
}

// do calls send with an evaluator, again while it dies meanwhile.
func (s *Supervisor) do(ctx context.Context, send func(*child) error) error {
	for deaths := 1; ; deaths++ {
		c, err := s.running(ctx)
		if err == nil {
			stop := c.guard(s.options.Patience)
			err = send(c)
			stop()
		}
		if !errors.As(err, new(broken)) {
			if err == nil {
				s.succeeded()
			}
			return err
		}
		death := s.bury(c)
		switch {
		case s.life.Err() != nil:
			return errClosed()
		case ctx.Err() != nil:
			return canceled(ctx)
		case deaths == maxDeaths:
			return fault.Wrap(err, fault.Internal, "evaluator", "%d in a row died of this request or before it; %s", deaths, death)
		}
	}
}

func errClosed() error { return fault.New(fault.Canceled, "", "the evaluator was closed") }

func (s *Supervisor) succeeded() {
	s.mu.Lock()
	s.failures = 0
	s.mu.Unlock()
}

// running returns the evaluator, or starts one. With an error that is a dead evaluator's, the evaluator is returned too.
func (s *Supervisor) running(ctx context.Context) (*child, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.life, cancel)()
	err := s.starting.enter(ctx)
	if s.life.Err() != nil {
		err = errClosed()
	}
	if err != nil {
		return nil, err
	}
	defer s.starting.leave()
	s.mu.Lock()
	c := s.child
	s.mu.Unlock()
	if c != nil && c.alive() {
		return c, nil
	}
	if c != nil {
		s.bury(c)
	}
	if err := s.pause(ctx); err != nil {
		return nil, err
	}
	c, err = startChild(ctx, s.options)
	if err != nil && !errors.As(err, new(broken)) {
		return nil, err
	}
	s.mu.Lock()
	s.child = c
	s.mu.Unlock()
	go func() { // so that a death is told of when it happens
		<-c.over
		s.bury(c)
	}()
	return c, err
}

// pause waits the longer the more evaluators have died since something succeeded.
func (s *Supervisor) pause(ctx context.Context) error {
	s.mu.Lock()
	failures := s.failures
	s.mu.Unlock()
	if failures == 0 {
		return nil
	}
	return sleep(ctx, min(longPause, firstPause<<min(failures-1, 10)))
}

// bury sees to it that an evaluator which failed is gone, tells of it once, and returns how it ended.
func (s *Supervisor) bury(c *child) Death {
	if !c.endsWithin(deathGrace) {
		c.kill("stopped answering")
	}
	d := c.death()
	s.mu.Lock()
	first := s.child == c
	if first {
		s.child = nil
		s.failures++
	}
	s.mu.Unlock()
	if first && s.options.Died != nil {
		s.options.Died(d)
	}
	return d
}
