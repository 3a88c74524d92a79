package main

import (
	"context"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/medley-lora/medley/shared/compose"
	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/search"
	"github.com/medley-lora/medley/wasm/guest"
	"github.com/medley-lora/medley/wasm/host"
	"github.com/medley-lora/medley/wasm/optimizer"
)

// optimizerFlags choose what proposes the weights.
type optimizerFlags struct {
	Optimizer       string            `default:"auto" help:"${optimizers}"`
	OptimizerOption map[string]string `placeholder:"KEY=VALUE" mapsep:"none" help:"Option of a plugin; may be repeated."`
	OptimizerNative bool              `help:"Run the optimizer outside the WebAssembly sandbox: the same candidates, sooner where there are many modules."`
}

// isPlugin tells a file from the name of an algorithm.
func (f optimizerFlags) isPlugin() bool {
	return strings.HasSuffix(f.Optimizer, ".wasm") || strings.ContainsRune(f.Optimizer, '/') || strings.ContainsRune(f.Optimizer, filepath.Separator)
}

// check refuses what needs no look at a file.
func (f optimizerFlags) check() error {
	switch {
	case f.isPlugin() && f.OptimizerNative:
		return fault.New(fault.Invalid, "--optimizer-native", "a plugin runs in the sandbox only")
	case f.isPlugin():
		return nil
	case !slices.ContainsFunc(optimizer.Algorithms(), func(a optimizer.Algorithm) bool { return a.Name == f.Optimizer }):
		return fault.New(fault.Invalid, "--optimizer", "%q is not known; expected %s, or a plugin: a file that ends in .wasm", f.Optimizer, optimizerNames())
	case len(f.OptimizerOption) > 0:
		return fault.New(fault.Invalid, "--optimizer-option", "%s has no options; plugins may have", f.Optimizer)
	}
	return nil
}

// optimizerHelp is one line per algorithm.
func optimizerHelp() string {
	var all []string
	for _, a := range optimizer.Algorithms() {
		all = append(all, a.Name+": "+a.Summary)
	}
	return strings.Join(all, "; ") + ". Or a plugin: a file that ends in .wasm."
}

func optimizerNames() string {
	var all []string
	for _, a := range optimizer.Algorithms() {
		all = append(all, a.Name)
	}
	return strings.Join(all, ", ")
}

// How an optimizer is run, as traces and results say.
const (
	native    = "native"    // as a part of this program
	sandboxed = "sandboxed" // as WebAssembly, a plugin's in a process of its own
)

// proposer is the chosen optimizer, to be started on problems.
type proposer struct {
	name   string // an algorithm's, or what a plugin calls itself
	mode   string
	place  string // which optimizer, in messages
	plugin *compose.Plugin
	start  func(ctx context.Context, p search.Problem) (search.Optimizer, error)
	close  func()
}

// open makes the optimizer ready. A plugin is tried on a small problem first, so that what is wrong with it or its options is known before
// a model is loaded.
func (f optimizerFlags) open(ctx context.Context, modules int) (*proposer, error) {
	if err := f.check(); err != nil {
		return nil, err
	}
	o := &proposer{name: f.Optimizer, mode: native, place: "--optimizer " + f.Optimizer, close: func() {}}
	var err error
	switch {
	case f.isPlugin():
		var wasm []byte
		if wasm, err = readPlugin(f.Optimizer); err == nil {
			err = o.openPlugin(ctx, wasm, f.OptimizerOption, modules)
		}
	case f.OptimizerNative:
		o.start = func(_ context.Context, p search.Problem) (search.Optimizer, error) {
			return optimizer.New(f.Optimizer, p)
		}
	default:
		err = o.openSandbox(ctx, f.Optimizer)
	}
	if err != nil {
		return nil, fault.In(o.place, err)
	}
	return o, nil
}

// openSandbox lets the built-in guest be compiled, or read from the cache, while the caller goes on.
func (o *proposer) openSandbox(ctx context.Context, algorithm string) error {
	r, err := cachedRuntime(ctx)
	if err != nil {
		return err
	}
	var module *host.Module
	var failure error
	ready := make(chan struct{})
	go func() {
		defer close(ready)
		module, failure = r.Compile(ctx, guest.Wasm())
	}()
	o.mode = sandboxed
	o.close = func() { _ = r.Close() } // nothing is lost with it
	o.start = func(ctx context.Context, p search.Problem) (search.Optimizer, error) {
		<-ready
		if failure != nil {
			return nil, failure
		}
		return module.New(ctx, p, map[string]string{"optimizer": algorithm})
	}
	return nil
}

// cachedRuntime runs what comes with the program. A cache that cannot be had costs a second, each time.
func cachedRuntime(ctx context.Context) (*host.Runtime, error) {
	o := host.Options{Limits: host.TrustedLimits(), Trusted: true}
	if dir, err := os.UserCacheDir(); err == nil {
		cached := o
		cached.CacheDir = filepath.Join(dir, "medley", "wasm")
		if r, err := host.New(ctx, cached); err == nil {
			return r, nil
		}
	}
	return host.New(ctx, o)
}

// trialModules is how many weights a plugin is tried with: it may have a limit, and a search may be narrowed to fewer than all.
const trialModules = 8

// openPlugin tries a plugin as for so many modules.
func (o *proposer) openPlugin(ctx context.Context, wasm []byte, given map[string]string, modules int) error {
	trial := search.Problem{Dim: min(modules, trialModules), Budget: 1, Batch: 1}
	trial.Lower, trial.Upper = search.Box(trial.Dim, 1)
	// Interpreted, since a large plugin takes seconds to compile.
	tried, err := host.NewIsolated(ctx, host.NewPool(host.PoolOptions{Command: sandbox, Interpreter: true}), wasm, trial, given)
	if err != nil {
		return err
	}
	_ = tried.Close() // it has said what it is
	info := tried.Info()
	options := map[string]string{} // never null
	maps.Copy(options, given)
	o.name, o.mode = info.Name, sandboxed
	o.place += " (" + strings.TrimSpace(info.Name+" "+info.Version) + ")"
	o.plugin = &compose.Plugin{Version: info.Version, SHA256: digestOfBytes(wasm), Options: options}
	pool := host.NewPool(host.PoolOptions{Command: sandbox})
	o.start = func(ctx context.Context, p search.Problem) (search.Optimizer, error) {
		return host.NewIsolated(ctx, pool, wasm, p, options)
	}
	return nil
}

// readPlugin reads a file of bounded size.
func readPlugin(path string) ([]byte, error) {
	most := int64(host.DefaultLimits().ModuleBytes)
	info, err := os.Stat(path)
	switch {
	case err != nil:
	case !info.Mode().IsRegular():
		return nil, fault.New(fault.Invalid, "", "is not a file; expected a WebAssembly module")
	case info.Size() > most:
		return nil, fault.New(fault.TooLarge, "", "has %d bytes, at most %d are allowed", info.Size(), most)
	}
	var wasm []byte
	if err == nil {
		wasm, err = os.ReadFile(path)
	}
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "", "cannot be read: %v", errorWithoutPath(err))
	}
	return wasm, nil
}

// labels are what a trace depends on.
func (o *proposer) labels() map[string]string {
	l := map[string]string{"optimizer mode": o.mode}
	if o.plugin != nil {
		l["plugin"], l["plugin options"] = o.plugin.SHA256, o.plugin.OptionsInWords()
	}
	return l
}

// lasting is an optimizer whose failure ends the search as if there were nothing more to ask, so that what was found is not lost.
type lasting struct {
	search.Optimizer
	ctx     context.Context
	place   string
	failure error     // with its place; nil while the optimizer works
	best    []float64 // of the lowest objective told
	lowest  float64
}

// new starts the optimizer; an error of the start is the search's.
func (o *proposer) new(ctx context.Context, p search.Problem) (*lasting, error) {
	inner, err := o.start(ctx, p)
	if err != nil {
		return nil, fault.In(o.place, err)
	}
	return &lasting{Optimizer: inner, ctx: ctx, place: o.place, lowest: math.Inf(1)}, nil
}

func (l *lasting) Ask(n int) ([][]float64, error) {
	if l.failure != nil {
		return nil, nil
	}
	x, err := l.Optimizer.Ask(n)
	return x, l.settle(err)
}

func (l *lasting) Tell(x [][]float64, s []search.Score) error {
	for i := range x {
		if s[i].Objective < l.lowest {
			l.best, l.lowest = slices.Clone(x[i]), s[i].Objective
		}
	}
	return l.settle(l.Optimizer.Tell(x, s))
}

// Best asks the optimizer while it can answer.
func (l *lasting) Best() []float64 {
	if l.failure != nil || l.ctx.Err() != nil {
		return l.best
	}
	return l.Optimizer.Best()
}

// settle keeps an error that is the optimizer's own, and lets through that the search was canceled.
func (l *lasting) settle(err error) error {
	if err == nil || l.ctx.Err() != nil {
		return err
	}
	l.failure = fault.In(l.place, err)
	return nil
}

// end closes the optimizer and returns what it failed with, if it did.
func (l *lasting) end() error {
	g, ok := l.Optimizer.(interface {
		Err() error
		Close() error
	})
	if ok && l.failure == nil && l.ctx.Err() == nil {
		l.failure = fault.In(l.place, g.Err()) // of Best, which returns none
	}
	if ok {
		_ = g.Close() // nothing is lost with it
	}
	return l.failure
}
