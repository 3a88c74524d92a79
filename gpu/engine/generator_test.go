package engine_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/gpu/engine"
	"github.com/medley-lora/medley/gpu/engine/enginetest"
)

// watched is a backend that counts what passes embed and read, and may break them. Angles of positions count as tokens do.
type watched struct {
	backend.Backend
	rows, most atomic.Int64  // embedded, and read at once
	gate       chan struct{} // if not nil, steps wait for it
	broken     atomic.Bool
}

var errBroken = errors.New("broken")

func (c *watched) Begin(ctx context.Context) backend.Pass {
	return watchedPass{c.Backend.Begin(ctx), c}
}

type watchedPass struct {
	backend.Pass
	c *watched
}

func (p watchedPass) Embed(table backend.Resident, ids []int32) backend.Tensor {
	p.c.rows.Add(int64(len(ids)))
	return p.Pass.Embed(table, ids)
}

func (p watchedPass) Read(t backend.Tensor) ([]float32, error) {
	if p.c.gate != nil {
		<-p.c.gate
	}
	if p.c.broken.Load() {
		return nil, errBroken
	}
	n, _ := t.Dims()
	p.c.most.Store(max(p.c.most.Load(), int64(n)))
	return p.Pass.Read(t)
}

// openWatched is a small decoder-only model with a module, on a backend that counts.
func openWatched(t *testing.T, o engine.Options) (*engine.Engine, *watched, int) {
	t.Helper()
	c := &watched{Backend: backends["cpu"](t)}
	e := enginetest.OpenCausal(t, "qwen2", c, o)
	number, err := e.AddModule(enginetest.CausalAdapter(t, "qwen2"))
	if err != nil {
		t.Fatal(err)
	}
	return e, c, number
}

// tokens are n tokens of texts that begin alike.
func tokens(n int, last ...int32) []int32 {
	ids := make([]int32, n)
	for i := range ids {
		ids[i] = int32(300 + i*7%200)
	}
	return append(ids, last...)
}

// sampled never ends early, in practice, and shows any difference in logits.
var sampled = engine.Sampling{MaxTokens: 40, Temperature: 1.5, Seed: 4}

func generate(t *testing.T, e *engine.Engine, requests ...engine.Request) [][]int32 {
	t.Helper()
	outputs, err := e.Generate(t.Context(), requests, sampled, engine.Listener{})
	if err != nil {
		t.Error(err)
		return make([][]int32, len(requests))
	}
	return outputs
}

// TestCallsAreJoined: calls at one time share steps and the beginnings of sources, and each has the tokens that it has alone, whatever
// memory there is.
func TestCallsAreJoined(t *testing.T) {
	e, c, module := openWatched(t, engine.Options{})
	half := &engine.Composition{Terms: []backend.Term{{Module: module, Weight: 0.5}}}
	same := &engine.Composition{Terms: slices.Clone(half.Terms)}
	calls := [][]engine.Request{
		{{Source: tokens(100, 1, 2)}, {Source: tokens(3)}},
		{{Source: tokens(100, 3), Composition: half}, {Source: tokens(65, 9, 9), Composition: half}, {Source: tokens(100, 4), Composition: same}},
		{{Source: tokens(1)}},
		{{Source: tokens(100, 3), Composition: same, MaxTokens: 3}},
		{{Source: tokens(96), Composition: half}, {Source: tokens(97), Composition: half}, {Source: tokens(128), Composition: half}},
	}
	var alone [][][]int32
	for _, requests := range calls {
		var each [][]int32
		for i := range requests {
			padded := slices.Repeat([]engine.Request{{Source: tokens(2), MaxTokens: 1}}, i+1) // a request's draws go by its place
			padded[i] = requests[i]
			each = append(each, generate(t, e, padded...)[i])
		}
		alone = append(alone, each)
	}
	small, _, _ := openWatched(t, engine.Options{Memory: 1})
	for name, e := range map[string]*engine.Engine{"": e, " with little memory": small} {
		c.most.Store(0)
		c.gate = make(chan struct{})
		var all sync.WaitGroup
		for i, requests := range calls {
			all.Go(func() {
				for j, ids := range generate(t, e, requests...) {
					if !slices.Equal(ids, alone[i][j]) {
						t.Errorf("call %d, request %d%s: %v, alone %v", i, j, name, ids, alone[i][j])
					}
				}
			})
		}
		time.Sleep(50 * time.Millisecond) // the first step of the first call waits for the others
		close(c.gate)
		all.Wait()
		c.gate = nil
		if n := c.most.Load(); name == "" && n < 6 {
			t.Errorf("at most %d sequences are continued in one step: the calls were not joined", n)
		}
	}
}

// TestBeginningsAreShared: what sources have in common is computed once, also for calls that come later if the cache is kept.
func TestBeginningsAreShared(t *testing.T) {
	e, c, module := openWatched(t, engine.Options{KeepCache: time.Hour})
	requests := make([]engine.Request, 20)
	for i := range requests {
		requests[i] = engine.Request{Source: tokens(200, int32(i)), MaxTokens: 1}
	}
	rows := func(f func()) int64 {
		c.rows.Store(0)
		f()
		return c.rows.Load() / 2 // beside tokens there are angles
	}
	// 192 of the tokens are whole pages; each sequence has nine of its own.
	if n := rows(func() { generate(t, e, requests...) }); n != 192+20*9 {
		t.Errorf("%d tokens were fed, want %d", n, 192+20*9)
	}
	if n := rows(func() { generate(t, e, requests[:2]...) }); n != 2*9 {
		t.Errorf("later %d tokens were fed, want %d", n, 2*9)
	}
	requests[0].Salt = "another's"
	if n := rows(func() { generate(t, e, requests[0]) }); n != 201 {
		t.Errorf("under another salt %d tokens were fed, want all %d", n, 201)
	}
	under := func(module int) engine.Request {
		return engine.Request{Source: tokens(200, 0), Composition: &engine.Composition{Terms: []backend.Term{{Module: module, Weight: 1}}}}
	}
	adapted := generate(t, e, under(module))
	e.RemoveModule(module)
	other := enginetest.CausalAdapter(t, "qwen2")
	for i := range other.Layers {
		other.Layers[i].Scale *= -2
	}
	again, err := e.AddModule(other)
	if err != nil || again != module {
		t.Fatalf("module %d, %v: want the number that was given back", again, err)
	}
	got := generate(t, e, under(again))
	fresh, _, _ := openWatched(t, engine.Options{})
	number, err := fresh.AddModule(other)
	if err != nil {
		t.Fatal(err)
	}
	if want := generate(t, fresh, under(number)); !slices.Equal(got[0], want[0]) || slices.Equal(got[0], adapted[0]) {
		t.Errorf("under another module of the same number: %v, want %v; under the first %v", got[0], want[0], adapted[0])
	}
}

// TestCallsEnd: a call that is canceled or fails leaves the others and later ones alone, and nothing of it goes on.
func TestCallsEnd(t *testing.T) {
	e, c, _ := openWatched(t, engine.Options{})
	want := generate(t, e, engine.Request{Source: tokens(50)})[0]
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	all.Go(func() {
		many := slices.Repeat([]engine.Request{{Source: tokens(30, 5)}}, 50)
		outputs, err := e.Generate(ctx, many, sampled, engine.Listener{Token: func(request int, _ int32) bool {
			if request == 3 {
				cancel()
			}
			return true
		}})
		if !errors.Is(err, context.Canceled) || outputs != nil {
			t.Errorf("a call that was canceled: %d outputs, %v", len(outputs), err)
		}
	})
	all.Go(func() {
		if ids := generate(t, e, engine.Request{Source: tokens(50)})[0]; !slices.Equal(ids, want) {
			t.Errorf("beside a call that is canceled %v, want %v", ids, want)
		}
	})
	all.Wait()
	if _, err := e.Generate(ctx, []engine.Request{{Source: tokens(5)}}, sampled, engine.Listener{}); !errors.Is(err, context.Canceled) {
		t.Errorf("a call that was canceled before: %v", err)
	}
	c.broken.Store(true)
	for range 3 {
		all.Go(func() {
			if _, err := e.Generate(t.Context(), []engine.Request{{Source: tokens(50)}}, sampled, engine.Listener{}); !errors.Is(err, errBroken) {
				t.Errorf("a call in a pass that breaks: %v", err)
			}
		})
	}
	all.Wait()
	c.broken.Store(false)
	if ids := generate(t, e, engine.Request{Source: tokens(50)})[0]; !slices.Equal(ids, want) {
		t.Errorf("after all that %v, want %v", ids, want)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Generate(t.Context(), []engine.Request{{Source: tokens(5)}}, sampled, engine.Listener{}); err == nil {
		t.Error("an engine that is closed generates")
	}
}

// TestListenersStop: a listener that has enough hears no more of a request, and of its end once.
func TestListenersStop(t *testing.T) {
	z := openZoo(t, backends["cpu"](t), engine.Options{})
	requests := slices.Repeat([]engine.Request{{Source: z.Tokenizer.Encode("one berry , several")}}, 5)
	ends := make([]int, len(requests))
	outputs, err := z.Generate(t.Context(), requests, sampled, engine.Listener{
		Token: func(request int, _ int32) bool {
			if ends[request] > 0 {
				t.Errorf("request %d goes on after its end", request)
			}
			return request != 1
		},
		Done: func(request int) { ends[request]++ },
	})
	if err != nil || len(outputs[1]) != 1 || !slices.Equal(ends, []int{1, 1, 1, 1, 1}) {
		t.Errorf("%v, ends %v, %v", outputs, ends, err)
	}
}
