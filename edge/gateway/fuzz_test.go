package gateway_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/labstack/echo/v4"

	"github.com/medley-lora/medley/edge/gateway"
)

// door is a gateway without a network, and the composition that it has.
func door(f *testing.F) (e *echo.Echo, m *memory, composition string) {
	f.Helper()
	m = newMemory()
	o := optionsOf(m)
	o.Log = slog.New(slog.DiscardHandler)
	e, err := gateway.New(o)
	if err != nil {
		f.Fatal(err)
	}
	a := knock(e, "POST", "/v1/compositions", compositionText, "Content-Type", "application/json")
	m.publish(a.field("id"), event("1-0", "state", "{}"))
	m.publish(a.field("id"), event("2-0", "end", "{}"))
	return e, m, a.field("id")
}

// knock sends a request from alice, as net/http would hand it over.
func knock(e *echo.Echo, method, path, body string, headers ...string) answer {
	r := httptest.NewRequestWithContext(context.Background(), method, path, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer alice")
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	e.ServeHTTP(w, r)
	return answer{w.Code, w.Result().Header, w.Body.String()}
}

// sound fails the test unless an answer is a success or a refusal that says why.
func sound(t *testing.T, a answer) {
	t.Helper()
	media := a.header.Get("Content-Type")
	if a.status >= 500 || a.status >= 400 && (a.field("code") == "" || media != "application/problem+json" && media != "application/json") || a.status == 400 && a.field("detail") == "" {
		t.Errorf("status %d: %.500s", a.status, a.body)
	}
}

func FuzzCursor(f *testing.F) {
	for _, seed := range []string{"", "1", "53", "-1", "01", "9223372036854775808", "k3j2h.mod_aaaaaaaaaaaaaaaaaaaaaaaaaa", "%00", "a b", "é", strings.Repeat("1", 129)} {
		f.Add(seed)
	}
	e, _, _ := door(f)
	f.Fuzz(func(t *testing.T, cursor string) {
		for _, path := range []string{"/v1/modules", "/v1/compositions", "/v1/keys"} {
			sound(t, knock(e, "GET", path+"?cursor="+url.QueryEscape(cursor), ""))
		}
	})
}

func FuzzLastEventID(f *testing.F) {
	for _, seed := range []string{"", "1-0", "2-0", "3-0", "-", "18446744073709551616-0", "1-0\n", "é", strings.Repeat("1", 65)} {
		f.Add(seed)
	}
	e, _, composition := door(f)
	f.Fuzz(func(t *testing.T, id string) {
		a := knock(e, "GET", "/v1/compositions/"+composition+"/events", "", "Last-Event-ID", id)
		sound(t, a)
		if a.status == http.StatusOK && strings.Contains(a.body, "id: 1-0") == (id == "1-0") && id != "2-0" {
			t.Errorf("after %q comes %q", id, a.body)
		}
	})
}

func FuzzBody(f *testing.F) {
	for _, seed := range []string{compositionText, composition("budget", "1e1"), composition("optimizer_options", `{"a":"b"}`), `{"weights":[[0.5]]}`, "[[", `{"a":null}`, `{"":{"":[null]}}`, completionText, chatText, `{"model":"m","prompt":["a"],"stop":null}`} {
		f.Add([]byte(seed))
	}
	e, m, _ := door(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, path := range []string{"/v1/compositions", "/v1/evaluations", "/v1/keys", "/v1/tokens", "/v1/generations", "/v1/completions", "/v1/chat/completions"} {
			m.lines = []json.RawMessage{[]byte(`{"input":0,"end":true}`)}
			a := knock(e, "POST", path, string(body), "Content-Type", "application/json")
			sound(t, a)
			if a.status < 300 && !json.Valid(body) {
				t.Errorf("%s takes %q", path, body)
			}
		}
	})
}

func FuzzUpload(f *testing.F) {
	f.Add("multipart/form-data; boundary=x", []byte("--x\r\nContent-Disposition: form-data; name=\"archive\"; filename=\"a\"\r\n\r\nPK\r\n--x--\r\n"))
	f.Add("multipart/form-data; boundary=\"\"", []byte("----"))
	f.Add("application/zip", []byte("PK"))
	e, _, _ := door(f)
	f.Fuzz(func(t *testing.T, contentType string, body []byte) {
		sound(t, knock(e, "POST", "/v1/modules?name=m", string(body), "Content-Type", contentType))
	})
}

// BenchmarkScore is what the gateway itself costs a request: services answer at once.
func BenchmarkScore(b *testing.B) {
	o := optionsOf(newMemory())
	o.Evaluations = thinking{}
	o.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	e, err := gateway.New(o)
	if err != nil {
		b.Fatal(err)
	}
	body := `{"weights":[[` + strings.Repeat("0.25,", 19) + `0.5]]}`
	b.ReportAllocs()
	for b.Loop() {
		if a := knock(e, "POST", "/v1/evaluations/evl_aaaaaaaaaaaaaaaaaaaaaaaaaa/scores", body, "Content-Type", "application/json"); a.status != http.StatusOK {
			b.Fatal(a.body)
		}
	}
}

// BenchmarkBare is the same without a gateway, to compare with.
func BenchmarkBare(b *testing.B) {
	e := echo.New()
	e.POST("/scores", func(c echo.Context) error {
		var request map[string][][]float64
		if err := c.Bind(&request); err != nil {
			return err
		}
		return c.JSON(http.StatusOK, map[string]any{"scores": []map[string]any{{"loss": 1, "examples": []float64{}, "log_probs": []float64{}}}})
	})
	body := `{"weights":[[` + strings.Repeat("0.25,", 19) + `0.5]]}`
	b.ReportAllocs()
	for b.Loop() {
		if a := knock(e, "POST", "/scores", body, "Content-Type", "application/json"); a.status != http.StatusOK {
			b.Fatal(a.body)
		}
	}
}
