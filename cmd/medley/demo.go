package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/medley-lora/medley/shared/compose"
	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/task"
	"github.com/medley-lora/medley/shared/zoo"
)

type demoCommand struct {
	Task []string `placeholder:"NAME" help:"Only this task; may be repeated. Default: all."`
	Keep string   `placeholder:"DIR" help:"Write the zoo to this folder and leave it there."`
	searchFlags
	JSON bool `help:"Print the results as one JSON object."`
}

// demoOutput is what demo prints with --json.
type demoOutput struct {
	Tasks   map[string]compose.Result `json:"tasks"`
	Backend string                    `json:"backend"`
	Seconds float64                   `json:"seconds"`
}

func (c *demoCommand) Run(a *app) error {
	tasks, err := c.tasks()
	if err != nil {
		return err
	}
	dir, remove, err := c.folder()
	if err != nil {
		return err
	}
	defer remove()
	modules, err := modulesFlag{Modules: []string{filepath.Join(dir, "modules", "*")}}.find(a)
	if err != nil {
		return err
	}
	proposer, err := c.optimizerFlags.open(a.ctx, len(modules))
	if err != nil {
		return err
	}
	defer proposer.close()
	base, err := openBase(a, filepath.Join(dir, "base"), c.backendFlag)
	if err != nil {
		return err
	}
	defer base.close()
	a.note("A tiny synthetic zoo: one T5 base of 1.3 M parameters, %d LoRA modules, %s that none of them was trained on.",
		len(modules), count(len(tasks), "task"))
	a.note("It shows how composing works, not how well it does on real models. Backend %s.\n", base.reason)
	out := demoOutput{Tasks: map[string]compose.Result{}, Backend: base.backend}
	t := newTable(a.stdout, "task", "zero-shot", "best single module", "composed", "objective", "evaluations", "seconds", "backend")
	for _, name := range tasks {
		result, err := c.compose(a, base, proposer, modules, name)
		if err != nil {
			return err
		}
		out.Tasks[name] = result
		out.Seconds += result.Seconds
		if a.ctx.Err() != nil {
			break
		}
		t.AppendRow(demoRow(name, &result, out.Backend))
	}
	if c.JSON {
		err = a.printJSON(out)
	} else {
		t.Render()
		c.sayWhatNext(a, dir)
	}
	if err == nil && a.ctx.Err() != nil {
		return fault.New(fault.Canceled, "", "canceled")
	}
	return err
}

// tasks are the asked ones, or all.
func (c *demoCommand) tasks() ([]string, error) {
	all := zoo.Tasks()
	if len(c.Task) == 0 {
		return all, nil
	}
	for _, name := range c.Task {
		if !slices.Contains(all, name) {
			return nil, fault.New(fault.Invalid, "--task", "%q is not known; expected one of %s", name, strings.Join(all, ", "))
		}
	}
	return c.Task, nil
}

// folder extracts the zoo.
func (c *demoCommand) folder() (dir string, remove func(), err error) {
	if c.Keep != "" {
		if err := zoo.Extract(c.Keep); err != nil {
			return "", nil, fault.Wrap(err, fault.Invalid, "--keep", "%s cannot be written: %v", c.Keep, errorWithoutPath(err))
		}
		return c.Keep, func() {}, nil
	}
	if dir, err = os.MkdirTemp("", "medley-demo-"); err != nil {
		return "", nil, err
	}
	return dir, func() { os.RemoveAll(dir) }, zoo.Extract(dir)
}

func (c *demoCommand) compose(a *app, b *base, proposer *proposer, modules []module, name string) (compose.Result, error) {
	job, err := c.job()
	if err != nil {
		return compose.Result{}, err
	}
	job.Modules = names(modules)
	if job.Examples, err = zooExamples(name, "few"); err != nil {
		return compose.Result{}, err
	}
	if job.Eval, err = zooExamples(name, "eval"); err != nil {
		return compose.Result{}, err
	}
	s := &composing{app: a, flags: c.searchFlags, base: b, job: job, modules: modules, title: name + ": ", optimizer: proposer}
	result, err := s.search(nil, "")
	if err == nil {
		err = s.failure
	}
	return result, err
}

func zooExamples(name, kind string) ([]task.Example, error) {
	data, err := fs.ReadFile(zoo.Files(), "tasks/"+name+"."+kind+".jsonl")
	if err != nil {
		return nil, err
	}
	return task.ReadExamples(bytes.NewReader(data), task.Limits{})
}

func demoRow(name string, r *compose.Result, backend string) table.Row {
	single := "-" // a small budget may leave the modules untried alone
	if r.BestSingle != nil {
		single = percent(r.BestSingle) + " " + r.BestSingle.Module
	}
	return table.Row{
		name, percent(r.ZeroShot), single, percent(r.Composed),
		fmt.Sprintf("%.3f → %.3f", r.ZeroShot.Objective, r.Composed.Objective), r.Evaluations, fmt.Sprintf("%.2f", r.Seconds), backend,
	}
}

// percent is a point's accuracy for people; the zero-shot point and the others have one where evaluation examples were given.
func percent(p *compose.Point) string {
	if p == nil || p.Accuracy == nil {
		return "-"
	}
	return fmt.Sprintf("%.0f %%", *p.Accuracy)
}

func (c *demoCommand) sayWhatNext(a *app, dir string) {
	fmt.Fprint(a.stdout, "\nAccuracy is exact match on up to 100 held-back examples; each search saw five.\n\nYour own model, modules and task:\n\n"+
		"  medley compose --base flan-t5-base --modules 'lora-modules/*' --examples five.jsonl \\\n"+
		"                 --eval test.jsonl --out composed --report report.html\n")
	if c.Keep != "" {
		fmt.Fprintf(a.stdout, "\nThe zoo is in %s.\n", dir)
	} else {
		fmt.Fprint(a.stdout, "\nTo look at the zoo's files: medley demo --keep zoo\n")
	}
}
