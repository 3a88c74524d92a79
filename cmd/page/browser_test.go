//go:build !js

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/medley-lora/medley/shared/zoo/zootest"
)

// patience bounds a call in the page.
const patience = 6 * time.Minute

// page is a page of a headless Chromium with testdata/harness.js.
type page struct {
	ctx   context.Context
	files string // the zoo on disk; served under /files/
	built string // what has been compiled; served at /
}

func openPage(t *testing.T) *page {
	t.Helper()
	noticeSources(t)
	p := &page{files: zootest.Dir(t), built: t.TempDir()}
	p.compile(t, "page.wasm", "build", "-ldflags=-s -w", "-trimpath", ".")
	address := p.serve(t)
	options := []chromedp.ExecAllocatorOption{
		chromedp.ExecPath(browser(t)), chromedp.UserDataDir(t.TempDir()), chromedp.NoFirstRun, chromedp.NoSandbox,
		chromedp.Flag("headless", "new"), chromedp.WSURLReadTimeout(time.Minute),
	}
	for _, name := range []string{"enable-unsafe-webgpu", "disable-quic", "disable-background-networking", "disable-component-update", "disable-sync"} {
		options = append(options, chromedp.Flag(name, true))
	}
	allocator, stop := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(stop)
	ctx, leave := chromedp.NewContext(allocator)
	t.Cleanup(leave)
	p.ctx = ctx
	if err := chromedp.Do(ctx, chromedp.Navigate(address+"/test/index.html")); err != nil {
		t.Fatal(err)
	}
	if _, err := chromedp.Run(ctx, chromedp.Poll[bool]("globalThis.test !== undefined")); err != nil {
		t.Fatal(err)
	}
	return p
}

// noticeSources looks at every file that may be compiled, so that `go test` does not answer from its cache when one has changed: it
// sees what this process opens, not what the compiler does.
func noticeSources(t *testing.T) {
	t.Helper()
	for _, root := range []string{".", "../../gpu", "../../shared"} {
		err := filepath.WalkDir(root, func(path string, _ os.DirEntry, err error) error {
			_, _ = os.Stat(path) // only asking counts
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// browser is the path of a Chromium.
func browser(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome-stable", "google-chrome", "chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Fatal("no Chromium was found; install it with: go tool -modfile=tools/go.mod task setup")
	return ""
}

// compile runs the go command for js/wasm, with an output file of that name.
func (p *page) compile(t *testing.T, name, verb string, args ...string) {
	t.Helper()
	command := exec.Command("go", append([]string{verb, "-o", filepath.Join(p.built, name)}, args...)...)
	command.Env = append(os.Environ(), "GOOS=js", "GOARCH=wasm")
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("go %s for js/wasm: %v\n%s", verb, err, out)
	}
}

// serve offers all that the page loads, at an address of this machine, where browsers allow WebGPU as they do with https.
func (p *page) serve(t *testing.T) (address string) {
	t.Helper()
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/test/", http.StripPrefix("/test/", http.FileServer(http.Dir("testdata"))))
	mux.Handle("/files/", http.StripPrefix("/files/", http.FileServer(http.Dir(p.files))))
	mux.Handle("/", http.FileServer(http.Dir(p.built)))
	for _, file := range []string{"../../web/medley.js", "../../web/worker.js", strings.TrimSpace(string(root)) + "/lib/wasm/wasm_exec.js"} {
		serve := func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, file) }
		mux.HandleFunc("/"+filepath.Base(file), serve)
		mux.HandleFunc("/dies/"+filepath.Base(file), serve) // beside another page.wasm
	}
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return strings.Replace(server.URL, "127.0.0.1", "localhost", 1)
}

// evaluate awaits a call of a function of testdata/harness.js. Arguments are what encoding/json makes of them.
func evaluate[T any](t *testing.T, p *page, function string, args ...any) T {
	t.Helper()
	list, err := json.Marshal(args)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	result, err := chromedp.Run(ctx, chromedp.Evaluate[T](fmt.Sprintf("test.%s(...%s)", function, list), chromedp.EvalAwaitPromise))
	if err != nil {
		t.Fatalf("in the page: %v", err)
	}
	return result
}
