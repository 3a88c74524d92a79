package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/medley-lora/medley/edge/api"
	"github.com/medley-lora/medley/edge/archive"
	"github.com/medley-lora/medley/edge/record"
	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/hub"
)

// withModules connects and finds the modules of the flags.
func (f serverFlags) withModules(a *app, m modulesFlag) (*server, []api.Module, error) {
	s, err := f.connect(a.ctx)
	if err != nil {
		return nil, nil, err
	}
	modules, err := s.find(a, m)
	return s, modules, err
}

// find turns names, patterns and folders into modules of the server, in the order given and by name within a pattern. Folders are
// uploaded, unless the server has their content already.
func (s *server) find(a *app, f modulesFlag) ([]api.Module, error) {
	all, err := s.modules(a.ctx)
	if err != nil {
		return nil, err
	}
	var found []api.Module
	for _, pattern := range slices.Concat(f.Modules, f.Folders) {
		some, err := s.matching(a, pattern, all)
		if err != nil {
			return nil, err
		}
		for _, m := range some {
			if !slices.ContainsFunc(found, func(x api.Module) bool { return x.ID == m.ID }) {
				found = append(found, m)
			}
		}
	}
	return found, nil
}

// modules lists everything that the token's owner sees, newest first.
func (s *server) modules(ctx context.Context) (all []api.Module, err error) {
	params := &api.ListModulesParams{Limit: 200}
	for {
		r, err := s.ListModulesWithResponse(ctx, params)
		if err != nil {
			return nil, s.unreachable(ctx, err)
		}
		if r.JSON200 == nil {
			return nil, refused(r.HTTPResponse, r.ApplicationProblemJSONDefault)
		}
		all = append(all, r.JSON200.Items...)
		if r.JSON200.Next == "" {
			return all, nil
		}
		params.Cursor = r.JSON200.Next
	}
}

// matching are the modules that one word of the command line means. Of several modules of one name the newest counts.
func (s *server) matching(a *app, pattern string, all []api.Module) ([]api.Module, error) {
	byName := map[string]api.Module{}
	for _, m := range all {
		matches, err := path.Match(pattern, m.Name)
		if err != nil {
			return nil, fault.New(fault.Invalid, "--modules", "%q is not a pattern: %v", pattern, err)
		}
		if m.ID == pattern {
			return []api.Module{m}, nil
		}
		if _, newer := byName[m.Name]; matches && !newer {
			byName[m.Name] = m
		}
	}
	var found []api.Module
	for _, m := range byName {
		found = append(found, m)
	}
	slices.SortFunc(found, func(x, y api.Module) int { return strings.Compare(x.Name, y.Name) })
	if len(found) > 0 {
		return found, nil
	}
	here, err := modulesOf(pattern)
	if err != nil || here[0].remote != nil && !strings.HasPrefix(pattern, hub.Scheme) {
		return nil, fault.New(fault.Invalid, "--modules", "%q is neither a module of the server nor a folder with an %s (%sORG/NAME is one on the Hub)",
			pattern, adapterConfigName, hub.Scheme)
	}
	if err := a.fetch(here); err != nil {
		return nil, err
	}
	for _, m := range here {
		sent, err := s.upload(a, m.folder, all)
		if err != nil {
			return nil, fault.In("module "+m.name, err)
		}
		found = append(found, sent)
	}
	return found, nil
}

// upload sends an adapter, unless the server has it.
func (s *server) upload(a *app, folder string, all []api.Module) (none api.Module, err error) {
	sum := sha256.New()
	if err := archive.Pack(sum, folder); err != nil {
		return none, err
	}
	digest := hex.EncodeToString(sum.Sum(nil))
	for _, m := range all {
		if m.Digest == digest {
			return m, nil
		}
	}
	a.note("uploading %s", folder)
	content := archive.Stream(a.ctx, folder)
	defer content.Close()
	r, err := s.UploadModuleWithBodyWithResponse(a.ctx, &api.UploadModuleParams{Name: nameOf(folder), Visibility: record.Private, IdempotencyKey: once()}, "application/zip", content)
	if err != nil {
		return none, s.unreachable(a.ctx, err)
	}
	if r.JSON201 == nil {
		return none, refused(r.HTTPResponse, r.ApplicationProblemJSONDefault)
	}
	return *r.JSON201, nil
}

// nameOf is a folder's name as the API takes it.
func nameOf(folder string) string {
	name := strings.Map(func(r rune) rune {
		if strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-", r) {
			return r
		}
		return '-'
	}, filepath.Base(folder))
	name = strings.TrimLeft(name, "._-")
	if name == "" {
		return "module"
	}
	return name[:min(len(name), 128)]
}

// plugin sends a plugin, which the server validates.
func (s *server) plugin(a *app, file string) (none api.Plugin, err error) {
	wasm, err := readPlugin(file)
	if err != nil {
		return none, err
	}
	a.note("uploading %s, which the server validates", file)
	r, err := s.UploadPluginWithBodyWithResponse(a.ctx, &api.UploadPluginParams{Name: nameOf(file), Visibility: record.Private, IdempotencyKey: digestOfBytes(wasm)},
		"application/wasm", strings.NewReader(string(wasm)))
	if err != nil {
		return none, s.unreachable(a.ctx, err)
	}
	if r.JSON201 == nil {
		return none, refused(r.HTTPResponse, r.ApplicationProblemJSONDefault)
	}
	return *r.JSON201, nil
}

// ids are what requests call modules by.
func ids(modules []api.Module) []string {
	all := make([]string, len(modules))
	for i, m := range modules {
		all[i] = m.ID
	}
	return all
}

// download writes an adapter's archive into a folder, both files whole or neither.
func (s *server) download(ctx context.Context, composition, folder string) error {
	r, err := s.DownloadAdapter(ctx, composition, &api.DownloadAdapterParams{})
	if err != nil {
		return s.unreachable(ctx, err)
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK {
		return fault.New(fault.Internal, "--server", "gave no adapter: status %d", r.StatusCode)
	}
	return fault.In("--out "+folder, archive.Unpack(r.Body, folder, archive.DefaultLimits))
}
