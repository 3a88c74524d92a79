package jobs_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/medley-lora/medley/edge/api"
	"github.com/medley-lora/medley/edge/archive"
	"github.com/medley-lora/medley/edge/blob"
	"github.com/medley-lora/medley/edge/compute"
	"github.com/medley-lora/medley/edge/compute/computetest"
	"github.com/medley-lora/medley/edge/jobs"
	"github.com/medley-lora/medley/edge/record"
	"github.com/medley-lora/medley/edge/redis"
	"github.com/medley-lora/medley/edge/redis/redistest"
	"github.com/medley-lora/medley/edge/store"
	"github.com/medley-lora/medley/shared/compose"
	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/lora"
	"github.com/medley-lora/medley/shared/peft"
)

const owner = "alice"

// platform is what a worker works with, in a folder.
type platform struct {
	t     testing.TB
	dir   string
	store *store.Store
	blobs *blob.Store
	redis *redis.Client
	queue *jobs.Queue

	modules []string // ids
}

func openPlatform(t testing.TB, dir, redisURL string) *platform {
	t.Helper()
	ctx := context.Background()
	s, err := store.Open(ctx, "sqlite:"+filepath.Join(dir, "medley.db"))
	if err != nil {
		t.Fatal(err)
	}
	blobs, err := blob.Open(ctx, (&url.URL{Scheme: "file", Path: filepath.Join(dir, "blobs")}).String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(); blobs.Close() })
	c := redistest.Open(t, redisURL)
	return &platform{t: t, dir: dir, store: s, blobs: blobs, redis: c, queue: jobs.NewQueue(c, jobs.QueueOptions{Silence: 2 * time.Second, Poison: 50})}
}

// newPlatform has three modules, of which two have one name.
func newPlatform(t testing.TB, dir, redisURL string) *platform {
	t.Helper()
	p := openPlatform(t, dir, redisURL)
	for i, name := range []string{"french", "german", "german"} {
		folder := filepath.Join(t.TempDir(), "m")
		layer := lora.Layer{Target: "encoder.0.q", In: 4, Out: 4, Rank: 2, Scale: 1, A: make([]float32, 8), B: make([]float32, 8)}
		layer.A[0], layer.B[0] = float32(i+1), 1
		if err := peft.Write(folder, &lora.Adapter{Name: name, Base: "tiny", Layers: []lora.Layer{layer}}, peft.WriteOptions{}); err != nil {
			t.Fatal(err)
		}
		content := archive.Stream(t.Context(), folder)
		digest, size, err := p.blobs.Put(t.Context(), content, 1<<30)
		content.Close()
		if err != nil {
			t.Fatal(err)
		}
		m, err := p.store.CreateModule(t.Context(), record.Module{
			Object: record.Object{Owner: owner}, Name: name, Visibility: record.Private, Digest: digest, Size: size, Base: "tiny", Rank: 2,
		}, store.Once{})
		if err != nil {
			t.Fatal(err)
		}
		p.modules = append(p.modules, m.ID)
	}
	return p
}

// request is one for 40 evaluations in rounds of 4, changed.
func (p *platform) request(change func(*api.CompositionRequest)) record.Composition {
	p.t.Helper()
	seed := int64(7)
	r := api.CompositionRequest{
		Base: "tiny", Modules: p.modules, Method: lora.Delta, Objective: "sparse", Optimizer: "gntr", Budget: 40, Batch: 4, Bound: 1.5, Seed: &seed,
		Examples: []api.Example{{Input: "a", Output: "b"}, {Input: "c", Output: "d"}, {Input: "e", Output: "f"}},
		Eval:     []api.Example{{Input: "g", Output: "g"}, {Input: "h", Output: "i"}},
	}
	if change != nil {
		change(&r)
	}
	text, err := json.Marshal(r)
	if err != nil {
		p.t.Fatal(err)
	}
	c, err := p.store.CreateComposition(context.Background(), record.Composition{Object: record.Object{Owner: owner}, Request: text, Budget: r.Budget}, store.Once{})
	if err != nil {
		p.t.Fatal(err)
	}
	if _, err := p.queue.Enqueue(context.Background(), c.ID); err != nil {
		p.t.Fatal(err)
	}
	return c
}

// work runs a worker until stop is called, which waits for it.
func (p *platform) work(name string, models compute.Models, change func(*jobs.WorkerOptions)) (stop func()) {
	p.t.Helper()
	library, err := archive.NewLibrary(p.blobs, filepath.Join(p.dir, "library-"+name), 1<<30)
	if err != nil {
		p.t.Fatal(err)
	}
	progress := redis.NewProgress(p.redis, redis.ProgressOptions{})
	o := jobs.WorkerOptions{
		Queue: p.queue, Store: p.store, Blobs: p.blobs, Library: library, Models: models, Optimizers: computetest.Optimizers{}, Progress: progress,
		Name: name, Dir: filepath.Join(p.dir, "work-"+name), Lease: 2 * time.Second, Log: slog.New(slog.DiscardHandler),
	}
	if change != nil {
		change(&o)
	}
	w, err := jobs.NewWorker(o)
	if err != nil {
		p.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.Run(ctx)
		progress.Close()
	}()
	stop = func() { cancel(); <-done }
	p.t.Cleanup(stop)
	return stop
}

// until waits for a composition to be as it should.
func (p *platform) until(id, what string, is func(record.Composition) bool) record.Composition {
	p.t.Helper()
	var c record.Composition
	for begun := time.Now(); time.Since(begun) < time.Minute; time.Sleep(10 * time.Millisecond) {
		var err error
		if c, err = p.store.Composition(context.Background(), owner, id); err != nil {
			p.t.Fatal(err)
		}
		if is(c) {
			return c
		}
	}
	p.t.Fatalf("the composition is not %s, but %s after %d evaluations, fence %d, fault %v", what, c.State, c.Done, c.Fence, c.Fault)
	return c
}

func (p *platform) ended(id string) record.Composition {
	p.t.Helper()
	return p.until(id, "over", func(c record.Composition) bool { return c.State.Ended() })
}

func (p *platform) journal(id string) []string {
	p.t.Helper()
	lines, err := p.store.Journal(context.Background(), owner, id, 0, 1000)
	if err != nil {
		p.t.Fatal(err)
	}
	var all []string
	for i, line := range lines {
		if line.Number != i {
			p.t.Fatalf("line %d of the journal is number %d", i, line.Number)
		}
		all = append(all, string(line.Line))
	}
	return all
}

// output reads the result of a composition without what differs from run to run.
func output(t testing.TB, c record.Composition) compose.Output {
	t.Helper()
	var o compose.Output
	if err := json.Unmarshal(c.Result, &o); err != nil {
		t.Fatalf("the result %q: %v", c.Result, err)
	}
	o.Seconds, o.SearchSeconds = 0, 0
	return o
}

func TestWorker(t *testing.T) {
	redistest.Each(t, func(t *testing.T, c *redis.Client) {
		p := newPlatform(t, t.TempDir(), "embedded:")
		p.redis, p.queue = c, jobs.NewQueue(c, jobs.QueueOptions{})
		models := &computetest.Models{}
		job := p.request(nil)
		progress := redis.NewProgress(c, redis.ProgressOptions{})
		t.Cleanup(progress.Close)
		p.work("w", models, nil)
		got := p.ended(job.ID)
		if got.State != record.Succeeded || got.Done != 40 || got.Fence != 1 || got.Fault != nil {
			t.Fatalf("%s after %d evaluations, fence %d, fault %v", got.State, got.Done, got.Fence, got.Fault)
		}
		o := output(t, got)
		if o.Evaluations != 40 || o.Backend != "fake" || o.Adapter != got.Adapter || o.Mode != "sandboxed" || o.Optimizer != "gntr" || o.Seed != 7 {
			t.Errorf("the result is %+v", o)
		}
		if want := []string{"french", p.modules[1], p.modules[2]}; !slices.Equal(o.Modules, want) {
			t.Errorf("modules are called %v, want %v", o.Modules, want)
		}
		if o.Composed.Objective >= o.ZeroShot.Objective || o.EvalExamples != 2 || *o.Composed.Accuracy != 50 {
			t.Errorf("composed %+v, zero %+v", o.Composed, o.ZeroShot)
		}
		if lines := p.journal(job.ID); len(lines) != 40 {
			t.Errorf("%d lines in the journal", len(lines))
		}
		checkAdapter(t, p, got.Adapter)
		page := read(t, p.blobs, got.Report)
		if !strings.Contains(page, job.ID) || !strings.Contains(page, "<html") {
			t.Errorf("the report is %.200q", page)
		}
		if models.Closed.Load() != models.Opened.Load() {
			t.Error("a model is still open")
		}
		checkHints(t, progress, job.ID)
	})
}

func read(t *testing.T, blobs *blob.Store, digest string) string {
	t.Helper()
	r, err := blobs.Open(t.Context(), digest)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	content, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func checkAdapter(t *testing.T, p *platform, digest string) {
	t.Helper()
	library, err := archive.NewLibrary(p.blobs, t.TempDir(), 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	folder, release, err := library.Folder(t.Context(), digest)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	m, err := peft.Open(folder, peft.OpenOptions{})
	if err != nil || m.Config.BaseModel != "tiny" {
		t.Errorf("the adapter is %+v, %v", m, err)
	}
}

// checkHints follows what was published, after the end.
func checkHints(t *testing.T, progress *redis.Progress, id string) {
	t.Helper()
	f, err := progress.Follow(id, "")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	next := 0
	for changes := 0; changes < 2; {
		e, err := f.Next(ctx)
		if err != nil {
			t.Fatalf("after %d evaluations and %d changes: %v", next, changes, err)
		}
		var h jobs.Hint
		if err := json.Unmarshal(e.Data, &h); err != nil {
			t.Fatal(err)
		}
		if h.Line == nil {
			changes++
			continue
		}
		if h.Number != next {
			t.Errorf("hint of evaluation %d, want %d", h.Number, next)
		}
		next++
	}
	if next != 40 {
		t.Errorf("%d hints of evaluations", next)
	}
}

func TestWorkerFails(t *testing.T) {
	p := newPlatform(t, t.TempDir(), "embedded:")
	plugin := func(words string) func(*api.CompositionRequest) {
		digest, size, err := p.blobs.Put(t.Context(), strings.NewReader(words), 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		made, err := p.store.CreatePlugin(t.Context(), record.Plugin{
			Object: record.Object{Owner: owner}, Name: words, Version: "1", Visibility: record.Private, Digest: digest, Size: size,
		}, store.Once{})
		if err != nil {
			t.Fatal(err)
		}
		return func(r *api.CompositionRequest) { r.Optimizer = made.ID }
	}
	none := record.NewID(record.ModuleID)
	p.work("w", &computetest.Models{}, nil)
	for name, c := range map[string]struct {
		change func(*api.CompositionRequest)
		code   fault.Code
		says   string
		done   int
	}{
		"no such base":      {func(r *api.CompositionRequest) { r.Base = "other" }, fault.NotFound, "base: there is no base other", 0},
		"no such module":    {func(r *api.CompositionRequest) { r.Modules = []string{none} }, fault.NotFound, "modules: there is no module " + none, 0},
		"rank":              {func(r *api.CompositionRequest) { r.Rank = 5 }, fault.Invalid, "rank: 5 is more than the 4 that the largest layer can have", 0},
		"rank of a product": {func(r *api.CompositionRequest) { r.Rank, r.Method = 2, lora.Product }, fault.Invalid, "rank: the method product does not take a rank", 0},
		"plugin breaks":     {plugin("breaks"), fault.Invalid, "optimizer: plugin: breaks", 0},
		"plugin fails":      {plugin("fails"), fault.Invalid, "optimizer: plugin: failed in opt_ask", 8},
	} {
		got := p.ended(p.request(c.change).ID)
		if got.State != record.Failed || got.Fault == nil || got.Fault.Code != c.code || got.Fault.Error() != c.says || got.Done != c.done {
			t.Errorf("%s: %s after %d, %+v", name, got.State, got.Done, got.Fault)
			continue
		}
		if (got.Adapter != "") != (c.done > 0) || (got.Result != nil) != (c.done > 0) {
			t.Errorf("%s: adapter %q, result %q", name, got.Adapter, got.Result)
		}
		if c.done > 0 && output(t, got).Plugin.Version != "1.0" {
			t.Errorf("%s: the result is %s", name, got.Result)
		}
	}
}

func TestWorkerCancels(t *testing.T) {
	p := newPlatform(t, t.TempDir(), "embedded:")
	p.work("w", &computetest.Models{Delay: 100 * time.Millisecond}, nil)
	job := p.request(func(r *api.CompositionRequest) { r.Budget = 4000 })
	p.until(job.ID, "under way", func(c record.Composition) bool { return c.Done >= 8 })
	if _, err := p.store.Cancel(t.Context(), owner, job.ID); err != nil {
		t.Fatal(err)
	}
	asked := time.Now()
	got := p.ended(job.ID)
	if took := time.Since(asked); took > 2*time.Second {
		t.Errorf("the end took %v", took)
	}
	if o := output(t, got); got.State != record.Canceled || o.Stopped != "canceled" || o.Composed == nil || o.Evaluations != got.Done || got.Adapter == "" {
		t.Errorf("%s after %d, result %+v", got.State, got.Done, o)
	}
}

// A worker that stops puts its composition back, and the next one goes on from the journal, to the same end.
func TestWorkerStops(t *testing.T) {
	p := newPlatform(t, t.TempDir(), "embedded:")
	whole := p.request(nil)
	stop := p.work("whole", &computetest.Models{}, nil)
	p.ended(whole.ID)
	stop()

	job := p.request(nil)
	stop = p.work("first", &computetest.Models{Delay: 50 * time.Millisecond}, nil)
	before := p.until(job.ID, "under way", func(c record.Composition) bool { return c.Done >= 12 })
	stop()
	if c := p.until(job.ID, "waiting", func(c record.Composition) bool { return c.State == record.Queued }); c.Done < before.Done {
		t.Errorf("%d evaluations are left of %d", c.Done, before.Done)
	}
	second := &computetest.Models{}
	p.work("second", second, nil)
	got := p.ended(job.ID)
	if !slices.Equal(p.journal(job.ID), p.journal(whole.ID)) {
		t.Error("the journal differs from that of the unbroken run")
	}
	compareOutputs(t, got, p.ended(whole.ID))
	if scored := second.Scored.Load(); scored > 40-int64(before.Done)+8 {
		t.Errorf("%d candidates were scored again or anew", scored)
	}
}

func compareOutputs(t *testing.T, got, want record.Composition) {
	t.Helper()
	x, errX := json.Marshal(output(t, got))
	y, errY := json.Marshal(output(t, want))
	if errX != nil || errY != nil || !bytes.Equal(x, y) || got.Adapter != want.Adapter || got.State != want.State {
		t.Errorf("%s, adapter %s, result\n%s\nwant %s, %s,\n%s", got.State, got.Adapter, x, want.State, want.Adapter, y)
	}
}

// Another worker takes the lease from one that seems dead; the first does nothing more.
func TestBadInput_56_WorkerLosesItsLease(t *testing.T) {
	p := newPlatform(t, t.TempDir(), "embedded:")
	job := p.request(nil)
	stop := p.work("first", &computetest.Models{Delay: 100 * time.Millisecond}, nil)
	before := p.until(job.ID, "under way", func(c record.Composition) bool { return c.Done >= 4 })
	if _, err := p.store.Extend(t.Context(), job.ID, before.Fence, -time.Second); err != nil { // as if the first had been silent
		t.Fatal(err)
	}
	thief, ok, err := p.store.Lease(t.Context(), "thief", time.Minute, job.ID)
	if !ok || err != nil {
		t.Fatal(ok, err)
	}
	time.Sleep(300 * time.Millisecond)
	stop()
	c, err := p.store.Composition(t.Context(), owner, job.ID)
	if err != nil || c.State != record.Running || c.Worker != "thief" || c.Fence != thief.Fence || c.Done != thief.Done {
		t.Errorf("the thief's composition is %s of %s after %d evaluations, %v", c.State, c.Worker, c.Done, err)
	}
}

// What is away for a while costs time and nothing else.
func TestWorkerPersists(t *testing.T) {
	p := newPlatform(t, t.TempDir(), "embedded:")
	var calls atomic.Int64
	models := &computetest.Models{Fail: func(call string) error {
		if n := calls.Add(1); n == 1 || n == 5 {
			return fault.New(fault.Internal, "evaluator", "is away, asked to %s", call)
		}
		return nil
	}}
	p.work("w", models, nil)
	if got := p.ended(p.request(nil).ID); got.State != record.Succeeded || got.Done != 40 || got.Fence != 1 {
		t.Errorf("%s after %d evaluations, fence %d, %v", got.State, got.Done, got.Fence, got.Fault)
	}
}

// A composition that every worker dies of is given up.
func TestWorkerGivesUp(t *testing.T) {
	p := newPlatform(t, t.TempDir(), "embedded:")
	job := p.request(nil)
	for i := range 3 {
		if _, ok, err := p.store.Lease(t.Context(), fmt.Sprint("dying", i), time.Millisecond, job.ID); !ok || err != nil {
			t.Fatal(ok, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
	p.work("w", &computetest.Models{}, func(o *jobs.WorkerOptions) { o.Attempts = 3 })
	got := p.ended(job.ID)
	if got.State != record.Failed || got.Fault.Code != fault.Internal || !strings.Contains(got.Fault.Message, "begun 3 times") {
		t.Errorf("%s, %+v", got.State, got.Fault)
	}
}
