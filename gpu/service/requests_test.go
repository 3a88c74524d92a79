package service_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/gpu/cpu"
	"github.com/medley-lora/medley/gpu/probe"
	"github.com/medley-lora/medley/gpu/reference"
	"github.com/medley-lora/medley/gpu/service"
	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/lora"
)

// Every malformed request is answered with a problem document, and the server goes on.
func TestMalformedRequests(t *testing.T) {
	z := newZoo(t)
	server := newServer()
	defer server.Close()
	c, address := clientOf(t, server)
	id := openRaw(t, address, z)
	session := "/v1/sessions/" + id
	const jsonType = "application/json"
	for name, x := range map[string]struct {
		method, path, kind, body string
		status                   int
		field, detail            string
	}{
		"no such address": {"GET", "/v2/health", "", "", 404, "", "nothing at this address"},
		"wrong method":    {"PUT", "/v1/sessions", jsonType, "{}", 404, "", "nothing at this address"},
		"no content type": {"POST", "/v1/sessions", "", "{}", 422, "Content-Type", "not application/json"},
		"form":            {"POST", session + "/score", "application/x-www-form-urlencoded", "a=b", 422, "Content-Type", "not application/json"},
		"empty":           {"POST", "/v1/sessions", jsonType, "", 400, "body", "EOF"},
		"not JSON":        {"POST", "/v1/sessions", jsonType, "{base", 400, "body", "invalid character"},
		"cut off":         {"POST", session + "/score", jsonType, `{"examples":[`, 400, "body", "unexpected EOF"},
		"two values":      {"POST", session + "/score", jsonType, `{} {}`, 400, "body", "more than one"},
		"list":            {"POST", "/v1/sessions", jsonType, `[]`, 400, "", "JSON array"},
		"null":            {"POST", "/v1/sessions", jsonType, `null`, 400, "base", "names no folder"},
		"unknown field":   {"POST", "/v1/sessions", jsonType, `{"token":"x"}`, 400, "body", `unknown field "token"`},
		"field within":    {"POST", session + "/score", jsonType, `{"examples":[{"input":"a","output":"b","weight":1}]}`, 400, "body", `unknown field "weight"`},
		"wrong kind":      {"POST", session + "/score", jsonType, `{"examples":[{"input":1}]}`, 400, "examples.input", "JSON number"},
		"text as weight":  {"POST", session + "/score", jsonType, `{"weights":[["x"]]}`, 400, "body", "is not a number"},
		"huge weight":     {"POST", session + "/score", jsonType, `{"weights":[[1e999]]}`, 400, "body", "is not a number"},
		"deep":            {"POST", session + "/score", jsonType, strings.Repeat("[", 20000), 400, "body", "depth"},
		"too large":       {"POST", session + "/score", jsonType, `{"examples":[{"input":"` + strings.Repeat("a", 65<<20), 413, "body", "more than 67108864 bytes"},
		"no session":      {"POST", "/v1/sessions/x/score", jsonType, `{}`, 404, "session", "none of that id"},
		"no session left": {"DELETE", "/v1/sessions/x", "", "", 404, "session", "none of that id"},
		"no examples":     {"POST", session + "/score", jsonType, `{}`, 400, "examples", "there are none"},
		"no inputs' room": {"POST", session + "/generate", jsonType, `{"prompts":[{"text":"a"}],"weights":[1,2]}`, 400, "weights", "2 for 1"},
		"same names":      {"POST", "/v1/sessions", jsonType, `{"base":{"folder":"x"},"modules":[{"name":"a","folder":"b"},{"name":"a","folder":"c"}]}`, 400, "modules", "twice"},
		"nameless":        {"POST", "/v1/sessions", jsonType, `{"base":{"folder":"x"},"modules":[{"folder":"b"}]}`, 400, "modules", "a name"},
		"negative limit":  {"POST", "/v1/sessions", jsonType, `{"base":{"folder":"x"},"limits":{"memory":-1}}`, 400, "limits", "negative"},
		"limit of one":    {"POST", "/v1/sessions", jsonType, `{"base":{"folder":"x"},"limits":{"max_target":1}}`, 400, "limits", "at least 2"},
	} {
		t.Run(name, func(t *testing.T) {
			request, err := http.NewRequestWithContext(t.Context(), x.method, address+x.path, strings.NewReader(x.body))
			if err != nil {
				t.Fatal(err)
			}
			request.Header.Set("Content-Type", x.kind)
			response, err := http.DefaultClient.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			var p struct {
				Title, Detail, Field string
				Status               int
				Code                 fault.Code
			}
			if err := json.NewDecoder(response.Body).Decode(&p); err != nil {
				t.Fatal(err)
			}
			if response.StatusCode != x.status || p.Status != x.status || p.Title == "" || p.Code == "" || p.Field != x.field || !strings.Contains(p.Detail, x.detail) ||
				response.Header.Get("Content-Type") != "application/problem+json" {
				t.Errorf("status %d, %+v; want %d, %q, %q", response.StatusCode, p, x.status, x.field, x.detail)
			}
		})
	}
	if h, err := c.Health(t.Context()); err != nil || h.Status != "ok" || h.Sessions != 1 || h.Pace.Quiet != 0 || h.Pace.Software {
		t.Errorf("health %+v, error %v", h, err)
	}
}

// openRaw opens a session of one module without the client, which keeps ids to itself.
func openRaw(t *testing.T, address string, z zoo) string {
	t.Helper()
	body, err := json.Marshal(z.request(lora.Delta, "plural"))
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.Post(address+"/v1/sessions", "application/json", strings.NewReader(string(body)))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var opened struct {
		ID      string
		Backend service.Backend
	}
	if err := json.NewDecoder(response.Body).Decode(&opened); err != nil || opened.ID == "" || opened.Backend.Name != "reference" {
		t.Fatalf("opened %+v, error %v", opened, err)
	}
	return opened.ID
}

// stuck is a backend whose passes do nothing until their context ends.
type stuck struct {
	backend.Backend
	begun chan struct{}
}

func (b stuck) Begin(ctx context.Context) backend.Pass {
	b.begun <- struct{}{}
	<-ctx.Done()
	return b.Backend.Begin(ctx)
}

// A pass ends with the request's context, and with its session; both ways the session is free to be closed.
func TestCancel(t *testing.T) {
	z := newZoo(t)
	b := stuck{reference.New(), make(chan struct{})}
	server := serverOf(func(context.Context) (backend.Backend, string, error) { return b, "", nil }, service.HostOptions{})
	defer server.Close() // waits for passes under way
	c, _ := clientOf(t, server)
	for name, call := range map[string]func(context.Context, *service.Session) error{
		"score": func(ctx context.Context, s *service.Session) error {
			_, err := s.Score(ctx, examples, [][]float64{{1}})
			return err
		},
		"generate": func(ctx context.Context, s *service.Session) error {
			_, err := s.Generate(ctx, []string{"a"}, []float64{1}, func(int) {})
			return err
		},
	} {
		for _, by := range []string{"context", "session"} {
			t.Run(name+" by "+by, func(t *testing.T) {
				s := openSession(t, c, z.request(lora.Delta, "plural"))
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				failed := make(chan error)
				go func() { failed <- call(ctx, s) }()
				<-b.begun
				if by == "context" {
					cancel()
				} else if err := s.Close(); err != nil {
					t.Error(err)
				}
				select {
				case err := <-failed:
					if f := faultOf(err); f.Code != fault.Canceled || f.Message != "context canceled" {
						t.Errorf("%+v, want canceled", f)
					}
				case <-time.After(20 * time.Second):
					t.Fatal("the call did not end")
				}
				if by == "context" {
					if err := s.Close(); err != nil { // waits for the pass
						t.Error(err)
					}
				}
				if err := call(t.Context(), s); fault.CodeOf(err) != fault.NotFound {
					t.Errorf("a closed session answers with %v", err)
				}
			})
		}
	}
}

// A backend that cannot be opened is the request's error, and tried again by the next.
func TestBackendThatFails(t *testing.T) {
	tries := 0
	server := serverOf(func(context.Context) (backend.Backend, string, error) {
		if tries++; tries == 1 {
			return nil, "", fault.New(fault.Unsupported, "backend", "there is none")
		}
		return reference.New(), "second thoughts", nil
	}, service.HostOptions{})
	defer server.Close()
	c, _ := clientOf(t, server)
	if _, err := c.Backend(t.Context()); faultOf(err) != (fault.Error{Code: fault.Unsupported, Field: "backend", Message: "there is none"}) {
		t.Errorf("first: %+v", faultOf(err))
	}
	if b, err := c.Backend(t.Context()); err != nil || b.Reason != "second thoughts" {
		t.Errorf("second: %+v, %v", b, err)
	}
}

// Something else that listens is an error of ours, not a crash.
func TestStrangeServer(t *testing.T) {
	for name, h := range map[string]http.HandlerFunc{
		"plain error": func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusServiceUnavailable) },
		"no JSON":     func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") },
		"hang up":     func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := clientOf(t, h)
			if _, err := c.Health(t.Context()); fault.CodeOf(err) != fault.Internal || faultOf(err).Field != "evaluator" {
				t.Errorf("error %v", err)
			}
		})
	}
}

// miscounting is a backend whose gates are wrong.
type miscounting struct{ backend.Backend }

func (m miscounting) Begin(ctx context.Context) backend.Pass {
	return miscountingPass{m.Backend.Begin(ctx)}
}

type miscountingPass struct{ backend.Pass }

func (p miscountingPass) Gate(_ backend.Activation, a, b backend.Tensor) backend.Tensor {
	return p.Pass.Gate(backend.ReLU, a, b)
}

// An evaluator whose device computes wrong falls back to the processor, and says so.
func TestFallsBack(t *testing.T) {
	server := serverOf(func(ctx context.Context) (backend.Backend, string, error) {
		b, choice, err := probe.Open(ctx, probe.Auto, []probe.Candidate{
			{Name: "webgpu", Open: func() (backend.Backend, error) { return miscounting{reference.New()}, nil }},
			{Name: "cpu", Open: func() (backend.Backend, error) { return cpu.New(cpu.Options{}) }},
		})
		return b, choice.Reason, err
	}, service.HostOptions{})
	defer server.Close()
	c, _ := clientOf(t, server)
	b, err := c.Backend(t.Context())
	if err != nil || b.Name != "cpu" || !strings.Contains(b.Reason, "webgpu cannot be used: gelu: the self-test gave wrong numbers") {
		t.Errorf("%+v, error %v", b, err)
	}
}
