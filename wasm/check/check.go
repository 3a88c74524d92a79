// Package check holds a plugin to what a host expects of it, and says of each thing that is wrong how to put it right. It is for authors:
// package host refuses what it must, one thing at a time; a Report is everything at once.
//
// The file is looked at first, then the plugin starts in a process of its own with the limits of one (host.NewIsolated), and only what got
// that far is held to the contract, in another process that is killed when it is late. A hostile plugin fails a check; it ends nothing and
// keeps nobody waiting.
package check

import (
	"context"
	"os/exec"
	"time"

	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/wasm/host"
)

// Options of a run. Sandbox and Worker must be set.
type Options struct {
	// Sandbox and Worker return a fresh command whose program calls host.Sandbox, or Work, with its standard input and output.
	Sandbox, Worker func() *exec.Cmd
	Plugin          map[string]string // options of the plugin's own
	Each            time.Duration     // the longest that one check may take; default a minute
	Whole           time.Duration     // and all of them; default three minutes
	Observe         func(Result)      // called after each check; nil calls nobody
}

// Status of a check.
type Status string

// A check that was skipped had nothing to look at, or came after one that left nothing; its Detail says which.
const (
	Passed  Status = "passed"
	Failed  Status = "failed"
	Skipped Status = "skipped"
)

// Result of one check. Detail and Change are lines of text, safe to print.
type Result struct {
	Name    string  `json:"name"`
	Status  Status  `json:"status"`
	Detail  string  `json:"detail,omitempty"` // what was seen
	Change  string  `json:"change,omitempty"` // what to do about it; of those that failed
	Seconds float64 `json:"seconds"`
}

// Report has the checks in the order in which they ran, always the same ones.
type Report struct {
	Plugin *host.Info `json:"plugin"` // what it says of itself; nil if it did not start
	Passed bool       `json:"passed"` // no check failed
	Checks []Result   `json:"checks"`
}

// Names lists all checks in order.
func Names() []string {
	names := []string{checkFile, checkImports, checkExports, checkMemory, checkStart}
	for _, c := range contract() {
		names = append(names, c.name)
	}
	return names
}

// The checks before the contract.
const (
	checkFile    = "file"
	checkImports = "imports"
	checkExports = "exports"
	checkMemory  = "memory"
	checkStart   = "start"
)

// Run checks a plugin. What is wrong with it is in the report; an error is fault.Canceled, when ctx ends, or fault.Internal, when this
// machine could not start a process.
func Run(ctx context.Context, wasm []byte, o Options) (*Report, error) {
	if o.Each == 0 {
		o.Each = time.Minute
	}
	if o.Whole == 0 {
		o.Whole = 3 * time.Minute
	}
	whole, cancel := context.WithTimeout(ctx, o.Whole)
	defer cancel()
	r := &run{caller: ctx, ctx: whole, wasm: wasm, options: o, report: &Report{}}
	err := r.all()
	if ctx.Err() != nil {
		return nil, fault.Wrap(ctx.Err(), fault.Canceled, "", "the checks were canceled")
	}
	if err != nil {
		return nil, err
	}
	r.report.Passed = !r.unsound
	return r.report, nil
}

type run struct {
	caller  context.Context
	ctx     context.Context // the caller's, for as long as all checks may take
	wasm    []byte
	options Options
	report  *Report
	unsound bool // a check failed
}

func (r *run) all() error {
	switch {
	case !r.look():
		r.leaveOut("not run: the file has to be mended first")
	case !r.start():
		r.leaveOut("not run: the plugin has to start first")
	default:
		return r.holdToContract()
	}
	return nil
}

// add notes a result, unless it only says that the caller wants none.
func (r *run) add(result Result) {
	if r.caller.Err() != nil {
		return
	}
	r.unsound = r.unsound || result.Status == Failed
	r.report.Checks = append(r.report.Checks, result)
	if r.options.Observe != nil {
		r.options.Observe(result)
	}
}

// leaveOut skips the checks that are left.
func (r *run) leaveOut(why string) {
	for _, name := range Names()[len(r.report.Checks):] {
		r.add(Result{Name: name, Status: Skipped, Detail: why})
	}
}

// skip is the error of a check that has nothing to look at.
type skip string

func (s skip) Error() string { return string(s) }

// judge makes a result of what a check returned; begin is when it began.
func judge(name string, begin time.Time, detail string, err error) Result {
	result := Result{Name: name, Status: Passed, Detail: detail, Seconds: time.Since(begin).Seconds()}
	if why, ok := err.(skip); ok { //nolint:errorlint // checks return it as it is
		result.Status, result.Detail = Skipped, string(why)
	} else if err != nil {
		result.Status, result.Detail = Failed, err.Error()
		result.Change = advice(name, err)
	}
	return result
}
