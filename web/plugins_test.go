package web_test

import (
	"encoding/base64"
	"os"
	"testing"
)

// plugins: a dropped plugin is there when the page is loaded anew, until it is forgotten; a link names it, and says so where it is missing.
func plugins(t *testing.T, s *platform, p *tab) {
	wasm, err := os.ReadFile("../wasm/samples/testdata/rust.wasm")
	if err != nil {
		t.Fatal(err)
	}
	file := base64.StdEncoding.EncodeToString(wasm)
	p.load("/")
	p.forget()
	p.load("/")
	signIn(p, s.token)
	p.act("click", "several")
	p.act("see", "5 examples to search with")
	p.act("go", "/modules")
	p.act("see", "of 22 chosen")
	p.act("choose", "zoo/plural")
	p.act("go", "/search")
	p.act("drop", "Drop an optimizer", "mine.wasm", file)
	p.act("see", "from mine.wasm")
	runSearch(p, "plugin", 12)

	p.load("/search")
	p.act("see", "from mine.wasm")
	runSearch(p, "plugin", 12)
	p.act("go", "/result")
	p.act("see", "Take it with you")
	p.act("click", "Share a link")
	link := eval[string](p, `robot.until("the link", () => document.querySelector("input[readonly]")?.value)`)

	// The link in a browser that has the plugin.
	p.do(navigate("about:blank"))
	p.do(navigate(link))
	p.equip()
	p.act("see", "This is what the link holds")
	p.act("go", "/search")
	p.act("see", "from mine.wasm")

	// Bytes that are not those of the name are not run.
	p.js(`new Promise((r) => (indexedDB.open("medley").onsuccess = (e) => {
		const work = e.target.result.transaction("plugins", "readwrite"), all = work.objectStore("plugins");
		all.getAll().onsuccess = (e) => all.put({ ...e.target.result[0], bytes: new Uint8Array(8) });
		work.oncomplete = () => (work.db.close(), r());
	}))`)
	p.load("/search")
	p.act("see", "is not in this browser")

	// The link in a browser that has not.
	p.forget()
	p.do(navigate(link))
	p.equip()
	p.act("see", "made with a plugin that this browser does not have")
	p.act("see", "Take it with you")
	p.load("/search")
	p.act("see", "is not in this browser")
	look(t, p, "plugin-missing", "a plugin that is missing")
	if !eval[bool](p, `[...document.querySelectorAll("button")].find((b) => b.textContent === "Run the search").getAttribute("aria-disabled") === "true"`) {
		t.Error("a search can be run without its plugin")
	}
	signIn(p, s.token)
	p.act("go", "/search")
	p.act("drop", "Drop an optimizer", "again.wasm", file)
	p.act("see", "from again.wasm")
	p.act("gone", "is not in this browser")
	runSearch(p, "plugin", 12)

	// What is kept is listed, and forgotten at a word.
	p.act("go", "/plugins")
	p.act("see", "again.wasm")
	look(t, p, "plugin-kept", "a plugin that is kept")
	p.act("click", "Forget")
	p.act("click", "Forget it")
	p.act("see", "None yet.")
	p.load("/search")
	p.act("gone", "from again.wasm")
	if kept := eval[int](p, `new Promise((r) => (indexedDB.open("medley").onsuccess = (e) => (e.target.result.transaction("plugins").objectStore("plugins").count().onsuccess = (e) => r(e.target.result))))`); kept != 0 {
		t.Errorf("%d plugins are kept after the last was forgotten", kept)
	}
}
