package jobs

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"

	"github.com/medley-lora/medley/edge/archive"
	"github.com/medley-lora/medley/edge/store"
	"github.com/medley-lora/medley/shared/adapters"
	"github.com/medley-lora/medley/shared/compose"
	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/lora"
	"github.com/medley-lora/medley/shared/report"
)

const (
	working    = "adapter-" // starts the names of folders with adapters under way
	maxAdapter = 4 << 30    // bytes of a composed adapter, as archive
	maxReport  = 64 << 20   // bytes
	sandboxed  = "sandboxed"
)

// export writes the adapter, the result and the report.
func (a *attempt) export() (o store.Outcome, err error) {
	o.State, o.Fault = a.state()
	out := compose.Output{
		Result: a.result, Method: string(a.spec.Method), Optimizer: a.api.Optimizer, Mode: sandboxed, Seed: seedOf(a.api), Backend: a.backend, Base: a.api.Base,
	}
	if a.plugin {
		info := a.optimizer.Info()
		out.Optimizer, out.Plugin = info.Name, &compose.Plugin{Version: info.Version, SHA256: info.SHA256, Options: a.api.OptimizerOptions}
		if out.Plugin.Options == nil {
			out.Plugin.Options = map[string]string{}
		}
	}
	if err := a.adapter(&out); err != nil {
		return o, err
	}
	o.Adapter = out.Adapter
	if o.Result, err = json.Marshal(out); err != nil {
		return o, err
	}
	o.Report, err = a.report(&out)
	return o, err
}

// adapter composes, packs and stores.
func (a *attempt) adapter(out *compose.Output) error {
	dir, err := os.MkdirTemp(a.Dir, working)
	if err != nil {
		return fault.Wrap(err, fault.Internal, "", "the worker's folder cannot be used")
	}
	defer os.RemoveAll(dir)
	folder := filepath.Join(dir, "adapter")
	written, difference, err := adapters.Export(folder, "the adapter", a.spec.Method, a.folders, &a.result, lora.Options{Rank: a.api.Rank}, a.api.Base)
	if err != nil {
		return err
	}
	out.Difference, out.Rank = difference, adapters.Rank(written)
	out.Adapter, err = a.put(archive.Stream(a.held, folder), maxAdapter)
	return err
}

func (a *attempt) report(out *compose.Output) (digest string, err error) {
	page := report.Of("Composition "+a.ID, out, report.Settings{Budget: a.api.Budget, Batch: a.api.Batch})
	var b bytes.Buffer
	if err := report.HTML(&b, *page); err != nil {
		return "", err
	}
	return a.put(io.NopCloser(&b), maxReport)
}

func (a *attempt) put(content io.ReadCloser, limit int64) (digest string, err error) {
	defer content.Close()
	digest, _, err = a.Blobs.Put(a.held, content, limit)
	return digest, err
}
