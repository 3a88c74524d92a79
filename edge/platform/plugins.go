package platform

import (
	"bytes"
	"context"
	"io"

	"github.com/medley-lora/medley/edge/api"
	"github.com/medley-lora/medley/edge/compute"
	"github.com/medley-lora/medley/edge/gateway"
	"github.com/medley-lora/medley/edge/record"
	"github.com/medley-lora/medley/edge/redis"
	"github.com/medley-lora/medley/edge/store"
	"github.com/medley-lora/medley/shared/fault"
)

// maxPlugin bounds a plugin, in bytes, as the specification does.
const maxPlugin = 16 << 20

// ListPlugins lists plugins.
func (p *Platform) ListPlugins(ctx context.Context, owner string, page gateway.Page) (gateway.List[record.Plugin], error) {
	return listOf(p.Store.Plugins(ctx, owner, pageOf(page)))
}

// Plugin reads a plugin.
func (p *Platform) Plugin(ctx context.Context, owner, id string) (record.Plugin, error) {
	return p.Store.Plugin(ctx, owner, id)
}

// DeletePlugin forgets a plugin.
func (p *Platform) DeletePlugin(ctx context.Context, owner, id string) error {
	return p.Store.DeletePlugin(ctx, owner, id)
}

// ValidatePlugin runs the checks that a plugin must pass.
func (p *Platform) ValidatePlugin(ctx context.Context, wasm io.Reader) (api.Validation, error) {
	_, info, err := p.validate(ctx, wasm)
	if err != nil {
		return api.Validation{}, err
	}
	return api.Validation{Name: info.Name, Version: info.Version, Digest: info.SHA256}, nil
}

// validate reads a plugin and refuses one that fails a check, with what its author can do about it.
func (p *Platform) validate(ctx context.Context, r io.Reader) (wasm []byte, info compute.OptimizerInfo, err error) {
	if wasm, err = io.ReadAll(io.LimitReader(r, maxPlugin+1)); err != nil {
		return nil, info, err
	}
	if len(wasm) > maxPlugin {
		return nil, info, fault.New(fault.TooLarge, "body", "is larger than %d bytes", maxPlugin)
	}
	select {
	case p.checking <- struct{}{}:
		defer func() { <-p.checking }()
	case <-ctx.Done():
		return nil, info, ctx.Err()
	}
	v, err := p.Optimizers.Validate(ctx, wasm)
	if err != nil {
		return nil, info, err
	}
	for _, c := range v.Checks {
		if !c.Passed {
			return nil, info, fault.New(fault.Invalid, "body", "fails the check %q: %s", c.Name, c.Detail)
		}
	}
	if !v.Passed() {
		return nil, info, fault.New(fault.Invalid, "body", "could not be checked")
	}
	return wasm, v.Info, nil
}

// UploadPlugin validates a plugin and keeps it.
func (p *Platform) UploadPlugin(ctx context.Context, owner string, n gateway.NewPlugin, r io.Reader, once string) (none record.Plugin, err error) {
	wasm, info, err := p.validate(ctx, r)
	if err != nil {
		return none, err
	}
	giveBack, err := p.reserve(ctx, owner, once, redis.Quota{Name: "bytes", Limit: p.Quotas.Bytes}, int64(len(wasm)))
	if err != nil {
		return none, err
	}
	made, err := p.keepPlugin(ctx, owner, n, wasm, info, once)
	if err != nil {
		giveBack()
	}
	return made, err
}

func (p *Platform) keepPlugin(ctx context.Context, owner string, n gateway.NewPlugin, wasm []byte, info compute.OptimizerInfo, once string) (none record.Plugin, err error) {
	digest, size, err := p.Blobs.Put(ctx, bytes.NewReader(wasm), maxPlugin)
	if err != nil {
		return none, err
	}
	var o store.Once
	if o, err = onceOf(once, n, digest); err != nil {
		return none, err
	}
	made, err := p.Store.CreatePlugin(ctx, record.Plugin{
		Object: record.Object{Owner: owner}, Name: n.Name, Version: info.Version, Visibility: n.Visibility, Digest: digest, Size: size,
	}, o)
	return made, conflict(err)
}
