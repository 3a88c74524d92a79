package gateway_test

import (
	"context"
	"errors"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/medley-lora/medley/edge/gateway"
	"github.com/medley-lora/medley/shared/fault"
)

// example makes a request that an operation takes, but for its objects, which are nobody's.
func example(op gateway.Operation) (path, body, contentType string) {
	path = strings.NewReplacer(
		":model", "nobody", ":base", "bas_aaaaaaaaaaaaaaaaaaaaaaaaaa", ":module", "mod_aaaaaaaaaaaaaaaaaaaaaaaaaa", ":composition", "cmp_aaaaaaaaaaaaaaaaaaaaaaaaaa",
		":evaluation", "evl_aaaaaaaaaaaaaaaaaaaaaaaaaa", ":plugin", "plg_aaaaaaaaaaaaaaaaaaaaaaaaaa", ":key", "key_aaaaaaaaaaaaaaaaaaaaaaaaaa",
		":token", "MFRGGZDFMZTWQ2LKNNWG23TP",
	).Replace(op.Path)
	switch op.ID {
	case "uploadModule":
		return path + "?name=m", "PK", "application/zip"
	case "uploadPlugin":
		return path + "?name=p", "\x00asm", "application/wasm"
	case "validatePlugin":
		return path, "\x00asm", "application/wasm"
	case "createComposition", "openEvaluation":
		body = compositionText
	case "scoreCandidates":
		body = `{"weights":[[0]]}`
	case "suggestModules":
		body = `{"count":3}`
	case "generate":
		body = `{"base":"google/flan-t5-base","inputs":["x"]}`
	case "createCompletion":
		body = completionText
	case "createChatCompletion":
		body = chatText
	case "createToken":
		body = `{"scopes":["compose:run"]}`
	case "exchangeKey":
		body = `{"key":"mdl_good"}`
	case "createKey":
		body = `{"name":"k","scopes":["compose:run"]}`
	}
	return path, body, "application/json"
}

// Every operation against every kind of caller: what is refused is the same everywhere, because one table, the specification, says it.
func TestBadInput_52_EveryOperationKeepsStrangersOut(t *testing.T) {
	s := newServer(t, nil)
	operations, err := gateway.Operations()
	if err != nil || len(operations) < 30 {
		t.Fatalf("%d operations, error %v", len(operations), err)
	}
	for _, op := range operations {
		path, body, contentType := example(op)
		send := func(status int, token string) answer {
			t.Helper()
			return s.want(status, op.Method, path, body, "Content-Type", contentType, "Authorization", token)
		}
		if op.Scope == "" {
			if a := s.call(op.Method, path, body, "Content-Type", contentType, "Authorization", "Bearer bad"); a.status == http.StatusUnauthorized {
				t.Errorf("%s is public, and looks at tokens", op.ID)
			}
			continue
		}
		for _, token := range []string{"", "Bearer bad", "Basic YWxpY2U6", "Bearer"} {
			a := send(http.StatusUnauthorized, token)
			want := `Bearer error="invalid_token"`
			if token == "" {
				want = "Bearer"
			}
			if got := a.header.Get("WWW-Authenticate"); got != want || a.field("code") != "unauthenticated" || strings.Contains(a.body, "secret") {
				t.Errorf("%s with %q: challenge %q, %s", op.ID, token, got, a.body)
			}
		}
		a := send(http.StatusForbidden, "Bearer alice=other:scope")
		if want := `Bearer error="insufficient_scope", scope="` + op.Scope + `"`; a.header.Get("WWW-Authenticate") != want {
			t.Errorf("%s: challenge %q, want %q", op.ID, a.header.Get("WWW-Authenticate"), want)
		}
		if strings.Contains(op.Path, ":") && op.ID != "revokeToken" { // which tells nobody what tokens there are
			send(http.StatusNotFound, "Bearer mallory="+op.Scope)
		}
	}
}

func TestPaths(t *testing.T) {
	s := newServer(t, nil)
	id := s.want(http.StatusAccepted, "POST", "/v1/compositions", compositionText).field("id")
	for _, path := range []string{
		"/", "/v1", "/v1/", "/v2/modules", "/v1/modules/", "/v1/models/", "/v1/models//", "/v1/models/%2f", "/v1/models/..%2f..%2fetc", "/V1/modules", "//v1/modules", "/v1/modules/mod_short", "/v1/compositions/" + id + "/",
		"/v1/compositions/" + strings.ToUpper(id), "/v1/compositions/" + id + "%2fevents", "/v1/compositions/..%2f..%2fetc%2fpasswd", "/v1/compositions/%00",
		"/v1/compositions/" + id + "%20", "/v1/compositions/%ff", "/openapi.json/x",
	} {
		if a := s.want(http.StatusNotFound, "GET", path, ""); !strings.HasSuffix(a.field("code"), "not_found") {
			t.Errorf("%s: %s", path, a.body)
		}
	}
	for method, path := range map[string]string{
		"PUT": "/v1/modules", "DELETE": "/v1/compositions/" + id, "HEAD": "/v1/modules", "PATCH": "/healthz", "GET": "/v1/plugins/validate",
	} {
		a := s.call(method, path, "")
		if a.status != http.StatusMethodNotAllowed || a.header.Get("Allow") == "" {
			t.Errorf("%s %s: status %d, allowed %q", method, path, a.status, a.header.Get("Allow"))
		}
	}
}

func TestFaultsBecomeProblems(t *testing.T) {
	s := newServer(t, nil)
	path := "/v1/compositions/cmp_aaaaaaaaaaaaaaaaaaaaaaaaaa"
	secret := errors.New("secret detail of /var/lib")
	for _, c := range []struct {
		err    error
		status int
		code   string
	}{
		{fault.Wrap(secret, fault.Invalid, "base", "is wrong"), 400, "invalid"},
		{fault.Wrap(secret, fault.Unsupported, "base", "is not supported"), 422, "unsupported"},
		{fault.Wrap(secret, fault.NotFound, "base", "is not there"), 404, "not_found"},
		{fault.Wrap(secret, fault.TooLarge, "base", "is too large"), 413, "too_large"},
		{fault.Wrap(secret, gateway.Conflict, "", "is there already"), 409, "conflict"},
		{fault.Wrap(secret, gateway.Unavailable, "", "does not answer"), 503, "unavailable"},
		{fault.Wrap(secret, fault.Internal, "base", "secret detail"), 500, "internal"},
		{fault.In("place", fault.Wrap(secret, fault.Invalid, "base", "is wrong")), 400, "invalid"},
		{fault.Wrap(secret, "unheard_of", "", "secret detail"), 500, "internal"},
		{secret, 500, "internal"},
		{context.DeadlineExceeded, 503, "unavailable"},
		{&os.PathError{Op: "secret", Path: "secret", Err: syscall.ENOSPC}, 503, "unavailable"},
		{fault.Wrap(errors.Join(syscall.ENOSPC, secret), fault.Internal, "", "secret detail"), 503, "unavailable"},
	} {
		s.m.refuse = c.err
		a := s.want(c.status, "GET", path, "", "X-Request-Id", "mine-1")
		if a.field("code") != c.code || strings.Contains(a.body, "secret") || a.field("request_id") != "mine-1" || a.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%v: %s, %v", c.err, a.body, a.header)
		}
	}
	if !strings.Contains(s.log.String(), "secret detail of /var/lib") {
		t.Error("the log lacks the cause")
	}
}

// panicking is a service that has a defect.
type panicking struct{ *memory }

func (panicking) Ready(context.Context) map[string]error { panic("secret detail") }

func TestPanics(t *testing.T) {
	s := newServer(t, func(o *gateway.Options) { o.Health = panicking{} })
	if a := s.want(http.StatusInternalServerError, "GET", "/readyz", ""); a.field("code") != "internal" || strings.Contains(a.body, "secret") {
		t.Errorf("%s", a.body)
	}
	if !strings.Contains(s.log.String(), "refusal_test.go") {
		t.Error("the log lacks the stack")
	}
	s.want(http.StatusOK, "GET", "/healthz", "")
}

func TestRequestIDs(t *testing.T) {
	s := newServer(t, nil)
	for sent, kept := range map[string]bool{"4b3d-0f.0e_1": true, "": false, "a b": false, strings.Repeat("x", 65): false, `<script>`: false} {
		a := s.want(http.StatusOK, "GET", "/healthz", "", "X-Request-Id", sent)
		if got := a.header.Get("X-Request-Id"); (got == sent) != kept || got == "" {
			t.Errorf("%q is answered with %q", sent, got)
		}
	}
}

// bucket allows so many requests.
type bucket struct {
	left int64
	who  string
	err  error
}

func (b *bucket) Allow(_ context.Context, who, _ string) (gateway.Allowance, error) {
	b.who = who
	b.left--
	return gateway.Allowance{
		Allowed: b.left >= 0, Limit: 2, Window: time.Minute, Remaining: max(0, b.left), Reset: 1500 * time.Millisecond, Retry: 2500 * time.Millisecond,
	}, b.err
}

func TestRateLimits(t *testing.T) {
	b := &bucket{left: 2}
	s := newServer(t, func(o *gateway.Options) { o.Limits = b })
	a := s.want(http.StatusOK, "GET", "/v1/modules", "")
	if a.header.Get("RateLimit-Policy") != `"default";q=2;w=60` || a.header.Get("RateLimit") != `"default";r=1;t=2` || b.who != "alice" {
		t.Errorf("headers %v, who %q", a.header, b.who)
	}
	s.want(http.StatusOK, "POST", "/v1/tokens/exchange", `{"key":"mdl_good"}`, "Authorization", "", "X-Forwarded-For", "10.9.9.9")
	if b.who != "address 127.0.0.1" {
		t.Errorf("a stranger is counted as %q", b.who)
	}
	if a := s.want(http.StatusTooManyRequests, "GET", "/v1/modules", ""); a.header.Get("Retry-After") != "3" || a.field("code") != "rate_limited" {
		t.Errorf("refused with %v: %s", a.header, a.body)
	}
	s.want(http.StatusUnauthorized, "GET", "/v1/modules", "", "Authorization", "")
	s.want(http.StatusOK, "GET", "/healthz", "")
	b.err = errors.New("redis is away")
	s.want(http.StatusOK, "GET", "/v1/modules", "")
}

func TestOtherOrigins(t *testing.T) {
	preflight := []string{"Authorization", "", "Origin", "https://elsewhere.example", "Access-Control-Request-Method", "GET", "Access-Control-Request-Headers", "authorization"}
	for _, c := range []struct {
		origins []string
		want    string
	}{{nil, ""}, {[]string{"https://app.example"}, ""}, {[]string{"https://elsewhere.example"}, "https://elsewhere.example"}} {
		s := newServer(t, func(o *gateway.Options) { o.Origins = c.origins })
		for _, method := range []string{"OPTIONS", "GET"} {
			path := "/healthz"
			if method == "OPTIONS" {
				path = "/v1/modules"
			}
			if a := s.call(method, path, "", preflight...); a.header.Get("Access-Control-Allow-Origin") != c.want || a.header.Get("Access-Control-Allow-Credentials") != "" {
				t.Errorf("%s with %v allowed: %v", method, c.origins, a.header)
			}
		}
	}
}
