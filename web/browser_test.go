package web_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/cdproto/tracing"
	"github.com/chromedp/chromedp"
)

// patience bounds what the page is asked to do.
const patience = 4 * time.Minute

// shots is where screenshots are kept for people to look at.
const shots = "../out/playground"

// tab is a page in a headless Chromium.
type tab struct {
	t         *testing.T // of the test that is running
	ctx       context.Context
	address   string // of the page, without a path
	downloads string

	mu         sync.Mutex
	complaints []string      // what the browser's console says is wrong
	traced     [][]byte      // events of the browser's own record of what it did, as JSON
	recorded   chan struct{} // closed when the record is complete
}

// openTab starts a browser.
func openTab(t *testing.T, address string) *tab {
	t.Helper()
	if err := os.MkdirAll(shots, 0o755); err != nil {
		t.Fatal(err)
	}
	p := &tab{t: t, address: address, downloads: t.TempDir()}
	options := []chromedp.ExecAllocatorOption{
		chromedp.ExecPath(chromium(t)), chromedp.UserDataDir(t.TempDir()), chromedp.NoFirstRun, chromedp.NoSandbox,
		chromedp.Flag("headless", "new"), chromedp.WSURLReadTimeout(time.Minute),
	}
	for _, name := range []string{"enable-unsafe-webgpu", "disable-quic", "disable-background-networking", "disable-component-update", "disable-sync", "hide-scrollbars"} {
		options = append(options, chromedp.Flag(name, true))
	}
	allocator, stop := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(stop)
	ctx, leave := chromedp.NewContext(allocator, chromedp.WithListener(p.hear))
	t.Cleanup(leave)
	p.ctx = ctx
	if err := chromedp.Do(ctx, chromedp.Navigate("about:blank")); err != nil { // the first action starts the browser, which ends with its context
		t.Fatal(err)
	}
	p.do(func(ctx context.Context, target *chromedp.Target) (chromedp.Void, error) {
		_, err := cdp.Call(ctx, target, browser.SetDownloadBehavior, browser.SetDownloadBehaviorParams{
			Behavior: browser.SetDownloadBehaviorBehaviorAllow, DownloadPath: p.downloads,
		})
		return chromedp.Void{}, err
	})
	p.size(1280, 900)
	return p
}

// hear keeps what the console complains of: a broken policy, an exception, a message of an error.
func (p *tab) hear(event any) {
	var complaint string
	switch e := event.(type) {
	case *tracing.EventDataCollected:
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, v := range e.Value {
			p.traced = append(p.traced, slices.Clone([]byte(v)))
		}
	case *tracing.EventTracingComplete:
		close(p.recorded)
	case *runtime.EventExceptionThrown:
		complaint = e.ExceptionDetails.Text
		if e.ExceptionDetails.Exception != nil {
			complaint += " " + e.ExceptionDetails.Exception.Description
		}
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError && e.Entry.Source != log.EntrySourceNetwork {
			complaint = e.Entry.Text
		}
	}
	if complaint != "" {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.complaints = append(p.complaints, complaint)
	}
}

// quiet fails the test if the console complained.
func (p *tab) quiet() {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.complaints {
		p.t.Errorf("the browser complains: %s", c)
	}
	p.complaints = nil
}

func (p *tab) do(action chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, action); err != nil {
		p.t.Fatal(err)
	}
}

func chromium(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome-stable", "google-chrome", "chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Fatal("no Chromium was found; install it with: go tool -modfile=tools/go.mod task setup")
	return ""
}

// load opens an address of the page and puts the robot into it.
func (p *tab) load(path string) {
	p.t.Helper()
	p.do(chromedp.Navigate(p.address + path))
	p.equip()
}

// equip puts robot.js and axe-core into the page.
func (p *tab) equip() {
	p.t.Helper()
	for _, name := range []string{"testdata/robot.js", "app/node_modules/axe-core/axe.min.js"} {
		text, err := os.ReadFile(name)
		if err != nil {
			p.t.Fatalf("%s is missing: run go tool -modfile=tools/go.mod task web", filepath.Base(name))
		}
		p.js(string(text) + ";undefined")
	}
	p.js(`robot.until("the page", () => document.querySelector("main h1"))`)
}

// forget leaves the page for one that knows nothing of before: no work, no token, no plugins.
func (p *tab) forget() {
	p.t.Helper()
	const forget = `(localStorage.clear(), sessionStorage.clear())`
	p.js(`addEventListener("pagehide", () => ` + forget + `)`)
	p.load("/docs-of-nothing") // another page of this one, so that a link to it is not a mere change of the fragment
	p.js(`addEventListener("pagehide", () => ` + forget + `)`)
	p.js(`new Promise((r) => (indexedDB.deleteDatabase("medley").onsuccess = r))`)
}

// js runs an expression in the page and awaits it.
func (p *tab) js(expression string) {
	p.t.Helper()
	eval[any](p, "(async () => { await (async () => {"+returning(expression)+"})(); return null })()")
}

// returning makes statements of an expression, so that scripts can be given too.
func returning(expression string) string {
	if strings.HasSuffix(expression, ";undefined") {
		return expression
	}
	return "return " + expression
}

// eval awaits the value of an expression.
func eval[T any](p *tab, expression string) T {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	value, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		p.shot("failure")
		p.t.Fatalf("in the page: %v", err)
	}
	return value
}

// call awaits a function of the robot. Arguments are what encoding/json makes of them.
func call[T any](p *tab, function string, args ...any) T {
	p.t.Helper()
	list, err := json.Marshal(append([]any{}, args...))
	if err != nil {
		p.t.Fatal(err)
	}
	return eval[T](p, fmt.Sprintf("robot.%s(...%s)", function, list))
}

// act is a call whose answer does not matter: act("click", "Run the search").
func (p *tab) act(function string, args ...any) {
	p.t.Helper()
	list, err := json.Marshal(append([]any{}, args...))
	if err != nil {
		p.t.Fatal(err)
	}
	eval[bool](p, fmt.Sprintf("Promise.resolve(robot.%s(...%s)).then(() => true)", function, list))
}

// until polls an expression until it is true.
func (p *tab) until(what, expression string) {
	p.t.Helper()
	name, err := json.Marshal(what)
	if err != nil {
		p.t.Fatal(err)
	}
	eval[bool](p, fmt.Sprintf("robot.until(%s, () => (%s), 180_000).then(() => true)", name, expression))
}

// wait gives the page time.
func (p *tab) wait(d time.Duration) {
	p.t.Helper()
	eval[bool](p, fmt.Sprintf("new Promise((r) => setTimeout(() => r(true), %d))", d.Milliseconds()))
}

// tasks records what the page's thread does while work runs: the processor time of its tasks, so that others who use this machine do not
// count. wall is the longest by the clock on the wall.
func (p *tab) tasks(work func()) (longest, wall time.Duration, count int) {
	p.t.Helper()
	p.mu.Lock()
	p.traced, p.recorded = nil, make(chan struct{})
	p.mu.Unlock()
	p.do(func(ctx context.Context, target *chromedp.Target) (chromedp.Void, error) {
		categories := []string{"toplevel", "disabled-by-default-devtools.timeline", "__metadata"}
		_, err := cdp.Call(ctx, target, tracing.Start, tracing.StartParams{TraceConfig: &tracing.TraceConfig{IncludedCategories: categories, ExcludedCategories: []string{"*"}}})
		return chromedp.Void{}, err
	})
	work()
	p.wait(100 * time.Millisecond) // a task that is not over is not told
	p.do(func(ctx context.Context, target *chromedp.Target) (chromedp.Void, error) {
		_, err := cdp.Call(ctx, target, tracing.End, cdp.Empty{})
		return chromedp.Void{}, err
	})
	select {
	case <-p.recorded:
	case <-time.After(patience):
		p.t.Fatal("the browser's record does not end")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return longestTask(p.t, p.traced)
}

// longestTask looks through a record (Trace Event Format) for tasks of threads that run pages.
func longestTask(t *testing.T, events [][]byte) (longest, wall time.Duration, count int) {
	type thread struct{ PID, TID int }
	type event struct {
		Name string
		thread
		Dur, Tdur float64 // microseconds
		Args      struct{ Name string }
	}
	all, pages := make([]event, len(events)), map[thread]bool{}
	for i, text := range events {
		if err := json.Unmarshal(text, &all[i]); err != nil {
			continue // events of other kinds have arguments of other types
		}
		if all[i].Name == "thread_name" && all[i].Args.Name == "CrRendererMain" {
			pages[all[i].thread] = true
		}
	}
	for _, e := range all {
		if pages[e.thread] && strings.HasSuffix(e.Name, "RunTask") && e.Tdur > 0 {
			count++
			longest = max(longest, time.Duration(e.Tdur)*time.Microsecond)
			wall = max(wall, time.Duration(e.Dur)*time.Microsecond)
		}
	}
	if count == 0 {
		t.Fatalf("the record of %d events has no task of a page", len(events))
	}
	return longest, wall, count
}

func (p *tab) size(width, height int64) {
	p.t.Helper()
	p.do(chromedp.EmulateViewport(width, height))
}

// scheme makes the browser prefer light or dark.
func (p *tab) scheme(name string) {
	p.t.Helper()
	p.do(func(ctx context.Context, target *chromedp.Target) (chromedp.Void, error) {
		features := []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}, {Name: "prefers-reduced-motion", Value: "reduce"}}
		_, err := cdp.Call(ctx, target, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: features})
		return chromedp.Void{}, err
	})
}

// shot keeps a picture of the whole page.
func (p *tab) shot(name string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, time.Minute)
	defer cancel()
	const drawn = "new Promise((r) => requestAnimationFrame(() => requestAnimationFrame(r))).then(() => true)"
	if _, err := chromedp.Run(ctx, chromedp.Evaluate[bool](drawn, chromedp.EvalAwaitPromise)); err != nil {
		p.t.Errorf("no screenshot: %v", err)
		return
	}
	image, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
	if err == nil {
		err = os.WriteFile(filepath.Join(shots, name+".png"), image, 0o644)
	}
	if err != nil {
		p.t.Errorf("no screenshot: %v", err)
	}
}

// downloaded waits for a file whose name ends so, and returns it.
func (p *tab) downloaded(suffix string) []byte {
	p.t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		entries, err := os.ReadDir(p.downloads)
		if err != nil {
			p.t.Fatal(err)
		}
		i := slices.IndexFunc(entries, func(e os.DirEntry) bool { return strings.HasSuffix(e.Name(), suffix) })
		if i < 0 {
			continue
		}
		path := filepath.Join(p.downloads, entries[i].Name())
		data, err := os.ReadFile(path)
		if err != nil {
			p.t.Fatal(err)
		}
		if len(data) > 0 {
			os.Remove(path)
			return data
		}
	}
	p.t.Fatalf("no file *%s was downloaded", suffix)
	return nil
}
