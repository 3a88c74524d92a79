package web_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/medley-lora/medley/web"
)

// platform is `medley serve` with a folder of its own, behind a proxy that can be cut, as networks are.
type platform struct {
	t       *testing.T
	program string
	data    string
	listen  string // of the server behind the proxy
	address string // of the proxy, which is what the page knows
	token   string // for everything
	cut     atomic.Bool
	slow    atomic.Int64 // nanoseconds that scores are held up
	hostile atomic.Bool  // lists have names that no good server would take
	pieces  atomic.Bool  // tokens have texts that no tokenizer would give

	mu     sync.Mutex
	server *exec.Cmd
}

// startPlatform builds the program with the page and starts it.
func startPlatform(t *testing.T) *platform {
	t.Helper()
	if !web.Built() {
		t.Fatalf("the page is not built: run %s", web.Make)
	}
	noticeSources(t)
	dir := t.TempDir()
	s := &platform{t: t, program: filepath.Join(dir, "medley"), data: filepath.Join(dir, "data"), listen: freeAddress(t)}
	if out, err := exec.Command("go", "build", "-o", s.program, "../cmd/medley").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	t.Cleanup(s.stop)
	s.start()
	s.token = s.newToken("admin", "1h")
	s.proxy()
	return s
}

// noticeSources looks at every file that is compiled in, so that `go test` does not answer from its cache when one has changed.
func noticeSources(t *testing.T) {
	t.Helper()
	for _, root := range []string{"dist", "testdata", "../cmd/medley", "../gpu", "../shared", "../edge", "../wasm"} {
		err := filepath.WalkDir(root, func(path string, _ os.DirEntry, err error) error {
			_, _ = os.Stat(path) // only asking counts
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// start runs the server and waits until it listens.
func (s *platform) start() {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.server = exec.Command(s.program, "serve", "--data", s.data, "--listen", s.listen, "--backend", "cpu", "--stop", "1s", "--request-rate", "1000")
	var said bytes.Buffer
	s.server.Stderr = &said
	out, err := s.server.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := s.server.Start(); err != nil {
		s.t.Fatal(err)
	}
	line := make(chan string, 1)
	go func() {
		scanner := bufio.NewScanner(out)
		scanner.Scan()
		line <- scanner.Text()
		for scanner.Scan() { // so that it never waits for a reader
		}
	}()
	select {
	case text := <-line:
		if !strings.HasPrefix(text, "Listening on") {
			s.t.Fatalf("medley serve said %q and:\n%s", text, said.String())
		}
	case <-time.After(2 * time.Minute):
		s.t.Fatalf("medley serve did not start:\n%s", said.String())
	}
}

// stop ends the server without notice.
func (s *platform) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.server != nil {
		_ = s.server.Process.Kill() // it may have ended by itself
		_ = s.server.Wait()         // which says that it was killed
		s.server = nil
	}
}

func (s *platform) newToken(scopes, ttl string) string {
	s.t.Helper()
	out, err := exec.Command(s.program, "token", "create", "--data", s.data, "--scopes", scopes, "--ttl", ttl).Output()
	if err != nil {
		s.t.Fatalf("medley token create: %v", err)
	}
	return strings.TrimSpace(string(out))
}

// proxy stands between the page and the server.
func (s *platform) proxy() {
	target := &url.URL{Scheme: "http", Host: s.listen}
	to := httputil.NewSingleHostReverseProxy(target)
	to.ErrorHandler = func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) } // as if nobody listened
	to.ErrorLog = log.New(io.Discard, "", 0)
	to.FlushInterval = -1
	to.ModifyResponse = func(r *http.Response) error {
		if s.pieces.Load() && r.Request.URL.Path == "/v1/evaluations" && r.StatusCode == http.StatusCreated {
			return hostilePieces(r)
		}
		return nil
	}
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.cut.Load() {
			panic(http.ErrAbortHandler)
		}
		if s.hostile.Load() && (r.URL.Path == "/v1/modules" || r.URL.Path == "/v1/plugins") {
			hostileList(w)
			return
		}
		if strings.HasSuffix(r.URL.Path, "/scores") || strings.HasSuffix(r.URL.Path, "/suggestions") {
			time.Sleep(time.Duration(s.slow.Load()))
		}
		to.ServeHTTP(w, r)
	}))
	front.Config.ErrorLog = nil
	s.t.Cleanup(front.Close)
	s.address = strings.Replace(front.URL, "127.0.0.1", "localhost", 1)
}

// api sends a request to the server itself.
func (s *platform) api(method, path, token, contentType string, body []byte) *http.Response {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	s.t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, method, "http://"+s.listen+path, bytes.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { res.Body.Close() })
	return res
}

// hostileList answers as the lists of modules and of plugins do.
func hostileList(w http.ResponseWriter) {
	items := make([]map[string]any, len(hostileNames))
	for i, name := range hostileNames {
		items[i] = map[string]any{
			"id": fmt.Sprintf("mod_%026d", i), "name": name, "task": name, "author": name, "licence": name, "base": name, "version": name, "digest": name,
			"visibility": "private", "mine": true, "size": 7, "rank": 8, "targets": []string{name}, "created": "2030-01-02T03:04:05Z",
		}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"items": items})
}

// hostilePieces makes the first token of each example a text that attacks.
func hostilePieces(r *http.Response) error {
	var evaluation map[string]any
	if err := json.NewDecoder(r.Body).Decode(&evaluation); err != nil {
		return err
	}
	r.Body.Close()
	pieces, ok := evaluation["pieces"].([]any)
	for i := range pieces {
		if of, _ := pieces[i].([]any); len(of) > 0 {
			of[0] = hostileNames[i%len(hostileNames)]
		}
	}
	text, err := json.Marshal(evaluation)
	if err != nil || !ok {
		return fmt.Errorf("the evaluation has no pieces: %w", err)
	}
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(text)), int64(len(text))
	r.Header.Set("Content-Length", fmt.Sprint(len(text)))
	return nil
}
