package main

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/medley-lora/medley/shared/adapters"
)

// point and composed mirror the documented output of compose --json.
type point struct {
	Module    string
	Objective *float64
	Loss      *float64
	HeldOut   *float64
	Accuracy  *float64
	Weights   []float64
}

type composed struct {
	Modules    []string
	Weights    map[string]float64
	ZeroShot   *point `json:"zero_shot"`
	BestSingle *point `json:"best_single"`
	Composed   *point

	Evaluations int
	Rounds      int
	Seconds     float64
	Stopped     string
	Backend     string
	Difference  struct {
		MaxAbs   *float64 `json:"max_abs"`
		Relative *float64
	}
	Adapter      string
	Rank         int
	Command      string
	EvalExamples int `json:"eval_examples"`
	HeldOutBy    string
}

// search is a small search: three modules, 12 evaluations in rounds of four.
func (p place) search(more ...string) []string {
	args := []string{"compose", "--base", p.base(), "--examples", p.few("opinion"), "--budget", "12", "--batch", "4", "--backend", "reference"}
	return append(append(args, p.modules("add", "plural", "sentiment")...), more...)
}

func TestComposeJSON(t *testing.T) {
	p := newPlace(t)
	eval := p.write(t, "eval.jsonl", firstLines(t, filepath.Join(p.zoo, "tasks", "opinion.eval.jsonl"), 10))
	report := p.to("report.html")
	o := succeed(t, p.search("--out", p.to("out"), "--eval", eval, "--report", report, "--json")...)
	got := decode[composed](t, o)
	for name, x := range map[string]*point{"zero_shot": got.ZeroShot, "best_single": got.BestSingle, "composed": got.Composed} {
		if x == nil || x.Objective == nil || x.HeldOut == nil || len(x.Weights) != 3 {
			t.Fatalf("%s: %+v", name, x)
		}
		if x.Accuracy == nil || *x.Accuracy < 0 || *x.Accuracy > 100 || math.Abs(math.Mod(*x.Accuracy, 10)) > 1e-9 {
			t.Errorf("%s: the accuracy on 10 examples is %v; expected a percentage", name, x.Accuracy)
		}
	}
	if t.Failed() {
		t.FailNow()
	}
	if *got.Composed.Accuracy < 50 || *got.ZeroShot.Accuracy > *got.Composed.Accuracy || *got.Composed.Objective >= *got.ZeroShot.Objective {
		t.Errorf("composing does not help: accuracy %v then %v, objective %v then %v", *got.ZeroShot.Accuracy, *got.Composed.Accuracy,
			*got.ZeroShot.Objective, *got.Composed.Objective)
	}
	for i, name := range []string{"add", "plural", "sentiment"} {
		if got.Modules[i] != name || got.Weights[name] != got.Composed.Weights[i] || got.ZeroShot.Weights[i] != 0 {
			t.Errorf("module %d: %s at %v, composed %v", i, got.Modules[i], got.Weights[name], got.Composed.Weights[i])
		}
	}
	if got.Evaluations != 12 || got.Rounds != 4 || got.Seconds <= 0 || got.Stopped != "budget" || got.Backend != "reference" || got.EvalExamples != 10 {
		t.Errorf("%+v", got)
	}
	if d := got.Difference; d.MaxAbs == nil || d.Relative == nil || *d.Relative > 1e-6 {
		t.Errorf("difference %+v", d)
	}
	if got.Adapter != p.to("out") || got.Rank < 1 || !strings.HasPrefix(got.Command, "medley compose ") {
		t.Errorf("adapter %s of rank %d by %s", got.Adapter, got.Rank, got.Command)
	}
	page, err := os.ReadFile(report)
	if err != nil || !strings.Contains(string(page), "sentiment") || strings.Contains(string(page), "src=\"http") {
		t.Errorf("the report of %d bytes is not a self-contained page: %v", len(page), err)
	}
	if saved, err := os.ReadFile(filepath.Join(p.to("out"), "composition.json")); err != nil || !strings.Contains(string(saved), `"zero_shot"`) {
		t.Errorf("composition.json: %v", err)
	}
}

func firstLines(t *testing.T, path string, n int) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(strings.SplitAfterN(string(data), "\n", n+1)[:n], "")
}

// The adapter on disk, by itself at weight 1, has the loss that the search found; the objective adds the penalty of its weights.
func TestComposedAdapterScoresTheSame(t *testing.T) {
	p := newPlace(t)
	for _, method := range []string{"delta", "product"} {
		for _, optimizer := range []string{"auto", "cobyla"} {
			out := p.to(method + "-" + optimizer)
			got := decode[composed](t, succeed(t, p.search("--out", out, "--method", method, "--optimizer", optimizer, "--json")...))
			s := score(t, "--modules", out, "--weights", "1", "--base", p.base(), "--examples", p.few("opinion"), "--penalty", "0").Scores[0]
			if math.Abs(s.Objective-*got.Composed.Loss) > 1e-4 {
				t.Errorf("%s: the adapter's loss is %v, the search found %v", out, s.Objective, *got.Composed.Loss)
			}
			penalty := 0.0
			for _, w := range got.Weights {
				penalty += 0.05 * math.Abs(w)
			}
			if math.Abs(*got.Composed.Loss+penalty-*got.Composed.Objective) > 1e-9 {
				t.Errorf("%s: objective %v, loss %v, penalty %v", out, *got.Composed.Objective, *got.Composed.Loss, penalty)
			}
		}
	}
}

func optimizerOtherThan(name string) string {
	for other := range strings.SplitSeq(optimizerNames(), ", ") {
		if other != name {
			return other
		}
	}
	return name
}

func TestComposeForPeople(t *testing.T) {
	p := newPlace(t)
	o := succeed(t, p.search("--out", p.to("out"), "--holdout", "2", "--eval", p.few("opinion"), "--rank", "2")...)
	for _, want := range []string{"zero-shot", "best single", "composed", "sentiment", "12 evaluations", p.to("out"), "100 %", "rank 2"} {
		if !strings.Contains(o.stdout, want) {
			t.Errorf("does not say %q:\n%s", want, o.stdout)
		}
	}
}

// The draw is Python's: random.Random(3).sample(sorted(modules), 3), whatever the order given.
func TestComposeSamplesAsPython(t *testing.T) {
	p := newPlace(t)
	for seed, want := range map[string][]string{
		"3": {"next_number", "sentiment", "plural"}, "-5": {"smaller", "odd_one_out", "pick_animal", "spanish"},
	} {
		args := []string{"compose", "--json", "--base", p.base(), "--examples", p.few("opinion"), "--backend", "reference", "--budget", "5",
			"--modules", p.module("[p-z]*"), "--modules", p.module("[a-o]*"), "--sample-seed=" + seed, "--sample"}
		args = append(args, map[string]string{"3": "3", "-5": "4"}[seed], "--out", p.to("out"+seed))
		if got := decode[composed](t, succeed(t, args...)); !slices.Equal(got.Modules, want) {
			t.Errorf("seed %s: drew %v, Python draws %v", seed, got.Modules, want)
		}
	}
}

// Twenty-two modules and a budget of 16: narrowing, near-duplicates and all.
func TestComposeNarrows(t *testing.T) {
	p := newPlace(t)
	args := []string{"compose", "--json", "--base", p.base(), "--examples", p.few("opinion"), "--backend", "reference", "--budget", "16",
		"--modules", p.module("*"), "--out", p.to("out")}
	got := decode[composed](t, succeed(t, args...))
	if len(got.Weights) != 22 || got.Evaluations != 16 || *got.Composed.Objective > *got.ZeroShot.Objective {
		t.Errorf("%d weights, %d evaluations, objective %v then %v", len(got.Weights), got.Evaluations, *got.ZeroShot.Objective, *got.Composed.Objective)
	}
}

// Ctrl-C keeps the best so far: the adapter is written, the exit code is a shell's, the trace can be resumed.
func TestComposeCanceled(t *testing.T) {
	p := newPlace(t)
	o := cancelAfter(t, p.to("trace"), 4, p.search("--out", p.to("out"), "--trace", p.to("trace"), "--json", "--budget", "400")...)
	if o.code != exitCanceled {
		t.Fatalf("exit code %d: %s", o.code, o.stderr)
	}
	got := decode[composed](t, o)
	if got.Stopped != "canceled" || got.Evaluations < 4 || got.Evaluations >= 400 || got.Composed == nil {
		t.Errorf("%+v", got)
	}
	if !strings.Contains(o.stderr, "best of") || !strings.Contains(o.stderr, p.to("trace")) {
		t.Errorf("does not say what was kept and how to go on: %s", o.stderr)
	}
	s := score(t, "--modules", p.to("out"), "--weights", "1", "--base", p.base(), "--examples", p.few("opinion"), "--penalty", "0").Scores[0]
	if math.Abs(s.Objective-*got.Composed.Loss) > 1e-4 {
		t.Errorf("the adapter's loss is %v, the best so far was %v", s.Objective, *got.Composed.Loss)
	}
}

// Canceled before anything was scored there is nothing to keep.
func TestComposeCanceledAtOnce(t *testing.T) {
	p := newPlace(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if o := medleyWith(ctx, "", p.search("--out", p.to("out"), "--json")...); o.code != exitCanceled || o.stdout != "" {
		t.Errorf("exit code %d, stdout %q: %s", o.code, o.stdout, o.stderr)
	}
	if left := files(t, p.out); len(left) != 1 {
		t.Errorf("%d files are left", len(left)-1)
	}
}

// cancelAfter cancels a run when its trace holds n evaluations.
func cancelAfter(t *testing.T, trace string, n int, args ...string) outcome {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan struct{})
	defer close(done)
	go func() {
		if waitForTrace(trace, n, done) {
			cancel()
		}
	}()
	return medleyWith(ctx, "", args...)
}

// Ctrl-C after the search, while answers are generated, keeps the whole search and is still told by the exit code.
func TestComposeCanceledWhileAnswering(t *testing.T) {
	p := newPlace(t)
	eval := p.write(t, "eval.jsonl", strings.Repeat(read(t, filepath.Join(p.zoo, "tasks", "opinion.eval.jsonl")), 20))
	o := cancelAfter(t, p.to("trace"), 12, p.search("--out", p.to("out"), "--trace", p.to("trace"), "--json", "--eval", eval)...)
	if o.code != exitCanceled {
		t.Fatalf("exit code %d: %s", o.code, o.stderr)
	}
	got := decode[composed](t, o)
	if got.Evaluations != 12 || got.Composed == nil || got.Composed.Accuracy != nil {
		t.Errorf("%+v", got)
	}
	if _, err := adapters.Load(p.to("out")); err != nil {
		t.Errorf("the adapter: %v", err)
	}
}

// Names that mean something to a shell, a pattern or a terminal are names like any other.
func TestComposeOfHostileNames(t *testing.T) {
	p := newPlace(t)
	names := []string{"a'b c", "$(touch owned)", "[x]*", "-rf", "ünï,cödé", "two\nlines", "\x1b[31mred", "same", "deep/same"}
	args := []string{"compose", "--base", p.base(), "--examples", p.few("opinion"), "--backend", "reference", "--budget", "10", "--sample", "9", "--json"}
	for _, name := range names {
		if err := os.MkdirAll(filepath.Dir(p.to(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.CopyFS(p.to(name), os.DirFS(p.module("sentiment"))); err != nil {
			t.Fatal(err)
		}
		args = append(args, "--modules", p.to(name))
	}
	out := p.to("out dir")
	got := decode[composed](t, succeed(t, append(args, "--out", out)...))
	if len(got.Weights) != len(names) || len(got.Modules) != len(names) {
		t.Errorf("%d modules became %d", len(names), len(got.Weights))
	}
	if _, ok := got.Weights["deep/same"]; !ok {
		t.Errorf("folders of one name are not told apart: %v", got.Weights)
	}
	for _, quoted := range []string{`a'\''b c'`, `'` + p.to("$(touch owned)") + `'`, `'` + out + `'`} {
		if !strings.Contains(got.Command, quoted) {
			t.Errorf("the command to repeat the run does not quote %s: %s", quoted, got.Command)
		}
	}
	if people := succeed(t, append(slices.DeleteFunc(args, func(a string) bool { return a == "--json" }), "--out", out)...); strings.Contains(people.stdout, "\x1b[31m") {
		t.Error("a name changes the terminal's colours")
	}
}
