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
	batch     int
	seed      uint64
}

// outcome is one search: a task and a draw of modules, and the example left out if one was.
type outcome struct {
	task            string
	draw            int64
	left            int     // of the few examples, -1 if none was left out
	zero, single    float64 // accuracy on the measured examples, 0 to 100
	composed        float64
	loss            float64 // token-mean cross-entropy of the measured examples
	objective       float64 // on the examples searched with, as are the next two
	singleObjective float64
	trained         float64
	evaluations     int
}

func (o outcome) accuracy() float64     { return o.composed }
func (o outcome) measuredLoss() float64 { return o.loss }

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

// search composes for few examples and measures on others.
func (z *bench) search(ctx context.Context, s setting, few, measured []task.Example, draw int64) (outcome, error) {
	modules := z.draw(draw)
	mixer, err := engine.NewMixer(z.engine, s.method, modules, z.load)
	if err != nil {
		return outcome{}, err
	}
	defer mixer.Close()
	objective, err := task.ParseObjective(s.objective)
	if err != nil {
		return outcome{}, err
	}
	r, err := compose.Run(ctx, mixer, compose.Job{
		Modules: modules, Examples: few, Eval: measured, Objective: objective, Budget: s.budget, Batch: s.batch, Seed: s.seed, KeepAll: true,
		NewOptimizer: func(p search.Problem) (search.Optimizer, error) { return optimizer.New(s.optimizer, p) },
	})
	if err != nil {
		return outcome{}, err
	}
	scores, err := mixer.Score(ctx, measured, [][]float64{r.Composed.Weights})
	if err != nil {
		return outcome{}, err
	}
	tokens, err := mixer.Tokens(measured)
	if err != nil {
		return outcome{}, err
	}
	return outcome{
		draw: draw, left: -1, zero: *r.ZeroShot.Accuracy, single: *r.BestSingle.Accuracy, composed: *r.Composed.Accuracy,
		loss: task.TokenMean(scores[0].Examples, tokens), objective: r.Composed.Objective, singleObjective: r.BestSingle.Objective,
		trained: r.Composed.Loss, evaluations: r.Evaluations,
	}, nil
}

// run searches one task with one draw and measures on its evaluation examples.
func (z *bench) run(ctx context.Context, s setting, name string, draw int64) (outcome, error) {
	few, err := examples(name, "few")
	if err != nil {
		return outcome{}, err
	}
	eval, err := examples(name, "eval")
	if err != nil {
		return outcome{}, err
	}
	o, err := z.search(ctx, s, few, eval, draw)
	o.task = name
	return o, err
}

// leaveOneOut searches once per example with the others and measures on that example. It is what choices between algorithms are made by: the
// evaluation files take no part.
func (z *bench) leaveOneOut(ctx context.Context, s setting, name string, draw int64) ([]outcome, error) {
	few, err := examples(name, "few")
	if err != nil {
		return nil, err
	}
	all := make([]outcome, len(few))
	for i := range few {
		if all[i], err = z.search(ctx, s, slices.Delete(slices.Clone(few), i, i+1), few[i:i+1], draw); err != nil {
			return nil, err
		}
		all[i].task, all[i].left = name, i
	}
	return all, nil
}

func examples(name, kind string) ([]task.Example, error) {
	data, err := fs.ReadFile(zoo.Files(), "tasks/"+name+"."+kind+".jsonl")
	if err != nil {
		return nil, err
	}
	return task.ReadExamples(bytes.NewReader(data), task.Limits{})
}

// measure runs every task with every draw.
func (z *bench) measure(ctx context.Context, s setting, draws []int64, leaveOneOut bool) ([]outcome, error) {
	var all []outcome
	for _, name := range zoo.Tasks() {
		for _, draw := range draws {
			if leaveOneOut {
				folds, err := z.leaveOneOut(ctx, s, name, draw)
				if err != nil {
					return nil, err
				}
				all = append(all, folds...)
				continue
			}
			o, err := z.run(ctx, s, name, draw)
			if err != nil {
				return nil, err
			}
			all = append(all, o)
		}
	}
	return all, nil
}

// difference is the mean of f over all less that over base, search by search, and its standard error. What differs in the draw alone is not
// independent, so the error is that of the means per task and example left out.
func difference(all, base []outcome, f func(outcome) float64) (mean, standardError float64) {
	type cluster struct {
		task string
		left int
	}
	grouped := map[cluster][]float64{}
	var order []cluster
	for i, o := range all {
		c := cluster{o.task, o.left}
		if grouped[c] == nil {
			order = append(order, c)
		}
		grouped[c] = append(grouped[c], f(o)-f(base[i]))
	}
	means := make([]float64, len(order))
	for i, c := range order {
		means[i] = average(grouped[c])
	}
	mean = average(means)
	square := 0.0
	for _, m := range means {
		square += (m - mean) * (m - mean)
	}
	n := float64(len(means))
	return mean, math.Sqrt(square / n / math.Max(1, n-1))
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
