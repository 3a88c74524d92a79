package platform

import (
	"cmp"
	"context"
	"strings"

	"github.com/medley-lora/medley/edge/compute"
	"github.com/medley-lora/medley/edge/gateway"
	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/lora"
)

// Complete answers what OpenAI's clients ask. A model is a base with the adapters of its name and of the request, all in one composition:
// one segment of the engine's pass.
func (p *Platform) Complete(ctx context.Context, owner string, asked gateway.Completion, l compute.Listener) ([]compute.Answer, error) {
	m, err := p.named(ctx, owner, asked.Model)
	if err != nil {
		return nil, err
	}
	if m.base == "" {
		if m.base, err = p.baseOf(ctx, m); err != nil {
			return nil, err
		}
	}
	spec := compute.Spec{Base: m.base, Method: lora.Delta}
	var weights []float64
	if m.adapter != (compute.Module{}) {
		spec.Modules, weights = append(spec.Modules, m.adapter), append(weights, 1)
	}
	for _, w := range asked.LoRA {
		a, err := p.adapter(ctx, owner, "lora", w.ID)
		if fault.CodeOf(err) == fault.NotFound { // which makes the request wrong, and not its address
			err = fault.Wrap(err, fault.Invalid, "lora", "%s", strings.TrimPrefix(err.Error(), "lora: "))
		}
		if err != nil {
			return nil, err
		}
		spec.Modules, weights = append(spec.Modules, a.module), append(weights, w.Scale)
	}
	if err := distinct(spec.Modules); err != nil {
		return nil, err
	}
	model, leave, err := p.pool.take(ctx, spec)
	if err != nil {
		return nil, err
	}
	defer leave()
	prompts := make([]compute.Prompt, 0, len(asked.Prompts)*asked.N)
	for _, prompt := range asked.Prompts {
		prompt.Salt = owner
		for range asked.N {
			prompts = append(prompts, prompt)
		}
	}
	return model.Answer(ctx, prompts, weights, asked.Sampling, l)
}

// distinct refuses an adapter that is named twice.
func distinct(modules []compute.Module) error {
	seen := map[string]bool{}
	for _, m := range modules {
		if seen[m.Name] {
			return fault.New(fault.Invalid, "lora", "names %s twice, or the model's own adapter", m.Name)
		}
		seen[m.Name] = true
	}
	return nil
}

// namedModel is what a model's name means.
type namedModel struct {
	gateway.Model
	base    string         // by name; "" for the one that the adapter names
	adapter compute.Module // the zero value for the base alone
}

// adapterFound is an adapter that the platform keeps.
type adapterFound struct {
	gateway.Model
	module compute.Module // called as the request does
}

// nameSeparator stands between a base and an adapter. No base's name has it.
const nameSeparator = ":"

// named finds out what a model's name means. What is neither owner's nor shared is fault.NotFound about "model", as is what there is not.
func (p *Platform) named(ctx context.Context, owner, name string) (none namedModel, err error) {
	base, adapter, both := strings.Cut(name, nameSeparator)
	if !isName(base) || both && !isName(adapter) {
		return none, missing("model", name)
	}
	b, err := p.Store.BaseNamed(ctx, base)
	if err != nil && fault.CodeOf(err) != fault.NotFound {
		return none, err
	}
	switch known := err == nil; {
	case both && !known:
		return none, missing("model", name)
	case !both && known:
		return namedModel{Model: gateway.Model{ID: b.Name, Created: b.Created, Owner: System}, base: b.Name}, nil
	}
	a, err := p.adapter(ctx, owner, "model", cmp.Or(adapter, base))
	if err != nil {
		return none, err
	}
	if !both {
		base = ""
	}
	a.ID = name
	return namedModel{Model: a.Model, base: base, adapter: a.module}, nil
}

func missing(field, name string) error {
	what := "model"
	if field != what {
		what = "adapter"
	}
	return fault.New(fault.NotFound, field, "there is no %s %.300q", what, name)
}

// baseOf finds the base of an adapter: the one that it names, by the whole name or its last part, or the only one that there is.
func (p *Platform) baseOf(ctx context.Context, m namedModel) (string, error) {
	bases, err := p.bases(ctx)
	if err != nil {
		return "", err
	}
	last := func(name string) string { return name[strings.LastIndex(name, "/")+1:] }
	for _, same := range []func(base string) bool{
		func(base string) bool { return base == m.Base },
		func(base string) bool { return last(base) == last(m.Base) },
		func(string) bool { return len(bases) == 1 },
	} {
		for _, b := range bases {
			if same(b.Name) {
				return b.Name, nil
			}
		}
	}
	return "", fault.New(fault.Invalid, "model", "%s names %.200q as its base, and there is none of that name: say which as BASE%s%s",
		m.adapter.Name, m.Base, nameSeparator, m.adapter.Name)
}
