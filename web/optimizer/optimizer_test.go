// Package optimizer tests the JavaScript modules of this folder: under Node, and in a page of a headless Chromium.
package optimizer

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

	"github.com/medley-lora/medley/shared/search"
	"github.com/medley-lora/medley/wasm/guest"
	"github.com/medley-lora/medley/wasm/guest/guesttest"
	"github.com/medley-lora/medley/wasm/host"
	"github.com/medley-lora/medley/wasm/optimizer"
)

const howToInstall = "install it with: go tool -modfile=tools/go.mod task setup"

// patience bounds what Node or the page is asked to do.
const patience = 3 * time.Minute

// vectors writes a file of searches with every algorithm, as the guest asks in wazero: other engines have to ask the same.
func vectors(t *testing.T) (path string, cases int) {
	t.Helper()
	r, err := host.New(t.Context(), host.Options{Limits: host.Limits{Call: patience}})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	m, err := r.Compile(t.Context(), guest.Wasm())
	if err != nil {
		t.Fatal(err)
	}
	var v guesttest.Vectors
	for _, a := range optimizer.Algorithms() {
		for name, p := range guesttest.Problems() {
			v.Cases = append(v.Cases, guesttest.Record(t, a.Name+", "+name, a.Name, p, start(t, m, a.Name, p)))
		}
	}
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), "vectors.json")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path, len(v.Cases)
}

func start(t *testing.T, m *host.Module, algorithm string, p search.Problem) search.Optimizer {
	t.Helper()
	g, err := m.New(t.Context(), p, map[string]string{"optimizer": algorithm})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestNode(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		t.Fatal("no Node.js was found; " + howToInstall)
	}
	path, _ := vectors(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	command := exec.CommandContext(ctx, node, "--test", "--test-reporter=tap", "testdata/optimizer.test.js")
	command.Env = append(os.Environ(), "VECTORS="+path)
	out, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if !strings.Contains(string(out), "\n# fail 0\n") || strings.Contains(string(out), "\n# pass 0\n") {
		t.Errorf("no test was run:\n%s", out)
	}
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "per candidate") {
			t.Log(strings.TrimSpace(line))
		}
	}
}

// openPage returns a context for chromedp with testdata/harness.js loaded.
func openPage(t *testing.T, vectors string) context.Context {
	t.Helper()
	mux := http.NewServeMux()
	mux.Handle("/", http.FileServer(http.Dir(".")))
	mux.HandleFunc("/vectors.json", func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, vectors) })
	mux.HandleFunc("/guest.wasm", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/wasm")
		_, _ = w.Write(guest.Wasm()) // a page that leaves is no concern
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	options := []chromedp.ExecAllocatorOption{
		chromedp.ExecPath(browser(t)), chromedp.UserDataDir(t.TempDir()), chromedp.NoFirstRun, chromedp.NoSandbox,
		chromedp.Flag("headless", "new"), chromedp.WSURLReadTimeout(time.Minute),
	}
	for _, name := range []string{"disable-gpu", "disable-quic", "disable-background-networking", "disable-component-update", "disable-sync"} {
		options = append(options, chromedp.Flag(name, true))
	}
	allocator, stop := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(stop)
	ctx, leave := chromedp.NewContext(allocator)
	t.Cleanup(leave)
	if err := chromedp.Do(ctx, chromedp.Navigate(server.URL+"/testdata/index.html")); err != nil {
		t.Fatal(err)
	}
	if _, err := chromedp.Run(ctx, chromedp.Poll[bool]("globalThis.test !== undefined")); err != nil {
		t.Fatal(err)
	}
	return ctx
}

// browser is the path of a Chromium.
func browser(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome-stable", "google-chrome", "chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Fatal("no Chromium was found; " + howToInstall)
	return ""
}

// call awaits a function of testdata/harness.js.
func call[T any](t *testing.T, page context.Context, function string) T {
	t.Helper()
	ctx, cancel := context.WithTimeout(page, patience)
	defer cancel()
	result, err := chromedp.Run(ctx, chromedp.Evaluate[T](fmt.Sprintf("test.%s()", function), chromedp.EvalAwaitPromise))
	if err != nil {
		t.Fatalf("in the page: %v", err)
	}
	return result
}

func TestChromium(t *testing.T) {
	path, cases := vectors(t)
	page := openPage(t, path)

	type times struct{ Opened, PerCandidate float64 }
	r := call[struct {
		Cases        int
		Compile      float64
		Page, Worker map[string]times
	}](t, page, "replays")
	if r.Cases != cases || len(r.Page) != cases || len(r.Worker) != cases {
		t.Errorf("%d cases were replayed, %d in the page and %d in workers; want %d", r.Cases, len(r.Page), len(r.Worker), cases)
	}
	t.Logf("compiled in %.0f ms", r.Compile)
	for name, p := range r.Page {
		w := r.Worker[name]
		t.Logf("%s: started in %.0f ms (worker %.0f), %.0f µs per candidate (worker %.0f)",
			name, p.Opened, w.Opened, 1000*p.PerCandidate, 1000*w.PerCandidate)
	}

	ends := call[map[string]struct {
		Text string
		Time float64
	}](t, page, "ends")
	for name, want := range map[string]string{
		"endless ask":         "OptimizerError too_large: plugin: was stopped: ask took longer than 100 ms",
		"after it":            "OptimizerError too_large: plugin: was stopped: ask took longer than 100 ms",
		"endless start":       "OptimizerError too_large: plugin: was stopped: open took longer than 500 ms",
		"closed while asking": "OptimizerError canceled: the optimizer is closed",
		"closed":              "OptimizerError canceled: the optimizer is closed",
		"recursion":           "OptimizerError invalid: plugin: failed in opt_ask: Maximum call stack size exceeded",
		"no module":           "OptimizerError invalid: plugin: is not a valid module",
		"no guest":            "OptimizerError not_found: plugin: cannot be loaded: 404",
		"refused":             `OptimizerError unsupported: plugin: refuses opt_create (-2): optimizer: "adam" is not one of`,
		"asked for 0":         "OptimizerError invalid: n: asked for 0 candidates",
		"asked":               "[[0,0]]",
		"best":                `{"weights":[0,0],"objective":1,"observed":true}`,
		"info":                `"medley"`,
		"internal error":      "OptimizerError internal: plugin: refuses opt_create (-5): no",
	} {
		if got, ok := ends[name]; !ok || !strings.HasPrefix(got.Text, want) {
			t.Errorf("%s: %q, want %q", name, got.Text, want)
		}
	}
	if took := ends["endless ask"].Time; took > 5000 {
		t.Errorf("a guest without an end was ended after %.0f ms, want about 100", took)
	}
	t.Logf("a guest without an end was ended after %.0f ms", ends["endless ask"].Time)
}
