package main

import (
	"context"
	"encoding/json"
	"math"
	"time"

	"github.com/medley-lora/medley/edge/api"
	"github.com/medley-lora/medley/edge/record"
	"github.com/medley-lora/medley/shared/checkpoint"
	"github.com/medley-lora/medley/shared/compose"
	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/lora"
	"github.com/medley-lora/medley/shared/pyrandom"
	"github.com/medley-lora/medley/shared/search"
)

// onServer composes on a server, with the output of composing here.
func (c *composeCommand) onServer(a *app) error {
	if err := c.checkServer(); err != nil {
		return err
	}
	request, err := c.request()
	if err != nil {
		return err
	}
	s, modules, err := c.withModules(a, c.modulesFlag)
	if err != nil {
		return err
	}
	if len(modules) == 0 {
		return fault.New(fault.Invalid, "--modules", "names no module; expected modules of the server, such as 'zoo/*'")
	}
	if c.Sample != 0 {
		if modules, err = drawn(modules, c.Sample, c.SampleSeed); err != nil {
			return err
		}
	}
	request.Modules = ids(modules)
	if c.isPlugin() {
		p, err := s.plugin(a, c.Optimizer)
		if err != nil {
			return fault.In("--optimizer "+c.Optimizer, err)
		}
		request.Optimizer = p.ID
	}
	r, err := s.CreateCompositionWithResponse(a.ctx, &api.CreateCompositionParams{IdempotencyKey: once()}, *request)
	if err != nil {
		return s.unreachable(a.ctx, err)
	}
	if r.JSON202 == nil {
		return refused(r.HTTPResponse, r.ApplicationProblemJSONDefault)
	}
	a.note("composition %s", r.JSON202.ID)
	return c.finishOnServer(a, s, r.JSON202.ID)
}

// checkServer refuses, before any work, what a server decides.
func (c *composeCommand) checkServer() error {
	for flag, set := range map[string]bool{
		"--trace": c.Trace != "", "--optimizer-native": c.OptimizerNative, "--backend": c.Backend != "auto", "--precision": c.Precision != f32,
	} {
		if set {
			return fault.New(fault.Invalid, flag, "and --server cannot be used together: the server decides that, and keeps every evaluation itself")
		}
	}
	if err := checkOut(c.Out, nil); err != nil {
		return err
	}
	if c.Report != "" {
		if err := checkFile("--report", c.Report); err != nil {
			return err
		}
	}
	return c.optimizerFlags.check()
}

// request is what the flags say.
func (c *composeCommand) request() (*api.CompositionRequest, error) {
	if _, err := c.parse(); err != nil {
		return nil, err
	}
	if c.Seed > math.MaxInt64>>10 {
		return nil, fault.New(fault.TooLarge, "--seed", "a server takes seeds below 2^53")
	}
	seed := int64(c.Seed) //nolint:gosec // checked above
	r := &api.CompositionRequest{
		Base: c.Base, Method: lora.Method(c.Method), Objective: c.Objective, Penalty: c.Penalty, Optimizer: c.Optimizer,
		OptimizerOptions: c.OptimizerOption, Budget: c.Budget, Batch: c.Batch, Seed: &seed, Holdout: c.Holdout, KeepAll: c.Sample != 0, Rank: c.Rank,
	}
	var err error
	if r.Examples, err = readExamples("--examples", c.Examples); err != nil {
		return nil, err
	}
	if c.Eval != "" {
		r.Eval, err = readExamples("--eval", c.Eval)
	}
	return r, err
}

// drawn is sample for a server's modules.
func drawn(modules []api.Module, n int, seed int64) ([]api.Module, error) {
	if n < 1 || n > len(modules) {
		return nil, fault.New(fault.Invalid, "--sample", "%d is outside [1, %d], the modules there are", n, len(modules))
	}
	all := make([]api.Module, n)
	for i, at := range pyrandom.New(seed).Sample(len(modules), n) {
		all[i] = modules[at]
	}
	return all, nil
}

// lastWords is how long the end of a canceled composition is waited for.
const lastWords = time.Minute

// finishOnServer follows the composition and fetches what it has made. Ctrl-C ends it early, and keeps what was found.
func (c *composeCommand) finishOnServer(a *app, s *server, id string) error {
	ctx, cancel := context.WithCancel(context.WithoutCancel(a.ctx))
	defer cancel()
	defer context.AfterFunc(a.ctx, func() {
		a.note("canceling; what was found is fetched")
		time.AfterFunc(lastWords, cancel)
		s.CancelComposition(ctx, id) //nolint:errcheck,bodyclose // the events tell whether it worked
	})()
	watch := &watcher{app: a}
	best := math.Inf(1)
	err := s.follow(ctx, id, func(kind string, data []byte) error {
		if kind != "evaluation" {
			return nil
		}
		e, err := search.UnmarshalEvaluation(data)
		if err != nil {
			return err
		}
		if e.Score.Objective < best {
			best = e.Score.Objective
		}
		e.Best = best
		watch.observe(compose.Progress{Stage: compose.Searching, Done: e.Number, Total: c.Budget, Evaluation: &e})
		return nil
	})
	watch.end()
	if err != nil {
		return err
	}
	r, err := s.GetCompositionWithResponse(ctx, id, &api.GetCompositionParams{})
	if err != nil {
		return s.unreachable(ctx, err)
	}
	if r.JSON200 == nil {
		return refused(r.HTTPResponse, r.ApplicationProblemJSONDefault)
	}
	return c.fetch(ctx, a, s, r.JSON200)
}

// fetch writes what a composition has made, and says how it ended.
func (c *composeCommand) fetch(ctx context.Context, a *app, s *server, made *api.Composition) error {
	var ended error
	if p := made.Problem; p != nil {
		ended = fault.New(fault.Internal, p.Field, "%s", p.Detail)
		if fault.Code(p.Code) != fault.Internal {
			ended = fault.New(fault.Code(p.Code), p.Field, "%s", p.Detail)
		}
	}
	if made.State == record.Canceled {
		ended = fault.New(fault.Canceled, "", "canceled")
	}
	if made.Adapter == "" {
		return ended
	}
	var out compose.Output
	if err := json.Unmarshal(made.Result, &out); err != nil {
		return fault.Wrap(err, fault.Internal, "--server", "gave a result that cannot be read: %v", err)
	}
	if err := s.download(ctx, made.ID, c.Out); err != nil {
		return err
	}
	out.Adapter, out.Command = c.Out, commandLine(a.args)
	if err := c.describe(out); err != nil {
		return err
	}
	if c.Report != "" {
		r, err := s.GetReportWithResponse(ctx, made.ID, &api.GetReportParams{})
		if err != nil {
			return s.unreachable(ctx, err)
		}
		if r.ApplicationProblemJSONDefault != nil {
			return refused(r.HTTPResponse, r.ApplicationProblemJSONDefault)
		}
		if err := checkpoint.WriteFile(c.Report, r.Body); err != nil {
			return fault.In("--report "+c.Report, err)
		}
	}
	if c.JSON {
		if err := a.printJSON(out); err != nil {
			return err
		}
	} else {
		printResult(a, &out, c.Report)
	}
	if ended != nil {
		a.note("the best of %d evaluations was kept", out.Evaluations)
	}
	return ended
}
