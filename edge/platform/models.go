package platform

import (
	"context"
	"encoding/json"
	"regexp"

	"github.com/medley-lora/medley/edge/api"
	"github.com/medley-lora/medley/edge/compute"
	"github.com/medley-lora/medley/edge/gateway"
	"github.com/medley-lora/medley/edge/record"
	"github.com/medley-lora/medley/edge/store"
	"github.com/medley-lora/medley/shared/fault"
)

// The most that a list of models has, which has no pages.
const (
	maxCompositions = 200
	maxModules      = 1000
)

// isName says whether a base, a module or a composition can be called so; see Name in edge/openapi.yaml.
var isName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._/-]{0,127}$`).MatchString

// ListModels lists bases, compositions with adapters, and modules.
func (p *Platform) ListModels(ctx context.Context, owner string) ([]gateway.Model, error) {
	var all []gateway.Model
	bases, err := p.bases(ctx)
	if err != nil {
		return nil, err
	}
	for _, b := range bases {
		all = append(all, gateway.Model{ID: b.Name, Created: b.Created, Owner: System})
	}
	compositions, err := gather(maxCompositions, func(page store.Page) (store.List[record.Composition], error) {
		return p.Store.Compositions(ctx, owner, "", page)
	})
	if err != nil {
		return nil, err
	}
	for _, c := range compositions {
		if c.Adapter != "" {
			all = append(all, modelOfComposition(c))
		}
	}
	modules, err := gather(maxModules, func(page store.Page) (store.List[record.Module], error) {
		return p.Store.Modules(ctx, owner, "", page)
	})
	for _, m := range modules {
		all = append(all, modelOfModule(m, owner))
	}
	return all, err
}

// Model finds a model by its name.
func (p *Platform) Model(ctx context.Context, owner, name string) (gateway.Model, error) {
	m, err := p.named(ctx, owner, name)
	return m.Model, err
}

func (p *Platform) bases(ctx context.Context) ([]record.Base, error) {
	return gather(maxModules, func(page store.Page) (store.List[record.Base], error) { return p.Store.Bases(ctx, page) })
}

// gather reads a list of up to most items, page by page.
func gather[T any](most int, list func(store.Page) (store.List[T], error)) (all []T, err error) {
	for page := (store.Page{}); len(all) < most; {
		page.Limit = min(most-len(all), store.MaxLimit)
		l, err := list(page)
		if err != nil {
			return nil, err
		}
		all = append(all, l.Items...)
		if page.After = l.Next; l.Next == "" {
			break
		}
	}
	return all, nil
}

// adapter finds the adapter that a field of a request calls name, which is a composition's id or a module's id or name.
func (p *Platform) adapter(ctx context.Context, owner, field, name string) (none adapterFound, err error) {
	if !isName(name) {
		return none, missing(field, name)
	}
	if record.IsID(record.CompositionID, name) {
		c, err := p.Store.Composition(ctx, owner, name)
		switch {
		case fault.CodeOf(err) == fault.NotFound:
			return none, missing(field, name)
		case err != nil:
			return none, err
		case c.Adapter == "":
			return none, fault.New(fault.NotFound, field, "the composition %s has no adapter: it is %s", name, c.State)
		}
		return adapterFound{modelOfComposition(c), compute.Module{Name: name, Digest: c.Adapter}}, nil
	}
	find := p.Store.ModuleNamed
	if record.IsID(record.ModuleID, name) {
		find = p.Store.Module
	}
	m, err := find(ctx, owner, name)
	if fault.CodeOf(err) == fault.NotFound {
		return none, missing(field, name)
	}
	return adapterFound{modelOfModule(m, owner), compute.Module{Name: name, Digest: m.Digest}}, err
}

func modelOfComposition(c record.Composition) gateway.Model {
	var r api.CompositionRequest
	if json.Unmarshal(c.Request, &r) != nil {
		r.Base = "" // what cannot be read names none
	}
	return gateway.Model{ID: c.ID, Created: c.Created, Owner: ownerYou, Base: r.Base}
}

func modelOfModule(m record.Module, owner string) gateway.Model {
	model := gateway.Model{ID: m.ID, Created: m.Created, Owner: "another", Name: m.Name, Base: m.Base}
	switch m.Owner {
	case owner:
		model.Owner = ownerYou
	case System:
		model.Owner = System
	}
	return model
}

const ownerYou = "you"
