//go:build js

package main

import (
	"context"
	"slices"
	"sync"
	"syscall/js"

	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/gpu/engine"
	"github.com/medley-lora/medley/gpu/probe"
	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/lora"
	"github.com/medley-lora/medley/shared/peft"
)

// model is an open base model with its modules.
type model struct {
	ctx    context.Context // ends with close
	cancel context.CancelFunc

	mu      sync.Mutex // held by what runs: there is one thread
	backend backend.Backend
	engine  *engine.Engine
	names   []string
	modules map[string]*peft.Module
	mixers  map[lora.Method]*engine.Mixer // over names as they are now
}

// open is medley.open.
func open(args []js.Value) (any, error) {
	options := struct{ Backend string }{Backend: probe.Auto}
	if err := decode("options", argument(args, 1), &options); err != nil {
		return nil, err
	}
	files, err := newFolder(argument(args, 0))
	if err != nil {
		return nil, err
	}
	m := &model{modules: map[string]*peft.Module{}, mixers: map[lora.Method]*engine.Mixer{}}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	b, choice, err := probe.Open(m.ctx, options.Backend, candidates(m.ctx, options.Backend))
	if err != nil {
		return nil, err
	}
	if m.engine, err = engine.OpenFS(m.ctx, files, b, engine.Options{}); err != nil {
		b.Close()
		return nil, err
	}
	m.backend = b
	maps := map[string]any{}
	for name, shape := range m.engine.Model().Maps() {
		maps[name] = map[string]any{"in": shape.In, "out": shape.Out}
	}
	return map[string]any{
		"backend": b.Info().Name, "device": b.Info().Device, "reason": choice.Reason, "candidates": array(choice.Reports, describe), "maps": maps,
		"addModule": m.method(m.addModule), "score": m.method(m.score), "tokens": m.method(m.tokens), "generate": m.method(m.generate), "close": method(m.close),
	}, nil
}

func describe(r probe.Report) any {
	return map[string]any{
		"name": r.Name, "device": r.Device, "software": r.Software, "passed": r.Passed, "error": r.Error, "gflops": r.GFLOPS, "chosen": r.Chosen,
	}
}

// method runs one call at a time, while the model is open.
func (m *model) method(f func([]js.Value) (any, error)) js.Func {
	return method(func(args []js.Value) (any, error) {
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.ctx.Err() != nil {
			return nil, fault.New(fault.Invalid, "", "the model is closed")
		}
		return f(args)
	})
}

// addModule reads the whole adapter once, to refuse it now if it is wrong, and keeps nothing of its numbers.
func (m *model) addModule(args []js.Value) (any, error) {
	name := argument(args, 0)
	if name.Type() != js.TypeString || name.String() == "" {
		return nil, fault.New(fault.Invalid, "name", "is not a text")
	}
	if _, ok := m.modules[name.String()]; ok {
		return nil, fault.New(fault.Invalid, "name", "there is a module %.100q already", name.String())
	}
	files, err := newFolder(argument(args, 1))
	if err != nil {
		return nil, err
	}
	module, err := peft.OpenFS(files, name.String(), peft.OpenOptions{})
	if err != nil {
		return nil, err
	}
	adapter, err := module.Load()
	if err != nil {
		return nil, err
	}
	if err := engine.Fits(m.engine.Model().Maps(), adapter); err != nil {
		return nil, err
	}
	m.dropMixers()
	m.names = append(m.names, module.Name)
	m.modules[module.Name] = module
	return map[string]any{"layers": len(module.Layers)}, nil
}

// mixer is the one for a method, which "" leaves to the default.
func (m *model) mixer(method lora.Method) (*engine.Mixer, error) {
	if method == "" {
		method = lora.Delta
	}
	if mixer, ok := m.mixers[method]; ok {
		return mixer, nil
	}
	load := func(name string) (*lora.Adapter, error) { return m.modules[name].Load() }
	mixer, err := engine.NewMixer(m.engine, method, slices.Clone(m.names), load)
	if err != nil {
		return nil, err
	}
	m.mixers[method] = mixer
	return mixer, nil
}

func (m *model) dropMixers() {
	for _, mixer := range m.mixers {
		mixer.Close()
	}
	clear(m.mixers)
}

// close ends what runs and frees everything. Closing twice does nothing.
func (m *model) close([]js.Value) (any, error) {
	m.cancel()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.engine == nil {
		return nil, nil
	}
	m.dropMixers()
	err := m.engine.Close()
	m.engine = nil
	if closing := m.backend.Close(); err == nil {
		err = closing
	}
	return nil, err
}
