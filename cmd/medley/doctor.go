package main

import (
	"fmt"
	"runtime"
	"slices"

	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/medley-lora/medley/gpu/probe"
	"github.com/medley-lora/medley/shared/fault"
)

type doctorCommand struct {
	backendFlag
	Only       string `hidden:"" help:"Test this backend alone, in this process."`
	Unmeasured bool   `hidden:"" help:"Do not measure speed."`
	JSON       bool   `help:"Print the result as one JSON object."`
}

// doctorOutput is what doctor prints with --json.
type doctorOutput struct {
	Backends []probe.Report `json:"backends"`
	Reason   string         `json:"reason"` // of the choice; empty if none is usable
	System   string         `json:"system"`
	Go       string         `json:"go"`
}

func (c *doctorCommand) Run(a *app) error {
	choice, err := c.examine(a)
	if err != nil && len(choice.Reports) == 0 {
		return err
	}
	if c.JSON {
		return a.printJSON(doctorOutput{choice.Reports, choice.Reason, runtime.GOOS + "/" + runtime.GOARCH, runtime.Version()})
	}
	t := newTable(a.stdout, "backend", "device", "self-test", "worst difference", "matrix product", c.Backend+" takes")
	for _, r := range choice.Reports {
		passed, worst, speed, taken := "passed", fmt.Sprintf("%.1e", r.Worst), "", ""
		if !r.Passed {
			passed, worst = "refused: "+r.Error, ""
		}
		if r.GFLOPS > 0 {
			speed = fmt.Sprintf("%.3g GFLOP/s", r.GFLOPS)
		}
		if r.Chosen {
			taken = "this one"
		}
		t.AppendRow(table.Row{r.Name, r.Device, passed, worst, speed, taken})
	}
	t.Render()
	if err == nil {
		fmt.Fprintf(a.stdout, "\n%s takes %s\n", c.Backend, choice.Reason)
	}
	return err
}

// examine looks at every backend, at emulations too, or at one in this process.
func (c *doctorCommand) examine(a *app) (probe.Choice, error) {
	if c.Only != "" {
		candidates, err := c.inProcess(a.ctx)
		if err != nil {
			return probe.Choice{}, err
		}
		candidates = slices.DeleteFunc(candidates, func(p probe.Candidate) bool { return p.Name != c.Only })
		if len(candidates) == 0 {
			return probe.Choice{}, fault.New(fault.Invalid, "--only", "%q is no backend", c.Only)
		}
		return probe.Choose(a.ctx, c.Only, candidates, !c.Unmeasured)
	}
	candidates, err := c.candidates(a)
	if err != nil {
		return probe.Choice{}, err
	}
	for i := range candidates {
		if candidates[i].Name == webGPU {
			candidates[i].Examine = backendFlag{Backend: webGPU, Precision: c.Precision}.examineElsewhere
		}
	}
	return probe.Choose(a.ctx, c.Backend, candidates, true)
}
