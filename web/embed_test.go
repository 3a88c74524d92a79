package web

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/fstest"
)

func packed(t *testing.T, text string) *fstest.MapFile {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &fstest.MapFile{Data: b.Bytes()}
}

func testHandler(t *testing.T) http.Handler {
	t.Helper()
	return handler(fstest.MapFS{
		".gitkeep": {}, "index.html.gz": packed(t, "<!doctype html>the page"), "assets/app-1.js.gz": packed(t, "let a"), "assets/icon-1.png": {Data: []byte("png")},
		"assets/guest-1.wasm.gz": packed(t, "\x00asm"),
	}, fstest.MapFS{"base/config.json": {Data: []byte("{}")}})
}

func ask(h http.Handler, method, path string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "http://localhost/", nil)
	r.URL.Path = path
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestHandler(t *testing.T) {
	h := testHandler(t)
	for _, c := range []struct {
		path   string
		status int
		kind   string // content type
		body   string
		kept   bool // for ever
	}{
		{"/", 200, "text/html; charset=utf-8", "<!doctype html>the page", false},
		{"/modules", 200, "text/html; charset=utf-8", "<!doctype html>the page", false},
		{"/jobs/deeper/", 200, "text/html; charset=utf-8", "<!doctype html>the page", false},
		{"/assets/app-1.js", 200, "text/javascript; charset=utf-8", "let a", true},
		{"/assets/guest-1.wasm", 200, "application/wasm", "\x00asm", true},
		{"/assets/icon-1.png", 200, "image/png", "png", true},
		{"/assets/zoo-0123/base/config.json", 200, "application/json", "{}", true},
		{"/assets/zoo-0123/../../.gitkeep", 404, "", "", false},
		{"/assets/zoo-0123/", 404, "", "", false},
		{"/assets/zoo-0123", 404, "", "", false},
		{"/assets/none", 404, "", "", false},
		{"/assets", 200, "text/html; charset=utf-8", "<!doctype html>the page", false},
		{"/favicon.ico", 404, "", "", false},
		{"/../../etc/passwd.txt", 404, "", "", false},
		{"/assets/app-1.js.gz", 404, "", "", false},
		{"//assets//app-1.js", 200, "text/javascript; charset=utf-8", "let a", true},
	} {
		w := ask(h, "GET", c.path)
		header := w.Header()
		if w.Code != c.status {
			t.Errorf("%s: status %d, want %d", c.path, w.Code, c.status)
		}
		if header.Get("Content-Security-Policy") != policy || header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: headers %v", c.path, header)
		}
		if c.status != 200 {
			continue
		}
		if header.Get("Content-Type") != c.kind || w.Body.String() != c.body {
			t.Errorf("%s: %q %q, want %q %q", c.path, header.Get("Content-Type"), w.Body, c.kind, c.body)
		}
		if kept := strings.Contains(header.Get("Cache-Control"), "immutable"); kept != c.kept {
			t.Errorf("%s: %q", c.path, header.Get("Cache-Control"))
		}
	}
}

func TestHandlerGzip(t *testing.T) {
	h := testHandler(t)
	for accept, want := range map[string]bool{"": false, "br": false, "gzip": true, "br, GZIP;q=0.5": true, "gzip;q=0": false, "gzip;q=0.0": false, "gzip; q=1": true} {
		w := ask(h, "GET", "/assets/app-1.js", "Accept-Encoding", accept)
		if got := w.Header().Get("Content-Encoding") == "gzip"; got != want || w.Header().Get("Vary") != "Accept-Encoding" {
			t.Errorf("%q: %v", accept, w.Header())
		}
		body := w.Body.Bytes()
		if want {
			body = unpack(body)
		}
		if string(body) != "let a" {
			t.Errorf("%q: %q", accept, body)
		}
	}
}

func TestHandlerNotModified(t *testing.T) {
	h := testHandler(t)
	tag := ask(h, "GET", "/").Header().Get("ETag")
	if w := ask(h, "GET", "/", "If-None-Match", tag); tag == "" || w.Code != http.StatusNotModified || w.Body.Len() > 0 {
		t.Errorf("tag %q: status %d with %d bytes", tag, w.Code, w.Body.Len())
	}
	if w := ask(h, "HEAD", "/"); w.Code != 200 || w.Body.Len() > 0 || w.Header().Get("Content-Length") == "0" {
		t.Errorf("HEAD: status %d, %d bytes, %v", w.Code, w.Body.Len(), w.Header())
	}
	if w := ask(h, "POST", "/"); w.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST: status %d", w.Code)
	}
}

// TestHandlerMissing: a program that was built before the page says how to build it.
func TestHandlerMissing(t *testing.T) {
	w := ask(handler(fstest.MapFS{".gitkeep": {}}, fstest.MapFS{}), "GET", "/")
	if w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), Make) || w.Header().Get("Content-Security-Policy") != plainPolicy {
		t.Errorf("status %d: %s", w.Code, w.Body)
	}
}

// TestBuilt: what is embedded is the page, whole.
func TestBuilt(t *testing.T) {
	if !Built() {
		t.Fatalf("the page is not built: run %s", Make)
	}
	if w := ask(Handler(), "GET", "/"); w.Code != 200 || !strings.Contains(w.Body.String(), `<div id="app">`) {
		t.Errorf("status %d: %s", w.Code, w.Body)
	}
}
