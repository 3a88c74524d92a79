package report

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/medley-lora/medley/shared/compose"
	"github.com/medley-lora/medley/shared/task"
)

func pointer(v float64) *float64 { return &v }

// sample is what a good search looks like. Tests change it; -artifacts keeps the pages that they write, to be looked at.
func sample() Report {
	rng := rand.New(rand.NewPCG(1, 1))
	names := []string{"antonym", "boolean", "category", "first_letter", "french", "larger", "next_number", "odd_one_out", "past_tense", "plural", "sentiment", "smaller"}
	weights := []float64{0, 0.07, 0, 0, 1.214, 0, 0, -0.281, 0.0001, 0.55, 0, -0.004}
	single := make([]float64, len(names))
	single[4] = 1
	res := compose.Result{
		Modules: names, Objective: task.Objective{Name: task.Sparse, Penalty: 0.05},
		ZeroShot:   &compose.Point{Objective: 4.913, Loss: 4.913, HeldOut: pointer(4.913), Accuracy: pointer(7), Weights: make([]float64, len(names))},
		BestSingle: &compose.Point{Module: "french", Objective: 1.382, Loss: 1.332, HeldOut: pointer(1.45), Accuracy: pointer(51), Weights: single},
		Composed:   &compose.Point{Objective: 0.561, Loss: 0.455, HeldOut: pointer(0.603), Accuracy: pointer(68), Weights: weights},
		HeldOutBy:  compose.ByLeaveOneOut, Examples: 5, EvalExamples: 100,
		Evaluations: 40, Rounds: 5, Stopped: "budget", Seconds: 9.81, SearchSeconds: 3.42,
	}
	best := math.Inf(1)
	for i := range 40 {
		f := 2 + 5*rng.Float64()
		if i > 13 {
			f = 0.56 + 3*rng.Float64()*float64(41-i)/30
		}
		best = min(best, f)
		res.History = append(res.History, compose.Step{Number: i + 1, Round: i/8 + 1, Objective: pointer(f), Best: pointer(best), HeldOut: pointer(best * (1.1 + 0.2*rng.Float64()))})
	}
	for i, word := range []string{"saw", "train", "boat", "bike", "arm"} {
		target := []string{"scie", "train", "bateau", "velo", "bras"}[i]
		p := compose.Prediction{Input: "in paris a " + word + " is called", Target: target, Before: "a " + word, After: target, AfterRight: true}
		res.Few = append(res.Few, p)
		if i == 2 {
			p.After, p.AfterRight = "bateaux", false
		}
		res.Eval = append(res.Eval, p)
	}
	return Report{
		Title: "in_paris", Result: res,
		Command: "medley compose --base ./zoo/base --modules './zoo/modules/*' --examples ./zoo/tasks/in_paris.few.jsonl --eval ./zoo/tasks/in_paris.eval.jsonl --seed 1 --out ./adapter",
		Sections: []Section{
			{"Settings", []Fact{{"Composition", "delta"}, {"Optimizer", "gntr"}, {"Budget", "40 evaluations, 8 at once"}, {"Seed", "1"}}},
			{"Made with", []Fact{{"Medley", "0.1.0"}, {"Backend", "cpu, AVX-512, 2 threads"}, {"Base model", "sha256 " + strings.Repeat("9f86d081884c7d65", 4)}}},
		},
	}
}

// write renders r, checks what holds for every page, and keeps the page as an artifact.
func write(t *testing.T, name string, r Report) string {
	t.Helper()
	var b bytes.Buffer
	if err := HTML(&b, r); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(t.ArtifactDir(), name+".html"), b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"<script", "http://", "https://", "<link", "@import", "url(", "ZgotmplZ", "%!"} {
		if strings.Contains(b.String(), bad) {
			t.Errorf("the page holds %q", bad)
		}
	}
	return b.String()
}

// body is the page as text: what is between tags, unescaped, in one line.
func body(t *testing.T, page string) string {
	t.Helper()
	_, rest, _ := strings.Cut(page, "<body>")
	inside, _, _ := strings.Cut(rest, "</body>")
	d := xml.NewDecoder(strings.NewReader(inside))
	d.Strict = false
	d.Entity = xml.HTMLEntity
	var b strings.Builder
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return strings.Join(strings.Fields(b.String()), " ")
		}
		if err != nil {
			t.Fatalf("the page is not well formed: %v", err)
		}
		if text, ok := token.(xml.CharData); ok {
			b.Write(text)
			b.WriteByte(' ')
		}
	}
}

func TestHTML(t *testing.T) {
	page := write(t, "good", sample())
	text := body(t, page)
	for _, want := range []string{
		"Composing raised accuracy on 100 evaluation examples from 7.0% to 68.0%; the best single module reaches 51.0%.",
		"The gain of 61.0 points is more than chance explains",
		"Best single module: french 1.382 1.332 1.450 51.0% (51 of 100)",
		"Composed 0.561 0.455 0.603 68.0% (68 of 100)",
		"french +1.214 plural +0.550 odd_one_out −0.281 boolean +0.070 smaller −0.004 7 other modules at zero weight.",
		"plus 0.05 times the sum of absolute weights",
		"in paris a boat is called bateau a boat ✗ wrong bateaux ✗ wrong",
		"The first 5 of 100 evaluation examples: 0 right before, 4 right composed.",
		"medley compose --base ./zoo/base",
		"Backend cpu, AVX-512, 2 threads",
		"loss (log scale)",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	if strings.Contains(text, "Before you trust this") {
		t.Error("a page without warnings warns")
	}
	if n := strings.Count(page, "<svg class="); n != 2 {
		t.Errorf("%d plots, want a wide and a narrow one", n)
	}
	if left := regexp.MustCompile(`#0[0-9a-f]0[0-9a-f]0[0-9a-f]`).FindString(page[strings.Index(page, "<main>"):]); left != "" {
		t.Errorf("colour %s of the plot does not follow the scheme", left)
	}
}

func TestHeadline(t *testing.T) {
	cases := map[string]struct {
		change        func(*compose.Result)
		want, verdict string
	}{
		"worse": {func(r *compose.Result) { *r.Composed.Accuracy, *r.ZeroShot.Accuracy = 20, 60 }, "does worse than the base model", "worse"},
		"chance": {func(r *compose.Result) {
			*r.Composed.Accuracy, *r.ZeroShot.Accuracy, r.EvalExamples = 60, 40, 20
		}, "With 20 examples a difference of 20.0 points can be chance (up to 29.1 points at 95%).", "unproven"},
		"equal":         {func(r *compose.Result) { *r.Composed.Accuracy = 7 }, "There is no difference.", "unproven"},
		"leave-one-out": {withoutEval, "Composing lowered the held-out loss (estimated by leaving one example out): 4.913 before, 0.603 after; the best single module reaches 1.450.", "better"},
		"held out": {func(r *compose.Result) { withoutEval(r); r.HeldOutBy, r.Holdout = compose.ByHoldout, 2 },
			"Composing lowered the loss on held-out examples: 4.913 before, 0.603 after", "better"},
		"over-fitted":            {func(r *compose.Result) { withoutEval(r); *r.Composed.HeldOut = 3 }, "3.000 after", "unproven"},
		"single held out better": {func(r *compose.Result) { withoutEval(r); *r.BestSingle.HeldOut = 0.5 }, "reaches 0.500", "unproven"},
		"worse held out":         {func(r *compose.Result) { withoutEval(r); *r.Composed.HeldOut = 5 }, "Composing did not lower the held-out loss", "worse"},
		"nothing to tell":        {func(r *compose.Result) { withoutEval(r); r.Composed.HeldOut = nil }, "Nothing was held out or evaluated", "unproven"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			r := sample()
			c.change(&r.Result)
			page := write(t, "headline", r)
			if !strings.Contains(body(t, page), c.want) || !strings.Contains(page, `<div class="headline `+c.verdict+`">`) {
				t.Errorf("the page is not %q or does not say %q", c.verdict, c.want)
			}
		})
	}
}

func withoutEval(r *compose.Result) {
	for _, p := range []*compose.Point{r.ZeroShot, r.BestSingle, r.Composed} {
		p.Accuracy = nil
	}
	r.Eval, r.EvalExamples = nil, 0
}

// Names, texts and commands from anyone must stay text.
func TestHTMLHostile(t *testing.T) {
	attacks := []string{
		`"><script>alert(1)</script>`, `</style><img src=x onerror=alert(1)>`, "\u202egnp.exe\u202c", strings.Repeat("x", 10_000),
		"nul\x00bell\x07\x1b[31m", "{{.Command}}", "javascript:alert(1)", "a\u0301\u0301\u0301\u0301\u0301\u0301\u0301", "\ufffd\xff", "line\nbreak", "", "&lt;b&gt;",
	}
	r := sample()
	r.Title, r.Command = attacks[0]+attacks[2], strings.Join(attacks, " ")
	r.Result.Warnings = attacks
	r.Result.Modules = attacks
	r.Result.BestSingle.Module = attacks[1]
	for i := range attacks {
		r.Result.Composed.Weights[i] = float64(i) - 5.5
		r.Result.Eval = append(r.Result.Eval, compose.Prediction{Input: attacks[i], Target: attacks[i], Before: attacks[i], After: attacks[i]})
		r.Sections = append(r.Sections, Section{attacks[i], []Fact{{attacks[i], attacks[i]}}})
	}
	r.Result.Stopped = attacks[0]
	page := write(t, "hostile", r)
	if got := len(page); got > 300_000 {
		t.Errorf("the page has %d bytes", got)
	}
	for _, bad := range []string{"<img", "\u202e", "\x00", "\x07", "\x1b", "<b>", strings.Repeat("x", 1001) + "<"} {
		if strings.Contains(page, bad) {
			t.Errorf("the page holds %q", bad)
		}
	}
	text := body(t, page)
	for _, want := range []string{"⟨U+202E⟩gnp.exe", "… (10,000 characters)", "⟨U+0000⟩", "{{.Command}}", "line ⏎ break", "&lt;b&gt;", "(empty) (empty) (empty)", `"><script>alert(1)</script>`} {
		if !strings.Contains(text, want) {
			t.Errorf("the page does not show %q", want)
		}
	}
}

// Results at the edges: canceled jobs, one evaluation, failed ones, one module, all weights zero, values that span decades.
func TestHTMLEdges(t *testing.T) {
	cases := map[string]func(*compose.Result){
		"canceled":   func(r *compose.Result) { withoutEval(r); r.ZeroShot, r.BestSingle, r.Few = nil, nil, nil },
		"no history": func(r *compose.Result) { r.History = nil },
		"one step":   func(r *compose.Result) { r.History = r.History[:1] },
		"all failed": func(r *compose.Result) { r.History = []compose.Step{{Number: 1}, {Number: 2}} },
		"equal": func(r *compose.Result) {
			r.History = []compose.Step{{Number: 1, Round: 1, Objective: pointer(2), Best: pointer(2), HeldOut: pointer(2)}, {Number: 2, Round: 1, Objective: pointer(2), Best: pointer(2), HeldOut: pointer(2)}}
		},
		"all zero loss": func(r *compose.Result) {
			r.History = []compose.Step{{Number: 1, Round: 1, Objective: pointer(0), Best: pointer(0), HeldOut: pointer(0)}}
		},
		"decades": func(r *compose.Result) {
			r.History[0].Objective, r.History[39].Best = pointer(1e6), pointer(1e-9)
		},
		"from zero":    func(r *compose.Result) { r.History[39].Objective = pointer(0) },
		"zero weights": func(r *compose.Result) { clear(r.Composed.Weights) },
		"many modules": func(r *compose.Result) {
			for i := range 500 {
				r.Modules = append(r.Modules, fmt.Sprint("module ", i))
				r.Composed.Weights = append(r.Composed.Weights, float64(i)/500)
			}
		},
		"long": func(r *compose.Result) {
			for i := range 5000 {
				r.History = append(r.History, compose.Step{Number: 41 + i, Round: 6, Objective: pointer(1), Best: pointer(0.5)})
			}
		},
		"narrowed": func(r *compose.Result) {
			r.Narrowed = &compose.Narrowed{From: 200, To: r.Modules, Evaluations: 22}
			for i := range r.History {
				r.History[i].Number += 22
			}
		},
	}
	for name, change := range cases {
		t.Run(name, func(t *testing.T) {
			r := sample()
			change(&r.Result)
			page := write(t, "edge", r)
			text := body(t, page)
			if strings.Contains(page, "NaN") || strings.Contains(page, "Inf") || !strings.Contains(text, "Composed") {
				t.Errorf("the page holds a number that is none:\n%s", text)
			}
		})
	}
	r := sample()
	r.Result.Composed = nil
	if err := HTML(io.Discard, r); err == nil {
		t.Error("a result without a composed point was reported")
	}
}

func TestClean(t *testing.T) {
	for _, c := range []struct {
		in   string
		most int
		want string
	}{
		{"plain", 10, "plain"},
		{"exactly", 7, "exactly"},
		{"too long", 3, "too… (8 characters)"},
		{"ééé", 2, "éé… (3 characters)"},
		{"a\tb\r\nc", 10, "a b⟨U+000D⟩ ⏎ c"},
		{"می\u200cخواهم", 20, "می\u200cخواهم"},
		{"👩\u200d🔬", 20, "👩\u200d🔬"},
		{"\u2066x\u2069\u200b\u00ad\ufeff", 20, "⟨U+2066⟩x⟨U+2069⟩⟨U+200B⟩⟨U+00AD⟩⟨U+FEFF⟩"},
		{"\u2028", 5, "⟨U+2028⟩"},
	} {
		if got := clean(c.in, c.most); got != c.want {
			t.Errorf("clean(%q, %d) = %q, want %q", c.in, c.most, got, c.want)
		}
	}
}

func TestNumbers(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{num(nil), "–"}, {num(pointer(0)), "0.000"}, {num(pointer(2.4e-7)), "2.4e-07"}, {num(pointer(4.9128)), "4.913"}, {num(pointer(123456)), "1.235e+05"},
		{thousands(0), "0"}, {thousands(999), "999"}, {thousands(1000), "1,000"}, {thousands(1234567), "1,234,567"},
		{count(1, "module"), "1 module"}, {count(2, "module"), "2 modules"},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
}
