package main

import (
	"bufio"
	"context"
	_ "embed"
	"encoding/json"
	"io"
	"os/exec"

	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/search"
)

//go:embed nevergrad.py
var nevergradProgram string

// nevergrad is a Python process that proposes candidates as NGOpt does, for one search at a time.
type nevergrad struct {
	name    string
	command *exec.Cmd
	in      io.WriteCloser
	out     *bufio.Reader
}

// nevergradAnswer is a line of the process.
type nevergradAnswer struct {
	Version string      `json:"version"`
	X       [][]float64 `json:"x"`
}

func startNevergrad(ctx context.Context, python string) (*nevergrad, error) {
	n := &nevergrad{command: exec.CommandContext(ctx, python, "-c", nevergradProgram)}
	var err error
	if n.in, err = n.command.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := n.command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	n.out = bufio.NewReader(out)
	if err := n.command.Start(); err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "--nevergrad "+python, "cannot be started: %v", errorWithoutPath(err))
	}
	hello, err := n.read()
	if err != nil || hello.Version == "" {
		n.close()
		return nil, fault.Wrap(err, fault.Invalid, "--nevergrad "+python, "is not a Python that has nevergrad")
	}
	n.name = "NGOpt, nevergrad " + hello.Version
	return n, nil
}

// close ends the process, which reads until there is nothing more.
func (n *nevergrad) close() {
	n.in.Close()
	_ = n.command.Wait() // it has no more to say
}

func (n *nevergrad) call(request map[string]any) (nevergradAnswer, error) {
	line, err := json.Marshal(request)
	if err == nil {
		_, err = n.in.Write(append(line, '\n'))
	}
	if err != nil {
		return nevergradAnswer{}, fault.Wrap(err, fault.Internal, "nevergrad", "does not listen")
	}
	return n.read()
}

func (n *nevergrad) read() (answer nevergradAnswer, err error) {
	line, err := n.out.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &answer)
	}
	if err != nil {
		return answer, fault.Wrap(err, fault.Internal, "nevergrad", "gave no answer")
	}
	return answer, nil
}

// new begins a search, as LoraHub would: from 0, with as many workers as the evaluator takes candidates.
func (n *nevergrad) new(_ context.Context, p search.Problem) (search.Optimizer, error) {
	_, err := n.call(map[string]any{"new": map[string]any{
		"lower": p.Lower, "upper": p.Upper, "budget": p.Budget, "batch": p.Batch, "seed": p.Seed % (1 << 32),
	}})
	return &nevergradSearch{n}, err
}

type nevergradSearch struct{ *nevergrad }

func (n *nevergradSearch) Ask(k int) ([][]float64, error) {
	answer, err := n.call(map[string]any{"ask": k})
	return answer.X, err
}

func (n *nevergradSearch) Tell(_ [][]float64, s []search.Score) error {
	values := make([]*float64, len(s))
	for i := range s {
		if isFinite(s[i].Objective) {
			values[i] = &s[i].Objective
		}
	}
	_, err := n.call(map[string]any{"tell": values})
	return err
}

// Best is NGOpt's recommendation; nil if the process ended.
func (n *nevergradSearch) Best() []float64 {
	answer, err := n.call(map[string]any{"best": true})
	if err != nil || len(answer.X) != 1 {
		return nil
	}
	return answer.X[0]
}
