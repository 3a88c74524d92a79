package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/medley-lora/medley/gpu/engine"
	"github.com/medley-lora/medley/shared/compose"
	"github.com/medley-lora/medley/shared/lora"
	"github.com/medley-lora/medley/shared/peft"
	"github.com/medley-lora/medley/shared/search"
	"github.com/medley-lora/medley/shared/task"
	"github.com/medley-lora/medley/wasm/optimizer"
)

// target is how many target tokens an example that is made up has; tools/peers/bench.py has the same.
const target = 8

// model is a base with the modules that were last asked for.
type model struct {
	engine  *engine.Engine
	mixer   *engine.Mixer
	modules string // which ones
}

func (m *model) close() {
	if m.mixer != nil {
		m.mixer.Close()
	}
	m.engine.Close()
}

// model loads a base at its first use.
func (b *bench) model(r request) (*model, error) {
	key := r.Library + " " + r.Weights + " " + r.Base
	if m, ok := b.models[key]; ok {
		return m, nil
	}
	o, err := b.backend(r)
	if err != nil {
		return nil, err
	}
	e, err := engine.Open(b.ctx, r.Base, o, engine.Options{})
	if err != nil {
		return nil, err
	}
	b.models[key] = &model{engine: e}
	return b.models[key], nil
}

// score times one call for all candidates over all examples.
func (b *bench) score(r request) (reply, error) {
	m, err := b.model(r)
	if err != nil {
		return reply{}, err
	}
	examples, err := m.examples(r)
	if err != nil {
		return reply{}, err
	}
	fresh, err := m.use(r)
	if err != nil {
		return reply{}, err
	}
	compositions := make([]engine.Composition, len(r.Candidates))
	for i, w := range r.Candidates {
		if compositions[i], err = m.mixer.Composition(w); err != nil {
			return reply{}, err
		}
	}
	if fresh { // what happens once is not what is asked for
		if _, err := m.engine.Score(b.ctx, examples[:1], compositions[:1]); err != nil {
			return reply{}, err
		}
	}
	start := time.Now()
	scores, err := m.engine.Score(b.ctx, examples, compositions)
	spent := time.Since(start)
	if err != nil {
		return reply{}, err
	}
	losses := make([]float64, len(scores))
	for i, s := range scores {
		losses[i] = s.Loss
	}
	debug.FreeOSMemory()
	return reply{Seconds: spent.Seconds(), Losses: losses, Resident: resident()}, nil
}

func (m *model) examples(r request) ([]engine.Example, error) {
	if r.Examples != "" {
		all, err := readExamples(r.Examples)
		if err != nil {
			return nil, err
		}
		encoded, _ := m.engine.Encode(all)
		return encoded, nil
	}
	random := rand.New(rand.NewPCG(3, 0))
	draw := func(n int) []int32 {
		ids := make([]int32, n)
		for i := range ids {
			ids[i] = 3 + random.Int32N(int32(m.engine.Tokenizer.VocabSize())-3)
		}
		return ids
	}
	examples := make([]engine.Example, len(r.Lengths))
	for i, n := range r.Lengths {
		examples[i] = engine.Example{Source: draw(n), Target: draw(target)}
	}
	return examples, nil
}

func readExamples(path string) ([]task.Example, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return task.ReadExamples(f, task.Limits{})
}

// use makes the mixer be about the modules asked for, and reports whether it was not before.
func (m *model) use(r request) (bool, error) {
	want := fmt.Sprint(r.Folders, r.Modules, r.Rank, r.Sums, r.Upload)
	if m.modules == want {
		return false, nil
	}
	if m.mixer != nil {
		m.mixer.Close()
		m.mixer, m.modules = nil, ""
	}
	names, load := r.Folders, loadFolder
	if len(names) == 0 {
		load = m.madeUp(r.Rank)
		for i := range r.Modules {
			names = append(names, fmt.Sprint(i))
		}
	}
	method := lora.Delta
	if r.Sums {
		method = lora.Product
	}
	mixer, err := engine.NewMixer(m.engine, method, names, load)
	if err != nil {
		return false, err
	}
	m.mixer, m.modules = mixer, want
	if r.Upload {
		_, err = mixer.Composition(slices.Repeat([]float64{1}, len(names)))
	}
	return true, err
}

func loadFolder(folder string) (*lora.Adapter, error) {
	m, err := peft.Open(folder, peft.OpenOptions{})
	if err != nil {
		return nil, err
	}
	return m.Load()
}

// madeUp makes modules of a rank on the maps that PEFT's default targets are, q and v, with small random factors.
func (m *model) madeUp(rank int) func(name string) (*lora.Adapter, error) {
	maps := m.engine.Model().Maps()
	factors := map[int][]float32{} // by length: a standard deviation of 0.02
	factor := func(n int) []float32 {
		if factors[n] == nil {
			factors[n] = uniform(1, n, 0.07)
		}
		return factors[n]
	}
	return func(name string) (*lora.Adapter, error) {
		a := &lora.Adapter{Name: name}
		for target, shape := range maps {
			if kind := strings.TrimSuffix(target[strings.LastIndex(target, ".")+1:], "_proj"); kind != "q" && kind != "v" {
				continue
			}
			a.Layers = append(a.Layers, lora.Layer{
				Target: target, In: shape.In, Out: shape.Out, Rank: rank, Scale: 2,
				A: factor(rank * shape.In), B: factor(rank * shape.Out),
			})
		}
		slices.SortFunc(a.Layers, func(x, y lora.Layer) int { return strings.Compare(x.Target, y.Target) })
		return a, nil
	}
}

// searches composes again and again with one engine, as a service would, and notes the memory of the process on the way.
func (b *bench) searches(r request) (reply, error) {
	m, err := b.model(r)
	if err != nil {
		return reply{}, err
	}
	examples, err := readExamples(r.Examples)
	if err != nil {
		return reply{}, err
	}
	names := make([]string, len(r.Folders))
	for i, f := range r.Folders {
		names[i] = filepath.Base(f)
	}
	objective, err := task.ParseObjective(task.Sparse)
	if err != nil {
		return reply{}, err
	}
	var a reply
	start := time.Now()
	for n := range r.Count {
		mixer, err := engine.NewMixer(m.engine, lora.Delta, r.Folders, loadFolder)
		if err != nil {
			return a, err
		}
		_, err = compose.Run(b.ctx, mixer, compose.Job{
			Modules: names, Examples: examples, Objective: objective, Budget: 40, Batch: 20, Seed: uint64(n), KeepAll: true,
			NewOptimizer: func(p search.Problem) (search.Optimizer, error) { return optimizer.New("gntr", p) },
		})
		mixer.Close()
		if err != nil {
			return a, err
		}
		if step := max(1, r.Count/100); (n+1)%step == 0 {
			a.Samples = append(a.Samples, sample{Searches: n + 1, MiB: resident()})
		}
	}
	a.Seconds = time.Since(start).Seconds()
	return a, nil
}
