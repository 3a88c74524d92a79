package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/medley-lora/medley/gpu/engine"
	"github.com/medley-lora/medley/shared/bbh"
	"github.com/medley-lora/medley/shared/compose"
	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/hub"
	"github.com/medley-lora/medley/shared/lora"
	"github.com/medley-lora/medley/shared/task"
)

type benchBBHCommand struct {
	Data string `required:"" placeholder:"DIR" help:"The task files of BIG-Bench Hard, as published: {\"examples\": [{\"input\", \"target\"}]}."`
	Base string `required:"" placeholder:"DIR" help:"Base model: a folder, or ORG/NAME on the Hub."`
	Out  string `required:"" placeholder:"DIR" help:"Folder for the page, its figures and the numbers; the same command goes on from what is there."`
	modulesFlag
	searchFlags
	Task      []string `placeholder:"NAME" help:"Only these tasks; default: all in --data."`
	Draws     int      `default:"5" help:"Draws of modules for each task, by Python's random.seed(1), random.seed(2), …"`
	Sample    int      `default:"20" placeholder:"N" help:"Modules in a draw, as Python's random.sample(modules, N) in the order of --modules."`
	Limit     int      `placeholder:"N" help:"Ask only the first N items of each task: for a trial; the results are not comparable."`
	MaxTokens int      `default:"256" help:"The most tokens of an answer."`
	JSON      bool     `help:"Print the results as one JSON object."`
}

// Help is what kong prints above the flags.
func (*benchBBHCommand) Help() string {
	return "LoraHub's protocol: of each task, shuffled by Python's random.seed(42), the first 5 items are searched with, the first 100 are never asked, and the others are. " +
		"Beside stand the base alone and the base with the 5 in its prompt. As LoraHub searched: --method product --objective lorahub --optimizer cobyla --batch 1."
}

// The ways to answer a task's items.
const (
	wayZeroShot = "zero-shot"
	wayFiveShot = "five-shot"
	wayComposed = "composed"
)

// bbhCell is one way of answering one task, measured.
type bbhCell struct {
	Task  string `json:"task"`
	Way   string `json:"way"`
	Draw  int    `json:"draw"` // of modules, from 1; 0 where none are used
	Data  string `json:"data"` // SHA-256 of the task's file
	Items int    `json:"items"`
	Right int    `json:"right"`

	PromptTokens  int     `json:"prompt_tokens"` // of all items
	AnswerTokens  int     `json:"answer_tokens"`
	Cut           int     `json:"cut"` // prompts longer than the model takes
	AnswerSeconds float64 `json:"answer_seconds"`

	Modules       []string   `json:"modules,omitempty"`
	Weights       []float64  `json:"weights,omitempty"`
	Objective     float64    `json:"objective,omitempty"`
	Evaluations   int        `json:"evaluations,omitempty"`
	Best          []*float64 `json:"best,omitempty"` // lowest objective after each evaluation
	SearchSeconds float64    `json:"search_seconds,omitempty"`
}

func (c *bbhCell) accuracy() float64 { return 100 * float64(c.Right) / float64(c.Items) }

// bbhRun is a run under way.
type bbhRun struct {
	*benchBBHCommand
	app       *app
	tasks     []bbh.Task
	modules   []module
	job       compose.Job
	base      *base
	optimizer *proposer
	state     *bbhState
	done      int // cells, those of an earlier run included
}

// Run measures until all is done or Ctrl-C, and shows what there is.
func (c *benchBBHCommand) Run(a *app) error {
	r := &bbhRun{benchBBHCommand: c, app: a}
	if err := r.read(); err != nil {
		return err
	}
	var err error
	if r.optimizer, err = c.optimizerFlags.open(a.ctx, c.Sample); err != nil {
		return err
	}
	defer r.optimizer.close()
	if r.base, err = openBase(a, c.Base, c.backendFlag); err != nil {
		return err
	}
	defer r.base.close()
	if err := r.takeUp(); err != nil {
		return err
	}
	measuring := r.measure()
	if measuring != nil && a.ctx.Err() == nil && len(r.state.Cells) == 0 {
		return measuring
	}
	result := r.summarize()
	if err := result.write(c.Out); err != nil {
		return err
	}
	if c.JSON {
		err = a.printJSON(result)
	} else {
		result.print(a)
	}
	switch {
	case err != nil:
		return err
	case a.ctx.Err() != nil:
		a.note("canceled: %d of %d measurements are kept in %s; the same command goes on from there", r.done, r.total(), c.Out)
		return fault.New(fault.Canceled, "", "canceled")
	}
	return measuring
}

// read checks whatever can be checked before work.
func (r *bbhRun) read() error {
	for flag, v := range map[string]int{"--draws": r.Draws, "--sample": r.Sample, "--max-tokens": r.MaxTokens} {
		if v < 1 || v > 10_000 {
			return fault.New(fault.Invalid, flag, "must be from 1 to 10000, got %d", v)
		}
	}
	if r.Limit < 0 {
		return fault.New(fault.Invalid, "--limit", "must not be negative, got %d", r.Limit)
	}
	var err error
	if r.tasks, err = bbh.Read(os.DirFS(r.Data), r.Task); err != nil {
		return fault.In("--data "+r.Data, err)
	}
	if r.modules, err = r.listSome(); err != nil {
		return err
	}
	if r.Sample > len(r.modules) {
		return fault.New(fault.Invalid, "--sample", "%d is outside [1, %d], the modules there are", r.Sample, len(r.modules))
	}
	if r.job, err = r.searchFlags.job(); err != nil {
		return err
	}
	if err := os.MkdirAll(r.Out, 0o777); err != nil {
		return fault.Wrap(err, fault.Invalid, "--out "+r.Out, "cannot be made: %v", errorWithoutPath(err))
	}
	return r.fetchDrawn()
}

// fetchDrawn pulls the modules that some draw has, and no others.
func (r *bbhRun) fetchDrawn() error {
	drawn := map[int]bool{}
	for draw := 1; draw <= r.Draws; draw++ {
		for _, at := range bbh.Draw(draw, len(r.modules), r.Sample) {
			drawn[at] = true
		}
	}
	var some []module
	var places []int
	for i, m := range r.modules {
		if drawn[i] {
			some, places = append(some, m), append(places, i)
		}
	}
	if err := r.app.fetch(some); err != nil {
		return err
	}
	for k, i := range places {
		r.modules[i] = some[k]
	}
	return nil
}

// drawn are the modules of a draw, in its order.
func (r *bbhRun) drawn(draw int) []module {
	some := make([]module, r.Sample)
	for k, at := range bbh.Draw(draw, len(r.modules), r.Sample) {
		some[k] = r.modules[at]
	}
	return some
}

// takeUp goes on from what an earlier run of the same settings has left.
func (r *bbhRun) takeUp() error {
	dir, err := r.app.place("--base", r.Base, hub.Base)
	if err != nil {
		return err
	}
	settings, err := r.settings(dir)
	if err != nil {
		return err
	}
	if r.state, err = openBBHState(r.Out, settings); err != nil {
		return err
	}
	for _, t := range r.tasks {
		r.done += len(r.known(t))
	}
	if r.done > 0 {
		r.app.note("%s holds %d of %d measurements: going on from there", r.Out, r.done, r.total())
	}
	return nil
}

// known are the measurements of a task that this run would make.
func (r *bbhRun) known(t bbh.Task) []bbhCell {
	var known []bbhCell
	for _, c := range r.state.Cells {
		if c.Task == t.Name && c.Data == t.Digest && c.Draw <= r.Draws {
			known = append(known, c)
		}
	}
	return known
}

func (r *bbhRun) total() int { return len(r.tasks) * (2 + r.Draws) }

// measure fills what is missing, task after task, and keeps each measurement as soon as it is there.
func (r *bbhRun) measure() error {
	for _, t := range r.tasks {
		known := r.known(t)
		few, test := t.Split()
		if r.Limit > 0 && r.Limit < len(test) {
			test = test[:r.Limit]
		}
		for draw := -1; draw <= r.Draws; draw++ {
			want := bbhCell{Task: t.Name, Way: wayComposed, Draw: draw, Data: t.Digest, Items: len(test)}
			switch draw {
			case -1:
				want.Way, want.Draw = wayZeroShot, 0
			case 0:
				want.Way = wayFiveShot
			}
			if slices.ContainsFunc(known, func(c bbhCell) bool { return c.Way == want.Way && c.Draw == want.Draw }) {
				continue
			}
			err := r.one(&want, few, test)
			if err == nil {
				err = r.app.ctx.Err() // what was cut off is not kept
			}
			if err == nil {
				err = r.state.add(want)
			}
			if err != nil {
				return fault.In(t.Name+", "+want.Way, err)
			}
			r.done++
		}
	}
	return nil
}

// one makes one measurement.
func (r *bbhRun) one(cell *bbhCell, few, test []task.Example) error {
	title := fmt.Sprintf("[%d of %d] %s, %s", r.done+1, r.total(), cell.Task, cell.Way)
	var modules []module
	if cell.Draw > 0 {
		title += fmt.Sprintf(" %d", cell.Draw)
		modules = r.drawn(cell.Draw)
		if err := r.search(cell, title, modules, few); err != nil {
			return err
		}
	}
	model, err := r.base.open(lora.Method(r.Method), modules)
	if err != nil {
		return err
	}
	defer model.Close()
	prompts := make([]string, len(test))
	for i, e := range test {
		prompts[i] = e.Input
		if cell.Way == wayFiveShot {
			prompts[i] = bbh.Prompt(few, e.Input)
		}
	}
	shown := r.app.startProgress(title+": answering", len(test))
	defer shown.end()
	start, done := time.Now(), 0
	answers, err := model.Answer(r.app.ctx, engine.Texts(prompts), cell.Weights, engine.Sampling{MaxTokens: r.MaxTokens}, engine.AnswerListener{Done: func(int, engine.Answer) {
		done++
		shown.set(done, "")
	}})
	if err != nil {
		return err
	}
	cell.AnswerSeconds = time.Since(start).Seconds()
	for i, x := range answers {
		cell.PromptTokens += x.Prompt
		cell.AnswerTokens += x.Tokens
		if x.Warning != "" {
			cell.Cut++
		}
		if task.Correct(x.Text, test[i].Output) {
			cell.Right++
		}
	}
	return nil
}

// search finds the weights of a draw's modules.
func (r *bbhRun) search(cell *bbhCell, title string, modules []module, few []task.Example) error {
	job := r.job
	job.Modules, job.Examples, job.KeepAll = names(modules), few, true
	s := &composing{app: r.app, flags: r.searchFlags, base: r.base, job: job, modules: modules, title: title + ": ", optimizer: r.optimizer}
	result, err := s.search(nil, "")
	if err == nil {
		err = errors.Join(s.failure, r.app.ctx.Err())
	}
	if err != nil {
		return err
	}
	cell.Modules, cell.Weights = result.Modules, result.Composed.Weights
	cell.Objective, cell.Evaluations, cell.SearchSeconds = result.Composed.Objective, result.Evaluations, result.SearchSeconds
	for _, step := range result.History {
		cell.Best = append(cell.Best, step.Best)
	}
	return nil
}
