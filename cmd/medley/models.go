package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/medley-lora/medley/edge/archive"
	"github.com/medley-lora/medley/edge/compute"
	"github.com/medley-lora/medley/gpu/chat"
	"github.com/medley-lora/medley/gpu/engine"
	"github.com/medley-lora/medley/gpu/probe"
	"github.com/medley-lora/medley/gpu/service"
	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/hub"
	"github.com/medley-lora/medley/shared/task"
	"github.com/medley-lora/medley/shared/zoo"
)

// baseFlags say which bases an evaluator of this machine serves, and on what.
type baseFlags struct {
	Base map[string]string `placeholder:"NAME=DIR" mapsep:"none" help:"A base model to serve, a folder or ORG/NAME on the Hub, and its name here; may be repeated. Default: the built-in zoo."`
	backendFlag
	hostFlags
}

// baseName is what a server may call a base; see Name in edge/openapi.yaml.
var baseName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._/-]{0,127}$`)

// servedBase is a base model's folder that a server offers under a name.
type servedBase struct {
	folder string
	digest string
	size   int64 // bytes of its tensors
}

// openServedBases checks and digests folders by name.
func openServedBases(a *app, folders map[string]string) (map[string]servedBase, error) {
	bases := map[string]servedBase{}
	for name, folder := range folders {
		if !baseName.MatchString(name) {
			return nil, fault.New(fault.Invalid, "--base", "%q is no name; expected letters, digits, dots, hyphens, underscores and slashes", name)
		}
		folder, err := a.place("--base "+name, folder, hub.Base)
		if err != nil {
			return nil, err
		}
		f, err := openBaseFolder(folder)
		if err != nil {
			return nil, fault.In("--base "+name, err)
		}
		_, size := f.Store.Size()
		f.Store.Close()
		digest, err := digestOf(folder)
		if err != nil {
			return nil, fault.In("--base "+name, err)
		}
		a.note("Base %s: %s in %s.", name, megabytes(size), folder)
		bases[name] = servedBase{folder, digest, size}
	}
	return bases, nil
}

func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }

// relay starts a supervised evaluator of this machine for the bases of the flags. Modules come from the blobs by way of a library of
// folders. Ready says no before warm was called.
func (f baseFlags) relay(a *app, s *state, log *slog.Logger) (relay *service.Relay, warm func(context.Context) error, err error) {
	folders := f.Base
	if len(folders) == 0 {
		dir := filepath.Join(s.dir, zooFolder)
		if err := zoo.Extract(dir); err != nil {
			return nil, nil, fault.Wrap(err, fault.Invalid, "--data", "the zoo cannot be written: %v", errorWithoutPath(err))
		}
		folders = map[string]string{"zoo": filepath.Join(dir, "base")}
	}
	bases, err := openServedBases(a, folders)
	if err != nil {
		return nil, nil, err
	}
	library, err := s.library()
	if err != nil {
		return nil, nil, err
	}
	candidates, err := f.candidates(a)
	if err != nil {
		return nil, nil, err
	}
	choice, err := probe.Choose(a.ctx, f.Backend, candidates, false)
	if err != nil {
		return nil, nil, err
	}
	if err := f.suits(choice.Name); err != nil {
		return nil, nil, err
	}
	a.note("Backend %s.", choice.Reason)
	supervisor := service.NewSupervisor(service.SupervisorOptions{
		Command: f.process(choice.Name, f.hostFlags),
		Died: func(d service.Death) {
			log.Warn("the evaluator died and is started again", "status", d.Status, "stderr", d.Stderr)
		},
	})
	served := &servedFolders{bases, library}
	relay = service.NewRelay(supervisor, service.RelayOptions{Resolve: served.resolve, Bases: served.list, Loaded: func(base string, changes []engine.Quantised) {
		if f.Quantize != "" {
			noteQuantised(a, base+": ", changes)
		}
	}})
	s.close = append(s.close, relay.Close)
	names := slices.Sorted(maps.Keys(bases))
	return relay, func(ctx context.Context) error { return relay.Warm(ctx, names...) }, nil
}

const zooFolder = "zoo"

// servedFolders finds the folders of what clients name.
type servedFolders struct {
	bases   map[string]servedBase
	library *archive.Library
}

func (s *servedFolders) list(context.Context) ([]service.Base, error) {
	var all []service.Base
	for _, name := range slices.Sorted(maps.Keys(s.bases)) {
		all = append(all, service.Base{Name: name, Digest: s.bases[name].digest, Size: s.bases[name].size})
	}
	return all, nil
}

func (s *servedFolders) resolve(ctx context.Context, q service.OpenRequest) (resolved service.OpenRequest, release func(), err error) {
	base, ok := s.bases[q.Base.Name]
	if !ok {
		return q, nil, fault.New(fault.NotFound, "base", "there is no base %s", q.Base.Name)
	}
	var releases []func()
	release = func() {
		for _, r := range releases {
			r()
		}
	}
	resolved = q
	resolved.Base.Path, resolved.Base.Digest = base.folder, base.digest
	resolved.Modules = slices.Clone(q.Modules)
	for i, m := range q.Modules {
		path, leave, err := s.library.Folder(ctx, m.Digest)
		if err != nil {
			release()
			return q, nil, fault.In("module "+m.Name, err)
		}
		releases = append(releases, leave)
		resolved.Modules[i].Path = path
	}
	return resolved, release, nil
}

// evaluator is a service.Relay, or a service.Remote elsewhere.
type evaluator interface {
	Open(ctx context.Context, q service.OpenRequest) (service.Model, error)
	Bases(ctx context.Context) ([]service.Base, error)
	Ready(ctx context.Context) error
}

// remote is a service.Remote as an evaluator.
type remote struct{ *service.Remote }

func (r remote) Open(ctx context.Context, q service.OpenRequest) (service.Model, error) {
	// The session's life is the model's, not that of the request which happens to open it.
	return r.Remote.Open(context.WithoutCancel(ctx), q)
}

// models is compute.Models on evaluators that all have the same bases.
type models struct {
	evaluators []evaluator
	variant    string // of their numbers; see backendFlag
	turn       atomic.Int64
}

// Bases lists the bases of the first evaluator that answers.
func (m *models) Bases(ctx context.Context) (all []compute.Base, err error) {
	err = m.each(func(e evaluator) error {
		bases, err := e.Bases(ctx)
		for _, b := range bases {
			all = append(all, compute.Base(b))
		}
		return err
	})
	return all, err
}

// Ready says whether any evaluator is ready.
func (m *models) Ready(ctx context.Context) error {
	return m.each(func(e evaluator) error { return e.Ready(ctx) })
}

// each asks one evaluator after the other, another first each time, until one answers or says that the question is wrong.
func (m *models) each(ask func(evaluator) error) error {
	var failures []error
	first := int(m.turn.Add(1))
	for i := range m.evaluators {
		err := ask(m.evaluators[(first+i)%len(m.evaluators)])
		if err == nil || fault.CodeOf(err) != fault.Internal {
			return err
		}
		failures = append(failures, err)
	}
	return errors.Join(failures...)
}

// Open opens a base with modules.
func (m *models) Open(ctx context.Context, spec compute.Spec) (compute.Model, error) {
	q := service.OpenRequest{Base: service.Folder{Name: spec.Base}, Method: string(spec.Method)}
	for _, module := range spec.Modules {
		q.Modules = append(q.Modules, service.Folder{Name: module.Name, Digest: module.Digest})
	}
	opened := &openModel{variant: m.variant}
	err := m.each(func(e evaluator) (err error) {
		opened.Model, err = e.Open(ctx, q)
		return err
	})
	if err != nil {
		return nil, err
	}
	return opened, nil
}

// openModel is a session as the platform sees it.
type openModel struct {
	service.Model
	variant string
}

// Backend names what the numbers depend on.
func (m *openModel) Backend() string {
	return strings.TrimSpace(m.Model.Backend().Name + " " + m.variant)
}

// Tokens counts target tokens.
func (m *openModel) Tokens(examples []task.Example) ([]int, error) {
	counts, err := m.Count(context.Background(), examples)
	return counts.Outputs, err
}

// Generate answers inputs greedily.
func (m *openModel) Generate(ctx context.Context, inputs []string, weights []float64, progress func(done int)) ([]string, error) {
	return engine.Greedy(ctx, m.Model, inputs, weights, progress)
}

// Answer answers prompts.
func (m *openModel) Answer(ctx context.Context, prompts []compute.Prompt, weights []float64, s compute.Sampling, l compute.Listener) ([]compute.Answer, error) {
	asked := make([]engine.Prompt, len(prompts))
	for i, p := range prompts {
		asked[i] = engine.Prompt{Text: p.Text, Whole: p.Whole, Salt: p.Salt}
		for _, turn := range p.Messages {
			asked[i].Messages = append(asked[i].Messages, chat.Message(turn))
		}
	}
	answers, err := m.Model.Answer(ctx, asked, weights, engine.Sampling{
		MaxTokens: s.MaxTokens, Temperature: s.Temperature, TopK: s.TopK, TopP: s.TopP, Seed: s.Seed, Stop: s.Stop,
	}, engine.AnswerListener{Text: l.Text, Done: func(i int, a engine.Answer) { l.Done(i, answerFacts(a)) }})
	all := make([]compute.Answer, len(answers))
	for i, a := range answers {
		all[i] = answerFacts(a)
	}
	return all, err
}

func answerFacts(a engine.Answer) compute.Answer {
	return compute.Answer{Prompt: a.Prompt, Tokens: a.Tokens, Limited: a.Limited, Warning: a.Warning}
}
