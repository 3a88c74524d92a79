package auth_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/medley-lora/medley/edge/auth"
	"github.com/medley-lora/medley/edge/auth/authtest"
	"github.com/medley-lora/medley/shared/fault"
)

// knock sends a request with these Authorization headers to a route that wants scope.
func knock(w *authtest.World, scope auth.Scope, headers []string) (p auth.Principal, challenge string, err error) {
	e := echo.New()
	e.GET("/v1/things/:id", func(c echo.Context) error {
		p, _ = auth.FromContext(c.Request().Context())
		return c.NoContent(http.StatusNoContent)
	}, w.Authority.Require(scope))
	e.HTTPErrorHandler = func(failure error, c echo.Context) {
		err = failure
		_ = c.NoContent(http.StatusTeapot)
	}
	request := httptest.NewRequest(http.MethodGet, "/v1/things/secret?access_token=x", nil)
	request.RemoteAddr = "192.0.2.7:4711"
	request.Header["Authorization"] = headers
	request.Header.Set("X-Forwarded-For", "10.0.0.1") // nobody said that it can be believed
	answer := httptest.NewRecorder()
	e.ServeHTTP(answer, request)
	if err == nil && answer.Code != http.StatusNoContent {
		err = fmt.Errorf("the answer is %d", answer.Code)
	}
	return p, answer.Header().Get("WWW-Authenticate"), err
}

func TestBadInput_51_Tokens(t *testing.T) {
	w := authtest.New(t)
	const scope = auth.ModulesRead
	bad := w.Bad(t, "ann", scope)
	if len(bad) < 65 {
		t.Errorf("only %d kinds of bad tokens", len(bad))
	}
	w.Audits.Take()
	for _, b := range bad {
		t.Run(b.Name, func(t *testing.T) {
			w.Clock.Move(100 * time.Millisecond) // at most 20 failures a second are told
			begun := time.Now()
			p, challenge, err := knock(w, scope, b.Headers)
			if fault.CodeOf(err) != b.Code || !strings.Contains(fmt.Sprint(err), b.Why) || p.ID != "" {
				t.Errorf("%v (%s) for %q, want %s: …%s…", err, fault.CodeOf(err), p.ID, b.Code, b.Why)
			}
			if took := time.Since(begun); took > time.Second {
				t.Errorf("took %v", took)
			}
			checkChallenge(t, challenge, b.Error, scope, err)

			events := w.Audits.Take()
			if b.Error == "" {
				if len(events) != 0 {
					t.Errorf("a client without a token is audited: %+v", events)
				}
				return
			}
			if len(events) != 1 {
				t.Fatalf("%d events are audited", len(events))
			}
			action, who := auth.LoginFailed, ""
			if b.Code == auth.Forbidden {
				action, who = auth.ScopeDenied, "ann"
			}
			if e := events[0]; e.Action != action || e.Principal != who || e.Address != "192.0.2.7" || !strings.HasSuffix(e.Detail, "/v1/things/:id") {
				t.Errorf("audited: %+v", e)
			}
		})
	}
}

// checkChallenge holds WWW-Authenticate to RFC 6750, section 3.
func checkChallenge(t *testing.T, challenge, kind string, scope auth.Scope, err error) {
	t.Helper()
	want := `Bearer realm="medley"`
	if kind != "" {
		want += fmt.Sprintf(`, error="%s", error_description="%s"`, kind, err)
	}
	if kind == "insufficient_scope" {
		want += fmt.Sprintf(`, scope="%s"`, scope)
	}
	if challenge != want {
		t.Errorf("challenge %s\nwant      %s", challenge, want)
	}
	if strings.ContainsAny(fmt.Sprint(err), "\"\\\r\n") {
		t.Errorf("%q does not fit in a quoted string", err)
	}
}

func TestAdmit(t *testing.T) {
	w := authtest.New(t)
	token := w.Token(t, "ann", auth.ModulesRead, auth.ComposeRun)
	for name, header := range map[string]string{
		"plain": "Bearer " + token.Text, "lower case": "bearer " + token.Text, "spaces": "Bearer   " + token.Text + " ",
	} {
		p, challenge, err := knock(w, auth.ModulesRead, []string{header})
		if err != nil || challenge != "" || p.ID != "ann" || p.TokenID != token.ID || !p.Expires.Equal(token.Expires) || fmt.Sprint(p.Scopes) != "[compose:run modules:read]" {
			t.Errorf("%s: %+v, %q, %v", name, p, challenge, err)
		}
	}
	// What the bad tokens are made from is good: each has no fault but its own.
	plain := w.Sign(t, w.Claims("ann", "modules:read future:scope", map[string]any{"aud": []string{"https://other.test", authtest.Audience}}), nil)
	if p, _, err := knock(w, auth.ModulesRead, []string{"Bearer " + plain}); err != nil || fmt.Sprint(p.Scopes) != "[modules:read]" {
		t.Errorf("claims without a fault: %+v, %v", p, err)
	}
	admin := []string{"Bearer " + w.Token(t, "root", auth.Admin).Text}
	for _, a := range auth.Table() {
		if _, _, err := knock(w, a.Scope, admin); err != nil {
			t.Errorf("admin and %s: %v", a.Scope, err)
		}
	}
	for _, scope := range []auth.Scope{"", "modules", "modules:*"} {
		if _, _, err := knock(w, scope, admin); fault.CodeOf(err) != fault.Internal {
			t.Errorf("a route that asks for %q lets somebody in: %v", scope, err)
		}
	}
	for _, headers := range [][]string{nil, {"Bearer garbage"}, admin} {
		if p, challenge, err := knock(w, auth.Public, headers); err != nil || challenge != "" || p.ID != "" {
			t.Errorf("public: %+v, %q, %v", p, challenge, err)
		}
	}
	if events := w.Audits.Take(); len(events) != 0 {
		t.Errorf("audited: %+v", events)
	}
}

func TestNothingAnswers(t *testing.T) {
	w := authtest.New(t)
	good := []string{"Bearer " + w.Token(t, "ann", auth.ModulesRead).Text}
	secretFailure := errors.New("dial tcp 10.1.2.3:6379: refused")
	for name, c := range map[string]struct {
		err  error
		code fault.Code
	}{
		"down":     {secretFailure, auth.Unavailable},
		"internal": {fault.Wrap(secretFailure, fault.Internal, "redis", "failed"), auth.Unavailable},
		"canceled": {fault.Wrap(context.Canceled, fault.Canceled, "", "was canceled"), fault.Canceled},
	} {
		w.Revocations.Err = c.err
		p, challenge, err := knock(w, auth.ModulesRead, good)
		if fault.CodeOf(err) != c.code || challenge != "" || p.ID != "" || strings.Contains(err.Error(), "10.1.2.3") {
			t.Errorf("%s: %+v, %q, %v", name, p, challenge, err)
		}
		if err := w.Authority.Revoke(context.Background(), "ann", "tok_a"); fault.CodeOf(err) != c.code {
			t.Errorf("%s: revoking: %v", name, err)
		}
	}
	if events := w.Audits.Take(); len(events) != 0 {
		t.Errorf("audited: %+v", events)
	}
	w.Revocations.Err = nil
	if _, _, err := knock(w, auth.ModulesRead, good); err != nil {
		t.Error(err)
	}
}

func TestFloodIsNotAudited(t *testing.T) {
	w := authtest.New(t)
	garbage := []string{"Bearer garbage"}
	for range 1000 {
		_, _, _ = knock(w, auth.ModulesRead, garbage)
	}
	if n := len(w.Audits.Take()); n != 20 {
		t.Errorf("%d of 1,000 failures in a second are told", n)
	}
	w.Clock.Move(time.Second)
	_, _, _ = knock(w, auth.ModulesRead, garbage)
	if events := w.Audits.Take(); len(events) != 1 || !strings.HasSuffix(events[0].Detail, "(and 980 failures before it that are not recorded)") {
		t.Errorf("audited then: %+v", events)
	}
}

func TestAddress(t *testing.T) {
	w := authtest.New(t)
	for name, c := range map[string]struct {
		extract echo.IPExtractor
		remote  string
		want    string
	}{
		"connection":  {nil, "192.0.2.7:1", "192.0.2.7"},
		"IPv6":        {nil, "[2001:db8::1]:1", "2001:db8::1"},
		"unix socket": {nil, "@", "@"},
		"proxy":       {echo.ExtractIPFromXFFHeader(), "127.0.0.1:1", "198.51.100.1"},
	} {
		e := echo.New()
		e.IPExtractor = c.extract
		request := httptest.NewRequest(http.MethodGet, "/", nil)
		request.RemoteAddr = c.remote
		request.Header.Set("X-Forwarded-For", "198.51.100.1")
		request.Header.Set("Authorization", "Bearer garbage")
		if err := w.Authority.Admit(e.NewContext(request, httptest.NewRecorder()), auth.ModulesRead); err == nil {
			t.Fatal("garbage gets in")
		}
		if events := w.Audits.Take(); len(events) != 1 || events[0].Address != c.want {
			t.Errorf("%s: %+v, want %s", name, events, c.want)
		}
	}
}
