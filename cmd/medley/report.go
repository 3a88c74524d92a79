package main

import (
	"bytes"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/medley-lora/medley/shared/checkpoint"
	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/report"
)

// writeReport writes the page that tells what a composition is worth.
func (c *composeCommand) writeReport(s *composing, out *composeOutput) error {
	base, err := s.baseDigest()
	if err != nil {
		return err
	}
	examples, err := digestOfFile(c.Examples)
	if err != nil {
		return err
	}
	objective, err := c.parse()
	if err != nil {
		return err
	}
	page := report.Report{
		Title: strings.TrimSuffix(strings.TrimSuffix(filepath.Base(c.Examples), ".jsonl"), ".few"), Result: out.Result, Command: out.Command,
		Sections: []report.Section{
			{Title: "Settings", Facts: []report.Fact{
				{Name: "Method", Value: c.Method}, {Name: "Optimizer", Value: s.optimizer.describe()}, {Name: "Seed", Value: fmt.Sprint(c.Seed)},
				{Name: "Objective", Value: fmt.Sprintf("%s, penalty %g", objective.Name, objective.Penalty)},
				{Name: "Budget", Value: fmt.Sprintf("%d evaluations, at most %d at once", c.Budget, c.Batch)},
			}},
			{Title: "Machine", Facts: []report.Fact{
				{Name: "Backend", Value: s.base.reason}, {Name: "Device", Value: s.base.device},
				{Name: "System", Value: runtime.GOOS + "/" + runtime.GOARCH}, {Name: "Medley", Value: version() + ", " + runtime.Version()},
			}},
			{Title: "Adapter", Facts: []report.Fact{
				{Name: "Folder", Value: out.Adapter}, {Name: "Rank", Value: fmt.Sprint(out.Rank)},
				{Name: "Difference from the definition", Value: fmt.Sprintf("%.1e relative, %.1e at most", float64(out.Difference.Relative), out.Difference.MaxAbs)},
				{Name: "Base", Value: c.Base}, {Name: "Base SHA-256", Value: base}, {Name: "Examples SHA-256", Value: examples},
			}},
		},
	}
	var b bytes.Buffer
	if err := report.HTML(&b, page); err != nil {
		return err
	}
	return fault.In("--report "+c.Report, checkpoint.WriteFile(c.Report, b.Bytes()))
}
