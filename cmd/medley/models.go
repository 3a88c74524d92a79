package main

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/medley-lora/medley/edge/archive"
	"github.com/medley-lora/medley/edge/compute"
	"github.com/medley-lora/medley/gpu/engine"
	"github.com/medley-lora/medley/gpu/service"
	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/task"
)

// baseName is what a server may call a base; see Name in edge/openapi.yaml.
var baseName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._/-]{0,127}$`)

// servedBase is a base model's folder that a server offers under a name.
type servedBase struct {
	folder string
	digest string
	size   int64 // bytes of its files
}

// openServedBases reads NAME=DIR pairs, and checks and digests the folders.
func openServedBases(a *app, folders map[string]string) (map[string]servedBase, error) {
	bases := map[string]servedBase{}
	for name, folder := range folders {
		if !baseName.MatchString(name) {
			return nil, fault.New(fault.Invalid, "--base", "%q is no name; expected letters, digits, dots, hyphens, underscores and slashes", name)
		}
		f, err := openBaseFolder(folder)
		if err != nil {
			return nil, fault.In("--base "+name, err)
		}
		_, size := sizeOf(f.Store)
		f.Store.Close()
		a.note("Reading base %s …", name)
		digest, err := digestOf(folder)
		if err != nil {
			return nil, fault.In("--base "+name, err)
		}
		bases[name] = servedBase{folder, digest, size}
	}
	return bases, nil
}

// models is compute.Models on an evaluator process of this machine. Modules come from the blobs by way of a library of folders.
type models struct {
	supervisor *service.Supervisor
	library    *archive.Library
	bases      map[string]servedBase
	precision  string
}

// Bases lists the bases by name.
func (m *models) Bases(context.Context) ([]compute.Base, error) {
	var all []compute.Base
	for _, name := range slices.Sorted(maps.Keys(m.bases)) {
		all = append(all, compute.Base{Name: name, Digest: m.bases[name].digest, Size: m.bases[name].size})
	}
	return all, nil
}

// Ready says whether the evaluator has a backend that works.
func (m *models) Ready(ctx context.Context) error {
	_, err := m.supervisor.Backend(ctx)
	return err
}

// Open opens a base with modules.
func (m *models) Open(ctx context.Context, spec compute.Spec) (compute.Model, error) {
	base, ok := m.bases[spec.Base]
	if !ok {
		return nil, fault.New(fault.NotFound, "base", "there is no base %s", spec.Base)
	}
	opened := &openModel{precision: m.precision}
	q := service.OpenRequest{Base: service.Folder{Name: "base", Path: base.folder}, Method: string(spec.Method)}
	for _, module := range spec.Modules {
		path, release, err := m.library.Folder(ctx, module.Digest)
		if err != nil {
			opened.release()
			return nil, fault.In("module "+module.Name, err)
		}
		opened.releases = append(opened.releases, release)
		q.Modules = append(q.Modules, service.Folder{Name: module.Name, Path: path})
	}
	var err error
	// The session's life is the model's, not that of the request which happens to open it.
	if opened.Session, err = m.supervisor.Open(context.WithoutCancel(ctx), q); err != nil {
		opened.release()
		return nil, err
	}
	return opened, nil
}

// openModel is a session that holds its modules' folders.
type openModel struct {
	*service.Session
	precision string
	releases  []func()
}

// Backend names what the numbers depend on.
func (m *openModel) Backend() string {
	name := m.Session.Backend().Name
	if m.precision != f32 {
		name += " " + m.precision
	}
	return name
}

// Answer answers inputs.
func (m *openModel) Answer(ctx context.Context, inputs []string, weights []float64, s compute.Sampling, l compute.Listener) (warnings []string, err error) {
	answers, err := m.Session.Answer(ctx, inputs, weights, engine.Sampling{
		MaxTokens: s.MaxTokens, Temperature: s.Temperature, TopK: s.TopK, TopP: s.TopP, Seed: s.Seed,
	}, engine.AnswerListener{Text: l.Text, Done: l.Done})
	for i, answer := range answers {
		if answer.Warning != "" {
			warnings = append(warnings, fmt.Sprintf("input %d: %s", i+1, answer.Warning))
		}
	}
	return warnings, err
}

// Count counts target tokens.
func (m *openModel) Count(ctx context.Context, examples []task.Example) ([]int, []string, error) {
	return m.Session.Count(ctx, examples)
}

// Close ends the session and lets the folders go.
func (m *openModel) Close() error {
	defer m.release()
	return m.Session.Close()
}

func (m *openModel) release() {
	for _, release := range m.releases {
		release()
	}
	m.releases = nil
}

// isLoopback says whether nobody but this machine reaches a host.
func isLoopback(host string) bool {
	return host == "localhost" || strings.HasPrefix(host, "127.") || host == "::1"
}
