package gateway_test

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/medley-lora/medley/edge"
	"github.com/medley-lora/medley/edge/gateway"
)

// server is a gateway with services in memory, whose every answer is held to the specification.
type server struct {
	t    *testing.T
	m    *memory
	spec *openapi3.T
	url  string
	log  strings.Builder
}

func newServer(t *testing.T, change func(*gateway.Options)) *server {
	t.Helper()
	s := &server{t: t, m: newMemory()}
	var err error
	if s.spec, err = openapi3.NewLoader().LoadFromData(edge.OpenAPI); err != nil {
		t.Fatal(err)
	}
	o := optionsOf(s.m)
	o.Log = slog.New(slog.NewTextHandler(&s.log, nil))
	if change != nil {
		change(&o)
	}
	e, err := gateway.New(o)
	if err != nil {
		t.Fatal(err)
	}
	ts := httptest.NewUnstartedServer(nil)
	ts.Config = gateway.Server(e)
	ts.Start()
	t.Cleanup(ts.Close)
	s.url = ts.URL
	return s
}

func optionsOf(m *memory) gateway.Options {
	return gateway.Options{
		Bases: m, Modules: m, Compositions: m, Evaluations: m, Generations: m, Completions: m, Plugins: m, Tokens: m, Health: m, Metrics: m, Auth: m,
	}
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   string
}

// field is the value of a field of a JSON answer, "" if it has none. An error for OpenAI's clients has those of a problem.
func (a answer) field(name string) string {
	var fields map[string]any
	if json.Unmarshal([]byte(a.body), &fields) != nil {
		return ""
	}
	if inner, ok := fields["error"].(map[string]any); ok {
		fields = map[string]any{"code": inner["code"], "detail": inner["message"], "field": inner["param"]}
	}
	value, _ := fields[name].(string)
	return value
}

// call sends a request. A header with an empty value is left out. Without "Authorization" it comes from alice.
func (s *server) call(method, path, body string, headers ...string) answer {
	s.t.Helper()
	r, err := http.NewRequest(method, s.url+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer alice")
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Del(headers[i])
		if headers[i+1] != "" {
			r.Header.Set(headers[i], headers[i+1])
		}
	}
	client := http.Client{Timeout: 10 * time.Second}
	res, err := client.Do(r)
	if err != nil {
		s.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatalf("%s %s: %v", method, path, err)
	}
	a := answer{res.StatusCode, res.Header, string(data)}
	s.hold(method, path, a)
	return a
}

// want is call with the status that must come.
func (s *server) want(status int, method, path, body string, headers ...string) answer {
	s.t.Helper()
	a := s.call(method, path, body, headers...)
	if a.status != status {
		s.t.Errorf("%s %s: status %d, want %d: %.300s", method, path, a.status, status, a.body)
	}
	return a
}

var parameter = regexp.MustCompile(`\\\{[^}]*\\\}`)

// operation finds what the specification says about a request, nil if nothing.
func (s *server) operation(method, path string) *openapi3.Operation {
	path, _, _ = strings.Cut(path, "?")
	if name, ok := strings.CutPrefix(path, "/v1/models/"); ok {
		path = "/v1/models/" + strings.ReplaceAll(name, "/", "%2F")
	}
	for _, template := range s.spec.Paths.InMatchingOrder() {
		pattern := parameter.ReplaceAllString(regexp.QuoteMeta(template), "[^/]+")
		if regexp.MustCompile("^" + pattern + "$").MatchString(path) {
			return s.spec.Paths.Value(template).GetOperation(method)
		}
	}
	return nil
}

// hold fails the test if an answer is not as the specification has it.
func (s *server) hold(method, path string, a answer) {
	s.t.Helper()
	if a.header.Get("X-Request-Id") == "" || a.header.Get("X-Content-Type-Options") != "nosniff" || a.header.Get("Content-Security-Policy") == "" {
		s.t.Errorf("%s %s: headers %v", method, path, a.header)
	}
	media, _, _ := strings.Cut(a.header.Get("Content-Type"), ";")
	documented := s.spec.Components.Responses["Problem"].Value
	if op := s.operation(method, path); op != nil {
		if documented = responseOf(op, a.status); documented == nil {
			documented = op.Responses.Default().Value
		}
	} else if a.status < 400 {
		return // the page and the specification itself
	}
	if method == http.MethodHead {
		return
	}
	if len(documented.Content) == 0 {
		if a.body != "" {
			s.t.Errorf("%s %s: status %d has a body: %.300s", method, path, a.status, a.body)
		}
		return
	}
	content := documented.Content[media]
	if content == nil {
		s.t.Errorf("%s %s: status %d has content of type %q: %.300s", method, path, a.status, media, a.body)
		return
	}
	if !strings.HasSuffix(media, "json") || media == "application/x-ndjson" {
		return
	}
	var tree any
	err := json.Unmarshal([]byte(a.body), &tree)
	if err == nil {
		err = content.Schema.Value.VisitJSON(tree, openapi3.VisitAsResponse(), openapi3.EnableFormatValidation())
	}
	if err != nil {
		s.t.Errorf("%s %s: status %d: %v: %.300s", method, path, a.status, err, a.body)
	}
}

// responseOf is what an operation says of a status, nil if nothing.
func responseOf(op *openapi3.Operation, status int) *openapi3.Response {
	if ref := op.Responses.Status(status); ref != nil {
		return ref.Value
	}
	return nil
}
