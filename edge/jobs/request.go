package jobs

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"strings"

	"github.com/medley-lora/medley/edge/api"
	"github.com/medley-lora/medley/edge/blob"
	"github.com/medley-lora/medley/edge/compute"
	"github.com/medley-lora/medley/edge/record"
	"github.com/medley-lora/medley/edge/store"
	"github.com/medley-lora/medley/shared/compose"
	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/task"
)

// Modules finds the modules of a request, which the owner must be allowed to see. They are called as they are, and those of one name by
// their ids. The errors are fault.NotFound about "modules", and the store's.
func Modules(ctx context.Context, s *store.Store, owner string, ids []string) ([]compute.Module, error) {
	found := make([]compute.Module, len(ids))
	times := map[string]int{}
	for i, id := range ids {
		m, err := s.Module(ctx, owner, id)
		if fault.CodeOf(err) == fault.NotFound {
			return nil, fault.Wrap(err, fault.NotFound, "modules", "there is no module %s", id)
		}
		if err != nil {
			return nil, err
		}
		found[i] = compute.Module{Name: m.Name, Digest: m.Digest}
		times[m.Name]++
	}
	for i := range found {
		if times[found[i].Name] > 1 {
			found[i].Name = ids[i]
		}
	}
	return found, nil
}

// maxPlugin is what a plugin may have, bytes; what is stored has been checked.
const maxPlugin = 64 << 20

// Optimizer finds the optimizer of a request. The errors are fault.NotFound about "optimizer", and those of the store and the blobs.
func Optimizer(ctx context.Context, s *store.Store, blobs *blob.Store, owner string, r *api.CompositionRequest) (compute.OptimizerSpec, error) {
	spec := compute.OptimizerSpec{Name: r.Optimizer, Options: r.OptimizerOptions}
	if !strings.HasPrefix(r.Optimizer, record.PluginID+"_") {
		return spec, nil
	}
	p, err := s.Plugin(ctx, owner, r.Optimizer)
	if err != nil {
		return spec, fault.In("optimizer", err)
	}
	content, err := blobs.Open(ctx, p.Digest)
	if err != nil {
		return spec, fault.In("optimizer", err)
	}
	defer content.Close()
	var wasm bytes.Buffer
	_, err = io.Copy(&wasm, io.LimitReader(content, maxPlugin))
	spec.Wasm = wasm.Bytes()
	return spec, err
}

// request reads the composition's, whose defaults were filled in when it was taken.
func (j *job) request() (*api.CompositionRequest, error) {
	var r api.CompositionRequest
	if err := json.Unmarshal(j.Request, &r); err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "", "the request cannot be read any more")
	}
	return &r, nil
}

// jobOf is the part of a job that a request says.
func jobOf(r *api.CompositionRequest, modules []compute.Module) (compose.Job, error) {
	objective, err := task.ParseObjective(r.Objective)
	if err == nil && r.Penalty != nil {
		objective, err = objective.WithPenalty(*r.Penalty)
	}
	if err != nil {
		return compose.Job{}, err
	}
	job := compose.Job{
		Examples: r.Examples, Eval: r.Eval, Holdout: r.Holdout, Objective: objective, Budget: r.Budget, Batch: r.Batch, Seed: seedOf(r),
		Bound: r.Bound, KeepAll: r.KeepAll,
	}
	for _, m := range modules {
		job.Modules = append(job.Modules, m.Name)
	}
	return job, nil
}

func seedOf(r *api.CompositionRequest) uint64 {
	if r.Seed == nil {
		return 0
	}
	return uint64(*r.Seed) //nolint:gosec // the specification has it at least 0
}
