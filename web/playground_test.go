package web_test

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestPlayground is one test because starting the server and the browser takes longer than most of what follows.
func TestPlayground(t *testing.T) {
	s := startPlatform(t)
	p := openTab(t, s.address)
	for _, part := range []struct {
		name string
		run  func(*testing.T, *platform, *tab)
	}{
		{"first load", firstLoad}, {"empties", empties}, {"local", local}, {"guests", guests}, {"journey", journey}, {"keyboard", keyboard}, {"plugins", plugins}, {"lists", lists}, {"faults", faults}, {"names", names}, {"views", views},
	} {
		t.Run(part.name, func(t *testing.T) {
			p.t, s.t = t, t
			part.run(t, s, p)
			p.quiet()
		})
	}
}

// firstLoad: what a visitor waits for, and what the page may do.
func firstLoad(t *testing.T, s *platform, p *tab) {
	p.load("/")
	type resource struct {
		Name    string
		Encoded int
	}
	loaded := eval[[]resource](p, `performance.getEntries().filter((e) => e.encodedBodySize !== undefined).map((e) => ({ name: e.name, encoded: e.encodedBodySize }))`)
	total := 0
	for _, r := range loaded {
		total += r.Encoded
		if !strings.HasPrefix(r.Name, s.address+"/") {
			t.Errorf("the page asks another server: %s", r.Name)
		}
		if strings.Contains(r.Name, ".wasm") || strings.Contains(r.Name, "/engine-") || strings.Contains(r.Name, "/zoo-") {
			t.Errorf("%s is loaded before it is needed", r.Name)
		}
	}
	t.Logf("first load: %d bytes with gzip in %d files", total, len(loaded))
	if total < 10_000 || total > 150_000 {
		t.Errorf("the first load is %d bytes; the limit is 150,000", total)
	}
	res, err := http.Get(s.address)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	policy := res.Header.Get("Content-Security-Policy")
	if !strings.Contains(policy, "default-src 'none'") || !strings.Contains(policy, "'wasm-unsafe-eval'") || strings.Contains(policy, "unsafe-inline") ||
		strings.Contains(policy, "'unsafe-eval'") {
		t.Errorf("policy %q", policy)
	}
}

// local: the whole way without a server, no token, no requests but for files.
func local(t *testing.T, _ *platform, p *tab) {
	p.load("/")
	p.act("click", "several")
	p.act("see", "Hold out")
	p.act("choose", "Hold out example 5")
	p.act("see", "4 examples to search with, 1 held out")
	p.act("click", "Count tokens")
	p.act("see", "tokens", 120_000)
	p.act("see", "measured here")
	p.until("tokens beside rows", `/\d+ \+ \d+ tokens/.test(document.body.innerText)`)
	p.act("go", "/modules")
	p.act("click", "Suggest for my task")
	p.act("see", "help most are chosen")
	p.act("click", "Choose all")
	slide(t, p)

	before := eval[int](p, `performance.getEntriesByType("resource").filter((e) => e.name.includes("/v1/")).length`)
	// So much work that no processor does it in 50 ms; how long it takes by the clock is up to the machine.
	const hold = `new Promise((r) => setTimeout(() => { let x = 0; for (let i = 0; i < 5e7; i++) x = Math.sqrt(x + i); r(x) }))`
	if longest, wall, _ := p.tasks(func() { p.js(hold) }); longest <= 50*time.Millisecond {
		t.Errorf("a task that holds the page's thread is told as %v of the processor, %v by the clock", longest, wall)
	}
	longest, wall, count := p.tasks(func() { runSearch(p, "gntr", 40) })
	t.Logf("%d tasks of the page's thread while a search ran; the longest took %v of the processor, %v by the clock", count, longest, wall)
	if longest > 50*time.Millisecond {
		t.Errorf("while a search ran, a task kept the page's thread for %v", longest)
	}
	if after := eval[int](p, `performance.getEntriesByType("resource").filter((e) => e.name.includes("/v1/")).length`); after != before {
		t.Errorf("a search in the page asked the server %d times", after-before)
	}
	p.act("go", "/result")
	p.act("see", "Take it with you")
	p.shot("result-local")
	p.act("click", "Trace")
	sameInWazero(t, p.downloaded(".trace.jsonl"))
	p.act("click", "Download the adapter")
	checkAdapter(t, p.downloaded(".zip"), eval[map[string]float64](p, shownWeights), "")
	p.act("click", "Report")
	if report := string(p.downloaded(".html")); strings.Contains(report, "<script") || !strings.Contains(report, "berries") || !strings.Contains(report, "<style>") {
		t.Errorf("the report is not a page of its own: %.300s", report)
	}
	sharing(t, p)
	for _, optimizer := range []string{"cobyla", "es"} {
		runSearch(p, optimizer, 20)
		p.act("go", "/result")
		p.act("click", "Trace")
		sameInWazero(t, p.downloaded(".trace.jsonl"))
	}
}

// shownWeights are those of the run that was last, by name.
const shownWeights = `Object.fromEntries([...document.querySelectorAll(".weights li")].map((e) => [e.querySelector(".weights-name").textContent, Number(e.querySelector(".weights-value").textContent.replace("−", "-"))]))`

// slide moves sliders quickly: what is shown in the end belongs to where they are in the end.
func slide(t *testing.T, p *tab) {
	const objective = `Number(document.querySelector(".figure .big")?.textContent)`
	settled := func() float64 {
		p.until("a settled objective", `document.querySelector(".figures") && !document.querySelector(".stale") && !isNaN(`+objective+`)`)
		return eval[float64](p, objective)
	}
	p.act("fill", "Weight of plural", "0.9")
	p.wait(600 * time.Millisecond)
	want := settled()
	for i := range 20 {
		p.act("fill", "Weight of plural", fmt.Sprint(float64(i)/10-1))
	}
	p.act("fill", "Weight of plural", "0.9")
	p.wait(600 * time.Millisecond)
	if got := settled(); got != want {
		t.Errorf("after sliding about the objective at the same place is %v, was %v", got, want)
	}
	p.until("generated text", `document.querySelector(".generated").innerText.trim() === "knees"`)
	p.shot("modules")

	// The same on WebGPU, which in a headless browser computes on the processor and is therefore not taken by itself.
	p.act("click", "Why simd?")
	p.act("see", "swiftshader")
	p.shot("why-simd")
	p.act("click", "Use webgpu")
	p.until("WebGPU", `document.querySelector(".foot").innerText.startsWith("webgpu on")`)
	p.wait(600 * time.Millisecond)
	if got := settled(); math.Abs(got-want) > 1e-3 {
		t.Errorf("on WebGPU the objective is %v, on SIMD %v", got, want)
	}
	p.act("click", "Why webgpu?")
	p.act("click", "Test them all again")
	p.until("SIMD", `document.querySelector(".foot").innerText.startsWith("simd on")`)
}

// runSearch runs one to its end.
func runSearch(p *tab, optimizer string, budget int) {
	p.t.Helper()
	p.act("go", "/search")
	p.act("fill", "Optimizer", optimizer)
	p.act("fill", "Budget", fmt.Sprint(budget))
	runs := eval[int](p, `document.querySelectorAll(".runs li").length`)
	p.act("click", "Run the search")
	p.until("the search's end", fmt.Sprintf(`document.querySelectorAll(".runs li").length > %d && !document.querySelector(".control:not(.done)")`, runs))
}

// sharing: a link brings back the task, the modules, the run and its result, and no token.
func sharing(t *testing.T, p *tab) {
	verdict := call[string](p, "text", ".verdict")
	p.act("click", "Share a link")
	link := eval[string](p, `robot.until("the link", () => document.querySelector("input[readonly]")?.value)`)
	kept := eval[map[string]string](p, `({ ...localStorage })`)
	p.forget()
	p.do(navigate(link))
	p.equip()
	p.act("see", verdict)
	p.act("go", "/")
	if call[string](p, "value", "Output of example 1") != "berries" {
		t.Error("the link did not bring back the examples")
	}
	p.act("go", "/search")
	p.act("see", "22 modules, 4 examples")
	if len(kept) == 0 {
		t.Error("nothing was kept in the browser")
	}
}

// guests: a plugin that spins, grows or lies is stopped within a second and named; the page stays usable.
func guests(t *testing.T, _ *platform, p *tab) {
	p.load("/")
	p.act("click", "several")
	p.act("see", "Hold out")
	p.act("go", "/modules")
	p.act("click", "Choose all")
	p.act("go", "/search")
	p.js(guestBuilder(t))
	for _, bad := range []struct{ file, made, message string }{
		{"spins.wasm", `guest({ bodies: { opt_ask: endless } })`, "“spins.wasm” was stopped"},
		{"grows.wasm", `guest({ memory: [1, 2, 65536], bodies: { opt_ask: [0x03, 0x40, ...grow(16), 0x0c, 0, 0x0b, ...unreachable] } })`, "“grows.wasm” was stopped"},
		{"fat.wasm", `guest({ memory: [1, 2, 65536], bodies: { opt_ask: [...grow(999), ...i32Const(1)] } })`, "“fat.wasm” has taken"},
		{"lies.wasm", `guest({ bodies: { opt_ask: [...store(0, NaN), ...i32Const(1)] } })`, "“lies.wasm” breaks the rules: opt_ask proposed a candidate whose weight 1 is not a finite number"},
		{"recurses.wasm", `guest({ bodies: { opt_ask: recurse(4, local(0), local(1)) } })`, "“recurses.wasm” failed in opt_ask"},
	} {
		file := build(p, bad.made)
		p.act("drop", "Drop an optimizer", bad.file, file)
		p.act("see", "from "+bad.file)
		p.act("fill", "Optimizer", "plugin")
		took := stopping(p, bad.message)
		for again := 0; took > 1000 && again < 2; again++ { // others on this machine can hold the page up too
			took = min(took, stopping(p, bad.message))
		}
		t.Logf("%s: %.0f ms", bad.file, took)
		if took > 1000 {
			t.Errorf("%s was stopped after %.0f ms", bad.file, took)
		}
		p.act("fill", "Budget", "33")
		if call[string](p, "value", "Budget") != "33" {
			t.Errorf("%s: the page does not react", bad.file)
		}
	}
	for file, made := range map[string]string{"spins-at-once.wasm": `guest({ bodies: { opt_create: endless } })`, "nothing.wasm": `i32Const(7)`} {
		p.act("drop", "Drop an optimizer", file, build(p, made))
		p.act("see", "“"+file+"”", 5000)
	}
	p.shot("guests")
}

// stopping runs a search that ends with a message, and returns the milliseconds that takes once the guest runs.
func stopping(p *tab, message string) float64 {
	p.t.Helper()
	p.js(`document.querySelectorAll(".notice button").forEach((e) => e.click())`)
	p.until("no message", `!document.querySelector(".notice")`)
	p.act("click", "Run the search")
	return eval[float64](p, fmt.Sprintf(`(async () => {
		await robot.until("the search", () => document.body.innerText.includes("Searching") || document.querySelector(".notice.bad"));
		const from = performance.now();
		await robot.until("the end", () => [...document.querySelectorAll(".notice.bad")].some((e) => e.innerText.includes(%q)));
		return performance.now() - from;
	})()`, message))
}

// build assembles a guest and returns it in base64.
func build(p *tab, made string) string {
	p.t.Helper()
	return eval[string](p, "(({ guest, i32Const, local, store, unreachable, endless, grow, recurse }) => btoa(String.fromCharCode(..."+made+")))(guests)")
}

// pretty is for messages of tests.
func pretty(v any) string {
	text, _ := json.Marshal(v)
	return string(text)
}
