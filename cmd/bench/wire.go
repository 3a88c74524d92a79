package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"time"
)

// request asks a worker to measure something. Workers are this program (work) and tools/peers/bench.py; a peer does not know every field.
type request struct {
	Op      string `json:"op"`                // about, product, score, searches, continue
	Library string `json:"library,omitempty"` // of a product: openblas, torch; of this program's work: the backend
	Weights string `json:"weights,omitempty"` // form of the base's weights: f32, bf16, int8

	// A product is x [Rows, In] · w [Out, In]ᵀ, repeated for For seconds; the quickest counts.
	Rows int     `json:"rows,omitempty"`
	Out  int     `json:"out,omitempty"`
	In   int     `json:"in,omitempty"`
	For  float64 `json:"for,omitempty"`

	// A score is the loss of every candidate over the same examples: modules and examples from files, or both made up.
	Base       string      `json:"base,omitempty"`
	Folders    []string    `json:"folders,omitempty"`
	Examples   string      `json:"examples,omitempty"` // JSON lines
	Modules    int         `json:"modules,omitempty"`  // made up, on the maps q and v
	Rank       int         `json:"rank,omitempty"`
	Lengths    []int       `json:"lengths,omitempty"` // tokens of each input that is made up
	Candidates [][]float64 `json:"candidates,omitempty"`
	Sums       bool        `json:"sums,omitempty"`   // LoraHub's product of sums, which is what the peer does, instead of delta
	Upload     bool        `json:"upload,omitempty"` // modules that no candidate uses are on the backend too

	Count int `json:"count,omitempty"` // of searches, one after the other, in one process; of tokens that continue a prompt

	// A continuation is of that many sequences at once, all of the same prompt, but for its first token if Apart, each under one of Modules
	// made-up ones if there are any.
	Prompt    []int32 `json:"prompt,omitempty"`
	Sequences int     `json:"sequences,omitempty"`
	Apart     bool    `json:"apart,omitempty"`
}

// reply answers a request.
type reply struct {
	Error    string            `json:"error,omitempty"`
	About    map[string]string `json:"about,omitempty"`
	Seconds  float64           `json:"seconds,omitempty"`
	Losses   []float64         `json:"losses,omitempty"`   // token-mean cross-entropy, by candidate
	Resident float64           `json:"resident,omitempty"` // MiB of the process afterwards; 0 where it is not known
	Samples  []sample          `json:"samples,omitempty"`

	First  float64 `json:"first,omitempty"`  // seconds until a continuation's first token
	Tokens int     `json:"tokens,omitempty"` // made in Seconds, of all sequences
	IDs    []int32 `json:"ids,omitempty"`    // the first sequence's
	Peak   float64 `json:"peak,omitempty"`   // MiB that the process has held at most
	Own    float64 `json:"own,omitempty"`    // MiB that it holds and no file backs
	Mapped float64 `json:"mapped,omitempty"` // MiB of files that it holds
}

// sample is the memory of a process after so many searches.
type sample struct {
	Searches int     `json:"searches"`
	MiB      float64 `json:"mib"`
}

// settle is a pause before each request: the thread pools of OpenBLAS and OpenMP spin for a while after their work.
const settle = 60 * time.Millisecond

// worker is a process that answers requests.
type worker struct {
	name string
	cmd  *exec.Cmd
	in   *json.Encoder
	out  *bufio.Reader
	stop func()
}

// start starts a worker with that many threads. The caller calls stop.
func start(ctx context.Context, threads int, program string, args ...string) (*worker, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = environment(threads)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	w := &worker{name: program, cmd: cmd, in: json.NewEncoder(in), out: bufio.NewReader(out)}
	w.stop = func() { in.Close(); cmd.Wait() } //nolint:errcheck // it has answered what it was asked
	return w, nil
}

// environment gives every library the same number of threads.
func environment(threads int) []string {
	env := os.Environ()
	for _, name := range []string{"GOMAXPROCS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"} {
		env = append(env, fmt.Sprintf("%s=%d", name, threads))
	}
	return env
}

func (w *worker) ask(r request) (reply, error) {
	time.Sleep(settle)
	if err := w.in.Encode(r); err != nil {
		return reply{}, fmt.Errorf("%s, %s: %w", w.name, r.Op, err)
	}
	line, err := w.out.ReadBytes('\n')
	if err != nil {
		return reply{}, fmt.Errorf("%s, %s: ended without an answer: %w", w.name, r.Op, err)
	}
	var a reply
	if err := json.Unmarshal(line, &a); err != nil {
		return reply{}, fmt.Errorf("%s, %s: %w", w.name, r.Op, err)
	}
	if a.Error != "" {
		return reply{}, fmt.Errorf("%s, %s: %s", w.name, r.Op, a.Error)
	}
	return a, nil
}
