package host

import (
	"bufio"
	"context"
	"io"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/search"
)

// PoolOptions says how isolated guests run. Command must be set.
type PoolOptions struct {
	// Command returns a fresh command whose program calls Sandbox with its standard input and output; NewIsolated connects all three
	// standard files, and leaves the environment empty if the command sets none.
	Command     func() *exec.Cmd
	Running     int  // guests that compute at the same time, each on a core; default 1. The others wait their turn, which is not their time
	Interpreter bool // see Options
	Limits      Limits
}

// Pool bounds what the guests of strangers take from the machine together. It is safe for concurrent use.
type Pool struct {
	options PoolOptions
	turns   chan struct{}
}

// NewPool makes a pool; nothing runs yet.
func NewPool(o PoolOptions) *Pool {
	o.Limits = o.Limits.withDefaults()
	return &Pool{options: o, turns: make(chan struct{}, max(1, o.Running))}
}

// Isolated is an optimizer in a process of its own, which ends with Close, with the context it was made under, or when the guest dies.
type Isolated struct {
	pool    *Pool
	life    context.Context
	command *exec.Cmd
	in      io.WriteCloser
	out     *bufio.Reader
	stderr  *head
	info    Info
	ledger  ledger
	dead    error
	ending  sync.Once
	leave   func() bool // stops watching life
}

var _ search.Optimizer = (*Isolated)(nil)

// grace is what a process gets beyond the limit of a guest, to say that it was over it.
const grace = 500 * time.Millisecond

// NewIsolated compiles and starts a stranger's guest in a process of its own, at a lower priority. What Compile and New refuse it refuses
// with the same errors. A guest that is over its time is killed with its process, whatever it is doing, compiling included.
func NewIsolated(ctx context.Context, pool *Pool, wasm []byte, p search.Problem, options map[string]string) (*Isolated, error) {
	if err := p.Check(); err != nil {
		return nil, err
	}
	limits := pool.options.Limits
	if len(wasm) > limits.ModuleBytes {
		return nil, refuse(fault.TooLarge, "has %d bytes, at most %d are allowed", len(wasm), limits.ModuleBytes)
	}
	i := &Isolated{pool: pool, life: ctx, ledger: ledger{search.NewLedger(p)}, stderr: &head{size: limits.LogBytes}}
	if err := i.turn(); err != nil {
		return nil, err
	}
	defer i.pass()
	if err := i.start(pool.options.Command()); err != nil {
		return nil, err
	}
	q := request{Op: opOpen, Wasm: wasm, Limits: limits, Interpreter: pool.options.Interpreter, Problem: i.ledger.Problem, Options: options}
	a, err := i.call(q, limits.Compile+3*limits.Start) // start function, _initialize and opt_create
	if err == nil && a.Info == nil {
		err = fault.New(fault.Internal, field, "was not answered for by its process")
	}
	if err != nil {
		return nil, i.end(err)
	}
	i.info = *a.Info
	i.info.Name, i.info.Version = plain(i.info.Name), plain(i.info.Version)
	return i, nil
}

// turn waits until the guest may compute; pass lets the next one.
func (i *Isolated) turn() error {
	if i.life.Err() == nil {
		select {
		case i.pool.turns <- struct{}{}:
			return nil
		case <-i.life.Done():
		}
	}
	return fault.Wrap(i.life.Err(), fault.Canceled, field, "was stopped: the search was canceled")
}

func (i *Isolated) pass() { <-i.pool.turns }

func (i *Isolated) start(c *exec.Cmd) error {
	if c.Env == nil {
		c.Env = []string{}
	}
	apart(c)
	c.Stderr = i.stderr
	c.WaitDelay = time.Second // nobody else should hold its output, but somebody might
	in, err := c.StdinPipe()
	if err != nil {
		return fault.Wrap(err, fault.Internal, field, "cannot be given a process")
	}
	out, err := c.StdoutPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		_ = in.Close() // the error says more
		return fault.Wrap(err, fault.Internal, field, "cannot be given a process: %v", cause(err))
	}
	lower(c.Process.Pid)
	i.command, i.in, i.out = c, in, bufio.NewReader(out)
	i.leave = context.AfterFunc(i.life, i.wait) // perhaps nobody calls again
	return nil
}

// call sends a request and waits for its response, at most for limit. With an error that is not the guest's own refusal, the guest is dead.
func (i *Isolated) call(q request, limit time.Duration) (response, error) {
	if i.dead != nil {
		return response{}, i.dead
	}
	late := atomic.Bool{}
	timer := time.AfterFunc(limit+grace, func() {
		late.Store(true)
		i.kill()
	})
	defer timer.Stop()
	a := response{}
	err := writeFrame(i.in, q)
	if err == nil {
		// Nothing longer than the guest's memory can come out of it, and base64 makes that longer by a third.
		err = readFrame(i.out, int(i.pool.options.Limits.MemoryPages)<<17+1<<16, &a)
	}
	switch {
	case err == nil && a.Error == nil:
		return a, nil
	case err == nil && a.Error.Dead:
		return response{}, i.end(a.Error.err())
	case err == nil:
		return response{}, a.Error.err()
	case i.life.Err() != nil:
		return response{}, i.end(fault.Wrap(err, fault.Canceled, field, "was stopped in %s: the search was canceled", q.Op))
	case late.Load():
		return response{}, i.end(fault.Wrap(err, fault.TooLarge, field, "was stopped: its process took longer than %v in %s", limit, q.Op))
	}
	return response{}, i.end(i.death(err, q.Op))
}

// death says how the process ended when nobody had killed it.
func (i *Isolated) death(err error, op string) error {
	i.wait()
	said := i.stderr.line()
	short := func(sign string) bool { return strings.Contains(said, sign) }
	if short("out of memory") || short("cannot allocate memory") || short("failed to allocate") { // the last is the race detector's
		return fault.Wrap(err, fault.TooLarge, field, "was stopped in %s: its process needed more memory than it may have", op)
	}
	if said != "" {
		said = ": " + strconv.Quote(said)
	}
	return fault.Wrap(err, fault.Internal, field, "lost its process in %s (%s)%s", op, i.command.ProcessState, said)
}

func (i *Isolated) kill() { _ = i.command.Process.Kill() } // it may have ended by itself

// wait kills and reaps the process, once; a second caller waits with the first.
func (i *Isolated) wait() {
	i.ending.Do(func() {
		_ = i.in.Close() // the process ends by this, if by nothing else
		i.kill()
		_ = i.command.Wait() // its state says how
	})
}

// end sees to it that the process is gone.
func (i *Isolated) end(why error) error {
	if i.dead == nil {
		i.dead = why
		i.leave()
		i.wait()
	}
	return i.dead
}

// Info returns what the guest says of itself.
func (i *Isolated) Info() Info { return i.info }

// Err returns why the guest is dead, or nil.
func (i *Isolated) Err() error { return i.dead }

// Close ends the guest and its process.
func (i *Isolated) Close() error {
	_ = i.end(refuse(fault.Canceled, "is closed"))
	return nil
}

// compute is call when it is the guest's turn, for Limits.Call and the small calls around it.
func (i *Isolated) compute(q request) (response, error) {
	if err := i.turn(); err != nil {
		return response{}, i.end(err)
	}
	defer i.pass()
	return i.call(q, i.pool.options.Limits.Call)
}

// Ask returns at most n candidates, as Guest.Ask.
func (i *Isolated) Ask(n int) ([][]float64, error) {
	if i.dead != nil {
		return nil, i.dead
	}
	k, err := i.ledger.Room(n)
	if err != nil || k == 0 {
		return nil, err
	}
	a, err := i.compute(request{Op: opAsk, N: k})
	if err != nil {
		return nil, err
	}
	x := slicesOf(a.X)
	if len(x) > k || slices.ContainsFunc(x, i.unfit) {
		return nil, i.end(errProcess())
	}
	i.ledger.ask(x)
	return x, nil
}

// unfit tells what the guest's own process should not have let pass.
func (i *Isolated) unfit(x []float64) bool {
	wrong, _ := i.ledger.fit(x)
	return wrong != ""
}

func errProcess() error {
	return fault.New(fault.Internal, field, "has a process that breaks the rules")
}

// Tell gives the guest scores, as Guest.Tell.
func (i *Isolated) Tell(x [][]float64, s []search.Score) error {
	if i.dead != nil {
		return i.dead
	}
	if err := i.ledger.Check(x, s); err != nil || len(x) == 0 {
		return err
	}
	q := request{Op: opTell, X: vectors(x), S: make([]told, len(s))}
	for k := range s {
		q.S[k] = told{Objective: vector{s[k].Objective}}
		if i.info.WantsAux {
			q.S[k].LogProbs = s[k].LogProbs
		}
	}
	_, err := i.compute(q)
	if err == nil {
		i.ledger.tell(x, s)
	}
	return err
}

// Best returns what the guest chooses, as Guest.Best.
func (i *Isolated) Best() []float64 {
	if i.ledger.Lowest == nil || i.dead != nil {
		return slices.Clone(i.ledger.Lowest)
	}
	a, err := i.compute(request{Op: opBest})
	switch {
	case err != nil:
	case len(a.X) != 1 || i.unfit(a.X[0]):
		err = errProcess()
	default:
		return a.X[0]
	}
	_ = i.end(err) // there is nobody to return it to: Err has it
	return slices.Clone(i.ledger.Lowest)
}

// head keeps the first bytes written to it: a Go program that dies says why first, and then at length where.
type head struct {
	mu   sync.Mutex
	b    []byte
	size int
}

func (h *head) Write(b []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.b = append(h.b, b[:min(len(b), h.size-len(h.b))]...)
	return len(b), nil
}

// line returns the first line.
func (h *head) line() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	line, _, _ := strings.Cut(string(h.b), "\n")
	return plain(line)
}
