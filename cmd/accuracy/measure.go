package main

import (
	"bytes"
	"context"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"

	"github.com/medley-lora/medley/gpu/cpu"
	"github.com/medley-lora/medley/gpu/engine"
	"github.com/medley-lora/medley/shared/compose"
	"github.com/medley-lora/medley/shared/lora"
	"github.com/medley-lora/medley/shared/peft"
	"github.com/medley-lora/medley/shared/pyrandom"
	"github.com/medley-lora/medley/shared/search"
	"github.com/medley-lora/medley/shared/task"
	"github.com/medley-lora/medley/shared/zoo"
	"github.com/medley-lora/medley/wasm/optimizer"
)

// setting is one row of the table: how to compose and search.
type setting struct {
	method    lora.Method
	optimizer string
	objective string
	budget    int
	seed      uint64
}

// outcome is one search: a task and a draw of modules.
type outcome struct {
	task             string
	draw             int64
	zero, single     float64 // accuracy, 0 to 100
	composed         float64
	objective        float64
	singleObjective  float64
	heldOut, trained float64
	evaluations      int
}

// bench holds the zoo on the cpu backend.
type bench struct {
	engine  *engine.Engine
	dir     string
	modules []string
	close   func()
}

func openBench(ctx context.Context) (*bench, error) {
	dir, err := os.MkdirTemp("", "medley-accuracy-")
	if err != nil {
		return nil, err
	}
	if err := zoo.Extract(dir); err != nil {
		return nil, err
	}
	b, err := cpu.New(cpu.Options{})
	if err != nil {
		return nil, err
	}
	e, err := engine.Open(ctx, filepath.Join(dir, "base"), b, engine.Options{})
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(filepath.Join(dir, "modules"))
	if err != nil {
		return nil, err
	}
	z := &bench{engine: e, dir: dir, close: func() { e.Close(); b.Close(); os.RemoveAll(dir) }}
	for _, entry := range entries {
		z.modules = append(z.modules, entry.Name())
	}
	return z, nil
}

// draw picks 20 modules as random.Random(seed).sample(sorted names, 20) does.
func (z *bench) draw(seed int64) []string {
	names := make([]string, 20)
	for i, at := range pyrandom.New(seed).Sample(len(z.modules), len(names)) {
		names[i] = z.modules[at]
	}
	return names
}

func (z *bench) load(name string) (*lora.Adapter, error) {
	m, err := peft.Open(filepath.Join(z.dir, "modules", name), peft.OpenOptions{})
	if err != nil {
		return nil, err
	}
	return m.Load()
}

// search composes for few examples, the last holdout of them held out.
func (z *bench) search(ctx context.Context, s setting, few []task.Example, holdout int, eval []task.Example, draw int64) (compose.Result, error) {
	modules := z.draw(draw)
	mixer, err := engine.NewMixer(z.engine, s.method, modules, z.load)
	if err != nil {
		return compose.Result{}, err
	}
	defer mixer.Close()
	objective, err := task.ParseObjective(s.objective)
	if err != nil {
		return compose.Result{}, err
	}
	return compose.Run(ctx, mixer, compose.Job{
		Modules: modules, Examples: few, Holdout: holdout, Eval: eval, Objective: objective, Budget: s.budget, Batch: 64, Seed: s.seed, KeepAll: true,
		NewOptimizer: func(p search.Problem) (search.Optimizer, error) { return optimizer.New(s.optimizer, p) },
	})
}

// run searches one task with one draw.
func (z *bench) run(ctx context.Context, s setting, name string, draw int64) (outcome, error) {
	few, err := examples(name, "few")
	if err != nil {
		return outcome{}, err
	}
	eval, err := examples(name, "eval")
	if err != nil {
		return outcome{}, err
	}
	r, err := z.search(ctx, s, few, 0, eval, draw)
	if err != nil {
		return outcome{}, err
	}
	return outcome{
		task: name, draw: draw, zero: *r.ZeroShot.Accuracy, single: *r.BestSingle.Accuracy, composed: *r.Composed.Accuracy,
		objective: r.Composed.Objective, singleObjective: r.BestSingle.Objective, heldOut: *r.Composed.HeldOut, trained: r.Composed.Loss,
		evaluations: r.Evaluations,
	}, nil
}

// leaveOneOut searches once per example with the others, and returns how many of the left-out examples were answered right (0 to 100) and
// their mean loss. It is what choices between algorithms are made by: the evaluation files take no part.
func (z *bench) leaveOneOut(ctx context.Context, s setting, draws []int64) (accuracy, loss float64, err error) {
	var right, losses []float64
	for _, name := range zoo.Tasks() {
		few, err := examples(name, "few")
		if err != nil {
			return 0, 0, err
		}
		for _, draw := range draws {
			for i := range few {
				rest := slices.Delete(slices.Clone(few), i, i+1)
				r, err := z.search(ctx, s, append(rest, few[i]), 1, few[i:i+1], draw)
				if err != nil {
					return 0, 0, err
				}
				right, losses = append(right, *r.Composed.Accuracy), append(losses, *r.Composed.HeldOut)
			}
		}
	}
	return average(right), average(losses), nil
}

func examples(name, kind string) ([]task.Example, error) {
	data, err := fs.ReadFile(zoo.Files(), "tasks/"+name+"."+kind+".jsonl")
	if err != nil {
		return nil, err
	}
	return task.ReadExamples(bytes.NewReader(data), task.Limits{})
}

// measure runs every task with every draw.
func (z *bench) measure(ctx context.Context, s setting, draws []int64) ([]outcome, error) {
	var all []outcome
	for _, name := range zoo.Tasks() {
		for _, draw := range draws {
			o, err := z.run(ctx, s, name, draw)
			if err != nil {
				return nil, err
			}
			all = append(all, o)
		}
	}
	return all, nil
}

// interval is the mean of values and its 95 % bootstrap interval (Efron 1979: 10,000 resamples with a fixed seed).
func interval(values []float64) (mean, low, high float64) {
	const resamples = 10_000
	random := rand.New(rand.NewPCG(1, 2))
	means := make([]float64, resamples)
	for i := range means {
		for range values {
			means[i] += values[random.IntN(len(values))] / float64(len(values))
		}
	}
	slices.Sort(means)
	return average(values), means[resamples/40], means[resamples-resamples/40]
}

func average(values []float64) float64 {
	sum := 0.0
	for _, v := range values {
		sum += v
	}
	return sum / math.Max(1, float64(len(values)))
}

func column(all []outcome, f func(outcome) float64) []float64 {
	values := make([]float64, len(all))
	for i, o := range all {
		values[i] = f(o)
	}
	return values
}
