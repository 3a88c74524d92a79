package gateway_test

import (
	"context"
	"encoding/json"
	"io"
	"time"

	"github.com/medley-lora/medley/edge/api"
	"github.com/medley-lora/medley/edge/gateway"
	"github.com/medley-lora/medley/edge/record"
	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/search"
	"github.com/medley-lora/medley/shared/wire"
)

func owned(owner string) func(record.Composition) bool {
	return func(c record.Composition) bool { return c.Owner == owner }
}

func (m *memory) CreateComposition(_ context.Context, owner string, r api.CompositionRequest, key string) (record.Composition, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.refuse != nil {
		return record.Composition{}, m.refuse
	}
	if id, err := m.repeated(owner, key, r); err != nil || id != "" {
		return m.compositions.rows[id], err
	}
	request, err := json.Marshal(r)
	if err != nil {
		return record.Composition{}, err
	}
	c := m.compositions.add(record.Composition{Object: m.object(owner, "cmp"), Request: request, State: record.Queued, Budget: r.Budget})
	m.made(owner, key, r, c.ID)
	return c, nil
}

func (m *memory) ListCompositions(_ context.Context, owner string, state record.State, p gateway.Page) (gateway.List[record.Composition], error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.compositions.list(func(c record.Composition) bool { return c.Owner == owner && (state == "" || c.State == state) }, p)
}

func (m *memory) Composition(_ context.Context, owner, id string) (record.Composition, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.refuse != nil {
		return record.Composition{}, m.refuse
	}
	return m.compositions.get(owned(owner), id)
}

func (m *memory) CancelComposition(ctx context.Context, owner, id string) (record.Composition, error) {
	c, err := m.Composition(ctx, owner, id)
	if err != nil || c.State.Ended() {
		return c, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	c.Canceled = true
	return m.compositions.add(c), nil
}

// publish appends an event; one of the kind "end" is the last.
func (m *memory) publish(id string, e gateway.Event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.events[id] = append(m.events[id], e)
	close(m.changed)
	m.changed = make(chan struct{})
}

// follower reads the events of a composition.
type follower struct {
	m    *memory
	id   string
	next int
	end  bool
}

func (m *memory) FollowComposition(ctx context.Context, owner, id, after string) (gateway.Events, error) {
	if _, err := m.Composition(ctx, owner, id); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	f := &follower{m: m, id: id}
	for i, e := range m.events[id] {
		if e.ID == after && after != "" {
			f.next, f.end = i+1, e.Kind == "end"
		}
	}
	return f, nil
}

func (f *follower) Next(ctx context.Context) (gateway.Event, error) {
	for !f.end {
		f.m.mu.Lock()
		events, changed := f.m.events[f.id], f.m.changed
		f.m.mu.Unlock()
		if f.next < len(events) {
			e := events[f.next]
			f.next++
			f.end = e.Kind == "end"
			return e, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return gateway.Event{}, ctx.Err()
		}
	}
	return gateway.Event{}, io.EOF
}

func (*follower) Close() {}

func (m *memory) OpenAdapter(ctx context.Context, owner, id string) (gateway.Content, error) {
	c, err := m.Composition(ctx, owner, id)
	if err == nil && c.Adapter == "" {
		err = fault.New(gateway.Conflict, "", "the composition has no adapter yet")
	}
	return m.open(id, c.Adapter), err
}

func (m *memory) Report(ctx context.Context, owner, id string) ([]byte, error) {
	c, err := m.Composition(ctx, owner, id)
	if err == nil && c.Adapter == "" {
		err = fault.New(gateway.Conflict, "", "the composition has no report yet")
	}
	return []byte("<!doctype html><title>report</title>"), err
}

func (m *memory) OpenEvaluation(_ context.Context, owner string, r api.EvaluationRequest, key string) (api.Evaluation, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if id, err := m.repeated(owner, key, r); err != nil || id != "" {
		return m.evaluations.rows[id], err
	}
	e := api.Evaluation{
		ID: m.object(owner, "evl").ID, Base: r.Base, Modules: r.Modules, Method: r.Method, InputTokens: []int{2}, Tokens: []int{3},
		Pieces: [][]string{{"a", "b", ""}}, Warnings: []string{}, Backend: "cpu", Expires: time.Now().Add(time.Hour),
	}
	m.evaluations.add(e)
	m.evaluations.owners[e.ID] = owner
	m.made(owner, key, r, e.ID)
	return e, nil
}

func (m *memory) Evaluation(_ context.Context, owner, id string) (api.Evaluation, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.evaluations.get(func(e api.Evaluation) bool { return m.evaluations.owners[e.ID] == owner }, id)
}

func (m *memory) CloseEvaluation(_ context.Context, owner, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.evaluations.remove(owner, id)
}

// Suggest names the evaluation's modules in their order.
func (m *memory) Suggest(ctx context.Context, owner, id string, count int) (api.Suggestions, error) {
	e, err := m.Evaluation(ctx, owner, id)
	if err != nil {
		return api.Suggestions{}, err
	}
	s := api.Suggestions{BaseLoss: 2, Modules: []api.Suggestion{}}
	for i, id := range e.Modules[:min(count, len(e.Modules))] {
		s.Modules = append(s.Modules, api.Suggestion{Module: id, Loss: wire.Number(i)})
	}
	return s, nil
}

// Score gives the sum of the weights as loss.
func (m *memory) Score(ctx context.Context, owner, id string, candidates [][]float64) ([]search.Score, error) {
	e, err := m.Evaluation(ctx, owner, id)
	if err != nil {
		return nil, err
	}
	scores := make([]search.Score, len(candidates))
	for i, w := range candidates {
		if len(w) != len(e.Modules) {
			return nil, fault.New(fault.Invalid, "weights", "must be one per module")
		}
		for _, v := range w {
			scores[i].Loss += v
		}
		scores[i].Examples = []float64{scores[i].Loss}
	}
	return scores, nil
}

func (m *memory) Generate(_ context.Context, _ string, _ api.GenerationRequest, write func(api.GenerationLine) error) error {
	for _, line := range m.lines {
		var l api.GenerationLine
		if err := json.Unmarshal(line, &l); err != nil {
			return err
		}
		if err := write(l); err != nil {
			return err
		}
	}
	return m.generated
}

func seesPlugin(owner string) func(record.Plugin) bool {
	return func(p record.Plugin) bool { return p.Owner == owner || p.Visibility == record.Shared }
}

func (m *memory) ListPlugins(_ context.Context, owner string, p gateway.Page) (gateway.List[record.Plugin], error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.plugins.list(seesPlugin(owner), p)
}

func (m *memory) Plugin(_ context.Context, owner, id string) (record.Plugin, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.plugins.get(seesPlugin(owner), id)
}

func (m *memory) UploadPlugin(ctx context.Context, owner string, n gateway.NewPlugin, wasm io.Reader, key string) (record.Plugin, error) {
	v, err := m.ValidatePlugin(ctx, wasm)
	if err != nil {
		return record.Plugin{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if id, err := m.repeated(owner, key, []any{n, v}); err != nil || id != "" {
		return m.plugins.rows[id], err
	}
	p := m.plugins.add(record.Plugin{Object: m.object(owner, "plg"), Name: n.Name, Visibility: n.Visibility, Version: v.Version, Digest: v.Digest, Size: 4})
	m.made(owner, key, []any{n, v}, p.ID)
	return p, nil
}

func (m *memory) ValidatePlugin(_ context.Context, wasm io.Reader) (api.Validation, error) {
	data, err := io.ReadAll(wasm)
	if err != nil {
		return api.Validation{}, err
	}
	if string(data) != "\x00asm" {
		return api.Validation{}, fault.New(fault.Invalid, "body", "is not WebAssembly")
	}
	return api.Validation{Name: "mine", Version: "1", Digest: hashOf(data)}, nil
}

func (m *memory) DeletePlugin(_ context.Context, owner, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.plugins.remove(owner, id)
}

func (m *memory) CreateToken(_ context.Context, maker gateway.Principal, scopes []string, ttl time.Duration) (gateway.Grant, error) {
	return gateway.Grant{ID: "MFRGGZDFMZTWQ2LKNNWG23TP", Token: maker.ID, TTL: ttl, Scopes: scopes}, nil
}

func (m *memory) ExchangeKey(_ context.Context, secret string, scopes []string, ttl time.Duration) (gateway.Grant, error) {
	if secret != "mdl_good" {
		return gateway.Grant{}, fault.New(gateway.Unauthenticated, "key", "is not good")
	}
	return gateway.Grant{ID: "MFRGGZDFMZTWQ2LKNNWG23TP", Token: "alice", TTL: ttl, Scopes: scopes}, nil
}

func (m *memory) RevokeToken(context.Context, gateway.Principal, string) error { return nil }

func (m *memory) ListKeys(_ context.Context, owner string, p gateway.Page) (gateway.List[record.Key], error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.keys.list(func(k record.Key) bool { return k.Owner == owner }, p)
}

func (m *memory) CreateKey(_ context.Context, maker gateway.Principal, r api.KeyRequest, key string) (record.Key, string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if id, err := m.repeated(maker.ID, key, r); err != nil || id != "" {
		return m.keys.rows[id], "", err
	}
	k := m.keys.add(record.Key{Object: m.object(maker.ID, "key"), Name: r.Name, Scopes: r.Scopes, Expires: r.Expires})
	m.made(maker.ID, key, r, k.ID)
	return k, "mdl_good", nil
}

func (m *memory) RevokeKey(_ context.Context, owner, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.keys.remove(owner, id)
}

func (m *memory) KeySet(context.Context) ([]json.RawMessage, error) {
	return []json.RawMessage{json.RawMessage(`{"kty":"OKP"}`)}, nil
}
