package main

import (
	"bytes"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/medley-lora/medley/shared/checkpoint"
	"github.com/medley-lora/medley/shared/compose"
	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/report"
)

// writeReport writes the page that tells what a composition is worth.
func (c *composeCommand) writeReport(s *composing, out *compose.Output) error {
	base, err := s.baseDigest()
	if err != nil {
		return err
	}
	examples, err := digestOfFile(c.Examples)
	if err != nil {
		return err
	}
	title := strings.TrimSuffix(strings.TrimSuffix(filepath.Base(c.Examples), ".jsonl"), ".few")
	page := report.Of(title, out, report.Settings{Budget: c.Budget, Batch: c.Batch})
	page.Add(report.Machine, report.Fact{Name: "Choice", Value: s.base.reason}, report.Fact{Name: "Device", Value: s.base.device},
		report.Fact{Name: "Medley", Value: version() + ", " + runtime.Version() + ", " + runtime.GOOS + "/" + runtime.GOARCH})
	page.Add(report.Adapter, report.Fact{Name: "Base SHA-256", Value: base}, report.Fact{Name: "Examples SHA-256", Value: examples})
	var b bytes.Buffer
	if err := report.HTML(&b, *page); err != nil {
		return err
	}
	return fault.In("--report "+c.Report, checkpoint.WriteFile(c.Report, b.Bytes()))
}
