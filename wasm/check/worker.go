package check

import (
	"context"
	"encoding/json"
	"io"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/medley-lora/medley/shared/fault"
)

// The two processes speak JSON: one task to the worker, and one Result for each check of the contract back.

type task struct {
	Wasm   []byte            `json:"wasm"`
	Plugin map[string]string `json:"plugin"` // options
	MaxDim int               `json:"max_dim"`
	Each   time.Duration     `json:"each"`
}

// Work is the inside of Run: the whole program of a process that holds one plugin to the contract. It reads what to do from in, writes
// results to out, and returns when it is done or in ends. The program must then exit, since a plugin may still be running.
func Work(in io.Reader, out io.Writer) error {
	runtime.GOMAXPROCS(max(2, runtime.GOMAXPROCS(0))) // so that the end of in is seen while a plugin runs
	if err := confine(); err != nil {
		return fault.Wrap(err, fault.Internal, "", "the worker cannot be confined")
	}
	t, d := task{}, json.NewDecoder(in)
	if err := d.Decode(&t); err != nil {
		return fault.Wrap(err, fault.Invalid, "", "the input is not what medley sends to a worker")
	}
	done := make(chan error, 2)
	go func() {
		_, err := io.Copy(io.Discard, io.MultiReader(d.Buffered(), in))
		done <- err
	}()
	go func() {
		results := json.NewEncoder(out)
		s := &subject{task: t}
		for _, c := range contract() {
			if err := results.Encode(s.check(c)); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	return <-done
}

// grace is what a worker gets beyond the time of a check, to say that it was over it.
const grace = 2 * time.Second

// holdToContract has a worker check the plugin, and kills it when it is late.
func (r *run) holdToContract() error {
	w, err := startWorker(r.options.Worker(), task{r.wasm, r.options.Plugin, r.report.Plugin.MaxDim, r.options.Each})
	if err != nil {
		return err
	}
	defer w.end()
	for _, c := range contract() {
		begin := time.Now()
		select {
		case result, ok := <-w.results:
			if ok {
				r.add(result)
				continue
			}
			r.add(judge(c.name, begin, "", fault.New(fault.Internal, "", "its process ended: %s", w.end())))
		case <-time.After(r.options.Each + grace):
			r.add(judge(c.name, begin, "", fault.New(fault.TooLarge, "", "the check took longer than %v, and nothing but the end of its process stopped it", r.options.Each)))
		case <-r.ctx.Done():
			r.add(judge(c.name, begin, "", fault.New(fault.TooLarge, "", "the %v that all checks may take were over", r.options.Whole)))
		}
		r.leaveOut("not run: the check before it did not end")
		return nil
	}
	return nil
}

// worker is the other process.
type worker struct {
	command *exec.Cmd
	in      io.Closer
	results chan Result // closed when the process has nothing more to say
	stderr  firstBytes
	ending  sync.Once
	ended   string
}

func startWorker(c *exec.Cmd, t task) (*worker, error) {
	w := &worker{command: c, results: make(chan Result)}
	c.Stderr = &w.stderr
	c.WaitDelay = time.Second // nobody else should hold its output, but somebody might
	in, err := c.StdinPipe()
	if err != nil {
		return nil, fault.Wrap(err, fault.Internal, "", "the checks cannot be given a process")
	}
	out, err := c.StdoutPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		_ = in.Close() // the error says more
		return nil, fault.Wrap(err, fault.Internal, "", "the checks cannot be given a process")
	}
	w.in = in
	go func() { _ = json.NewEncoder(in).Encode(t) }() // a worker that cannot be told ends without a result
	go func() {
		defer close(w.results)
		for d := json.NewDecoder(out); ; {
			result := Result{}
			if d.Decode(&result) != nil {
				return
			}
			w.results <- result
		}
	}()
	return w, nil
}

// end kills the process, waits for it and returns how it ended, and what it said first.
func (w *worker) end() string {
	w.ending.Do(func() {
		_ = w.in.Close()
		_ = w.command.Process.Kill() // it may have ended by itself
		go func() {
			for range w.results { // so that the reader never waits
			}
		}()
		_ = w.command.Wait() // its state says how
		w.ended = w.command.ProcessState.String()
		if said := w.stderr.line(); said != "" {
			w.ended += ": " + said
		}
	})
	return w.ended
}

// firstBytes keeps the first bytes written to it: a Go program that dies says why first, and then at length where.
type firstBytes struct {
	mu sync.Mutex
	b  []byte
}

func (f *firstBytes) Write(b []byte) (int, error) {
	const most = 1 << 10
	f.mu.Lock()
	defer f.mu.Unlock()
	f.b = append(f.b, b[:min(len(b), most-len(f.b))]...)
	return len(b), nil
}

// line returns the first line, safe to print.
func (f *firstBytes) line() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	line, _, _ := strings.Cut(string(f.b), "\n")
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, line))
}

// within gives a check its time.
func within(each time.Duration, check func(context.Context) (string, error)) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), each)
	defer cancel()
	detail, err := check(ctx)
	return detail, late(ctx, each, err)
}
