package gateway

import (
	"context"

	"github.com/medley-lora/medley/edge/api"
	"github.com/medley-lora/medley/edge/record"
)

// ListBases answers GET /v1/bases.
func (g *gateway) ListBases(ctx context.Context, r api.ListBasesRequestObject) (api.ListBasesResponseObject, error) {
	l, err := g.Bases.ListBases(ctx, principalOf(ctx).ID, Page{r.Params.Cursor, r.Params.Limit})
	if err != nil {
		return nil, err
	}
	return api.ListBases200JSONResponse{Items: each(l.Items, baseOf), Next: l.Next}, nil
}

// GetBase answers GET /v1/bases/{base}.
func (g *gateway) GetBase(ctx context.Context, r api.GetBaseRequestObject) (api.GetBaseResponseObject, error) {
	b, err := g.Bases.Base(ctx, principalOf(ctx).ID, r.Base)
	if err != nil {
		return nil, err
	}
	return api.GetBase200JSONResponse(baseOf(b)), nil
}

// ListModules answers GET /v1/modules.
func (g *gateway) ListModules(ctx context.Context, r api.ListModulesRequestObject) (api.ListModulesResponseObject, error) {
	me := principalOf(ctx).ID
	l, err := g.Modules.ListModules(ctx, me, r.Params.Q, Page{r.Params.Cursor, r.Params.Limit})
	if err != nil {
		return nil, err
	}
	items := each(l.Items, func(m record.Module) api.Module { return moduleOf(m, me) })
	return api.ListModules200JSONResponse{Items: items, Next: l.Next}, nil
}

// UploadModule answers POST /v1/modules.
func (g *gateway) UploadModule(ctx context.Context, r api.UploadModuleRequestObject) (api.UploadModuleResponseObject, error) {
	me := principalOf(ctx).ID
	p := r.Params
	m, err := g.Modules.UploadModule(ctx, me, NewModule{p.Name, p.Task, p.Author, p.Licence, orPrivate(p.Visibility)}, filesOf(r), p.IdempotencyKey)
	if err != nil {
		return nil, err
	}
	return api.UploadModule201JSONResponse{
		Body: moduleOf(m, me), Headers: api.UploadModule201ResponseHeaders{Location: "/v1/modules/" + m.ID},
	}, nil
}

// GetModule answers GET /v1/modules/{module}.
func (g *gateway) GetModule(ctx context.Context, r api.GetModuleRequestObject) (api.GetModuleResponseObject, error) {
	me := principalOf(ctx).ID
	m, err := g.Modules.Module(ctx, me, r.Module)
	if err != nil {
		return nil, err
	}
	return api.GetModule200JSONResponse(moduleOf(m, me)), nil
}

// DeleteModule answers DELETE /v1/modules/{module}.
func (g *gateway) DeleteModule(ctx context.Context, r api.DeleteModuleRequestObject) (api.DeleteModuleResponseObject, error) {
	return api.DeleteModule204Response{}, g.Modules.DeleteModule(ctx, principalOf(ctx).ID, r.Module)
}

// DownloadModule answers GET /v1/modules/{module}/archive.
func (g *gateway) DownloadModule(ctx context.Context, r api.DownloadModuleRequestObject) (api.DownloadModuleResponseObject, error) {
	content, err := g.Modules.OpenModule(ctx, principalOf(ctx).ID, r.Module)
	if err != nil {
		return nil, err
	}
	return archive{content, r.Module}, nil
}

// ListPlugins answers GET /v1/plugins.
func (g *gateway) ListPlugins(ctx context.Context, r api.ListPluginsRequestObject) (api.ListPluginsResponseObject, error) {
	me := principalOf(ctx).ID
	l, err := g.Plugins.ListPlugins(ctx, me, Page{r.Params.Cursor, r.Params.Limit})
	if err != nil {
		return nil, err
	}
	items := each(l.Items, func(p record.Plugin) api.Plugin { return pluginOf(p, me) })
	return api.ListPlugins200JSONResponse{Items: items, Next: l.Next}, nil
}

// UploadPlugin answers POST /v1/plugins.
func (g *gateway) UploadPlugin(ctx context.Context, r api.UploadPluginRequestObject) (api.UploadPluginResponseObject, error) {
	me := principalOf(ctx).ID
	p, err := g.Plugins.UploadPlugin(ctx, me, NewPlugin{r.Params.Name, orPrivate(r.Params.Visibility)}, r.Body, r.Params.IdempotencyKey)
	if err != nil {
		return nil, err
	}
	return api.UploadPlugin201JSONResponse{
		Body: pluginOf(p, me), Headers: api.UploadPlugin201ResponseHeaders{Location: "/v1/plugins/" + p.ID},
	}, nil
}

// ValidatePlugin answers POST /v1/plugins/validate.
func (g *gateway) ValidatePlugin(ctx context.Context, r api.ValidatePluginRequestObject) (api.ValidatePluginResponseObject, error) {
	v, err := g.Plugins.ValidatePlugin(ctx, r.Body)
	return api.ValidatePlugin200JSONResponse(v), err
}

// GetPlugin answers GET /v1/plugins/{plugin}.
func (g *gateway) GetPlugin(ctx context.Context, r api.GetPluginRequestObject) (api.GetPluginResponseObject, error) {
	me := principalOf(ctx).ID
	p, err := g.Plugins.Plugin(ctx, me, r.Plugin)
	if err != nil {
		return nil, err
	}
	return api.GetPlugin200JSONResponse(pluginOf(p, me)), nil
}

// DeletePlugin answers DELETE /v1/plugins/{plugin}.
func (g *gateway) DeletePlugin(ctx context.Context, r api.DeletePluginRequestObject) (api.DeletePluginResponseObject, error) {
	return api.DeletePlugin204Response{}, g.Plugins.DeletePlugin(ctx, principalOf(ctx).ID, r.Plugin)
}

func baseOf(b record.Base) api.Base {
	return api.Base{ID: b.ID, Name: b.Name, Digest: b.Digest, Size: b.Size, Created: b.Created.UTC()}
}

// moduleOf is a module as me sees it.
func moduleOf(m record.Module, me string) api.Module {
	targets := m.Targets
	if targets == nil {
		targets = []string{} // nil would be null
	}
	return api.Module{
		ID: m.ID, Name: m.Name, Visibility: m.Visibility, Mine: m.Owner == me, Digest: m.Digest, Size: m.Size, Base: m.Base, Task: m.Task,
		Author: m.Author, Licence: m.Licence, Rank: m.Rank, Targets: targets, Created: m.Created.UTC(),
	}
}

// pluginOf is a plugin as me sees it.
func pluginOf(p record.Plugin, me string) api.Plugin {
	return api.Plugin{
		ID: p.ID, Name: p.Name, Version: p.Version, Visibility: p.Visibility, Mine: p.Owner == me, Digest: p.Digest, Size: p.Size,
		Created: p.Created.UTC(),
	}
}

// each returns what f makes of every item, never nil, which JSON would show as null.
func each[From, To any](items []From, f func(From) To) []To {
	all := make([]To, len(items))
	for i, item := range items {
		all[i] = f(item)
	}
	return all
}

// orPrivate is the default of an upload's visibility, which a stranger's parameter is the last to change.
func orPrivate(v record.Visibility) record.Visibility {
	if v == "" {
		return record.Private
	}
	return v
}
