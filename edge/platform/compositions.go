package platform

import (
	"context"
	"encoding/json"
	"io"
	"strings"

	"github.com/medley-lora/medley/edge/api"
	"github.com/medley-lora/medley/edge/compute"
	"github.com/medley-lora/medley/edge/gateway"
	"github.com/medley-lora/medley/edge/jobs"
	"github.com/medley-lora/medley/edge/record"
	"github.com/medley-lora/medley/edge/redis"
	"github.com/medley-lora/medley/edge/store"
	"github.com/medley-lora/medley/shared/fault"
)

// CreateComposition records a composition and puts it into the queue. What can be refused without a model is.
func (p *Platform) CreateComposition(ctx context.Context, owner string, r api.CompositionRequest, once string) (none record.Composition, err error) {
	if _, err := p.known(ctx, owner, r.Base, r.Modules); err != nil {
		return none, err
	}
	if err := p.knownOptimizer(ctx, owner, &r); err != nil {
		return none, err
	}
	request, err := json.Marshal(r)
	if err != nil {
		return none, err
	}
	undoJob, err := p.reserve(ctx, owner, once, redis.Quota{Name: "jobs", Limit: p.Quotas.Jobs}, 1)
	if err != nil {
		return none, err
	}
	undoBudget, err := p.reserve(ctx, owner, once, redis.Quota{Name: "evaluations", Limit: p.Quotas.Evaluations}, int64(r.Budget))
	if err != nil {
		undoJob()
		return none, err
	}
	c, err := p.Store.CreateComposition(ctx, record.Composition{Object: record.Object{Owner: owner}, Request: request, Budget: r.Budget},
		store.Once{Key: once})
	if err != nil {
		undoJob()
		undoBudget()
		return none, conflict(err)
	}
	if !c.State.Ended() {
		p.enqueue(ctx, c.ID)
	}
	return c, nil
}

// enqueue tells workers of a composition. They find one that they were not told of a little later.
func (p *Platform) enqueue(ctx context.Context, id string) {
	if _, err := p.queue.Enqueue(context.WithoutCancel(ctx), id); err != nil {
		p.Log.WarnContext(ctx, "composition not enqueued; a sweep will find it", "composition", id, "cause", err)
	}
}

// known finds the modules of a request, and refuses a base or a module that there is not.
func (p *Platform) known(ctx context.Context, owner, base string, modules []string) ([]compute.Module, error) {
	if _, err := p.Store.BaseNamed(ctx, base); err != nil {
		if fault.CodeOf(err) == fault.NotFound {
			return nil, fault.Wrap(err, fault.Invalid, "base", "there is no base %s", base)
		}
		return nil, err
	}
	found, err := jobs.Modules(ctx, p.Store, owner, modules)
	return found, inRequest(err)
}

func (p *Platform) knownOptimizer(ctx context.Context, owner string, r *api.CompositionRequest) error {
	if !strings.HasPrefix(r.Optimizer, record.PluginID+"_") {
		if len(r.OptimizerOptions) > 0 {
			return fault.New(fault.Invalid, "optimizer_options", "%s has no options; plugins may have", r.Optimizer)
		}
		return nil
	}
	_, err := p.Store.Plugin(ctx, owner, r.Optimizer)
	if fault.CodeOf(err) == fault.NotFound {
		return fault.Wrap(err, fault.Invalid, "optimizer", "there is no plugin %s", r.Optimizer)
	}
	return err
}

// inRequest is an error about what a request names: what is not there makes the request wrong, and not its address.
func inRequest(err error) error {
	if fault.CodeOf(err) != fault.NotFound {
		return err
	}
	f := &fault.Error{Code: fault.Invalid, Field: "modules", Message: err.Error(), Cause: err}
	if field, sentence, ok := strings.Cut(f.Message, ": "); ok {
		f.Field, f.Message = field, sentence
	}
	return f
}

// ListCompositions lists compositions.
func (p *Platform) ListCompositions(ctx context.Context, owner string, state record.State, page gateway.Page) (gateway.List[record.Composition], error) {
	return listOf(p.Store.Compositions(ctx, owner, state, pageOf(page)))
}

// Composition reads a composition.
func (p *Platform) Composition(ctx context.Context, owner, id string) (record.Composition, error) {
	return p.Store.Composition(ctx, owner, id)
}

// CancelComposition asks for the end of a composition, and tells those who follow it of one that ends at once.
func (p *Platform) CancelComposition(ctx context.Context, owner, id string) (record.Composition, error) {
	c, err := p.Store.Cancel(ctx, owner, id)
	if err != nil {
		return c, err
	}
	hint, err := json.Marshal(jobs.Hint{})
	if err == nil {
		_, err = p.progress.Publish(context.WithoutCancel(ctx), id, hint)
	}
	if err != nil {
		p.Log.DebugContext(ctx, "cancel not told", "composition", id, "cause", err)
	}
	return c, nil
}

// OpenAdapter opens the composed adapter.
func (p *Platform) OpenAdapter(ctx context.Context, owner, id string) (gateway.Content, error) {
	return p.product(ctx, owner, id, "adapter", func(c record.Composition) string { return c.Adapter })
}

// Report reads the report.
func (p *Platform) Report(ctx context.Context, owner, id string) ([]byte, error) {
	content, err := p.product(ctx, owner, id, "report", func(c record.Composition) string { return c.Report })
	if err != nil {
		return nil, err
	}
	defer content.Close()
	return io.ReadAll(content)
}

// product opens what a composition has made.
func (p *Platform) product(ctx context.Context, owner, id, what string, digest func(record.Composition) string) (gateway.Content, error) {
	c, err := p.Store.Composition(ctx, owner, id)
	if err != nil {
		return gateway.Content{}, err
	}
	if digest(c) == "" {
		if c.State.Ended() {
			return gateway.Content{}, fault.New(gateway.Conflict, "", "the composition has ended without %s %s", article(what), what)
		}
		return gateway.Content{}, fault.New(gateway.Conflict, "", "the composition has no %s yet: it is %s", what, c.State)
	}
	return p.content(ctx, digest(c))
}

func article(noun string) string {
	if strings.ContainsRune("aeiou", rune(noun[0])) {
		return "an"
	}
	return "a"
}
