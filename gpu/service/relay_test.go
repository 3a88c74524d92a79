//go:build unix

package service_test

import (
	"context"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/medley-lora/medley/gpu/service"
	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/lora"
)

// digestOf makes a digest of a letter.
func digestOf(letter string) string { return strings.Repeat(letter, 64) }

// A client on TCP scores by names and digests in a supervised evaluator, which may die meanwhile.
func TestRelay(t *testing.T) {
	z := newZoo(t)
	local := z.request(lora.Delta, "plural", "french")
	_, m := z.mixer(t, local)
	weights := [][]float64{{1, 0}, {0.3, -0.7}}
	want, err := m.Score(t.Context(), berries, weights)
	if err != nil {
		t.Fatal(err)
	}
	w := supervise(t, 0, "serve")
	var held atomic.Int64
	relay := service.NewRelay(w.Supervisor, service.RelayOptions{
		Resolve: func(_ context.Context, q service.OpenRequest) (service.OpenRequest, func(), error) {
			if q.Base.Name != "zoo" {
				return q, nil, fault.New(fault.NotFound, "base", "there is none called %q", q.Base.Name)
			}
			q.Base.Path, q.Base.Digest = local.Base.Path, digestOf("0")
			for i := range q.Modules {
				q.Modules[i].Path = filepath.Join(z.dir, "modules", q.Modules[i].Name)
			}
			held.Add(1)
			return q, func() { held.Add(-1) }, nil
		},
		Bases: func(context.Context) ([]service.Base, error) {
			return []service.Base{{Name: "zoo", Digest: digestOf("0"), Size: 7}}, nil
		},
	})
	server := service.NewServer(relay, service.ServerOptions{Idle: service.DefaultIdle, Public: true})
	defer server.Close()
	l := listen(t, server, "127.0.0.1:0")
	r := remote(t, l.address, 20*time.Second)

	if err := r.Ready(t.Context()); fault.CodeOf(err) != fault.Internal || !strings.Contains(err.Error(), "is starting") {
		t.Errorf("before it is warm: %v", err)
	}
	if err := relay.Warm(t.Context(), "zoo"); err != nil {
		t.Fatal(err)
	}
	if err := r.Ready(t.Context()); err != nil {
		t.Errorf("warm: %v", err)
	}
	if h, err := r.Health(t.Context()); err != nil || h.Stats.Bases != 1 || h.Stats.Resident == 0 || h.Sessions != 0 {
		t.Errorf("health %+v, error %v: the base is not loaded", h, err)
	}
	if bases, err := r.Bases(t.Context()); err != nil || len(bases) != 1 || bases[0] != (service.Base{Name: "zoo", Digest: digestOf("0"), Size: 7}) {
		t.Errorf("bases %v, error %v", bases, err)
	}
	q := service.OpenRequest{Base: service.Folder{Name: "zoo"}, Method: string(lora.Delta)}
	for i, f := range local.Modules {
		q.Modules = append(q.Modules, service.Folder{Name: f.Name, Digest: digestOf(string(rune('a' + i)))})
	}
	s := openSession(t, r, q)
	for range 2 {
		got, err := s.Score(t.Context(), berries, weights)
		if err != nil || !sameScores(got, want) {
			t.Fatalf("%v, error %v, want %v", got, err, want)
		}
		w.kill(t, syscall.SIGKILL)
	}
	if held.Load() != 1 {
		t.Errorf("%d requests hold folders, want 1", held.Load())
	}
	if err := s.Close(); err != nil || held.Load() != 0 {
		t.Errorf("closed: error %v, %d requests hold folders", err, held.Load())
	}
	refuses(t, r, q)
}

func refuses(t *testing.T, r *service.Remote, q service.OpenRequest) {
	t.Helper()
	for name, c := range map[string]struct {
		change func(*service.OpenRequest)
		code   fault.Code
		field  string
	}{
		"folder of a base":   {func(q *service.OpenRequest) { q.Base.Path = "/etc" }, fault.Invalid, "base"},
		"no base":            {func(q *service.OpenRequest) { q.Base.Name = "" }, fault.Invalid, "base"},
		"unknown base":       {func(q *service.OpenRequest) { q.Base.Name = "x" }, fault.NotFound, "base"},
		"folder of a module": {func(q *service.OpenRequest) { q.Modules[0].Path = "/etc" }, fault.Invalid, "modules"},
		"no digest":          {func(q *service.OpenRequest) { q.Modules[0].Digest = "" }, fault.Invalid, "modules"},
		"not a digest":       {func(q *service.OpenRequest) { q.Modules[0].Digest = "../x" }, fault.Invalid, "modules"},
		"base's not one":     {func(q *service.OpenRequest) { q.Base.Digest = "x" }, fault.Invalid, "base"},
		"memory":             {func(q *service.OpenRequest) { q.Limits.Memory = 1 << 40 }, fault.Invalid, "limits"},
		"static merge":       {func(q *service.OpenRequest) { q.Method = string(lora.TIES) }, fault.Unsupported, "method"},
	} {
		changed := q
		changed.Modules = append([]service.Folder(nil), q.Modules...)
		c.change(&changed)
		_, err := r.Open(t.Context(), changed)
		if f := faultOf(err); f.Code != c.code || f.Field != c.field || strings.Contains(f.Message, "/") {
			t.Errorf("%s: %+v, want %s in %s", name, f, c.code, c.field)
		}
	}
}
