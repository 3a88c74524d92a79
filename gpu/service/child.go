package service

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/medley-lora/medley/shared/fault"
)

// child is an evaluator process with its socket in a folder of its own.
type child struct {
	command  *exec.Cmd
	client   *Client
	folder   string
	lifeline io.Closer // the child ends when it is closed
	stderr   tail
	over     chan struct{} // closed when the process has ended and been waited for
	killing  sync.Once
	killed   string // why we killed it, if we did
}

// startChild starts an evaluator and returns once it listens. Whatever becomes of ctx later does not touch it. An error that is no fault
// of this process or of ctx is a dead one, with the child in it.
func startChild(ctx context.Context, o SupervisorOptions) (*child, error) {
	folder, err := os.MkdirTemp("", "medley-") // mode 0700: the socket is the user's alone
	if err != nil {
		return nil, fault.Wrap(err, fault.Internal, "evaluator", "no folder can be made for its socket: %v", cause(err))
	}
	socket := filepath.Join(folder, "s") // short: the path of a socket may have about 100 bytes
	c := &child{command: o.Command(socket), client: dialSocket(socket), folder: folder, over: make(chan struct{})}
	stdout, announce := io.Pipe()
	c.command.Stdout, c.command.Stderr = announce, &c.stderr
	c.command.WaitDelay = time.Second // for whoever else has inherited its output
	lifeline, err := c.command.StdinPipe()
	if err == nil {
		err = c.command.Start()
	}
	if err != nil {
		os.RemoveAll(folder)
		return nil, fault.Wrap(err, fault.Internal, "evaluator", "cannot be started: %v", cause(err))
	}
	c.lifeline = lifeline
	if o.Started != nil {
		o.Started(c.command.Process.Pid)
	}
	ready := make(chan struct{})
	go func() {
		awaitLine(stdout, readyLine, ready)
		io.Copy(io.Discard, stdout) //nolint:errcheck // nothing more is expected
	}()
	go func() {
		c.command.Wait() //nolint:errcheck // the state says it
		announce.Close()
		c.client.Close()
		os.RemoveAll(folder)
		close(c.over)
	}()
	return c, c.awaitReady(ctx, ready, o.StartTimeout)
}

// awaitLine closes found when r has a line of that text.
func awaitLine(r io.Reader, text string, found chan<- struct{}) {
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadString('\n')
		if strings.TrimSpace(line) == text {
			close(found)
			return
		}
		if err != nil {
			return
		}
	}
}

func (c *child) awaitReady(ctx context.Context, ready <-chan struct{}, limit time.Duration) error {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-ready:
		return nil
	case <-c.over:
		return broken{fault.New(fault.Internal, "evaluator", "ended before it was ready")}
	case <-timer.C:
		c.kill(fmt.Sprintf("was not ready after %v", limit))
		return broken{fault.New(fault.Internal, "evaluator", "was not ready after %v", limit)}
	case <-ctx.Done():
		c.kill("was not needed any more")
		return canceled(ctx)
	}
}

func (c *child) alive() bool {
	select {
	case <-c.over:
		return false
	default:
		return true
	}
}

// endsWithin reports whether the process ends by itself in that time.
func (c *child) endsWithin(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-c.over:
		return true
	case <-timer.C:
		return false
	}
}

// kill ends the process at once; why is told with its death.
func (c *child) kill(why string) {
	c.killing.Do(func() {
		c.killed = why
		c.command.Process.Kill() //nolint:errcheck // it has ended already then
	})
	<-c.over
}

// death says how the process has ended.
func (c *child) death() Death {
	c.killing.Do(func() {})
	d := Death{Status: c.command.ProcessState.String(), Stderr: c.stderr.last()}
	if c.killed != "" {
		d.Status = c.killed + ", " + d.Status
	}
	return d
}

// stop lets the process end by itself.
func (c *child) stop() {
	c.lifeline.Close()
	if !c.endsWithin(stopTime) {
		c.kill("did not stop")
	}
}

// What a message quotes of a child's stderr.
const (
	tailLines = 8
	tailWidth = 200 // bytes of a line
)

// tail keeps the last lines written to it, blank ones left out.
type tail struct {
	mu      sync.Mutex
	lines   []string
	partial []byte // the line not ended yet, no longer than tailWidth
}

func (t *tail) Write(data []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := len(data)
	for len(data) > 0 {
		line, rest, whole := bytes.Cut(data, []byte("\n"))
		t.partial = append(t.partial, line[:min(len(line), tailWidth-len(t.partial))]...)
		if whole {
			t.endLine()
		}
		data = rest
	}
	return n, nil
}

func (t *tail) endLine() {
	if line := wholeText(strings.TrimSpace(string(t.partial))); line != "" {
		t.lines = append(t.lines, line)
		t.lines = t.lines[max(0, len(t.lines)-tailLines):]
	}
	t.partial = t.partial[:0]
}

// last returns the lines kept.
func (t *tail) last() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.endLine()
	return append([]string(nil), t.lines...)
}
