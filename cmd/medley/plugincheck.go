package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"

	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/wasm/check"
)

type pluginCheckCommand struct {
	File            string            `arg:"" name:"file" help:"The plugin, a file that ends in .wasm."`
	OptimizerOption map[string]string `placeholder:"KEY=VALUE" mapsep:"none" help:"Option of the plugin; may be repeated."`
	JSON            bool              `help:"Print the result as one JSON object."`
}

// Help is what kong prints above the flags.
func (*pluginCheckCommand) Help() string {
	return "The plugin runs in processes of their own, within the limits of a search, for at most three minutes. " +
		"Each check says what it saw, and what to change if it failed. The exit code is 1 if one did."
}

// pluginCheckOutput is what plugin check prints with --json.
type pluginCheckOutput struct {
	File   string `json:"file"` // as typed
	SHA256 string `json:"sha256"`
	*check.Report
}

func (c *pluginCheckCommand) Run(a *app) error {
	wasm, err := readPlugin(c.File)
	if err != nil {
		return fault.In(c.File, err)
	}
	o := check.Options{
		Sandbox: sandbox, Plugin: c.OptimizerOption,
		Worker: func() *exec.Cmd { return self(context.Background(), "plugin", "worker") }, // package check ends it
	}
	shown := &checkPrinter{w: a.stdout, marks: plainMarks}
	if isTerminal(a.stdout) {
		shown.marks = terminalMarks
	}
	if !c.JSON {
		o.Observe = shown.result
	}
	report, err := check.Run(a.ctx, wasm, o)
	if err != nil {
		return err
	}
	if c.JSON {
		err = a.printJSON(pluginCheckOutput{c.File, digestOfBytes(wasm), report})
	} else {
		shown.verdict(c.File, report)
	}
	if err == nil && !report.Passed {
		err = errPluginFailed
	}
	return err
}

var errPluginFailed = errors.New("the plugin did not pass") // not a fault of the flags: exit code 1

// checkPrinter shows the checks of a plugin to people.
type checkPrinter struct {
	w      io.Writer
	marks  map[check.Status]string
	notRun []string // names of checks, which are shown together
	why    string
}

var (
	plainMarks    = map[check.Status]string{check.Passed: "passed ", check.Failed: "FAILED ", check.Skipped: "skipped"}
	terminalMarks = map[check.Status]string{check.Passed: "✓", check.Failed: "✗", check.Skipped: "–"}
)

// result shows one check as soon as it is over: what was seen, and what to change.
func (p *checkPrinter) result(r check.Result) {
	if r.Status == check.Skipped && strings.HasPrefix(r.Detail, "not run") {
		p.notRun, p.why = append(p.notRun, r.Name), r.Detail
		return
	}
	first, rest, _ := strings.Cut(r.Detail, "\n")
	if r.Seconds >= 0.5 {
		first += fmt.Sprintf(" (%.1f s)", r.Seconds)
	}
	fmt.Fprintf(p.w, "%s %-15s  %s\n", p.marks[r.Status], r.Name, printable(first))
	for line := range strings.Lines(rest) {
		fmt.Fprintf(p.w, "    %s\n", printable(strings.TrimSuffix(line, "\n")))
	}
	if r.Change != "" {
		fmt.Fprintf(p.w, "    → %s\n", r.Change)
	}
}

// verdict is the last line.
func (p *checkPrinter) verdict(file string, r *check.Report) {
	if len(p.notRun) > 0 {
		fmt.Fprintf(p.w, "%s %s\n    %s\n", p.marks[check.Skipped], strings.Join(p.notRun, ", "), p.why)
	}
	if r.Passed {
		fmt.Fprintf(p.w, "\n%s passes\n", file)
		return
	}
	failed := slices.DeleteFunc(slices.Clone(r.Checks), func(r check.Result) bool { return r.Status != check.Failed })
	fmt.Fprintf(p.w, "\n%s fails %d of %d checks\n", file, len(failed), len(r.Checks))
}

type pluginWorkerCommand struct{}

// Help is what kong prints above the flags.
func (*pluginWorkerCommand) Help() string {
	return "Check one plugin for another medley, which starts this, and end when its standard input does."
}

func (*pluginWorkerCommand) Run(a *app) error {
	signal.Ignore(os.Interrupt) // as for the sandbox: the program that started this one decides
	return check.Work(a.stdin, a.stdout)
}
