package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/medley-lora/medley/shared/fault"
)

type llamaCommand struct {
	Python  string `required:"" placeholder:"PROGRAM" help:"Python with what tools/peers/llama-requirements.txt names."`
	Model   string `required:"" placeholder:"FILE" help:"A GGUF file."`
	Docs    string `default:"docs" placeholder:"DIR" help:"Where llama-benchmarks.md goes (${default})."`
	Threads int    `help:"Threads of both; all processors by default."`
	Rounds  int    `default:"7" help:"How often both take turns (${default})."`
}

const llamaPage = "llama-benchmarks.md"

const (
	wantLlama = 0.5 // of llama.cpp's tokens a second, at least
	wantBytes = 1.3 // times the file, at most: memory of the process that is its own
)

// llamaCase is one thing that both do.
type llamaCase struct {
	name    string
	request request
	prompt  bool // what counts is the prompt; else what follows it
	whole   bool // or what follows, from the start on
	alone   bool // llama.cpp has no such thing
}

func (c *llamaCommand) cases() []llamaCase {
	prompt := func(n int) []int32 {
		ids := make([]int32, n)
		for i := range ids {
			ids[i] = []int32{504, 3575, 282, 4649, 314}[i%5] // which goes on so, and does not end
		}
		return ids
	}
	all := []llamaCase{
		{name: "prompt of 512 tokens", request: request{Prompt: prompt(512), Count: 1}, prompt: true},
		{name: "64 tokens after 16", request: request{Prompt: prompt(16), Count: 65}},
		{name: "32 tokens after 512", request: request{Prompt: prompt(512), Count: 33}},
	}
	for _, n := range []int{8, 32} {
		r := request{Prompt: prompt(16), Count: 17, Sequences: n}
		all = append(all, llamaCase{name: fmt.Sprintf("%d sequences at once", n), request: r})
		r.Modules, r.Rank = n, 8
		all = append(all, llamaCase{name: fmt.Sprintf("%d sequences under %d adapters of rank 8", n, n), request: r, alone: true})
	}
	together := request{Prompt: prompt(512), Count: 16, Sequences: 8}
	all = append(all, llamaCase{name: "8 times 16 tokens, their one prompt of 512 included", request: together, whole: true, alone: true})
	together.Apart = true
	all = append(all, llamaCase{name: "8 times 16 tokens, their 8 prompts of 512 included", request: together, whole: true})
	for i := range all {
		all[i].request.Op, all[i].request.Base = "continue", c.Model
	}
	return all
}

// side is one of the two programs.
type side struct {
	worker *worker
	rates  [][]float64 // by case: tokens a second
	short  float64     // MiB at most, after the first short text
}

// Run times Medley and llama.cpp on the same file, in turns, and writes the page.
func (c *llamaCommand) Run(ctx context.Context) error {
	if c.Threads == 0 {
		c.Threads = runtime.NumCPU()
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cases := c.cases()
	ours, peer := &side{rates: make([][]float64, len(cases))}, &side{rates: make([][]float64, len(cases))}
	if ours.worker, err = start(ctx, c.Threads, self, "work"); err != nil {
		return err
	}
	defer ours.worker.stop()
	if peer.worker, err = start(ctx, c.Threads, c.Python, "tools/peers/llama.py", "--threads", fmt.Sprint(c.Threads)); err != nil {
		return err
	}
	defer peer.worker.stop()
	about, err := peer.worker.ask(request{Op: "about"})
	if err != nil {
		return err
	}
	var memory reply
	var missed []error
	for _, s := range []*side{ours, peer} { // a short text warms up, and is what memory is measured by
		a, err := s.worker.ask(cases[1].request)
		if err != nil {
			return err
		}
		if s.short = a.Peak; s == ours {
			memory = a
		}
	}
	for round := range c.Rounds {
		fmt.Fprintf(os.Stderr, "round %d of %d\n", round+1, c.Rounds)
		for i, one := range cases {
			for _, s := range []*side{ours, peer} {
				if s == peer && one.alone {
					continue
				}
				if err := s.time(i, one); err != nil {
					return err
				}
			}
		}
		if missed, err = c.write(cases, ours, peer, about.About, memory); err != nil { // what is measured stays
			return err
		}
	}
	fmt.Println(filepath.Join(c.Docs, llamaPage))
	return errors.Join(missed...)
}

func (s *side) time(i int, c llamaCase) error {
	a, err := s.worker.ask(c.request)
	if err != nil {
		return err
	}
	rate := float64(a.Tokens) / a.Seconds
	switch {
	case c.whole:
		rate = float64(c.request.Count*c.request.Sequences) / (a.First + a.Seconds)
	case c.prompt:
		rate = float64(len(c.request.Prompt)) / a.First
	}
	s.rates[i] = append(s.rates[i], rate)
	return nil
}

// write makes the page, and says what is not as it should be.
func (c *llamaCommand) write(cases []llamaCase, ours, peer *side, about map[string]string, memory reply) (missed []error, err error) {
	info, err := os.Stat(c.Model)
	if err != nil {
		return nil, err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# Beside llama.cpp\n\nMeasured by `go tool -modfile=tools/go.mod task bench:llama`, which writes this page: Medley's engine and llama.cpp (llama-cpp-python %s, "+
		"compiled for this processor) read %s (%.1f MB) and go on with the same tokens, greedily, with the same threads, taking turns %d times. Tokens a second, medians; "+
		"in brackets the fastest turn.\n\n", about["llama-cpp-python"], filepath.Base(c.Model), float64(info.Size())/1e6, len(ours.rates[0]))
	for _, f := range machine(c.Threads) {
		fmt.Fprintf(&b, "- %s: %s\n", f.Name, f.Value)
	}
	fmt.Fprintf(&b, "- llama.cpp: %s\n\n| | Medley | llama.cpp | ratio |\n|---|---|---|---|\n", about["llama.cpp"])
	for i, one := range cases {
		own, other, ratio := rates(ours.rates[i]), "", ""
		if !one.alone {
			r := median(ours.rates[i]) / median(peer.rates[i])
			other, ratio = rates(peer.rates[i]), times(r)
			if one.request.Sequences == 0 && r < wantLlama {
				missed = append(missed, fault.New(fault.Internal, one.name, "%.2f of llama.cpp's tokens a second; wanted: %.1f", r, wantLlama))
			}
		}
		fmt.Fprintln(&b, row(one.name, own, other, ratio))
	}
	if apart := max(ours.spread(), peer.spread()); apart > 1.3 {
		fmt.Fprintf(&b, "\nThe machine was busy, and these numbers are not worth quoting: turns of the same work differ %s times. llama.cpp's threads spin while they wait for each "+
			"other, and lose most by neighbours.\n", times(apart))
	}
	mib := func(v float64) string {
		return fmt.Sprintf("%.0f MiB, %.2f of the file", v, v*(1<<20)/float64(info.Size()))
	}
	fmt.Fprintf(&b, "\nWanted of one sequence: at least %.1f of llama.cpp. There, different adapters for the sequences of one batch are not to be had. "+
		"A prompt that sequences have in common is computed once here without being told; there a program can copy it from one to the other, which is not timed.\n\n"+
		"Memory after 16 tokens and the 64 that follow them: Medley's process holds %s, of its own (wanted: %.1f; the weights alone are the file), and has %.0f MiB of this program's "+
		"file mapped. At its peak that was %.0f MiB together, for llama.cpp in Python %.0f MiB.\n",
		wantLlama, mib(memory.Own), wantBytes, memory.Mapped, ours.short, peer.short)
	if memory.Own*(1<<20) > wantBytes*float64(info.Size()) {
		missed = append(missed, fault.New(fault.Internal, "memory", "%s; wanted: %.1f", mib(memory.Own), wantBytes))
	}
	return missed, os.WriteFile(filepath.Join(c.Docs, llamaPage), []byte(b.String()), 0o644) //nolint:gosec // a page of the documentation
}

// spread is how much the turns of the same work differ at most.
func (s *side) spread() float64 {
	most := 1.0
	for _, r := range s.rates {
		if len(r) > 0 {
			most = max(most, slices.Max(r)/slices.Min(r))
		}
	}
	return most
}

// rates are tokens a second: the median and the most.
func rates(all []float64) string {
	return fmt.Sprintf("%s (%s)", number(median(all)), number(slices.Max(all)))
}
