package service_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/gpu/engine"
	"github.com/medley-lora/medley/gpu/service"
	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/lora"
	"github.com/medley-lora/medley/shared/task"
)

// uploads counts what a backend is given.
type uploads struct {
	backend.Backend
	mu              sync.Mutex
	tables, factors int
}

func (u *uploads) count(n *int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	*n++
}

// Table is a base's first: there is one of it.
func (u *uploads) Table(t []float32, n, d int) (backend.Resident, error) {
	u.count(&u.tables)
	return u.Backend.Table(t, n, d)
}

func (u *uploads) Factor(a, b []float32, rank, in, out int, scale float32) (backend.Resident, error) {
	u.count(&u.factors)
	return u.Backend.Factor(a, b, rank, in, out, scale)
}

func (u *uploads) SplitsHeads() bool { return backend.SplitsHeads(u.Backend) }

func (u *uploads) told() (bases, factors int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.tables, u.factors
}

// residents is a server with a budget, whose uploads are counted.
func residents(t *testing.T, memory int64) (*service.Client, *uploads) {
	t.Helper()
	b, _, err := openCPU(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	u := &uploads{Backend: b}
	server := serverOf(func(context.Context) (backend.Backend, string, error) { return u, "", nil }, service.HostOptions{Memory: memory})
	t.Cleanup(func() { server.Close() })
	c, _ := clientOf(t, server)
	return c, u
}

func stats(t *testing.T, c *service.Client) service.Stats {
	t.Helper()
	h, err := c.Health(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return h.Stats
}

// known gives folders digests: the letters', in turn.
func known(q service.OpenRequest, letters string) service.OpenRequest {
	q.Base.Digest = digestOf(letters[:1])
	for i := range q.Modules {
		q.Modules[i].Digest = digestOf(letters[i+1 : i+2])
	}
	return q
}

var berries = []task.Example{{Input: "one berry , several", Output: "berries"}}

// scoreAll opens a session, scores with every module, and closes it unless it is to be kept.
func scoreAll(t *testing.T, c *service.Client, q service.OpenRequest) (*service.Session, float64) {
	t.Helper()
	s := openSession(t, c, q)
	weights := make([]float64, len(q.Modules))
	for i := range weights {
		weights[i] = 1
	}
	scores, err := s.Score(t.Context(), berries, [][]float64{weights})
	if err != nil {
		t.Fatal(err)
	}
	return s, scores[0].Loss
}

func shut(t *testing.T, sessions ...*service.Session) {
	t.Helper()
	for _, s := range sessions {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// What has a digest is uploaded once for all sessions, and stays after the last; what has none goes with it.
func TestResidentsAreShared(t *testing.T) {
	z := newZoo(t)
	c, u := residents(t, 1<<30)
	q := known(z.request(lora.Delta, "plural", "french"), "0ab")
	first, loss := scoreAll(t, c, q)
	_, factors := u.told()
	renamed := known(z.request(lora.Delta, "plural"), "0a")
	renamed.Modules[0].Name = "by another name"
	second, _ := scoreAll(t, c, renamed)
	shut(t, first, second)
	third, again := scoreAll(t, c, q)
	if bases, all := u.told(); bases != 1 || all != factors || factors == 0 {
		t.Errorf("%d bases and %d factors were uploaded, want 1 and %d", bases, all, factors)
	}
	if again != loss {
		t.Errorf("loss %v, then %v", loss, again)
	}
	if s := stats(t, c); s.Bases != 1 || s.Modules != 2 || s.Evictions != 0 {
		t.Errorf("%+v, want one base and two modules", s)
	}
	shut(t, third)
	plain := z.request(lora.Delta, "plural")
	before := stats(t, c).Resident
	own, _ := scoreAll(t, c, plain)
	if s := stats(t, c); s.Bases != 2 || s.Modules != 3 {
		t.Errorf("%+v, want two bases and three modules", s)
	}
	shut(t, own)
	if s := stats(t, c); s.Bases != 1 || s.Modules != 2 || s.Resident != before {
		t.Errorf("%+v, want %d bytes: what has no digest has gone", s, before)
	}
}

// Two modules of one name with different bytes are two modules, whatever was loaded before.
func TestBadInput_33_SameNameOtherBytes(t *testing.T) {
	z := newZoo(t)
	c, _ := residents(t, 1<<30)
	q := known(z.request(lora.Delta, "plural"), "0a")
	first, loss := scoreAll(t, c, q)
	other := known(z.request(lora.Delta, "french"), "0b")
	other.Modules[0].Name = "plural"
	second, otherLoss := scoreAll(t, c, other)
	third, again := scoreAll(t, c, q)
	shut(t, first, second, third)
	lone := z.request(lora.Delta, "french")
	fourth, want := scoreAll(t, c, lone)
	shut(t, fourth)
	if otherLoss == loss || otherLoss != want || again != loss {
		t.Errorf("losses %v, %v, %v; want that of the other bytes, %v, second", loss, otherLoss, again, want)
	}
}

// copies makes folders with the same base, which have digests of their own.
func (z zoo) copies(t *testing.T, letters string, modules ...string) map[string]service.OpenRequest {
	t.Helper()
	all := map[string]service.OpenRequest{}
	for _, letter := range strings.Split(letters, "") {
		folder := filepath.Join(t.TempDir(), "base")
		if err := os.CopyFS(folder, os.DirFS(filepath.Join(z.dir, "base"))); err != nil {
			t.Fatal(err)
		}
		q := known(z.request(lora.Delta, modules...), letter+"abcdef")
		q.Base.Path = folder
		all[letter] = q
	}
	return all
}

// The least recently used of what nothing uses makes room; what is in use stays, and what does not fit beside it is refused.
func TestEviction(t *testing.T) {
	z := newZoo(t)
	c, _ := residents(t, 1<<30)
	bases := z.copies(t, "1234", "plural")
	s, _ := scoreAll(t, c, bases["1"])
	shut(t, s)
	one := stats(t, c).Resident // a base and a module

	c, u := residents(t, one*5/2) // room for two
	open := func(letter string) *service.Session {
		t.Helper()
		s, _ := scoreAll(t, c, bases[letter])
		return s
	}
	uploaded := 0
	expect := func(what string, uploads, loaded int) {
		t.Helper()
		uploaded += uploads
		bases, _ := u.told()
		if s := stats(t, c); bases != uploaded || s.Bases != loaded || s.Resident > s.Memory {
			t.Errorf("%s: %d uploads, want %d; %+v, want %d bases", what, bases, uploaded, s, loaded)
		}
	}
	shut(t, open("1"))
	shut(t, open("2"))
	shut(t, open("1"))
	expect("two fit", 2, 2)
	shut(t, open("3"))
	expect("2 makes room", 1, 2)
	shut(t, open("1"))
	expect("1 has stayed", 0, 2)
	held := open("2")
	expect("3 makes room", 1, 2)
	alsoHeld := open("4")
	expect("1 makes room", 1, 2)
	_, err := c.Open(t.Context(), bases["3"])
	if f := faultOf(err); f.Code != fault.TooLarge || f.Field != "--base" || !strings.Contains(f.Message, "of memory; what is in use holds") {
		t.Errorf("%+v, want too large", f)
	}
	expect("what is in use stays", 0, 2)
	if _, err := held.Score(t.Context(), berries, [][]float64{{1}}); err != nil {
		t.Error(err)
	}
	shut(t, held, alsoHeld)
	shut(t, open("3"))
	expect("2 makes room again", 1, 2)
	if s := stats(t, c); s.Evictions == 0 {
		t.Errorf("%+v", s)
	}
}

// A module makes room before its base does, and one that does not fit is its request's error alone.
func TestModulesMakeRoom(t *testing.T) {
	z := newZoo(t)
	c, _ := residents(t, 1<<30)
	s, _ := scoreAll(t, c, known(z.request(lora.Delta), "0"))
	base := stats(t, c).Resident
	shut(t, s)
	s, _ = scoreAll(t, c, known(z.request(lora.Delta, "plural"), "0a"))
	module := stats(t, c).Resident - base
	shut(t, s)

	c, _ = residents(t, base+module*3/2)
	s, _ = scoreAll(t, c, known(z.request(lora.Delta, "plural"), "0a"))
	shut(t, s)
	s, _ = scoreAll(t, c, known(z.request(lora.Delta, "french"), "0b"))
	if got := stats(t, c); got.Bases != 1 || got.Modules != 1 || got.Evictions != 1 || got.Resident != base+module {
		t.Errorf("%+v, want one module of %d bytes", got, module)
	}
	two := openSession(t, c, known(z.request(lora.Delta, "plural", "french"), "0ab"))
	_, err := two.Score(t.Context(), berries, [][]float64{{1, 1}})
	if f := faultOf(err); f.Code != fault.TooLarge || f.Field != "module plural" {
		t.Errorf("%+v, want too large", f)
	}
	if _, err := two.Score(t.Context(), berries, [][]float64{{0, 1}}); err != nil {
		t.Errorf("with the module that is there: %v", err)
	}
	shut(t, s, two)
}

// A GGUF base takes at an evaluator what it takes in the program itself: its blocks stay packed there too.
func TestPackedBasesStayPacked(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("..", "engine", "testdata", "causal", "*.gguf"))
	if err != nil || len(files) < 3 {
		t.Fatalf("%v, %v", files, err)
	}
	packed := 0
	for _, path := range files {
		b, _, err := openCPU(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		e, err := engine.Open(t.Context(), path, b, engine.Options{})
		if err != nil {
			t.Fatal(err)
		}
		want := e.Bytes()
		e.Close()
		b.Close()
		f, err := engine.OpenFolder(path)
		if err != nil {
			t.Fatal(err)
		}
		parameters, _ := f.Store.Size()
		f.Store.Close()
		if want < 4*parameters {
			packed++
		}
		server := serverOf(openCPU, service.HostOptions{Memory: want + want/4})
		c, _ := clientOf(t, server)
		s, err := c.Open(t.Context(), service.OpenRequest{Base: service.Folder{Path: path}, Method: string(lora.Delta)})
		if err != nil {
			t.Fatal(err)
		}
		h, err := c.Health(t.Context())
		if err != nil || h.Stats.Resident != want {
			t.Errorf("%s: %d bytes, want %d, %v", filepath.Base(path), h.Stats.Resident, want, err)
		}
		s.Close()
		server.Close()
	}
	if packed == 0 {
		t.Error("no file has blocks that stay packed")
	}
}
