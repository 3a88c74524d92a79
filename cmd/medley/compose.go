package main

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/medley-lora/medley/shared/adapters"
	"github.com/medley-lora/medley/shared/checkpoint"
	"github.com/medley-lora/medley/shared/compose"
	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/hub"
	"github.com/medley-lora/medley/shared/lora"
	"github.com/medley-lora/medley/shared/pyrandom"
	"github.com/medley-lora/medley/shared/task"
)

// objectiveFlag is what a search makes small.
type objectiveFlag struct {
	Objective string   `default:"sparse" help:"sparse: loss + penalty * sum of |w|; mean: loss + penalty * mean of |w|; lorahub: as the original."`
	Penalty   *float64 `placeholder:"0.05" help:"Coefficient of the penalty on the weights."`
}

func (f objectiveFlag) parse() (task.Objective, error) {
	o, err := task.ParseObjective(f.Objective)
	if err == nil && f.Penalty != nil {
		o, err = o.WithPenalty(*f.Penalty)
	}
	return o, err
}

// searchFlags are what compose and demo share.
type searchFlags struct {
	optimizerFlags
	Budget int    `default:"40" help:"Evaluations in all; one scores one weight vector on every example."`
	Batch  int    `default:"64" help:"The most weight vectors scored at once."`
	Seed   uint64 `default:"42" help:"Everything random comes from it."`
	Method string `default:"delta" help:"delta: sum of the modules' updates; product: LoraHub's own composition."`
	objectiveFlag
	backendFlag
}

type composeCommand struct {
	Base     string `required:"" placeholder:"DIR" help:"Base model: a folder in Hugging Face's layout, or ORG/NAME on the Hub; with --server, its name there."`
	Examples string `required:"" placeholder:"FILE" help:"A few examples of the new task: JSON lines of {\"input\", \"output\"}."`
	Out      string `required:"" placeholder:"DIR" help:"Folder for the composed adapter, in PEFT's layout."`
	modulesFlag
	searchFlags
	Eval       string `placeholder:"FILE" help:"Examples to measure accuracy on; never searched with."`
	Holdout    int    `placeholder:"K" help:"Hold the last K examples out of the search and show their loss."`
	Sample     int    `placeholder:"N" help:"Draw N modules, as Python's random.Random(S).sample(sorted names, N) does."`
	SampleSeed int64  `default:"0" placeholder:"S" help:"Seed of --sample."`
	Rank       int    `placeholder:"R" help:"Truncate the adapter to rank R by singular values (default: exact)."`
	Report     string `placeholder:"FILE" help:"Write a report: one self-contained HTML page."`
	Trace      string `placeholder:"FILE" help:"Record every evaluation; a trace cut off by a kill or Ctrl-C is resumed."`
	JSON       bool   `help:"Print the result as one JSON object."`
	serverFlags
}

func (c *composeCommand) Run(a *app) error {
	if c.Server != "" {
		return c.onServer(a)
	}
	job, modules, err := c.job(a)
	if err != nil {
		return err
	}
	opened, err := openModules(modules)
	if err != nil {
		return err
	}
	if err := c.checkRank(opened); err != nil {
		return err
	}
	proposer, err := c.optimizerFlags.open(a.ctx, len(modules))
	if err != nil {
		return err
	}
	defer proposer.close()
	base, err := openBase(a, c.Base, c.backendFlag)
	if err != nil {
		return err
	}
	defer base.close()
	s := &composing{app: a, flags: c.searchFlags, base: base, job: job, modules: modules, optimizer: proposer}
	s.baseDigest = sync.OnceValues(func() (string, error) {
		dir, err := a.place("--base", c.Base, hub.Base)
		if err != nil {
			return "", err
		}
		return digestOf(dir)
	})
	labels := func(names []string) (map[string]string, error) { return c.labels(s, names, opened) }
	result, err := s.search(labels, c.Trace)
	if err != nil {
		return err
	}
	proposer.close()
	base.close() // the adapter is made without the model, whose memory is better used for that
	return c.finish(a, s, &result)
}

// job reads and checks everything that the flags name before the model is loaded.
func (c *composeCommand) job(a *app) (compose.Job, []module, error) {
	modules, err := c.listSome()
	if err != nil {
		return compose.Job{}, nil, err
	}
	if c.Sample != 0 {
		if modules, err = sample(modules, c.Sample, c.SampleSeed); err != nil {
			return compose.Job{}, nil, err
		}
	}
	if err := a.fetch(modules); err != nil {
		return compose.Job{}, nil, err
	}
	if err := checkOut(c.Out, modules); err != nil {
		return compose.Job{}, nil, err
	}
	for flag, path := range map[string]string{"--report": c.Report, "--trace": c.Trace} {
		if err := checkFile(flag, path); path != "" && err != nil {
			return compose.Job{}, nil, err
		}
	}
	job, err := c.searchFlags.job()
	if err != nil {
		return job, nil, err
	}
	job.Modules, job.Holdout, job.KeepAll = names(modules), c.Holdout, c.Sample != 0
	if job.Examples, err = readExamples("--examples", c.Examples); err != nil {
		return job, nil, err
	}
	if c.Eval != "" {
		job.Eval, err = readExamples("--eval", c.Eval)
	}
	return job, modules, err
}

// job is the part of a job that the search flags say.
func (f searchFlags) job() (compose.Job, error) {
	objective, err := f.parse()
	if err != nil {
		return compose.Job{}, err
	}
	return compose.Job{Objective: objective, Budget: f.Budget, Batch: f.Batch, Seed: f.Seed}, f.optimizerFlags.check()
}

// sample draws n modules as the original does: random.Random(seed).sample(sorted(names), n).
func sample(modules []module, n int, seed int64) ([]module, error) {
	if n < 1 || n > len(modules) {
		return nil, fault.New(fault.Invalid, "--sample", "%d is outside [1, %d], the modules there are", n, len(modules))
	}
	sorted := slices.Clone(modules)
	slices.SortFunc(sorted, func(a, b module) int { return strings.Compare(a.name, b.name) })
	drawn := make([]module, n)
	for i, at := range pyrandom.New(seed).Sample(len(sorted), n) {
		drawn[i] = sorted[at]
	}
	return drawn, nil
}

// finish writes the adapter, the report and the result.
func (c *composeCommand) finish(a *app, s *composing, result *compose.Result) error {
	out := compose.Output{
		Result: *result, Method: c.Method, Optimizer: s.optimizer.name, Mode: s.optimizer.mode, Plugin: s.optimizer.plugin, Seed: c.Seed, Backend: s.base.backend,
		Adapter: c.Out, Base: c.Base, Command: commandLine(a.args),
	}
	var err error
	var written *lora.Adapter
	method := lora.Method(c.Method)
	written, out.Difference, err = adapters.Export(c.Out, "--out "+c.Out, method, folders(s.modules), result, lora.Options{Rank: c.Rank}, c.Base)
	if err != nil {
		return err
	}
	out.Rank = adapters.Rank(written)
	if err := c.describe(out); err != nil {
		return err
	}
	if c.Report != "" {
		if err := c.writeReport(s, &out); err != nil {
			return err
		}
	}
	if c.JSON {
		err = a.printJSON(out)
	} else {
		printResult(a, &out, c.Report)
	}
	if err == nil && s.failure != nil {
		a.note("the best of %d evaluations was kept", result.Evaluations)
		return fault.Wrap(s.failure, fault.Internal, "", "%v", s.failure)
	}
	if err == nil && s.untraced != nil {
		a.note("the search went on without its trace")
		return s.untraced
	}
	if err == nil && a.ctx.Err() != nil { // also after the search, while answers were generated
		a.note("canceled: the best of %d evaluations was kept%s", result.Evaluations, resumeHint(c.Trace))
		return fault.New(fault.Canceled, "", "canceled")
	}
	return err
}

func resumeHint(trace string) string {
	if trace == "" {
		return ""
	}
	return "; the same command goes on from " + trace
}

// describe writes what was found beside the adapter.
func (c *composeCommand) describe(out compose.Output) error {
	data, err := json.MarshalIndent(out, "", "  ")
	if err != nil {
		return err
	}
	return fault.In("--out "+c.Out+": "+compositionName, checkpoint.WriteFile(filepath.Join(c.Out, compositionName), append(data, '\n')))
}

// commandLine quotes arguments so that a POSIX shell reads them back.
func commandLine(args []string) string {
	quoted := []string{"medley"}
	for _, arg := range args {
		if arg == "" || strings.ContainsFunc(arg, func(r rune) bool {
			return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_=+./:,@%", r)
		}) {
			arg = "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
		}
		quoted = append(quoted, arg)
	}
	return strings.Join(quoted, " ")
}
