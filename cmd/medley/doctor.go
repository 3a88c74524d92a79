package main

import (
	"fmt"
	"runtime"

	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/medley-lora/medley/gpu/probe"
)

type doctorCommand struct {
	JSON bool `help:"Print the result as one JSON object."`
}

func (c *doctorCommand) Run(a *app) error {
	choice, err := probe.Choose(a.ctx, probe.Auto, candidates(), true)
	if err != nil && len(choice.Reports) == 0 {
		return err
	}
	if c.JSON {
		return a.printJSON(map[string]any{"backends": choice.Reports, "reason": choice.Reason, "system": runtime.GOOS + "/" + runtime.GOARCH, "go": runtime.Version()})
	}
	t := newTable(a.stdout, "backend", "device", "self-test", "worst difference", "matrix product", "auto takes")
	for _, r := range choice.Reports {
		passed, speed, taken := "passed", "", ""
		if !r.Passed {
			passed = "refused: " + r.Error
		}
		if r.GFLOPS > 0 {
			speed = fmt.Sprintf("%.3g GFLOP/s", r.GFLOPS)
		}
		if r.Chosen {
			taken = "this one"
		}
		t.AppendRow(table.Row{r.Name, r.Device, passed, fmt.Sprintf("%.1e", r.Worst), speed, taken})
	}
	t.Render()
	if err == nil {
		fmt.Fprintf(a.stdout, "\nauto takes %s\n", choice.Reason)
	}
	return err
}
