package main

import (
	"context"
	"os/exec"
	"slices"

	"github.com/medley-lora/medley/edge/compute"
	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/search"
	"github.com/medley-lora/medley/wasm/check"
	"github.com/medley-lora/medley/wasm/optimizer"
)

// optimizers is compute.Optimizers: built-in ones in this process's sandbox, plugins in processes of their own.
type optimizers struct{}

// Open makes an optimizer ready. Errors have the field "optimizer".
func (optimizers) Open(ctx context.Context, spec compute.OptimizerSpec, dim int) (compute.Optimizer, error) {
	o := &proposer{name: spec.Name, place: "optimizer", close: func() {}}
	var err error
	switch {
	case spec.Wasm != nil:
		err = o.openPlugin(ctx, spec.Wasm, spec.Options, dim)
	case !slices.ContainsFunc(optimizer.Algorithms(), func(a optimizer.Algorithm) bool { return a.Name == spec.Name }):
		err = fault.New(fault.Invalid, "", "%q is not known; expected %s, or a plugin", spec.Name, optimizerNames())
	case len(spec.Options) > 0:
		err = fault.New(fault.Invalid, "", "%s has no options; plugins may have", spec.Name)
	default:
		err = o.openSandbox(ctx, spec.Name)
	}
	if err != nil {
		return nil, fault.In(o.place, err)
	}
	return &opened{proposer: o}, nil
}

// Validate runs the checks of medley plugin check.
func (optimizers) Validate(ctx context.Context, wasm []byte) (compute.Validation, error) {
	report, err := check.Run(ctx, wasm, check.Options{
		Sandbox: sandbox,
		Worker:  func() *exec.Cmd { return self(context.Background(), "plugin", "worker") }, // package check ends it
	})
	if err != nil {
		return compute.Validation{}, err
	}
	v := compute.Validation{Info: compute.OptimizerInfo{SHA256: digestOfBytes(wasm)}}
	if report.Plugin != nil {
		v.Info.Name, v.Info.Version = report.Plugin.Name, report.Plugin.Version
	}
	for _, r := range report.Checks {
		c := compute.Check{Name: r.Name, Passed: r.Status != check.Failed, Detail: r.Detail}
		if r.Change != "" {
			c.Detail += "; " + r.Change
		}
		v.Checks = append(v.Checks, c)
	}
	return v, nil
}

// opened is a proposer as the platform sees it.
type opened struct {
	proposer *proposer
	last     *lasting
}

// Info says what the optimizer calls itself.
func (o *opened) Info() compute.OptimizerInfo {
	i := compute.OptimizerInfo{Name: o.proposer.name}
	if p := o.proposer.plugin; p != nil {
		i.Version, i.SHA256 = p.Version, p.SHA256
	}
	return i
}

// New starts a search.
func (o *opened) New(ctx context.Context, p search.Problem) (search.Optimizer, error) {
	var err error
	o.last, err = o.proposer.new(ctx, p)
	return o.last, err
}

// Failure ends the last search and says what it failed with.
func (o *opened) Failure() error {
	if o.last == nil {
		return nil
	}
	return o.last.end()
}

// Close frees the sandbox.
func (o *opened) Close() { o.proposer.close() }
