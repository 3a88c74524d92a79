package web_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// journey: with the server, from signing in to the adapter.
func journey(t *testing.T, s *platform, p *tab) {
	p.load("/")
	p.act("click", "Sign in")
	p.act("fill", "Token or API key", "not-a-token")
	p.js(`robot.until("the button", () => document.querySelector("dialog button[type=submit]:not([aria-disabled])")).then((b) => b.click())`)
	p.act("see", "The server does not take this token")
	p.act("click", "Not now")
	signIn(p, s.token)
	p.act("go", "/")
	p.act("click", "several")
	p.act("see", "Hold out")
	p.act("click", "Count tokens")
	p.until("the server's token counts beside rows", `document.querySelectorAll(".example-tokens").length === 5 && [...document.querySelectorAll(".example-tokens")].every((e) => /^\d+ \+ \d+ tokens$/.test(e.innerText))`)
	p.shot("journey-0-task")
	p.act("go", "/modules")
	p.act("see", "of 22 chosen")
	s.slow.Store(int64(2 * time.Second))
	p.act("click", "Suggest for my task")
	p.act("click", "Trying each")
	p.until("a suggestion that is canceled", `[...document.querySelectorAll("button")].some((e) => e.textContent === "Suggest for my task") && document.querySelector(".notice") === null`)
	s.slow.Store(0)
	p.act("see", "0 of 22 chosen")
	p.act("click", "Suggest for my task")
	p.act("see", "help most are chosen")
	if chosen := eval[[]string](p, `[...document.querySelectorAll(".module:has(:checked) .module-name")].map((e) => e.textContent)`); !slices.Contains(chosen, "zoo/plural") || len(chosen) > 8 {
		t.Errorf("the server suggests %q", chosen)
	}
	p.shot("journey-1-modules")
	p.act("fill", "Search by name", "plural")
	p.until("one module", `document.querySelectorAll(".module").length === 1`)
	p.act("fill", "Search by name", "")
	p.act("click", "Choose all")
	p.act("fill", "Weight of zoo/plural", "1")
	p.until("the objective", `document.querySelector(".figure .big") && !document.querySelector(".stale") && Number(document.querySelector(".figure .big").textContent) < 1`)
	p.until("the server's answer", `document.querySelector(".generated").innerText.trim() === "knees"`)
	p.shot("journey-2-sliders")

	s.slow.Store(int64(150 * time.Millisecond))
	defer s.slow.Store(0)
	p.act("go", "/search")
	p.act("fill", "Optimizer", "auto")
	p.act("fill", "Budget", "200")
	p.act("fill", "Batch", "8")
	p.act("click", "Run the search")
	p.until("some evaluations", `/\b(2[4-9]|[3-9]\d|1\d\d) of 200 evaluations/.test(document.body.innerText)`)
	p.act("click", "Pause")
	p.act("see", "Paused")
	p.shot("journey-3-paused")
	p.act("click", "Resume")
	p.act("see", "Searching")
	p.act("click", "Stop")
	p.until("the end", `!document.querySelector(".control:not(.done)")`)
	p.act("go", "/result")
	p.act("see", "Take it with you")
	p.act("see", "It was stopped early.")
	if tiles := eval[[]string](p, tiles); tiles[0] != "berries end" {
		t.Errorf("the tiles of tokens say %q", tiles)
	}
	p.shot("journey-4-result")
	p.act("click", "Trace")
	sameInWazero(t, p.downloaded(".trace.jsonl"))
	p.act("click", "Download the adapter")
	checkAdapter(t, p.downloaded(".zip"), eval[map[string]float64](p, shownWeights), "zoo/")
	s.slow.Store(0)

	// A job, which the server runs.
	p.act("go", "/search")
	p.act("fill", "Budget", "30")
	p.act("click", "Run as a job")
	p.until("the job's end", `document.querySelector(".state.succeeded")`)
	p.act("click", "Result")
	p.act("see", "Result of the job", 20_000)
	p.until("the tiles of the job", `document.querySelector(".token")`)
	if tiles := eval[[]string](p, tiles); tiles[0] != "berries end" {
		t.Errorf("the tiles of tokens of the job say %q", tiles)
	}
	p.shot("journey-5-job")
	p.act("click", "Download the adapter")
	checkAdapter(t, p.downloaded(".zip"), eval[map[string]float64](p, shownWeights), "zoo/")
}

// tiles are the texts of the target tokens, put together, and what stands for the end.
const tiles = `[...document.querySelectorAll(".words li")].map((li) => [...li.querySelectorAll(".token bdi")].map((e) => e.textContent).join("").trim() + " " + [...li.querySelectorAll(".token em")].map((e) => e.textContent).join(" "))`

func ensureSignedIn(p *tab, token string) {
	p.t.Helper()
	if call[string](p, "text", ".top-end .button") == "Sign in" {
		signIn(p, token)
	}
}

// signIn pastes a token.
func signIn(p *tab, token string) {
	p.t.Helper()
	p.act("click", "Sign in")
	p.act("fill", "Token or API key", token)
	p.js(`robot.until("the button", () => document.querySelector("dialog button[type=submit]:not([aria-disabled])")).then((b) => b.click())`)
	p.act("gone", "Paste a token")
}

// lists: what is uploaded is there, with its progress, and what is deleted is gone, after a question.
func lists(t *testing.T, s *platform, p *tab) {
	wasm, err := os.ReadFile("../wasm/samples/testdata/rust.wasm")
	if err != nil {
		t.Fatal(err)
	}
	p.load("/plugins")
	ensureSignedIn(p, s.token)
	for _, l := range []struct {
		view, area, file string
		content          []byte
		refused          []byte // by the server
	}{
		{"/plugins", "Drop a .wasm file", "mine.wasm", wasm, []byte("no module")},
		{"/library", "Drop a zip archive", "mine.zip", sampleArchive(t), []byte("no archive")},
	} {
		p.act("go", l.view)
		p.act("drop", l.area, l.file, base64.StdEncoding.EncodeToString(l.refused))
		p.act("click", "Upload")
		p.until("a refusal", `document.querySelector(".upload .banner.bad")`)
		p.act("click", "Not this one")
		p.act("drop", l.area, l.file, base64.StdEncoding.EncodeToString(l.content))
		p.act("fill", "Name", "mine")
		p.act("click", "Upload")
		p.act("see", "mine is uploaded.")
		p.act("click", "Delete mine")
		p.act("see", "goes for good")
		p.act("click", "Keep it")
		p.act("click", "Delete mine")
		p.act("click", "Delete it")
		p.act("see", "mine is deleted.")
		p.until("it is gone", `![...document.querySelectorAll(".item strong")].some((e) => e.innerText === "mine")`)
	}
}

// faults: the network is cut, the server starts anew, the token is revoked, all in the middle of one search, which ends as one without faults.
func faults(t *testing.T, s *platform, p *tab) {
	undisturbed := faulted(p, func(int) {})
	p.act("go", "/search")
	s.slow.Store(int64(100 * time.Millisecond))
	defer s.slow.Store(0)
	disturbed := faulted(p, func(step int) {
		switch step {
		case 1:
			s.cut.Store(true)
			p.act("see", "The server cannot be reached")
			p.shot("faults-1-network")
			still := call[string](p, "text", ".control")
			time.Sleep(600 * time.Millisecond)
			if now := call[string](p, "text", ".control"); now != still {
				t.Errorf("while the network is cut the search goes from %q to %q", still, now)
			}
			s.cut.Store(false)
			p.act("gone", "The server cannot be reached", 30_000)
		case 2:
			s.stop()
			p.act("see", "The server cannot be reached")
			s.start()
			p.act("gone", "The server cannot be reached", 60_000)
		case 3:
			revoke(s, s.token)
			p.act("see", "Your token has expired. Sign in again to go on; nothing is lost.")
			p.shot("faults-2-token")
			s.token = s.newToken("admin", "1h")
			p.act("click", "Sign in again")
			p.act("fill", "Token or API key", s.token)
			p.js(`robot.until("the button", () => document.querySelector("dialog button[type=submit]:not([aria-disabled])")).then((b) => b.click())`)
			p.act("gone", "Your token has expired", 30_000)
		}
	})
	if !bytes.Equal(undisturbed, disturbed) {
		t.Errorf("the trace of a search with faults differs:\n%.600s\nwithout:\n%.600s", disturbed, undisturbed)
	}
	sameInWazero(t, disturbed)

	// What is under way when the page is loaded anew goes on where it was.
	reloaded := faulted(p, func(step int) {
		if step == 2 {
			p.wait(1000 * time.Millisecond)
			p.load("/search")
			p.act("click", "Resume")
		}
	})
	if !bytes.Equal(undisturbed, reloaded) {
		t.Errorf("the trace of a search that went on after a reload differs")
	}
}

// faulted runs a search of 36 evaluations and calls fault after 8, 16 and 24 of them. It returns the trace.
func faulted(p *tab, fault func(step int)) []byte {
	p.t.Helper()
	p.act("go", "/search")
	p.act("fill", "Optimizer", "cobyla")
	p.act("fill", "Budget", "36")
	p.act("fill", "Batch", "2")
	runs := eval[int](p, `document.querySelectorAll(".runs li").length`)
	p.act("click", "Run the search")
	for step := 1; step <= 3; step++ {
		p.until("evaluations", fmt.Sprintf(`Number(/(\d+) of 36 evaluations/.exec(document.body.innerText)?.[1] ?? 99) >= %d`, 8*step))
		fault(step)
	}
	p.until("the end", fmt.Sprintf(`document.querySelectorAll(".runs li").length > %d && !document.querySelector(".control:not(.done)")`, runs))
	p.act("go", "/result")
	p.act("see", "Take it with you")
	p.act("click", "Trace")
	return p.downloaded(".trace.jsonl")
}

// revoke makes the server refuse a token.
func revoke(s *platform, token string) {
	s.t.Helper()
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	if err != nil {
		s.t.Fatal(err)
	}
	var claims struct {
		ID string `json:"jti"`
	}
	if err := json.Unmarshal(payload, &claims); err != nil || claims.ID == "" {
		s.t.Fatalf("the token has no id: %v", err)
	}
	if res := s.api(http.MethodDelete, "/v1/tokens/"+claims.ID, s.newToken("admin", "10m"), "", nil); res.StatusCode != http.StatusNoContent {
		s.t.Fatalf("revoking: status %d", res.StatusCode)
	}
}

// hostileNames are shown as text.
var hostileNames = []string{
	`<img src=x onerror="globalThis.pwned=1"><script>globalThis.pwned=2</script>`, "\u202e\u2066drowssap\u202d abc", strings.Repeat("a𝕏<b>", 2000),
	"javascript:globalThis.pwned=3", "{{constructor.constructor('globalThis.pwned=4')()}}",
}

// names: texts of others in modules, tasks and plugins do nothing but be read.
func names(t *testing.T, s *platform, p *tab) {
	s.hostile.Store(true)
	defer s.hostile.Store(false)
	p.size(360, 800)
	defer p.size(1280, 900)
	p.load("/library")
	ensureSignedIn(p, s.token)
	for _, view := range []string{"/library", "/plugins", "/modules"} {
		p.act("go", view)
		p.act("see", "<img src=x", 30_000)
		calm(t, p, view)
	}
	p.shot("names-modules")
	p.act("go", "/")
	p.act("click", "several")
	p.act("click", "Clear")
	p.act("click", "Bring your own examples")
	var file strings.Builder
	for _, name := range hostileNames {
		line, _ := json.Marshal(map[string]string{"input": name, "output": name[:min(len(name), 200)]})
		file.Write(append(line, '\n'))
	}
	p.act("drop", "Drop a JSONL file", hostileNames[0]+".jsonl", base64.StdEncoding.EncodeToString([]byte(file.String())))
	p.act("see", "5 examples to search with")
	calm(t, p, "task")
	p.act("go", "/search")
	p.js(guestBuilder(t))
	named := fmt.Sprintf(`guest({ info: JSON.stringify({ name: %s }) })`, pretty(hostileNames[0]))
	p.act("drop", "Drop an optimizer", hostileNames[1]+".wasm", build(p, named))
	p.act("see", "Loaded: <img src=x")
	calm(t, p, "plugin")
	p.shot("names-plugin")

	// So are the texts of tokens.
	s.hostile.Store(false)
	s.pieces.Store(true)
	defer s.pieces.Store(false)
	p.load("/modules")
	p.act("see", "of 22 chosen")
	p.act("click", "Choose all")
	p.act("click", "None")
	p.act("choose", "zoo/plural")
	runSearch(p, "random", 3)
	p.act("go", "/result")
	p.act("see", "How sure of each token")
	if tiles := eval[[]string](p, tiles); !strings.HasPrefix(tiles[0], "<img src=x") || !strings.HasPrefix(tiles[2], "a𝕏<b>a𝕏<b>") || len(tiles[2]) > 500 {
		t.Errorf("tiles of a hostile output say %.200q", tiles)
	}
	calm(t, p, "tiles")
	p.shot("names-tiles")
}

// calm fails the test if a name did anything.
func calm(t *testing.T, p *tab, where string) {
	t.Helper()
	if eval[bool](p, `globalThis.pwned !== undefined || document.querySelector("main img, main script, main b") !== null`) {
		t.Errorf("%s: a name is more than text", where)
	}
	if eval[bool](p, `/[\u202a-\u202e\u2066-\u2069]/.test(document.body.innerText)`) {
		t.Errorf("%s: a name turns the text around it", where)
	}
	if wide := call[int](p, "wide"); wide > 0 {
		t.Errorf("%s: a name makes the page %d pixels too wide", where, wide)
	}
}

// views: every view in light and dark, narrow and wide, as axe-core finds it; pictures of all are kept.
func views(t *testing.T, s *platform, p *tab) {
	uploadSamples(t, s)
	p.load("/")
	ensureSignedIn(p, s.token)
	p.act("click", "several")
	p.act("see", "Hold out")
	p.act("go", "/modules")
	p.act("click", "Choose all")
	runSearch(p, "auto", 30)
	for _, width := range []int64{360, 1280} {
		p.size(width, 900)
		for _, scheme := range []string{"light", "dark"} {
			p.scheme(scheme)
			var rules []string
			if scheme == "dark" {
				rules = []string{"color-contrast"} // the others know no colours
			}
			for _, view := range []string{"/", "/modules", "/search", "/result", "/jobs", "/library", "/plugins"} {
				p.act("go", view)
				p.js(`document.querySelectorAll(".notice button").forEach((e) => e.click())`)
				p.wait(200 * time.Millisecond) // sliders are followed after 120 ms
				p.until("a view at rest", `!document.querySelector("[aria-busy=true]")`)
				name := fmt.Sprintf("view-%s-%s-%d", strings.Trim(view+"task", "/")[:4], scheme, width)
				look(t, p, name, view, rules...)
			}
			p.act("go", "/library")
			p.act("click", "Delete sample")
			look(t, p, fmt.Sprintf("view-confirm-%s-%d", scheme, width), "the confirmation", rules...)
			p.act("click", "Keep it")
			p.act("click", "Sign out")
			p.act("click", "Sign in")
			look(t, p, fmt.Sprintf("view-signin-%s-%d", scheme, width), "signing in", rules...)
			p.act("click", "Not now")
			signIn(p, s.token)
		}
	}
	p.size(1280, 900)
}

// empties: what somebody sees who has done nothing yet, and whoever is there while the server is not.
func empties(t *testing.T, s *platform, p *tab) {
	p.load("/")
	p.forget()
	for _, at := range []struct {
		width  int64
		scheme string
	}{{360, "dark"}, {1280, "light"}} {
		p.size(at.width, 900)
		p.scheme(at.scheme)
		p.load("/")
		for _, view := range []string{"/", "/modules", "/search", "/result", "/jobs", "/library", "/plugins"} {
			p.act("go", view)
			look(t, p, fmt.Sprintf("empty-%s-%s-%d", strings.Trim(view+"task", "/")[:4], at.scheme, at.width), "an empty "+view)
		}
	}
	p.size(360, 900)
	signIn(p, s.token)
	s.cut.Store(true)
	defer s.cut.Store(false)
	for _, view := range []string{"/jobs", "/plugins"} {
		p.act("go", view)
		p.act("see", "The server cannot be reached")
		look(t, p, "cut-"+view[1:5], view+" without the server")
	}
	p.size(1280, 900)
	s.cut.Store(false)
	p.act("click", "Try again")
	p.act("gone", "The server cannot be reached")
	p.act("click", "Sign out")
}

// look holds what is shown to axe-core's rules, all of them unless some are named, and keeps a picture.
func look(t *testing.T, p *tab, name, view string, rules ...string) {
	t.Helper()
	for _, violation := range call[[]string](p, "axe", rules) {
		t.Errorf("%s: %s", name, violation)
	}
	if wide := call[int](p, "wide"); wide > 0 {
		t.Errorf("%s: %s is %d pixels too wide", name, view, wide)
	}
	p.shot(name)
}

// uploadSamples gives the lists of the server something to show.
func uploadSamples(t *testing.T, s *platform) {
	t.Helper()
	wasm, err := os.ReadFile("../wasm/samples/testdata/rust.wasm")
	if err != nil {
		t.Fatal(err)
	}
	if res := s.api(http.MethodPost, "/v1/plugins?name=sample-es", s.token, "application/wasm", wasm); res.StatusCode != http.StatusCreated {
		t.Fatalf("uploading a plugin: status %d", res.StatusCode)
	}
	if res := s.api(http.MethodPost, "/v1/modules?name=sample&task=a+sample&author=somebody", s.token, "application/zip", sampleArchive(t)); res.StatusCode != http.StatusCreated {
		t.Fatalf("uploading a module: status %d", res.StatusCode)
	}
}
