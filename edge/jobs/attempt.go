package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/medley-lora/medley/edge/api"
	"github.com/medley-lora/medley/edge/compute"
	"github.com/medley-lora/medley/edge/record"
	"github.com/medley-lora/medley/edge/store"
	"github.com/medley-lora/medley/shared/adapters"
	"github.com/medley-lora/medley/shared/compose"
	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/peft"
	"github.com/medley-lora/medley/shared/search"
)

// attempt is one composition from beginning to end, what is journaled replayed.
type attempt struct {
	*job
	held, searching context.Context

	api       *api.CompositionRequest
	spec      compute.Spec
	folders   []adapters.Folder
	release   []func() // of folders
	optimizer compute.Optimizer
	plugin    bool
	result    compose.Result
	backend   string
	failed    error // what the optimizer ended the search with
}

func (j *job) attempt(held, searching context.Context) (outcome store.Outcome, err error) {
	a := &attempt{job: j, held: held, searching: searching}
	defer a.close()
	if err := a.open(); err != nil {
		return outcome, err
	}
	if err := a.search(); err != nil {
		return outcome, err
	}
	return a.export()
}

func (a *attempt) close() {
	if a.optimizer != nil {
		a.optimizer.Close()
	}
	for _, release := range a.release {
		release()
	}
}

// open finds what the request names, and refuses what can be refused before a model is loaded.
func (a *attempt) open() (err error) {
	ctx := a.searching
	if a.api, err = a.request(); err != nil {
		return err
	}
	a.spec = compute.Spec{Base: a.api.Base, Method: a.api.Method}
	if a.spec.Modules, err = Modules(ctx, a.Store, a.Owner, a.api.Modules); err != nil {
		return err
	}
	var opened []*peft.Module
	for _, m := range a.spec.Modules {
		path, release, err := a.Library.Folder(ctx, m.Digest)
		if err != nil {
			return fault.In("module "+m.Name, err)
		}
		a.release = append(a.release, release)
		a.folders = append(a.folders, adapters.Folder{Name: m.Name, Path: path})
		module, err := peft.Open(path, peft.OpenOptions{})
		if err != nil {
			return fault.In("module "+m.Name, err)
		}
		opened = append(opened, module)
	}
	if err := adapters.CheckRank("rank", a.api.Rank, a.spec.Method, opened); err != nil {
		return err
	}
	spec, err := Optimizer(ctx, a.Store, a.Blobs, a.Owner, a.api)
	if err != nil {
		return err
	}
	a.plugin = spec.Wasm != nil
	a.optimizer, err = a.Optimizers.Open(ctx, spec, len(a.folders))
	return err
}

// search runs the job and keeps its result. An optimizer that fails after some candidate was scored ends the search, and what it has
// found is kept.
func (a *attempt) search() error {
	job, err := jobOf(a.api, a.spec.Modules)
	if err != nil {
		return err
	}
	model, err := a.Models.Open(a.searching, a.spec)
	if err != nil {
		return err
	}
	if a.Cached != nil {
		model = a.Cached(a.spec, model)
	}
	defer func() {
		if err := model.Close(); err != nil {
			a.log.DebugContext(a.held, "closing a model", "error", err)
		}
	}()
	a.backend = model.Backend()
	counts, err := model.Count(a.searching, job.Examples)
	if err != nil {
		return err
	}
	searching, abort := context.WithCancelCause(a.searching)
	defer abort(nil)
	journal := &journal{job: a.job, ctx: searching, abort: abort}
	job.Begin = func(search.Problem, []string) ([]search.Evaluation, func(search.Evaluation), error) {
		replay, err := journal.read()
		return replay, journal.record, err
	}
	job.NewOptimizer = func(p search.Problem) (search.Optimizer, error) { return a.optimizer.New(searching, p) }
	job.Sketch = adapters.Sketcher(a.folders)
	result, err := compose.Run(searching, model, job)
	a.failed = a.optimizer.Failure()
	switch {
	case journal.err != nil:
		return journal.err
	case a.failed != nil && err != nil: // which follows from the failure
		return a.failed
	case err != nil:
		return err
	case a.failed != nil:
		result.Stopped = search.StoppedFailed
		counts.Warnings = append(counts.Warnings, fmt.Sprintf("The optimizer failed after %d of %d evaluations.", result.Evaluations, job.Budget))
	}
	result.Warnings = append(counts.Warnings, result.Warnings...)
	a.result = result
	return nil
}

// journal records a search in the store, round by round, and tells of it.
type journal struct {
	*job
	ctx   context.Context
	abort context.CancelCauseFunc
	next  int // number of the first of lines
	lines []json.RawMessage
	err   error // why the search was aborted
}

// read returns what is journaled.
func (j *journal) read() ([]search.Evaluation, error) {
	var all []search.Evaluation
	for {
		lines, err := j.Store.Journal(j.ctx, j.Owner, j.ID, len(all), store.MaxLimit)
		if err != nil {
			return nil, err
		}
		if len(lines) == 0 {
			break
		}
		for _, line := range lines {
			e, err := search.UnmarshalEvaluation(line.Line)
			if err != nil {
				return nil, fault.Wrap(err, fault.Invalid, fmt.Sprintf("evaluation %d", line.Number), "the journal cannot be read any more: %v", err)
			}
			all = append(all, e)
		}
	}
	j.next = len(all)
	return all, nil
}

// record writes whole rounds, waiting for a database that is away: what is not journaled would be lost.
func (j *journal) record(e search.Evaluation) {
	if j.err != nil {
		return
	}
	line, err := search.MarshalEvaluation(e)
	if err != nil {
		j.fail(err)
		return
	}
	j.lines = append(j.lines, line)
	if len(j.lines) < e.RoundSize {
		return
	}
	// A round that was scored before somebody asked for the end is still worth keeping.
	ctx := context.WithoutCancel(j.ctx)
	err = persist(j.ctx, j.log, "journaling", func() error { return j.Store.Append(ctx, j.ID, j.Fence, j.next, j.lines...) })
	if err != nil {
		j.fail(err)
		return
	}
	for i, line := range j.lines {
		j.told.tell(Hint{Number: j.next + i, Line: line})
	}
	j.next += len(j.lines)
	j.lines = nil
}

func (j *journal) fail(err error) {
	j.err = err
	j.abort(err)
}

// state is what the composition comes to with the result at hand.
func (a *attempt) state() (record.State, *fault.Error) {
	switch {
	case a.failed != nil:
		o := failure(a.failed)
		return o.State, o.Fault
	case errors.Is(context.Cause(a.searching), errCanceled):
		return record.Canceled, nil
	}
	return record.Succeeded, nil
}
