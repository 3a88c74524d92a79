//go:build !windows

package main

import (
	"bytes"
	"context"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/medley-lora/medley/gpu/service"
	"github.com/medley-lora/medley/shared/compose"
	"github.com/medley-lora/medley/shared/search"
	"github.com/medley-lora/medley/shared/task"
	"github.com/medley-lora/medley/wasm/optimizer"
)

// evaluators starts this program as evaluators, and remembers them.
type evaluators struct {
	*service.Supervisor
	mu     sync.Mutex
	pids   []int
	deaths int
}

func (e *evaluators) dead() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.deaths
}

func newEvaluators(t *testing.T, args ...string) *evaluators {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	e := &evaluators{}
	e.Supervisor = service.NewSupervisor(service.SupervisorOptions{
		Command: func(socket string) *exec.Cmd {
			c := exec.Command(self, append([]string{"evaluator", "--socket", socket}, args...)...)
			c.Env = append(os.Environ(), asProgram+"=1")
			return c
		},
		Started: func(pid int) { e.mu.Lock(); defer e.mu.Unlock(); e.pids = append(e.pids, pid) },
		Died:    func(service.Death) { e.mu.Lock(); defer e.mu.Unlock(); e.deaths++ },
	})
	t.Cleanup(func() { e.Close() })
	return e
}

// signal reaches the newest evaluator; it reports whether there was one.
func (e *evaluators) signal(s syscall.Signal) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return syscall.Kill(e.pids[len(e.pids)-1], s) == nil
}

// killing is a model whose evaluator is killed before a request or at some time within, until so many have died.
type killing struct {
	compose.Model
	evaluators *evaluators
	random     *rand.Rand
	until      int
	requests   int
}

func (k *killing) Score(ctx context.Context, examples []task.Example, weights [][]float64) ([]search.Score, error) {
	if k.evaluators.dead() < k.until {
		if k.requests++; k.requests%2 == 0 {
			k.evaluators.signal(syscall.SIGKILL)
		} else {
			delay := time.Duration(k.random.IntN(20_000)) * time.Microsecond
			defer time.AfterFunc(delay, func() { k.evaluators.signal(syscall.SIGKILL) }).Stop()
		}
	}
	return k.Model.Score(ctx, examples, weights)
}

// A search whose evaluator is killed at least twenty times leaves the trace of an unbroken one.
func TestSearchSurvivesKills(t *testing.T) {
	const kills = 20
	p := newPlace(t)
	all, err := modulesFlag{Modules: []string{p.module("*")}}.list()
	if err != nil {
		t.Fatal(err)
	}
	modules := names(all)
	q := service.OpenRequest{Base: service.Folder{Name: "--base", Path: p.base()}, Method: "delta"}
	for _, m := range all {
		q.Modules = append(q.Modules, service.Folder{Name: m.name, Path: m.folder})
	}
	examples, err := zooExamples("in_paris", "few")
	if err != nil {
		t.Fatal(err)
	}
	run := func(until int) (trace string, evaluators *evaluators) {
		e := newEvaluators(t, "--backend", "cpu")
		s, err := e.Open(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		var recorded bytes.Buffer
		job := compose.Job{
			Modules: modules, Examples: examples, Objective: task.Objective{Name: task.Sparse, Penalty: 0.05}, Budget: 3 * kills, Batch: 1, Seed: 1, KeepAll: true,
			NewOptimizer: func(p search.Problem) (search.Optimizer, error) { return optimizer.New(optimizer.Default, p) },
			Begin: func(p search.Problem, _ []string) ([]search.Evaluation, func(search.Evaluation), error) {
				w, err := search.NewTraceWriter(&recorded, search.TraceHeader{Problem: p, Optimizer: optimizer.Default})
				if err != nil {
					return nil, nil, err
				}
				return nil, w.Observe, nil
			},
		}
		if _, err := compose.Run(t.Context(), &killing{Model: s, evaluators: e, random: rand.New(rand.NewPCG(1, 2)), until: until}, job); err != nil {
			t.Fatal(err)
		}
		return recorded.String(), e
	}
	want, _ := run(0)
	got, e := run(kills)
	if got != want || strings.Count(want, "\n") < 10 {
		t.Errorf("the trace of %d bytes is not the unbroken one of %d", len(got), len(want))
	}
	if n := e.dead(); n < kills {
		t.Errorf("%d evaluators died, want at least %d", n, kills)
	}
	t.Logf("%d evaluators died in %d evaluations", e.dead(), strings.Count(want, "\n")-1)
}

// A terminal's Ctrl-C reaches the evaluator too, which leaves it to the program that started it.
func TestEvaluatorIgnoresInterrupt(t *testing.T) {
	e := newEvaluators(t, "--backend", "reference")
	for range 3 {
		if b, err := e.Backend(t.Context()); err != nil || b.Name != "reference" {
			t.Fatalf("backend %+v, error %v", b, err)
		}
		if !e.signal(syscall.SIGINT) {
			t.Fatal("the evaluator is gone")
		}
	}
	time.Sleep(50 * time.Millisecond)
	if _, err := e.Backend(t.Context()); err != nil || len(e.pids) != 1 {
		t.Errorf("%d evaluators, error %v", len(e.pids), err)
	}
}

func TestEvaluatorRefuses(t *testing.T) {
	e := newEvaluators(t, "--backend", "abacus")
	if _, err := e.Backend(t.Context()); err == nil || !strings.Contains(err.Error(), `backend: "abacus" is not known`) {
		t.Errorf("error %v", err)
	}
	if o := medley(t, "evaluator", "--socket", newPlace(t).to("no/such/folder/s")); o.code != exitUsage || !strings.Contains(o.stderr, "socket: cannot be made") {
		t.Errorf("%+v", o)
	}
	for flags, says := range map[string]string{
		"--memory=much": `"much" is not a size`, "--memory=-1": `"-1" is not a size`, "--memory=99EB": `is not a size`,
		"--gather=1s": "gather: 1s is outside [0, 100ms]", "--gather=-1ms": "gather: -1ms is outside", "--gather=soon": "--gather",
	} {
		if o := medley(t, "evaluator", "--socket", newPlace(t).to("s"), flags); o.code != exitUsage || !strings.Contains(o.stderr, says) {
			t.Errorf("%s: %+v", flags, o)
		}
	}
}

// The flags of an evaluator reach it.
func TestEvaluatorFlags(t *testing.T) {
	for flag, want := range map[string]int64{"6MB": 6_000_000, "4MiB": 4 << 20, "12345": 12345} {
		e := newEvaluators(t, "--backend", "reference", "--memory", flag, "--gather", "0")
		if _, err := e.Backend(t.Context()); err != nil {
			t.Fatal(err)
		}
		if h, err := e.Health(t.Context()); err != nil || h.Stats.Memory != want {
			t.Errorf("%s: %+v, error %v, want %d bytes", flag, h.Stats, err, want)
		}
	}
	for want, f := range map[string]backendFlag{
		"--precision f32 --memory 7 --gather 3ms":                      {Precision: "f32"},
		"--precision f32 --memory 7 --gather 3ms --quantize q4 --chat": {Precision: "f32", Quantize: "q4", Chat: true},
	} {
		given := f.process("cpu", hostFlags{Memory: 7, Gather: 3 * time.Millisecond})("socket").Args
		if got := strings.Join(given[1:], " "); got != "evaluator --socket socket --backend cpu "+want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// What an evaluator does to its bases' weights, and to inputs, is what the command line does.
func TestEvaluatorQuantisesAndChats(t *testing.T) {
	p, talking := newPlace(t), chatBase(t)
	few := p.write(t, "few.jsonl", `{"input": "one berry , several", "output": "berries"}`+"\n")
	examples, err := readExamples("--examples", few)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[float64]bool{}
	for flags, folder := range map[string]string{"": p.base(), "--quantize=q8": p.base(), "--quantize=q4": p.base(), "--precision=f32": talking, "--chat": talking} {
		given := []string{"--backend", "cpu"}
		if flags != "" {
			given = append(given, flags)
		}
		s, err := newEvaluators(t, given...).Open(t.Context(), service.OpenRequest{Base: service.Folder{Path: folder}, Method: "delta"})
		if err != nil {
			t.Fatal(err)
		}
		if changes := s.Quantised(); (len(changes) > 0) != strings.HasPrefix(flags, "--quantize") {
			t.Errorf("%s: %d weights are said to be quantised", flags, len(changes))
		}
		got, err := s.Score(t.Context(), examples, [][]float64{{}})
		if err != nil {
			t.Fatal(err)
		}
		module := p.module("add")
		if folder == talking {
			module = filepath.Join("..", "..", "gpu", "engine", "testdata", "causal", "llama2", "adapter")
		}
		want := score(t, append([]string{"--base", folder, "--modules", module, "--weights", "0", "--examples", few, "--json"}, given...)...)
		if loss := float64(want.Scores[0].Loss); got[0].Loss != loss || seen[loss] {
			t.Errorf("%s: loss %v, want %v, another than without", flags, got[0].Loss, loss)
		}
		seen[got[0].Loss] = true
	}
}
