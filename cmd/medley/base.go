package main

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"sync"

	"github.com/medley-lora/medley/gpu/engine"
	"github.com/medley-lora/medley/gpu/probe"
	"github.com/medley-lora/medley/gpu/service"
	"github.com/medley-lora/medley/shared/adapters"
	"github.com/medley-lora/medley/shared/compose"
	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/hub"
	"github.com/medley-lora/medley/shared/lora"
	"github.com/medley-lora/medley/shared/task"
)

// session is a base model and modules, weighed by one weight per module: an engine.Mixer in this process, or a service.Session in an
// evaluator process.
type session interface {
	compose.Model
	Count(ctx context.Context, examples []task.Example) (task.Counts, error)
	Answer(ctx context.Context, prompts []engine.Prompt, weights []float64, s engine.Sampling, l engine.AnswerListener) ([]engine.Answer, error)
	Close() error
}

// base is a base model that sessions are opened on.
type base struct {
	backend string // "cpu"
	device  string // for people
	reason  string // why this backend
	open    func(method lora.Method, modules []module) (session, error)
	close   func() // may be called more than once
}

// openBase loads a base model, a folder or a name on the Hub, on the backend that the flags choose; the caller closes it.
func openBase(a *app, folder string, f backendFlag) (*base, error) {
	candidates, err := f.candidates(a)
	if err != nil {
		return nil, err
	}
	dir, err := a.place("--base", folder, hub.Base)
	if err != nil {
		return nil, err
	}
	choice, err := probe.Choose(a.ctx, f.Backend, candidates, false)
	if err != nil {
		return nil, err
	}
	if err := f.suits(choice.Name); err != nil {
		return nil, err
	}
	if choice.Name == webGPU {
		return openElsewhere(a, service.Folder{Name: "--base " + folder, Path: dir}, f, choice.Reason)
	}
	b, err := openNamed(choice.Name, candidates)
	if err != nil {
		return nil, err
	}
	e, err := engine.Open(a.ctx, dir, b, engine.Options{Quantise: f.Quantize, Chat: f.Chat})
	if err != nil {
		b.Close()
		return nil, fault.In("--base "+folder, err)
	}
	if f.Quantize != "" {
		noteQuantised(a, "", e.Quantised())
	}
	return &base{
		backend: b.Info().Name, device: b.Info().Device, reason: choice.Reason,
		open: func(method lora.Method, modules []module) (session, error) {
			return engine.NewMixer(e, method, names(modules), adapters.Loader(folders(modules)))
		},
		close: sync.OnceFunc(func() { e.Close(); b.Close() }),
	}, nil
}

// noteQuantised says how far --quantize took the weights of each layer from what they were.
func noteQuantised(a *app, of string, changes []engine.Quantised) {
	if len(changes) == 0 {
		a.note("%s--quantize changed nothing: the weights are in blocks already, or their rows are no multiple of 32", of)
	}
	var layers []string // in the order of loading
	lines := map[string][]string{}
	for _, q := range changes {
		layer, part := q.Name, ""
		if m := layerOfMap.FindStringSubmatch(q.Name); m != nil {
			layer, part = m[1], m[2]+" "
		}
		if lines[layer] == nil {
			layers = append(layers, layer)
		}
		lines[layer] = append(lines[layer], fmt.Sprintf("%s%.2f %%", part, 100*q.Error))
	}
	for _, layer := range layers {
		a.note("%squantised %s, off by: %s", of, layer, strings.Join(lines[layer], ", "))
	}
}

// layerOfMap takes the name of a weight apart: its layer, and what it is in it.
var layerOfMap = regexp.MustCompile(`^(.*?\.\d+)\.(.+)\.weight$`)

// openElsewhere loads a base model in an evaluator process, which is started again when the graphics driver takes it down.
func openElsewhere(a *app, folder service.Folder, f backendFlag, reason string) (*base, error) {
	s := service.NewSupervisor(service.SupervisorOptions{
		Command: f.process(webGPU, hostFlags{Gather: service.DefaultGather}),
		Died:    func(d service.Death) { a.note("%s; it is started again", d) },
	})
	info, err := s.Backend(a.ctx)
	if err != nil {
		s.Close()
		return nil, err
	}
	var once sync.Once
	return &base{
		backend: info.Name, device: info.Device, reason: reason,
		open: func(method lora.Method, modules []module) (session, error) {
			q := service.OpenRequest{Base: folder, Method: string(method)}
			for _, m := range modules {
				q.Modules = append(q.Modules, service.Folder{Name: m.name, Path: m.folder})
			}
			opened, err := s.Open(a.ctx, q)
			if err == nil && f.Quantize != "" {
				once.Do(func() { noteQuantised(a, "", opened.Quantised()) })
			}
			return opened, err
		},
		close: sync.OnceFunc(func() { s.Close() }),
	}, nil
}
