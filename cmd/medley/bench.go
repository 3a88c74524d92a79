package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/lora"
	"github.com/medley-lora/medley/wasm/optimizer"
)

type benchCommand struct {
	BBH        benchBBHCommand        `cmd:"" name:"bbh" help:"Measure composing on BIG-Bench Hard, by LoraHub's protocol."`
	Optimizers benchOptimizersCommand `cmd:"" help:"Rank optimizers on the built-in zoo's public tasks and on synthetic problems."`
}

type benchOptimizersCommand struct {
	Optimizer   []string `placeholder:"NAME" help:"Only these; default: every built-in one."`
	Plugin      []string `placeholder:"FILE" help:"Rank this plugin too, a file that ends in .wasm; may be repeated."`
	Nevergrad   string   `placeholder:"PYTHON" help:"Rank nevergrad's NGOpt too, with this Python, which has nevergrad."`
	Budget      []int    `default:"40,200" help:"Evaluations per search."`
	Batch       []int    `default:"1,8" help:"Candidates scored at once."`
	Draws       int      `default:"10" help:"Draws of 20 modules for each task, and instances of each synthetic problem."`
	Seeds       int      `default:"1" help:"Searches of each problem, with seeds from 1."`
	Method      string   `default:"delta" enum:"delta,product" help:"How the zoo's modules are composed: delta or product."`
	Objective   string   `default:"sparse" enum:"sparse,mean,lorahub" help:"What is searched for on the zoo: sparse, mean or lorahub."`
	Family      []string `default:"zoo,synthetic" enum:"zoo,synthetic" help:"Problems to rank on: zoo, synthetic."`
	LeaveOneOut bool     `help:"Measure on examples left out of the few, not on the evaluation examples: what choices between algorithms are made by."`
	Quick       bool     `help:"One draw, 40 evaluations, batches of 8."`
	Out         string   `placeholder:"DIR" help:"Write optimizers.md here, and figures and numbers to a folder optimizers in it."`
	JSON        bool     `help:"Print the results as one JSON object."`
	backendFlag
}

// Run measures until all is done or Ctrl-C, and shows what was measured.
func (c *benchOptimizersCommand) Run(a *app) error {
	if err := c.check(); err != nil {
		return err
	}
	contenders, closeAll, err := c.contenders(a.ctx)
	if err != nil {
		return err
	}
	defer closeAll()
	suite, err := c.openSuite(a)
	if err != nil {
		return err
	}
	defer suite.close()
	start := time.Now()
	runs, err := c.measure(a, suite, contenders)
	if err != nil {
		return err
	}
	r := c.summarize(runs, contenders)
	r.Backend, r.Seconds, r.Complete = suite.base.reason, time.Since(start).Seconds(), a.ctx.Err() == nil
	r.Command = commandLine(a.args)
	if c.JSON {
		err = a.printJSON(r)
	} else {
		r.print(a)
	}
	if err == nil && c.Out != "" && len(runs) > 0 {
		err = r.write(c.Out)
	}
	if err == nil && a.ctx.Err() != nil {
		return fault.New(fault.Canceled, "", "canceled")
	}
	return err
}

func (c *benchOptimizersCommand) check() error {
	if c.LeaveOneOut {
		c.Family = []string{zooFamily} // a synthetic problem has no examples
	}
	for flag, values := range map[string][]int{"--budget": c.Budget, "--batch": c.Batch, "--draws": {c.Draws}, "--seeds": {c.Seeds}} {
		for _, v := range values {
			if v < 1 || v > 10_000 {
				return fault.New(fault.Invalid, flag, "must be from 1 to 10000, got %d", v)
			}
		}
	}
	for _, name := range c.Optimizer {
		if !slices.ContainsFunc(optimizer.Algorithms(), func(a optimizer.Algorithm) bool { return a.Name == name }) {
			return fault.New(fault.Invalid, "--optimizer", "%q is not known; expected %s", name, optimizerNames())
		}
	}
	for _, path := range c.Plugin {
		if !(optimizerFlags{Optimizer: path}).isPlugin() {
			return fault.New(fault.Invalid, "--plugin", "%q is not a file that ends in .wasm", path)
		}
	}
	if c.Quick {
		c.Draws, c.Budget, c.Batch = 1, []int{40}, []int{8}
	}
	return nil
}

// measure runs every contender in every cell. Draws come one after the other, so that what an interrupted run leaves is whole draws.
func (c *benchOptimizersCommand) measure(a *app, s *suite, contenders []contender) ([]benchRun, error) {
	total := c.Draws * s.problems() * len(c.Budget) * len(c.Batch) * len(contenders) * c.Seeds
	shown := a.startProgress("measuring", total)
	defer shown.end()
	var all []benchRun
	done := 0
	for draw := 1; draw <= c.Draws; draw++ {
		problems, release, err := s.open(draw)
		if err != nil {
			return all, unlessCanceled(a.ctx, err)
		}
		for _, p := range problems {
			var runs []benchRun
			for _, budget := range c.Budget {
				for _, batch := range c.Batch {
					for seed := 1; seed <= c.Seeds; seed++ {
						for _, k := range contenders {
							run, err := p.run(a.ctx, k, budget, batch, uint64(seed))
							if err != nil {
								release()
								return all, unlessCanceled(a.ctx, fault.In(k.name+" on "+p.name, err))
							}
							runs = append(runs, run)
							done++
							shown.set(done, p.name+", "+k.name)
						}
					}
				}
			}
			if err := p.finish(a.ctx, runs); err != nil {
				release()
				return all, unlessCanceled(a.ctx, err)
			}
			all = append(all, runs...)
		}
		release()
	}
	return all, nil
}

// unlessCanceled is err, or nil after Ctrl-C: what was measured until then is shown.
func unlessCanceled(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// title says what was measured, for people.
func (c *benchOptimizersCommand) title() string {
	kind := "evaluation examples"
	if c.LeaveOneOut {
		kind = "examples left out of the few"
	}
	return fmt.Sprintf("composition %s, objective %s, measured on %s, %s",
		lora.Method(c.Method), c.Objective, kind, strings.Join([]string{count(c.Draws, "draw"), count(c.Seeds, "seed")}, ", "))
}
