package platform_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/medley-lora/medley/edge/archive"
	"github.com/medley-lora/medley/edge/auth"
	"github.com/medley-lora/medley/edge/auth/authtest"
	"github.com/medley-lora/medley/edge/blob"
	"github.com/medley-lora/medley/edge/compute/computetest"
	"github.com/medley-lora/medley/edge/gateway"
	"github.com/medley-lora/medley/edge/jobs"
	"github.com/medley-lora/medley/edge/platform"
	"github.com/medley-lora/medley/edge/redis"
	"github.com/medley-lora/medley/edge/redis/redistest"
	"github.com/medley-lora/medley/edge/store"
	"github.com/medley-lora/medley/shared/lora"
	"github.com/medley-lora/medley/shared/peft"
)

// world is a platform behind its gateway, on models that are none.
type world struct {
	*platform.Platform
	t      testing.TB
	auth   *authtest.World
	models *computetest.Models
	redis  *redis.Client
	url    string
	dir    string
	own    *auth.Authority   // the platform's; tests have the World's in its place
	tokens map[string]string // by name, for tests that bring their own
}

func newWorld(t testing.TB, redisURL string, change func(*platform.Options)) *world {
	t.Helper()
	w := &world{t: t, auth: authtest.New(t), models: &computetest.Models{}, dir: t.TempDir()}
	s, err := store.Open(t.Context(), "sqlite:"+filepath.Join(w.dir, "medley.db"))
	if err != nil {
		t.Fatal(err)
	}
	blobs, err := blob.Open(t.Context(), "mem://")
	if err != nil {
		t.Fatal(err)
	}
	w.redis = redistest.Open(t, redisURL)
	o := platform.Options{
		Store: s, Blobs: blobs, Redis: w.redis, Keys: w.auth.Keys, Models: w.models, Optimizers: computetest.Optimizers{},
		Uploads: filepath.Join(w.dir, "uploads"), Poll: 200 * time.Millisecond, Log: slog.New(slog.DiscardHandler),
		Rate: redis.Rate{Count: 100_000, Per: time.Second, Burst: 100_000},
	}
	if change != nil {
		change(&o)
	}
	if w.Platform, err = platform.New(o); err != nil {
		t.Fatal(err)
	}
	w.own, w.Authority = w.Authority, w.auth.Authority
	if err := w.SyncBases(t.Context()); err != nil {
		t.Fatal(err)
	}
	e, err := gateway.New(w.Gateway())
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(nil)
	server.Config = gateway.Server(e)
	server.Start()
	w.url = server.URL
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
		w.Close() // again, perhaps
		blobs.Close()
		s.Close()
	})
	return w
}

// work runs a worker until the end of the test.
func (w *world) work() {
	w.t.Helper()
	library, err := archive.NewLibrary(w.Blobs, filepath.Join(w.dir, "modules"), 1<<30)
	if err != nil {
		w.t.Fatal(err)
	}
	progress := redis.NewProgress(w.redis, redis.ProgressOptions{})
	worker, err := jobs.NewWorker(jobs.WorkerOptions{
		Queue: jobs.NewQueue(w.redis, jobs.QueueOptions{}), Store: w.Store, Blobs: w.Blobs, Library: library, Models: w.models,
		Optimizers: computetest.Optimizers{}, Progress: progress, Cached: w.Scores.Cached, Name: "w", Dir: filepath.Join(w.dir, "work"),
		Lease: 2 * time.Second, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		worker.Run(w.t.Context())
	}()
	w.t.Cleanup(func() { <-done; progress.Close() })
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (a answer) field(name string) string {
	var fields map[string]any
	if json.Unmarshal(a.body, &fields) != nil {
		return ""
	}
	if inner, ok := fields["error"].(map[string]any); ok { // as OpenAI's clients read it
		fields = map[string]any{"code": inner["code"], "detail": inner["message"], "field": inner["param"]}
	}
	text, _ := fields[name].(string)
	return text
}

// send makes a request as its headers say.
func (w *world) send(method, path string, body []byte, headers http.Header) answer {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), method, w.url+path, bytes.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	if len(body) > 0 {
		r.Header.Set("Content-Type", "application/json")
	}
	for name, values := range headers {
		r.Header[name] = values
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		w.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		w.t.Fatalf("%s %s: %v", method, path, err)
	}
	return answer{res.StatusCode, res.Header, data}
}

// call makes a request of somebody who may do everything, and wants a status.
func (w *world) call(who string, want int, method, path string, body any, headers ...string) answer {
	w.t.Helper()
	h := http.Header{"Authorization": {"Bearer " + w.token(who)}}
	for i := 0; i < len(headers); i += 2 {
		h.Set(headers[i], headers[i+1])
	}
	data, ok := body.([]byte)
	if !ok && body != nil {
		var err error
		if data, err = json.Marshal(body); err != nil {
			w.t.Fatal(err)
		}
	}
	a := w.send(method, path, data, h)
	if a.status != want {
		w.t.Fatalf("%s %s: status %d, want %d: %.400s", method, path, a.status, want, a.body)
	}
	return a
}

func (w *world) token(who string) string {
	if w.tokens != nil {
		return w.tokens[who]
	}
	return w.auth.Token(w.t, who, auth.Admin).Text
}

// archiveOf is an adapter whose numbers depend on seed.
func archiveOf(t testing.TB, seed int) []byte {
	t.Helper()
	folder := filepath.Join(t.TempDir(), "m")
	layer := lora.Layer{Target: "encoder.0.q", In: 4, Out: 4, Rank: 2, Scale: 1, A: make([]float32, 8), B: make([]float32, 8)}
	layer.A[0], layer.B[0] = float32(seed), 1
	if err := peft.Write(folder, &lora.Adapter{Name: "m", Base: "tiny", Layers: []lora.Layer{layer}}, peft.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := archive.Pack(&b, folder); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func (w *world) upload(who string, seed int) (id string) {
	w.t.Helper()
	return w.call(who, 201, "POST", fmt.Sprintf("/v1/modules?name=m%d", seed), archiveOf(w.t, seed), "Content-Type", "application/zip").field("id")
}

func (w *world) modules(who string, n int) (ids []string) {
	w.t.Helper()
	for i := range n {
		ids = append(ids, w.upload(who, i+1))
	}
	return ids
}

// plugin is one that computetest's optimizers take for good.
var plugin = []byte("\x00asm words")

func taskOf(modules []string) map[string]any {
	return map[string]any{
		"base": "tiny", "modules": modules, "optimizer": "random", "budget": 12, "batch": 4,
		"examples": []map[string]string{{"input": "a", "output": "b"}, {"input": "c", "output": "d"}},
	}
}

func TestBadInput_52_EverythingIsItsOwners(t *testing.T) {
	w := newWorld(t, "embedded:", nil)
	module := w.upload("ann", 1)
	composition := w.call("ann", 202, "POST", "/v1/compositions", taskOf([]string{module})).field("id")
	evaluation := w.call("ann", 201, "POST", "/v1/evaluations", map[string]any{
		"base": "tiny", "modules": []string{module}, "examples": []map[string]string{{"input": "a", "output": "b"}},
	}).field("id")
	plug := w.call("ann", 201, "POST", "/v1/plugins?name=words", plugin, "Content-Type", "application/wasm").field("id")
	var key struct{ Key struct{ ID string } }
	if err := json.Unmarshal(w.call("ann", 201, "POST", "/v1/keys", map[string]any{"name": "laptop", "scopes": []string{"compose:run"}}).body, &key); err != nil {
		t.Fatal(err)
	}
	ids := map[string]string{"module": module, "composition": composition, "evaluation": evaluation, "plugin": plug, "key": key.Key.ID, "model": module}
	operations, err := gateway.Operations()
	if err != nil {
		t.Fatal(err)
	}
	tried := 0
	for _, op := range operations {
		prefix, parameter, found := strings.Cut(op.Path, ":")
		parameter, rest, _ := strings.Cut(parameter, "/")
		if !found || parameter == "base" || parameter == "token" { // bases are everyone's; a revocation says nothing
			continue
		}
		tried++
		path := prefix + ids[parameter]
		if rest != "" {
			path += "/" + rest
		}
		var body any
		if op.ID == "scoreCandidates" {
			body = map[string]any{"weights": [][]float64{{1}}}
		}
		if op.ID == "suggestModules" {
			body = map[string]any{"count": 1}
		}
		if a := w.call("bob", 404, op.Method, path, body); !strings.HasSuffix(a.field("code"), "not_found") {
			t.Errorf("%s: %s", op.ID, a.body)
		}
		for _, other := range []string{prefix + "..%2f" + ids[parameter], prefix + ids[parameter] + "%00", prefix + "1"} {
			if rest != "" {
				other += "/" + rest
			}
			w.call("bob", 404, op.Method, other, body)
		}
	}
	if tried < 12 {
		t.Errorf("%d operations were tried", tried)
	}
	// What bob names in a request is not there for him either.
	w.call("bob", 400, "POST", "/v1/compositions", taskOf([]string{module}))
	w.call("bob", 400, "POST", "/v1/evaluations", map[string]any{"base": "tiny", "modules": []string{module}, "examples": []map[string]string{{"input": "a", "output": "b"}}})
	w.call("bob", 400, "POST", "/v1/generations", map[string]any{"base": "tiny", "modules": []string{module}, "weights": []float64{1}, "inputs": []string{"a"}})
	own := w.upload("bob", 2)
	withPlugin := taskOf([]string{own})
	withPlugin["optimizer"] = plug
	if a := w.call("bob", 400, "POST", "/v1/compositions", withPlugin); a.field("field") != "optimizer" {
		t.Errorf("%s", a.body)
	}
	w.call("bob", 204, "DELETE", "/v1/tokens/"+record26("tok_"), nil) // of nobody
	w.call("ann", 200, "GET", "/v1/compositions/"+composition, nil)
}

func record26(prefix string) string { return prefix + strings.Repeat("a", 26) }

func TestBadInput_51_EveryOperationRefusesEveryBadToken(t *testing.T) {
	w := newWorld(t, "embedded:", nil)
	operations, err := gateway.Operations()
	if err != nil {
		t.Fatal(err)
	}
	requests := 0
	for _, op := range operations {
		if op.Scope == "" {
			continue
		}
		path := op.Path
		for name, prefix := range map[string]string{
			"base": "bas_", "module": "mod_", "composition": "cmp_", "evaluation": "evl_", "plugin": "plg_", "key": "key_", "token": "tok_", "model": "mdl_",
		} {
			path = strings.Replace(path, ":"+name, record26(prefix), 1)
		}
		for _, bad := range w.auth.Bad(t, "ann", auth.Scope(op.Scope)) {
			if sent := strings.Join(bad.Headers, ""); len(sent) > 16<<10 || !utf8.ValidString(sent) || strings.ContainsRune(sent, 0) {
				continue // net/http's own; TestBadInput_53_Headers has these
			}
			requests++
			headers := http.Header{}
			if bad.Headers != nil {
				headers["Authorization"] = bad.Headers
			}
			a := w.send(op.Method, path, nil, headers)
			want := map[string]int{"unauthenticated": 401, "forbidden": 403, "invalid": 400}[string(bad.Code)]
			if a.status != want || a.field("code") != string(bad.Code) || !strings.Contains(a.field("detail"), bad.Why) ||
				!strings.Contains(a.header.Get("WWW-Authenticate"), bad.Error) {
				t.Errorf("%s, %s: status %d, %q, %.300s; want %d, %q", op.ID, bad.Name, a.status, a.header.Get("WWW-Authenticate"), a.body, want, bad.Error)
			}
		}
	}
	if requests < 1500 {
		t.Errorf("%d requests tried", requests)
	}
}
