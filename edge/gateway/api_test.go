package gateway_test

import (
	"bytes"
	"encoding/json"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"

	"github.com/medley-lora/medley/edge/gateway"
	"github.com/medley-lora/medley/edge/record"
	"github.com/medley-lora/medley/shared/fault"
)

const compositionText = `{"base":"google/flan-t5-base","modules":["mod_aaaaaaaaaaaaaaaaaaaaaaaaaa"],"examples":[{"input":"one berry","output":"berries"}]}`

// form is a multipart body of parts of names and contents, and its type.
func form(t *testing.T, parts ...string) (body, contentType string) {
	t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for i := 0; i < len(parts); i += 2 {
		part, err := w.CreateFormFile(parts[i], parts[i])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := part.Write([]byte(parts[i+1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String(), w.FormDataContentType()
}

func TestModules(t *testing.T) {
	s := newServer(t, nil)
	body, contentType := form(t, "adapter_config.json", "{}", "adapter_model.safetensors", "weights")
	path := "/v1/modules?name=lorahub/wiki_hop&visibility=shared&task=qa&licence=Apache-2.0&author=Ada"
	made := s.want(http.StatusCreated, "POST", path, body, "Content-Type", contentType)
	id := made.field("id")
	if made.header.Get("Location") != "/v1/modules/"+id || made.field("visibility") != "shared" {
		t.Errorf("made %s, location %q", made.body, made.header.Get("Location"))
	}
	private := s.want(http.StatusCreated, "POST", "/v1/modules?name=mine", "PK", "Content-Type", "application/zip")
	if private.field("visibility") != "private" {
		t.Errorf("a module is not private by default: %s", private.body)
	}

	for _, c := range []struct {
		who, query string
		want       int
	}{{"alice", "", 2}, {"bob", "", 1}, {"alice", "?q=wiki", 1}, {"alice", "?q=nothing", 0}} {
		list := s.want(http.StatusOK, "GET", "/v1/modules"+c.query, "", "Authorization", "Bearer "+c.who)
		if n := strings.Count(list.body, `"id"`); n != c.want {
			t.Errorf("%s sees %d modules with %q, want %d", c.who, n, c.query, c.want)
		}
	}
	if seen := s.want(http.StatusOK, "GET", "/v1/modules/"+id, "", "Authorization", "Bearer bob"); !strings.Contains(seen.body, `"mine":false`) {
		t.Errorf("bob sees %s", seen.body)
	}
	archive := s.want(http.StatusOK, "GET", "/v1/modules/"+id+"/archive", "")
	if archive.body != "PK\x03\x04zip" || archive.header.Get("Content-Length") != "7" {
		t.Errorf("archive %q, %v", archive.body, archive.header)
	}
	s.want(http.StatusNotModified, "GET", "/v1/modules/"+id+"/archive", "", "If-None-Match", archive.header.Get("ETag"))
	s.want(http.StatusNotFound, "DELETE", "/v1/modules/"+id, "", "Authorization", "Bearer bob")
	s.want(http.StatusNoContent, "DELETE", "/v1/modules/"+id, "")
	s.want(http.StatusNotFound, "GET", "/v1/modules/"+id, "")
	s.want(http.StatusNotFound, "GET", "/v1/modules/"+id+"/archive", "")
}

func TestUploadForms(t *testing.T) {
	s := newServer(t, nil)
	config, weights, archive := "adapter_config.json", "adapter_model.safetensors", "archive"
	for name, c := range map[string]struct {
		parts  []string
		status int
		field  string
	}{
		"weights first":    {[]string{weights, "w", config, "{}"}, 201, ""},
		"archive":          {[]string{archive, "PK"}, 201, ""},
		"nothing":          {nil, 400, config},
		"no weights":       {[]string{config, "{}"}, 400, weights},
		"no config":        {[]string{weights, "w"}, 400, config},
		"twice":            {[]string{config, "{}", config, "{}"}, 400, config},
		"both":             {[]string{config, "{}", archive, "PK"}, 400, archive},
		"archive and more": {[]string{archive, "PK", weights, "w"}, 400, archive},
		"pickle":           {[]string{"adapter_model.bin", "w"}, 400, "adapter_model.bin"},
		"path":             {[]string{"../../x", "w"}, 400, "../../x"},
		"long config":      {[]string{config, strings.Repeat(" ", 1<<20+1)}, 413, config},
	} {
		t.Run(name, func(t *testing.T) {
			s.t = t
			body, contentType := form(t, c.parts...)
			if a := s.want(c.status, "POST", "/v1/modules?name=m", body, "Content-Type", contentType); a.field("field") != c.field {
				t.Errorf("field %q, want %q: %s", a.field("field"), c.field, a.body)
			}
		})
	}
	t.Run("cut off", func(t *testing.T) {
		s.t = t
		body, contentType := form(t, archive, "PK")
		s.want(400, "POST", "/v1/modules?name=m", body[:len(body)-9], "Content-Type", contentType)
		s.want(400, "POST", "/v1/modules?name=m", body, "Content-Type", "multipart/form-data")
	})
}

func TestCompositions(t *testing.T) {
	s := newServer(t, nil)
	made := s.want(http.StatusAccepted, "POST", "/v1/compositions", compositionText, "Idempotency-Key", "k1")
	id := made.field("id")
	if made.header.Get("Location") != "/v1/compositions/"+id {
		t.Errorf("location %q", made.header.Get("Location"))
	}
	var c struct {
		Request map[string]any
		Budget  int
	}
	if err := json.Unmarshal([]byte(made.body), &c); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"method": "delta", "objective": "sparse", "penalty": 0.05, "optimizer": "auto", "budget": 40.0, "batch": 64.0, "seed": 42.0, "bound": 1.5,
	}
	for name, value := range want {
		if c.Request[name] != value {
			t.Errorf("the default of %s is %v, want %v", name, c.Request[name], value)
		}
	}
	if again := s.want(http.StatusAccepted, "POST", "/v1/compositions", compositionText, "Idempotency-Key", "k1"); again.field("id") != id {
		t.Errorf("repeated, it makes %s", again.field("id"))
	}
	s.want(http.StatusConflict, "POST", "/v1/compositions", strings.Replace(compositionText, "berries", "other", 1), "Idempotency-Key", "k1")

	path := "/v1/compositions/" + id
	s.want(http.StatusConflict, "GET", path+"/adapter", "")
	s.want(http.StatusConflict, "GET", path+"/report", "")
	if list := s.want(http.StatusOK, "GET", "/v1/compositions?state=queued", ""); strings.Count(list.body, id) != 1 || strings.Contains(list.body, "request") {
		t.Errorf("list %s", list.body)
	}
	if list := s.want(http.StatusOK, "GET", "/v1/compositions?state=failed", ""); strings.Contains(list.body, id) {
		t.Errorf("list of failed ones %s", list.body)
	}
	if canceled := s.want(http.StatusAccepted, "POST", path+"/cancel", ""); !strings.Contains(canceled.body, `"canceled":true`) {
		t.Errorf("canceled %s", canceled.body)
	}

	done := s.m.compositions.rows[id]
	done.State, done.Adapter, done.Result = record.Succeeded, hashOf(nil), json.RawMessage(`{"loss":0.5}`)
	s.m.compositions.add(done)
	s.m.blobs[id] = []byte("PK")
	if got := s.want(http.StatusOK, "GET", path, ""); !strings.Contains(got.body, `"result":{"loss":0.5}`) {
		t.Errorf("done: %s", got.body)
	}
	s.want(http.StatusOK, "GET", path+"/adapter", "")
	if report := s.want(http.StatusOK, "GET", path+"/report", ""); !strings.Contains(report.header.Get("Content-Security-Policy"), "sandbox") {
		t.Errorf("report with policy %q", report.header.Get("Content-Security-Policy"))
	}

	done.State, done.Fault = record.Failed, &fault.Error{Code: fault.Internal, Message: "secret detail"}
	s.m.compositions.add(done)
	if got := s.want(http.StatusOK, "GET", path, ""); strings.Contains(got.body, "secret") || !strings.Contains(got.body, `"code":"internal"`) {
		t.Errorf("failed: %s", got.body)
	}
}

func TestEvaluations(t *testing.T) {
	s := newServer(t, nil)
	made := s.want(http.StatusCreated, "POST", "/v1/evaluations", compositionText)
	path := made.header.Get("Location")
	s.want(http.StatusOK, "GET", path, "")
	scores := s.want(http.StatusOK, "POST", path+"/scores", `{"weights":[[0.5],[-1]]}`)
	if scores.body != `{"scores":[{"examples":[0.5],"log_probs":[],"loss":0.5},{"examples":[-1],"log_probs":[],"loss":-1}]}`+"\n" {
		t.Errorf("scores %s", scores.body)
	}
	s.want(http.StatusBadRequest, "POST", path+"/scores", `{"weights":[[1,2]]}`)
	s.want(http.StatusNotFound, "POST", path+"/scores", `{"weights":[[1]]}`, "Authorization", "Bearer bob")
	named := s.want(http.StatusOK, "POST", path+"/suggestions", `{}`)
	if named.body != `{"base_loss":2,"modules":[{"loss":0,"module":"mod_aaaaaaaaaaaaaaaaaaaaaaaaaa"}]}`+"\n" {
		t.Errorf("suggestions %s", named.body)
	}
	s.want(http.StatusBadRequest, "POST", path+"/suggestions", `{"count":0}`)
	s.want(http.StatusNotFound, "POST", path+"/suggestions", `{}`, "Authorization", "Bearer bob")
	s.want(http.StatusNotFound, "DELETE", path, "", "Authorization", "Bearer bob")
	s.want(http.StatusNoContent, "DELETE", path, "")
	s.want(http.StatusNotFound, "GET", path, "")
}

func TestPluginsAndBases(t *testing.T) {
	s := newServer(t, nil)
	wasm := []string{"Content-Type", "application/wasm"}
	s.want(http.StatusOK, "POST", "/v1/plugins/validate", "\x00asm", wasm...)
	if bad := s.want(http.StatusBadRequest, "POST", "/v1/plugins/validate", "ELF", wasm...); bad.field("field") != "body" {
		t.Errorf("bad plugin: %s", bad.body)
	}
	made := s.want(http.StatusCreated, "POST", "/v1/plugins?name=mine", "\x00asm", append(wasm, "Idempotency-Key", "p")...)
	if again := s.want(http.StatusCreated, "POST", "/v1/plugins?name=mine", "\x00asm", append(wasm, "Idempotency-Key", "p")...); again.field("id") != made.field("id") {
		t.Error("repeated, it makes another plugin")
	}
	path := made.header.Get("Location")
	s.want(http.StatusOK, "GET", path, "")
	s.want(http.StatusNotFound, "GET", path, "", "Authorization", "Bearer bob")
	if list := s.want(http.StatusOK, "GET", "/v1/plugins", ""); !strings.Contains(list.body, made.field("id")) {
		t.Errorf("list %s", list.body)
	}
	s.want(http.StatusNoContent, "DELETE", path, "")
	s.want(http.StatusNotFound, "DELETE", path, "")

	list := s.want(http.StatusOK, "GET", "/v1/bases", "")
	if !strings.Contains(list.body, "google/flan-t5-base") {
		t.Errorf("bases %s", list.body)
	}
	s.want(http.StatusOK, "GET", "/v1/bases/"+s.m.bases.ids[0], "")
}

func TestTokensAndKeys(t *testing.T) {
	s := newServer(t, nil)
	token := s.want(http.StatusCreated, "POST", "/v1/tokens", `{"scopes":["compose:run","modules:read"],"ttl":60}`)
	if token.field("scope") != "compose:run modules:read" || !strings.Contains(token.body, `"expires_in":60,`) {
		t.Errorf("token %s", token.body)
	}
	s.want(http.StatusNoContent, "DELETE", "/v1/tokens/"+token.field("id"), "")
	key := s.want(http.StatusCreated, "POST", "/v1/keys", `{"name":"laptop","scopes":["compose:run"]}`, "Idempotency-Key", "k")
	if key.field("secret") != "mdl_good" {
		t.Errorf("key %s", key.body)
	}
	if again := s.want(http.StatusCreated, "POST", "/v1/keys", `{"name":"laptop","scopes":["compose:run"]}`, "Idempotency-Key", "k"); strings.Contains(again.body, "secret") {
		t.Errorf("repeated, it shows the secret: %s", again.body)
	}
	exchanged := s.want(http.StatusOK, "POST", "/v1/tokens/exchange", `{"key":"mdl_good"}`, "Authorization", "")
	if !strings.Contains(exchanged.body, `"expires_in":3600,`) {
		t.Errorf("exchanged %s", exchanged.body)
	}
	s.want(http.StatusUnauthorized, "POST", "/v1/tokens/exchange", `{"key":"mdl_none"}`, "Authorization", "")
	list := s.want(http.StatusOK, "GET", "/v1/keys", "")
	if strings.Contains(list.body, "mdl_") {
		t.Errorf("the list shows secrets: %s", list.body)
	}
	s.want(http.StatusNoContent, "DELETE", "/v1/keys/"+s.m.keys.ids[0], "")
	s.want(http.StatusOK, "GET", "/.well-known/jwks.json", "", "Authorization", "")
}

func TestOperation(t *testing.T) {
	s := newServer(t, nil)
	s.want(http.StatusOK, "GET", "/healthz", "", "Authorization", "")
	s.want(http.StatusOK, "GET", "/readyz", "", "Authorization", "")
	s.m.broken = fault.New(fault.Internal, "", "postgres://user:secret@db is down")
	if a := s.want(http.StatusServiceUnavailable, "GET", "/readyz", "", "Authorization", ""); strings.Contains(a.body, "secret") || !strings.Contains(a.body, `"database":"failing"`) {
		t.Errorf("not ready: %s", a.body)
	}
	if a := s.want(http.StatusOK, "GET", "/metrics", ""); a.body != "medley_up 1\n" {
		t.Errorf("metrics %q", a.body)
	}
	if a := s.want(http.StatusOK, "GET", "/openapi.json", "", "Authorization", ""); strings.Contains(a.body, "x-go-") || a.field("openapi") != "3.1.0" {
		t.Errorf("specification %.300s", a.body)
	}
	page := s.want(http.StatusOK, "GET", "/docs", "", "Authorization", "")
	operations, err := gateway.Operations()
	if err != nil {
		t.Fatal(err)
	}
	for _, op := range operations {
		if !strings.Contains(page.body, `id="`+op.ID+`"`) {
			t.Errorf("the page lacks %s", op.ID)
		}
	}
	for _, foreign := range []string{"<script", "http://", "https://", "src=", "@import", "url("} {
		if strings.Contains(page.body, foreign) {
			t.Errorf("the page has %q", foreign)
		}
	}
}
