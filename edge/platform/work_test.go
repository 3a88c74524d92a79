package platform_test

import (
	"archive/zip"
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/medley-lora/medley/edge/api"
	"github.com/medley-lora/medley/edge/auth"
	"github.com/medley-lora/medley/edge/platform"
	"github.com/medley-lora/medley/edge/redis"
	"github.com/medley-lora/medley/edge/redis/redistest"
	"github.com/medley-lora/medley/edge/store"
	"github.com/medley-lora/medley/shared/task"
	"github.com/medley-lora/medley/shared/wire"
)

// sse reads server-sent events until the stream ends or stop says so.
func (w *world) sse(path, last string, stop func(kind, id, data string) bool) (kinds, ids []string) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, "GET", w.url+path, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+w.token("ann"))
	if last != "" {
		r.Header.Set("Last-Event-ID", last)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer res.Body.Close()
	var kind, id string
	for lines := bufio.NewScanner(res.Body); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), ": ")
		switch name {
		case "event":
			kind = value
		case "id":
			id = value
		case "data":
			kinds, ids = append(kinds, kind), append(ids, id)
			if stop != nil && stop(kind, id, value) {
				return kinds, ids
			}
		}
	}
	return kinds, ids
}

// A composition from its upload to its adapter, on the embedded Redis and on a server.
func TestComposition(t *testing.T) {
	for name, url := range map[string]func() string{"embedded": func() string { return "embedded:" }, "server": func() string { return redistest.Start(t).URL() }} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, url(), nil)
			ids := w.modules("ann", 3)
			w.models.Delay = 20 * time.Millisecond
			made := w.call("ann", 202, "POST", "/v1/compositions", taskOf(ids), "Idempotency-Key", "one")
			path := "/v1/compositions/" + made.field("id")
			if again := w.call("ann", 202, "POST", "/v1/compositions", taskOf(ids), "Idempotency-Key", "one"); again.field("id") != made.field("id") {
				t.Errorf("made twice: %s", again.body)
			}
			w.call("ann", 409, "POST", "/v1/compositions", taskOf(ids[:2]), "Idempotency-Key", "one")
			if a := w.call("ann", 409, "GET", path+"/adapter", nil); !strings.Contains(a.field("detail"), "no adapter yet") {
				t.Errorf("%s", a.body)
			}
			w.work()
			kinds, events := w.sse(path+"/events", "", nil)
			count := func(kind string) (n int) {
				for _, k := range kinds {
					if k == kind {
						n++
					}
				}
				return n
			}
			if kinds[0] != "state" || count("evaluation") != 12 || kinds[len(kinds)-1] != "end" || events[len(events)-1] != "12" {
				t.Fatalf("followed %v, %v", kinds, events)
			}
			// Whoever comes back hears the rest, and nothing twice.
			kinds, events = w.sse(path+"/events", "7", nil)
			if want := []string{"8", "9", "10", "11", "12", "12"}; !slices.Equal(events, want) || kinds[0] != "evaluation" {
				t.Errorf("from 7 on: %v, %v", kinds, events)
			}
			if kinds, _ = w.sse(path+"/events", "99999", nil); !slices.Equal(kinds, []string{"end"}) {
				t.Errorf("from an event that there was not: %v", kinds)
			}
			a := w.call("ann", 200, "GET", path+"/adapter", nil)
			if z, err := zip.NewReader(bytes.NewReader(a.body), int64(len(a.body))); err != nil || len(z.File) != 2 {
				t.Errorf("the adapter: %v", err)
			}
			w.call("ann", 304, "GET", path+"/adapter", nil, "If-None-Match", a.header.Get("ETag"))
			if report := w.call("ann", 200, "GET", path+"/report", nil); !bytes.Contains(report.body, []byte("<!doctype html>")) && !bytes.Contains(report.body, []byte("<!DOCTYPE html>")) {
				t.Errorf("the report: %.100s", report.body)
			}
		})
	}
}

func TestCancelBeforeAnyoneWorks(t *testing.T) {
	w := newWorld(t, "embedded:", nil)
	path := "/v1/compositions/" + w.call("ann", 202, "POST", "/v1/compositions", taskOf(w.modules("ann", 1))).field("id")
	var all sync.WaitGroup
	all.Go(func() {
		if kinds, _ := w.sse(path+"/events", "", nil); !slices.Equal(kinds, []string{"state", "end"}) {
			t.Errorf("followed %v", kinds)
		}
	})
	time.Sleep(100 * time.Millisecond)
	w.call("ann", 202, "POST", path+"/cancel", nil)
	all.Wait()
	if a := w.call("ann", 409, "GET", path+"/adapter", nil); !strings.Contains(a.field("detail"), "ended without an adapter") {
		t.Errorf("%s", a.body)
	}
}

func (w *world) scores(evaluation string, weights [][]float64) string {
	w.t.Helper()
	return string(w.call("ann", 200, "POST", "/v1/evaluations/"+evaluation+"/scores", map[string]any{"weights": weights}).body)
}

func (w *world) evaluation(modules []string) string {
	w.t.Helper()
	return w.call("ann", 201, "POST", "/v1/evaluations", map[string]any{
		"base": "tiny", "modules": modules, "examples": []map[string]string{{"input": "a", "output": "b"}, {"input": "c", "output": "d"}},
	}).field("id")
}

// The same question is evaluated once, whoever asks it and whenever.
func TestScoresAreRemembered(t *testing.T) {
	w := newWorld(t, redistest.Start(t).URL(), nil)
	ids := w.modules("ann", 2)
	e := w.evaluation(ids)
	first := w.scores(e, [][]float64{{0, 0}, {0.5, -0.25}, {1, 1}})
	if n := w.models.Scored.Load(); n != 3 {
		t.Fatalf("%d candidates evaluated", n)
	}
	if again := w.scores(e, [][]float64{{0, 0}, {0.5, -0.25}, {1, 1}}); again != first {
		t.Errorf("remembered %s, was %s", again, first)
	}
	w.scores(w.evaluation(ids), [][]float64{{1, 1}, {2, 1}})
	if n := w.models.Scored.Load(); n != 4 {
		t.Errorf("%d candidates evaluated, want 4", n)
	}
	w.scores(w.evaluation([]string{ids[1], ids[0]}), [][]float64{{0, 0}}) // without modules their order does not matter
	if n := w.models.Scored.Load(); n != 4 {
		t.Errorf("%d candidates evaluated, want 4", n)
	}
	w.models.Delay = 100 * time.Millisecond
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() { w.scores(e, [][]float64{{3, 3}, {4, 4}}) })
	}
	all.Wait()
	if n := w.models.Scored.Load(); n != 6 {
		t.Errorf("%d candidates evaluated, want 6", n)
	}
	// And no Redis at all costs time alone.
	if err := w.redis.Pool().FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	if again := w.scores(e, [][]float64{{0, 0}, {0.5, -0.25}, {1, 1}}); again != first {
		t.Errorf("evaluated anew %s, was %s", again, first)
	}
}

func TestEvaluations(t *testing.T) {
	w := newWorld(t, "embedded:", nil)
	ids := w.modules("ann", 2)
	opened := w.call("ann", 201, "POST", "/v1/evaluations", map[string]any{
		"base": "tiny", "modules": ids, "examples": []map[string]string{{"input": "one <b>", "output": "\u202e<i>"}, {"input": "c", "output": "d"}},
	})
	e := opened.field("id")
	var counts api.Evaluation
	if err := json.Unmarshal(opened.body, &counts); err != nil {
		t.Fatal(err)
	}
	want := api.Evaluation{InputTokens: []int{2, 1}, Tokens: []int{2, 2}, Pieces: [][]string{{"\u202e<i>", ""}, {"d", ""}}}
	if !reflect.DeepEqual(api.Evaluation{InputTokens: counts.InputTokens, Tokens: counts.Tokens, Pieces: counts.Pieces}, want) {
		t.Errorf("%s", opened.body)
	}
	if again := w.call("ann", 200, "GET", "/v1/evaluations/"+e, nil); !bytes.Equal(again.body, opened.body) {
		t.Errorf("%s, was %s", again.body, opened.body)
	}
	if a := w.call("ann", 400, "POST", "/v1/evaluations/"+e+"/scores", map[string]any{"weights": [][]float64{{1}}}); a.field("field") != "weights" {
		t.Errorf("%s", a.body)
	}
	w.models.Fail = func(call string) error {
		if call == "score" {
			return errors.New("secret of the evaluator")
		}
		return nil
	}
	if a := w.call("ann", 500, "POST", "/v1/evaluations/"+e+"/scores", map[string]any{"weights": [][]float64{{1, 2}}}); bytes.Contains(a.body, []byte("secret")) {
		t.Errorf("%s", a.body)
	}
	w.models.Fail = nil
	w.call("ann", 204, "DELETE", "/v1/evaluations/"+e, nil)
	w.call("ann", 404, "POST", "/v1/evaluations/"+e+"/scores", map[string]any{"weights": [][]float64{{1, 2}}})
	w.call("ann", 400, "POST", "/v1/evaluations", map[string]any{
		"base": "large", "modules": ids, "examples": []map[string]string{{"input": "a", "output": "b"}},
	})
}

func TestGenerations(t *testing.T) {
	w := newWorld(t, "embedded:", nil)
	a := w.call("ann", 200, "POST", "/v1/generations", map[string]any{"base": "tiny", "inputs": []string{"hello", "you"}})
	texts := map[int]string{}
	var last map[string]any
	for d := json.NewDecoder(bytes.NewReader(a.body)); ; {
		var line map[string]any
		if err := d.Decode(&line); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if text, ok := line["text"].(string); ok {
			texts[int(line["input"].(float64))] += text
		}
		last = line
	}
	if fmt.Sprint(texts) != "map[0:hello 1:you]" || last["end"] != true {
		t.Errorf("%v, at last %v", texts, last)
	}
}

func TestQuotas(t *testing.T) {
	w := newWorld(t, "embedded:", func(o *platform.Options) {
		o.Quotas = platform.Quotas{Jobs: 2, Evaluations: 30, Bytes: 1600}
	})
	ids := w.modules("ann", 2) // about 650 bytes each
	if a := w.call("ann", 429, "POST", "/v1/modules?name=m3", archiveOf(t, 3), "Content-Type", "application/zip"); a.field("field") != "bytes" {
		t.Errorf("%s", a.body)
	}
	w.upload("bob", 3) // another's quota
	for range 3 {      // repeated, a create costs nothing more
		w.call("ann", 202, "POST", "/v1/compositions", taskOf(ids), "Idempotency-Key", "same")
	}
	w.call("ann", 202, "POST", "/v1/compositions", taskOf(ids))
	if a := w.call("ann", 429, "POST", "/v1/compositions", taskOf(ids)); a.field("field") != "jobs" {
		t.Errorf("%s", a.body)
	}
	// 24 of 30 evaluations went to the two; what is remembered is free.
	e := w.evaluation(ids)
	for range 2 {
		w.scores(e, [][]float64{{1, 1}, {2, 1}, {3, 1}, {4, 1}, {5, 1}, {6, 1}})
	}
	for _, call := range []struct {
		path string
		body map[string]any
	}{{"scores", map[string]any{"weights": [][]float64{{7, 1}}}}, {"suggestions", map[string]any{"count": 1}}} {
		if a := w.call("ann", 429, "POST", "/v1/evaluations/"+e+"/"+call.path, call.body); a.field("field") != "evaluations" {
			t.Errorf("%s", a.body)
		}
	}
}

// Who cancels while a model is being opened takes nothing from the others, and nothing down.
func TestOpeningIsCanceled(t *testing.T) {
	w := newWorld(t, "embedded:", nil)
	ids := w.modules("ann", 1)
	opening, canceled := make(chan struct{}), make(chan struct{})
	var once sync.Once
	w.models.Fail = func(call string) error {
		if call == "open" {
			once.Do(func() { close(opening); <-canceled })
		}
		return nil
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { <-opening; cancel() }()
	r := api.EvaluationRequest{Base: "tiny", Modules: ids, Method: "delta", Examples: []task.Example{{Input: "a", Output: "b"}}}
	_, err := w.OpenEvaluation(ctx, "ann", r, "")
	if !errors.Is(err, context.Canceled) {
		t.Errorf("a canceled opening: %v", err)
	}
	close(canceled)
	w.evaluation(ids)
	if n := w.models.Opened.Load(); n != 1 {
		t.Errorf("%d models were opened, want the one", n)
	}
}

// A suggestion is what scoring each module alone says, whatever the number of batches; a request that breaks off loses nothing.
func TestSuggestions(t *testing.T) {
	w := newWorld(t, "embedded:", nil)
	const count = 66
	ids := w.modules("ann", count)
	e := w.evaluation(ids)
	w.models.Fail = func(call string) error {
		if call == "score" && w.models.Scored.Load() >= 64 {
			return errors.New("the evaluator dies in the second batch")
		}
		return nil
	}
	w.call("ann", 500, "POST", "/v1/evaluations/"+e+"/suggestions", map[string]any{"count": 3})
	w.models.Fail = nil
	before := w.models.Scored.Load()
	var got api.Suggestions
	if err := json.Unmarshal(w.call("ann", 200, "POST", "/v1/evaluations/"+e+"/suggestions", map[string]any{"count": 3}).body, &got); err != nil {
		t.Fatal(err)
	}
	if n := w.models.Scored.Load() - before; n == 0 || n > 1+count-64 {
		t.Errorf("after the break %d candidates were evaluated, want the rest alone", n)
	}
	type one struct{ Loss float64 }
	var scores struct{ Scores []one }
	vectors := make([][]float64, 1+count)
	for i := range vectors {
		vectors[i] = make([]float64, count)
		if i > 0 {
			vectors[i][i-1] = 1
		}
	}
	if err := json.Unmarshal([]byte(w.scores(e, vectors)), &scores); err != nil {
		t.Fatal(err)
	}
	want := make([]api.Suggestion, count)
	for i, id := range ids {
		want[i] = api.Suggestion{Module: id, Loss: wire.Number(scores.Scores[i+1].Loss)}
	}
	slices.SortStableFunc(want, func(a, b api.Suggestion) int { return cmp.Compare(a.Loss, b.Loss) })
	if float64(got.BaseLoss) != scores.Scores[0].Loss || !slices.Equal(got.Modules, want[:3]) {
		t.Errorf("%+v, want %+v", got, want[:3])
	}
}

func TestRates(t *testing.T) {
	w := newWorld(t, "embedded:", func(o *platform.Options) {
		o.Rate, o.Door = redis.Rate{Count: 1, Per: time.Minute, Burst: 3}, redis.Rate{Count: 1, Per: time.Minute, Burst: 2}
	})
	for range 3 {
		w.call("ann", 200, "GET", "/v1/bases", nil)
	}
	if a := w.call("ann", 429, "GET", "/v1/modules", nil); a.header.Get("Retry-After") == "" || a.header.Get("RateLimit") == "" {
		t.Errorf("%v", a.header)
	}
	w.call("bob", 200, "GET", "/v1/bases", nil)
	guess := []byte(`{"key":"mdl_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}`)
	for i := range 4 {
		want := 401
		if i >= 2 {
			want = 429
		}
		if a := w.send("POST", "/v1/tokens/exchange", guess, nil); a.status != want {
			t.Errorf("guess %d: status %d, want %d", i+1, a.status, want)
		}
	}
}

// A key makes tokens until it is revoked, and they end with it.
func TestKeysAndTokens(t *testing.T) {
	w := newWorld(t, "embedded:", nil)
	w.Authority = w.own
	token, err := w.own.Issue("ann", auth.Request{Scopes: []string{"tokens:write", "modules:read"}})
	if err != nil {
		t.Fatal(err)
	}
	w.tokens = map[string]string{"ann": token.Text}
	var made struct {
		Key    struct{ ID string }
		Secret string
	}
	request := map[string]any{"name": "ci", "scopes": []string{"modules:read"}}
	if err := json.Unmarshal(w.call("ann", 201, "POST", "/v1/keys", request, "Idempotency-Key", "k").body, &made); err != nil {
		t.Fatal(err)
	}
	if a := w.call("ann", 201, "POST", "/v1/keys", request, "Idempotency-Key", "k"); a.field("secret") != "" || made.Secret == "" {
		t.Errorf("the secret is shown the first time only: %q, then %s", made.Secret, a.body)
	}
	w.call("ann", 403, "POST", "/v1/keys", map[string]any{"name": "ci", "scopes": []string{"compose:run"}})
	exchange, err := json.Marshal(map[string]any{"key": made.Secret})
	if err != nil {
		t.Fatal(err)
	}
	got := w.send("POST", "/v1/tokens/exchange", exchange, nil)
	if got.status != 200 || got.field("scope") != "modules:read" {
		t.Fatalf("exchanged: %d %s", got.status, got.body)
	}
	w.tokens["ci"] = got.field("token")
	w.call("ci", 200, "GET", "/v1/modules", nil)
	w.call("ci", 403, "GET", "/v1/keys", nil)
	w.call("ann", 204, "DELETE", "/v1/keys/"+made.Key.ID, nil)
	w.call("ci", 401, "GET", "/v1/modules", nil)
	if got := w.send("POST", "/v1/tokens/exchange", exchange, nil); got.status != 401 {
		t.Errorf("a revoked key: %d", got.status)
	}
	// Revocations come back from the database when Redis forgets.
	if err := w.redis.Pool().FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	w.call("ci", 401, "GET", "/v1/modules", nil)
	child := w.call("ann", 201, "POST", "/v1/tokens", map[string]any{"scopes": []string{"modules:read"}})
	w.tokens["child"] = child.field("token")
	w.call("child", 200, "GET", "/v1/modules", nil)
	w.call("ann", 204, "DELETE", "/v1/tokens/"+token.ID, nil)
	w.call("ann", 401, "GET", "/v1/modules", nil)
	w.call("child", 401, "GET", "/v1/modules", nil)
	w.Close() // writes what was told
	audits, err := w.Store.Audits(context.Background(), "", store.Page{})
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for _, a := range audits.Items {
		seen[a.Action]++
	}
	if seen[auth.LoginFailed] < 4 || seen[auth.ScopeDenied] < 1 || seen[auth.Revoked] < 2 {
		t.Errorf("audited %v", seen)
	}
}

func TestPlugins(t *testing.T) {
	w := newWorld(t, "embedded:", nil)
	if a := w.call("ann", 400, "POST", "/v1/plugins?name=p", []byte("breaks"), "Content-Type", "application/wasm"); !strings.Contains(a.field("detail"), "opens") {
		t.Errorf("%s", a.body)
	}
	w.call("ann", 200, "POST", "/v1/plugins/validate", plugin, "Content-Type", "application/wasm")
	p := w.call("ann", 201, "POST", "/v1/plugins?name=p", plugin, "Content-Type", "application/wasm")
	task := taskOf(w.modules("ann", 1))
	task["optimizer"], task["optimizer_options"] = p.field("id"), map[string]string{"a": "1"}
	w.work()
	path := "/v1/compositions/" + w.call("ann", 202, "POST", "/v1/compositions", task).field("id")
	w.sse(path+"/events", "", nil)
	var c struct {
		State  string
		Result struct{ Plugin struct{ SHA256 string } }
	}
	if err := json.Unmarshal(w.call("ann", 200, "GET", path, nil).body, &c); err != nil || c.State != "succeeded" || c.Result.Plugin.SHA256 != p.field("digest") {
		t.Errorf("%v, %+v", err, c)
	}
	task["optimizer"] = "random"
	if a := w.call("ann", 400, "POST", "/v1/compositions", task); a.field("field") != "optimizer_options" {
		t.Errorf("%s", a.body)
	}
}

func TestReadiness(t *testing.T) {
	w := newWorld(t, "embedded:", nil)
	w.call("ann", 200, "GET", "/readyz", nil)
	w.models.Fail = func(call string) error { return errors.New("secret") }
	if a := w.call("ann", 503, "GET", "/readyz", nil); bytes.Contains(a.body, []byte("secret")) || !bytes.Contains(a.body, []byte(`"evaluator":"failing"`)) {
		t.Errorf("%s", a.body)
	}
	if a := w.call("root", 200, "GET", "/metrics", nil); !bytes.Contains(a.body, []byte("medley_cache_hits_total")) {
		t.Errorf("%.300s", a.body)
	}
}
