package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// run is a measurement under way.
type run struct {
	ctx       context.Context
	c         *runCommand
	results   *results
	ours      *worker
	peer      *worker
	workloads []workload
}

// large is the base of what is measured on one model alone.
func (m *run) large() string { return m.workloads[len(m.workloads)-1].base }

// workload is a base with modules and a few examples, from files.
type workload struct {
	name                    string
	base, modules, examples string // modules is a pattern
	rounds                  int    // of evaluations
	peerCandidates          int    // a peer scores fewer of them a round
}

func (w workload) folders() ([]string, error) {
	all, err := filepath.Glob(w.modules)
	if err == nil && len(all) < usedModules {
		err = fmt.Errorf("%s: %d modules, %d are needed", w.modules, len(all), usedModules)
	}
	return all[:min(len(all), usedModules)], err
}

const (
	usedModules = 20 // of every workload
	batch       = 20 // candidates that Medley scores at once
	zooTask     = "shared/zoo/data/tasks/which_shelf.few.jsonl"
	zooModules  = "shared/zoo/data/modules/*"
	zooBase     = "shared/zoo/data/base"
	longTask    = "tools/peers/long.few.jsonl"
)

// measure fills the sections that are asked for.
func measure(ctx context.Context, c *runCommand, r *results) error {
	began := time.Now()
	m := run{ctx: ctx, c: c, results: r, workloads: []workload{
		{"zoo", zooBase, zooModules, zooTask, 9, 3},
		{"FLAN-T5-base shape", filepath.Join(c.Shape, "base"), filepath.Join(c.Shape, "modules", "*"), longTask, 3, 3},
	}}
	if c.Quick { // a model of the right kind, too small to measure anything
		m.workloads = m.workloads[:1]
	}
	r.Made, r.Quick, r.Machine = began.UTC().Format(time.DateOnly), c.Quick, machine(c.Threads)
	r.Subject = m.workloads[len(m.workloads)-1].name
	r.Command = "go tool -modfile=tools/go.mod task bench"
	if c.Quick {
		r.Command += " BENCH=quick"
	}
	if err := m.section(m.about); err != nil {
		return err
	}
	sections := []struct {
		name    string
		measure func() error
	}{
		{"jobs", m.jobs}, // first: a child's peak memory is never below what this process held when starting it
		{"products", m.products},
		{"evaluations", m.evaluations},
		{"scaling", m.scaling},
		{"free", m.free},
		{"searches", m.searches},
		{"gpu", m.gpu},
	}
	for _, s := range sections {
		if !slices.Contains(c.Only, s.name) {
			continue
		}
		fmt.Fprintf(os.Stderr, "%5.1f min  %s\n", time.Since(began).Minutes(), s.name)
		if err := m.section(s.measure); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		r.Minutes = time.Since(began).Minutes()
		if err := write(c.Docs, r); err != nil { // what is measured stays, whatever comes after
			return err
		}
	}
	return nil
}

// section runs one section with workers of its own, so that no section pays for another's memory.
func (m *run) section(f func() error) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if m.ours, err = start(m.ctx, m.c.Threads, self, "work"); err != nil {
		return err
	}
	defer m.ours.stop()
	m.peer, err = start(m.ctx, m.c.Threads, m.c.Python, "tools/peers/bench.py", "--threads", fmt.Sprint(m.c.Threads))
	if err != nil {
		return err
	}
	defer m.peer.stop()
	return f()
}

// rounds is how often a measurement is repeated.
func (m *run) rounds(n int) int {
	if m.c.Quick {
		return min(n, 2)
	}
	return n
}

// about asks the workers what they are, and which forms of weights Medley's cpu backend has here.
func (m *run) about() error {
	own, err := m.ours.ask(request{Op: "about"})
	if err != nil {
		return err
	}
	peer, err := m.peer.ask(request{Op: "about"})
	if err != nil {
		return err
	}
	m.results.Machine = append(m.results.Machine, fact{"cpu backend", own.About["backend"]})
	for _, name := range slices.Sorted(maps.Keys(peer.About)) {
		m.results.Machine = append(m.results.Machine, fact{name, peer.About[name]})
	}
	m.results.Forms = nil
	for _, form := range []string{"f32", "bf16", "int8"} {
		if _, err := m.ours.ask(request{Op: "about", Weights: form}); err == nil {
			m.results.Forms = append(m.results.Forms, form)
		}
	}
	return nil
}

// candidates are n weight vectors that use the first of the modules, the same in every run.
func candidates(n, modules, used int) [][]float64 {
	random := rand.New(rand.NewPCG(4, 0))
	all := make([][]float64, n)
	for i := range all {
		all[i] = make([]float64, modules)
		for j := range used {
			all[i][j] = random.Float64() - 0.5
		}
	}
	return all
}

// ownJobs are Medley's whole programs. The last is the peer's own search, composition and objective.
func (m *run) ownJobs() []program {
	var all []program
	for _, form := range m.results.Forms {
		all = append(all, program{"medley compose, " + form, []string{"--method", "delta", "--objective", "sparse", "--optimizer", "gntr", "--batch", "20", "--precision", form}})
	}
	return append(all, program{"medley compose, f32, searching as PyTorch's", []string{"--method", "product", "--objective", "lorahub", "--optimizer", "cobyla", "--batch", "1"}})
}

// program is a command line under the name of its system.
type program struct {
	name    string
	command []string
}

// jobs runs whole programs on the workloads, in turns.
func (m *run) jobs() error {
	m.results.Jobs = nil
	for i, w := range m.workloads {
		result := jobs{Workload: w.name}
		rounds := m.rounds([]int{3, 1}[i])
		for range rounds {
			for _, p := range m.programs(w) {
				j, err := m.job(p)
				if err != nil {
					return err
				}
				result.Runs = append(result.Runs, j)
			}
		}
		m.results.Jobs = append(m.results.Jobs, result)
	}
	return nil
}

// programs are those of one workload.
func (m *run) programs(w workload) []program {
	budget := "40"
	if m.c.Quick {
		budget = "4"
	}
	all := []program{{"PyTorch, PEFT, nevergrad, f32", []string{
		m.c.Python, "tools/peers/compose.py", w.base, w.modules, w.examples, "--budget", budget, "--threads", fmt.Sprint(m.c.Threads),
	}}}
	for _, own := range m.ownJobs() {
		own.command = append([]string{
			m.c.Medley, "compose", "--base", w.base, "--modules", w.modules, "--examples", w.examples, "--budget", budget,
			"--backend", "cpu", "--out", filepath.Join(m.c.Scratch, "composed"), "--json",
		}, own.command...)
		all = append(all, own)
	}
	return all
}

// job runs one program, which prints JSON.
func (m *run) job(p program) (job, error) {
	cmd := exec.CommandContext(m.ctx, p.command[0], p.command[1:]...)
	cmd.Env = environment(m.c.Threads)
	var problems strings.Builder
	cmd.Stderr = &problems
	start := time.Now()
	out, err := cmd.Output()
	j := job{System: p.name, Wall: time.Since(start).Seconds()}
	if err != nil {
		return j, fmt.Errorf("%s: %w\n%s", p.name, err, problems.String())
	}
	j.Peak = peak(cmd.ProcessState)
	return j, json.Unmarshal(out, &j)
}

// searches runs many searches in one process.
func (m *run) searches() error {
	w := m.workloads[0]
	folders, err := w.folders()
	if err != nil {
		return err
	}
	count := 1000
	if m.c.Quick {
		count = 40
	}
	a, err := m.ours.ask(request{Op: "searches", Base: w.base, Folders: folders, Examples: w.examples, Count: count})
	m.results.Searches = &searchesResult{Seconds: a.Seconds, Samples: a.Samples}
	return err
}
