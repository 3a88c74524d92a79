package web_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// press types keys, as a keyboard does.
func (p *tab) press(keys string, modifiers ...chromedp.Modifier) {
	p.t.Helper()
	p.do(chromedp.KeyEvent(keys, chromedp.KeyModifiers(modifiers...)))
}

// focus is what has focus, by its name, and what is wrong with how that is seen.
type focus struct{ Name, Wrong string }

// tabTo presses Tab, or Shift+Tab with back, until something called so has focus. It returns what had it on the way. Focus must be seen
// everywhere.
func (p *tab) tabTo(name string, back ...chromedp.Modifier) (way []string) {
	p.t.Helper()
	for range 120 {
		p.press(kb.Tab, back...)
		f := call[focus](p, "focus")
		if f.Wrong != "" {
			p.shot("failure-focus")
			p.t.Errorf("on the way to %q: focus on %q: %s", name, f.Name, f.Wrong)
		}
		way = append(way, f.Name)
		if strings.HasPrefix(f.Name, name) {
			return way
		}
	}
	p.shot("failure-focus")
	p.t.Fatalf("Tab does not come to %q, only to %q", name, way)
	return nil
}

// focused waits until something called so has focus.
func (p *tab) focused(name string) {
	p.t.Helper()
	p.act("focused", name)
}

// keyboard: the whole way without a mouse. Focus is seen, in an order that makes sense, and never lost.
func keyboard(t *testing.T, s *platform, p *tab) {
	p.load("/")
	p.forget()
	p.load("/")
	way := p.tabTo("alive or edible")
	if want := []string{
		"Skip to the content", "Medley", "1Task", "2Modules", "3Search", "4Result", "Jobs", "Library", "Plugins", "This page", "Sign in", "Colours: auto", "alive or edible",
	}; !slices.EqualFunc(way, want, strings.HasPrefix) {
		t.Errorf("the order of Tab is %q, want %q", way, want)
	}

	// A dialog keeps focus, and gives it back.
	p.tabTo("Sign in", chromedp.ModifierShift)
	p.press(kb.Enter)
	p.focused("Token or API key")
	for range 5 { // through the dialog and, at its end, the browser's own controls
		p.press(kb.Tab)
		if !eval[bool](p, `document.activeElement === document.body || document.activeElement.closest("dialog") !== null`) {
			t.Errorf("Tab leaves the dialog for %q", call[focus](p, "focus").Name)
		}
	}
	p.press(kb.Escape)
	p.act("gone", "Paste a token")
	p.focused("Sign in")
	p.press(kb.Enter)
	p.focused("Token or API key")
	p.press(s.token[:8])
	p.act("fill", "Token or API key", s.token)
	p.press(kb.Enter)
	p.act("gone", "Paste a token")
	p.focused("Sign out")

	// A task. What is removed gives focus to its neighbour.
	p.tabTo("several")
	p.press(" ")
	p.act("see", "5 examples to search with")
	p.tabTo("Remove example 2")
	p.press(kb.Enter)
	p.act("see", "4 examples to search with")
	p.focused("Remove example 2")
	p.tabTo("Remove example 4")
	p.press(kb.Enter)
	p.act("see", "3 examples to search with")
	p.focused("Remove example 3")
	p.tabTo("Next: choose modules")
	p.press(kb.Enter)
	p.focused("Choose modules")

	// Modules, found by typing, and a slider.
	p.tabTo("Search by name")
	p.press("plural")
	p.until("one module", `document.querySelectorAll(".module").length === 1`)
	p.tabTo("zoo/plural")
	p.press(" ")
	p.act("see", "1 of 22 chosen")
	p.tabTo("Weight of zoo/plural")
	for range 5 {
		p.press(kb.PageUp)
	}
	p.press(kb.ArrowRight)
	if v := call[string](p, "value", "Weight of zoo/plural"); v != "1.51" && v != "1.5" {
		t.Errorf("the slider is at %s", v)
	}
	p.press(kb.Home)
	p.press(kb.ArrowRight + kb.ArrowRight)
	p.until("the objective of the slider", `document.querySelector(".figure .big") && !document.querySelector(".stale") && Number(document.querySelector(".figure .big").textContent) > 1`)
	if v := call[string](p, "value", "Weight of zoo/plural"); v != "-1.48" {
		t.Errorf("two steps from its least the slider is at %s", v)
	}
	p.until("the objective is spoken", `document.querySelector("[role=status][aria-live]").textContent.startsWith("Objective ")`)
	p.tabTo("Next: search with 1 module", chromedp.ModifierShift)
	p.press(kb.Enter)
	p.focused("Search for the weights")

	// A search that is run, stopped, and looked at.
	s.slow.Store(int64(150 * time.Millisecond))
	defer s.slow.Store(0)
	p.act("fill", "Budget", "400")
	p.js(`(globalThis.heard = [], new MutationObserver(() => heard.push(document.querySelector("[role=status][aria-live]").textContent)).observe(document.querySelector("[role=status][aria-live]"), { childList: true, characterData: true, subtree: true }))`)
	p.tabTo("Run the search")
	p.press(kb.Enter)
	p.until("some evaluations", `/\b[1-9]\d* of 400 evaluations/.test(document.body.innerText)`)
	p.focused("Run the search")
	p.tabTo("Pause")
	p.press(kb.Enter)
	p.focused("Resume")
	p.press(kb.Enter)
	p.focused("Pause")
	p.tabTo("Stop")
	p.press(kb.Enter)
	p.until("the end", `!document.querySelector(".control:not(.done)")`)
	if heard := eval[[]string](p, "heard"); len(heard) < 2 || len(heard) > 8 {
		t.Errorf("of a search of a few seconds screen readers hear %q", heard)
	}
	p.focused("Next: see the result")
	p.press(kb.Enter)
	p.until("the result", `location.pathname === "/result"`)
	p.focused("Result")
	p.tabTo("Download the adapter")
	p.press(kb.Enter)
	checkAdapter(t, p.downloaded(".zip"), eval[map[string]float64](p, shownWeights), "zoo/")
	p.focused("Download the adapter")
	p.do(chromedp.NavigateBack())
	p.focused("Search for the weights")
	narrowFocus(p)
}

// narrowFocus: on a narrow page, with steps at its lower edge, nothing that has focus is behind them.
func narrowFocus(p *tab) {
	p.size(360, 640)
	defer p.size(1280, 900)
	for _, view := range []struct{ path, last string }{{"/", "Next: choose modules"}, {"/search", "Run as a job"}} {
		p.act("go", view.path)
		p.focused("")
		p.tabTo(view.last)
	}
}
