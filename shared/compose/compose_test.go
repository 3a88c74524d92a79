package compose

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/search"
	"github.com/medley-lora/medley/shared/task"
)

func mustRun(t *testing.T, m Model, job Job) Result {
	t.Helper()
	got, err := Run(t.Context(), m, job)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := json.Marshal(got); err != nil {
		t.Fatalf("the result is not JSON: %v", err)
	}
	return got
}

func warned(r Result, text string) bool {
	return slices.ContainsFunc(r.Warnings, func(w string) bool { return strings.Contains(w, text) })
}

func TestRun(t *testing.T) {
	m, examples := newFakeModel(1, 45, 12, 3, 7)
	job := newJob(examples[:5], 12)
	job.Eval = examples[5:]
	var stages []Stage
	job.Observe = func(p Progress) {
		begins := len(stages) == 0 || stages[len(stages)-1] != p.Stage
		if begins {
			stages = append(stages, p.Stage)
		}
		if p.Done < 1 && !begins || p.Done < 0 || p.Done > p.Total { // a stage may begin with nothing done
			t.Errorf("progress %+v", p)
		}
	}
	got := mustRun(t, m, job)
	if got.Evaluations != 40 || got.ExtraEvaluations != 0 || got.Rounds != 5 || got.Stopped != search.StoppedBudget || m.scored != 40*5 {
		t.Errorf("evaluations %d + %d in %d rounds, stopped by %s, %d scorings", got.Evaluations, got.ExtraEvaluations, got.Rounds, got.Stopped, m.scored)
	}
	if !(got.Composed.Objective < got.BestSingle.Objective && got.BestSingle.Objective < got.ZeroShot.Objective) {
		t.Errorf("objectives %v, %v, %v do not fall", got.ZeroShot.Objective, got.BestSingle.Objective, got.Composed.Objective)
	}
	if got.BestSingle.Module != "m3" || got.Weights["m3"] != got.Composed.Weights[3] || len(got.Weights) != 12 {
		t.Errorf("best single %q, weights %v", got.BestSingle.Module, got.Weights)
	}
	if *got.ZeroShot.Accuracy != 0 || *got.Composed.Accuracy <= 50 || got.EvalExamples != 40 {
		t.Errorf("accuracy %v, then %v, of %d", *got.ZeroShot.Accuracy, *got.Composed.Accuracy, got.EvalExamples)
	}
	if *got.ZeroShot.HeldOut != got.ZeroShot.Loss || got.HeldOutBy != ByLeaveOneOut {
		t.Errorf("held-out loss at zero is %v, by %s; the loss is %v", *got.ZeroShot.HeldOut, got.HeldOutBy, got.ZeroShot.Loss)
	}
	if len(got.Few) != 5 || len(got.Eval) != 40 || got.Eval[0].Input != examples[5].Input || len(got.History) != 40 {
		t.Errorf("%d few, %d eval, %d steps", len(got.Few), len(got.Eval), len(got.History))
	}
	right := 0
	for _, p := range got.Eval {
		if p.AfterRight {
			right++
		}
	}
	if 100*float64(right)/40 != *got.Composed.Accuracy {
		t.Errorf("%d of 40 predictions are right, but the accuracy is %v", right, *got.Composed.Accuracy)
	}
	if last := got.History[39]; last.Number != 40 || *last.Best != got.Composed.Objective || *last.HeldOut != *got.Composed.HeldOut {
		t.Errorf("the history ends at %+v, the result is %+v", last, got.Composed)
	}
	if want := []Stage{Searching, Generating}; !reflect.DeepEqual(stages, want) {
		t.Errorf("stages %v, want %v", stages, want)
	}
}

// The reported losses are those of the reported weights, whichever way the point was scored.
func TestRunPointsAreTrue(t *testing.T) {
	for name, change := range map[string]func(*Job){
		"plain":    func(*Job) {},
		"held out": func(j *Job) { j.Holdout = 2 },
		"narrowed": func(j *Job) { j.Budget = 16 },
		"lorahub":  func(j *Job) { j.Objective.Name = task.LoraHub },
	} {
		t.Run(name, func(t *testing.T) {
			m, examples := newFakeModel(2, 6, 12, 3, 7)
			job := newJob(examples, 12)
			change(&job)
			got := mustRun(t, m, job)
			searched := examples[:len(examples)-job.Holdout]
			tokens, _ := m.Tokens(searched)
			for _, p := range []*Point{got.ZeroShot, got.BestSingle, got.Composed} {
				scores, _ := m.Score(t.Context(), searched, [][]float64{p.Weights})
				loss, objective := task.TokenMean(scores[0].Examples, tokens), job.Objective.Value(scores[0].Examples, tokens, p.Weights)
				if math.Abs(p.Loss-loss) > 1e-12 || math.Abs(p.Objective-objective) > 1e-12 {
					t.Errorf("%+v: loss is %v, objective %v", p, loss, objective)
				}
			}
			if job.Holdout > 0 {
				held := examples[4:]
				tokens, _ := m.Tokens(held)
				scores, _ := m.Score(t.Context(), held, [][]float64{got.Composed.Weights})
				if want := task.TokenMean(scores[0].Examples, tokens); math.Abs(*got.Composed.HeldOut-want) > 1e-12 || got.HeldOutBy != ByHoldout {
					t.Errorf("held-out loss %v by %s, want %v", *got.Composed.HeldOut, got.HeldOutBy, want)
				}
				if last := got.History[39]; *last.HeldOut != *got.Composed.HeldOut || !got.Few[5].HeldOut || got.Few[3].HeldOut {
					t.Errorf("last step %+v, few %+v", last, got.Few)
				}
			}
		})
	}
}

// An algorithm that never tries modules alone is compared with them all the same, at a cost that is stated.
func TestRunScoresMissingSingles(t *testing.T) {
	m, examples := newFakeModel(3, 5, 12, 3, 7)
	job := newJob(examples, 12)
	job.Budget = 24
	job.NewOptimizer = func(p search.Problem) (search.Optimizer, error) {
		c := newClimber(p, false)
		c.queue[0][0] = 0.25 // zero weights are missing too
		return c, nil
	}
	got := mustRun(t, m, job)
	if got.Evaluations != 24 || got.ExtraEvaluations != 13 || got.BestSingle == nil || got.BestSingle.Module != "m3" || got.ZeroShot == nil {
		t.Errorf("evaluations %d + %d, best single %+v", got.Evaluations, got.ExtraEvaluations, got.BestSingle)
	}
	if got.BestSingle.Objective < got.Composed.Objective && !warned(got, `"m3" alone has a lower objective`) {
		t.Errorf("a single module is better, but the warnings are %q", got.Warnings)
	}
}

// "The default search never ends with a worse objective than the best single module", whatever the optimizer recommends.
func TestRunNeverWorseThanASingle(t *testing.T) {
	m, examples := newFakeModel(4, 5, 12, 3, 7)
	job := newJob(examples, 12)
	job.NewOptimizer = func(p search.Problem) (search.Optimizer, error) {
		c := newClimber(p, true)
		c.choose = make([]float64, p.Dim)
		c.choose[0] = 0.125
		return c, nil
	}
	got := mustRun(t, m, job)
	if got.Composed.Objective != got.BestSingle.Objective || got.Weights["m3"] != 1 || !warned(got, "that module alone is taken instead") {
		t.Errorf("composed %+v, warnings %q", got.Composed, got.Warnings)
	}
	if got.ExtraEvaluations != 1 {
		t.Errorf("%d extra evaluations, want one for the recommended weights", got.ExtraEvaluations)
	}
}

func TestRunNarrows(t *testing.T) {
	const modules = 60
	m, examples := newFakeModel(5, 5, modules, 13, 47)
	job := newJob(examples, modules)
	// Modules come in kinds of three, the good ones apart.
	job.Sketch = func(i int) ([]float64, error) {
		s := make([]float64, modules)
		if i == 13 || i == 47 {
			s[i] = 1
		} else {
			s[i/3*3] = 1
		}
		return s, nil
	}
	var inner *climber
	job.NewOptimizer = func(p search.Problem) (search.Optimizer, error) { inner = newClimber(p, true); return inner, nil }
	var begun search.Problem
	var names []string
	job.Begin = func(p search.Problem, modules []string) ([]search.Evaluation, func(search.Evaluation), error) {
		begun, names = p, modules
		return nil, nil, nil
	}
	got := mustRun(t, m, job)
	n := got.Narrowed
	if n == nil || n.From != modules || len(n.To) > 16 || n.Evaluations > 24 || !reflect.DeepEqual(names, n.To) || begun.Dim != len(n.To) {
		t.Fatalf("narrowed %+v, searched %v of dimension %d", n, names, begun.Dim)
	}
	if !slices.Contains(n.To, "m13") || !slices.Contains(n.To, "m47") {
		t.Errorf("the good modules are not among %v", n.To)
	}
	if got.Evaluations != 40 || m.scored > 40*5 || begun.Budget != 40-n.Evaluations || got.ExtraEvaluations != 0 {
		t.Errorf("%d evaluations, %d scorings, %d of budget left by %d", got.Evaluations, m.scored, begun.Budget, n.Evaluations)
	}
	if len(inner.known) != begun.Budget+len(n.To)+1 {
		t.Errorf("the optimizer was told %d scores, want the %d paid for and the %d known", len(inner.known), begun.Budget, len(n.To)+1)
	}
	if got.Weights["m13"] == 0 || got.Composed.Objective > got.BestSingle.Objective || !warned(got, "of 60 modules were searched with") {
		t.Errorf("weights %v, warnings %q", got.Weights, got.Warnings)
	}
	if first := got.History[0]; first.Number != n.Evaluations+1 || *first.Best > got.BestSingle.Objective {
		t.Errorf("the history begins with %+v", first)
	}
	if again := mustRun(t, m, job); !reflect.DeepEqual(again.Composed, got.Composed) {
		t.Error("the same job ends elsewhere when repeated")
	}
	job.KeepAll = true
	if all := mustRun(t, m, job); all.Narrowed != nil || !warned(all, "Not every module was tried alone") {
		t.Errorf("KeepAll narrowed to %+v, warnings %q", all.Narrowed, all.Warnings)
	}
}

// A search that was interrupted and continued ends as if it had not been.
func TestRunResumes(t *testing.T) {
	for name, modules := range map[string]int{"plain": 12, "narrowed": 50} {
		t.Run(name, func(t *testing.T) {
			m, examples := newFakeModel(6, 5, modules, 3, 7)
			var recorded, replay []search.Evaluation
			job := newJob(examples, modules)
			job.Begin = func(search.Problem, []string) ([]search.Evaluation, func(search.Evaluation), error) {
				return replay, func(e search.Evaluation) { recorded = append(recorded, e) }, nil
			}
			whole := mustRun(t, m, job)
			for _, cut := range []int{8, 10, len(recorded)} {
				replay = recorded[:cut:cut]
				got := mustRun(t, m, job)
				if !reflect.DeepEqual(got.Composed, whole.Composed) || !reflect.DeepEqual(got.History, whole.History) || got.Evaluations != 40 {
					t.Errorf("cut after %d: %d steps, composed %+v; want %+v", cut, len(got.History), got.Composed, whole.Composed)
				}
			}
		})
	}
}

func TestRunCanceled(t *testing.T) {
	m, examples := newFakeModel(7, 5, 12, 3, 7)
	job := newJob(examples, 12)
	job.Eval = examples
	for calls, want := range map[int]int{2: 16, 3: 24} {
		ctx, cancel := context.WithCancel(t.Context())
		left := calls
		m.after = func() {
			if left--; left == 0 {
				cancel()
			}
		}
		got, err := Run(ctx, m, job)
		if err != nil || got.Stopped != search.StoppedCanceled || got.Evaluations != want || got.Composed == nil || got.Composed.Accuracy != nil {
			t.Fatalf("after %d calls: %+v, %v", calls, got, err)
		}
		if !warned(got, "was canceled after") || got.BestSingle == nil || len(got.History) != want {
			t.Errorf("after %d calls: warnings %q, %d steps", calls, got.Warnings, len(got.History))
		}
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	m.after = nil
	for _, modules := range []int{12, 50} { // in the search, in narrowing
		m, examples := newFakeModel(7, 5, modules, 3, 7)
		if _, err := Run(canceled, m, newJob(examples, modules)); fault.CodeOf(err) != fault.Canceled {
			t.Errorf("canceled before the start: error %v", err)
		}
	}
}

// Canceled while answers are generated, the result still says what the search found.
func TestRunCanceledWhileAnswering(t *testing.T) {
	m, examples := newFakeModel(8, 5, 12, 3, 7)
	ctx, cancel := context.WithCancel(t.Context())
	job := newJob(examples, 12)
	job.Eval = examples
	job.Observe = func(p Progress) {
		if p.Stage == Generating {
			cancel()
		}
	}
	got, err := Run(ctx, m, job)
	if err != nil || got.Composed == nil || got.Composed.Accuracy != nil || !warned(got, "before all answers") {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestRunFailedEvaluations(t *testing.T) {
	m, examples := newFakeModel(9, 5, 12, 3, 7)
	job := newJob(examples, 12)
	n := 0
	m.wrong = func(s *search.Score) {
		if n++; n > 1 && n%3 == 0 {
			s.Examples[2] = math.NaN()
			s.LogProbs[3] = math.NaN()
		}
	}
	got := mustRun(t, m, job)
	if !warned(got, "13 of 40 evaluations of the search failed") || got.Composed.HeldOut == nil {
		t.Errorf("warnings %q", got.Warnings)
	}
	m.wrong = func(s *search.Score) { s.Examples[0] = math.NaN() }
	if _, err := Run(t.Context(), m, job); err == nil || !strings.Contains(err.Error(), "none of the 40 evaluations succeeded") {
		t.Errorf("all failed: error %v", err)
	}
}

func TestRunWarns(t *testing.T) {
	m, examples := newFakeModel(10, 8, 12, 3, 7)
	job := newJob(examples[:5], 12)
	job.Eval = examples[3:]
	if got := mustRun(t, m, job); !warned(got, "2 of the 5 evaluation examples") {
		t.Errorf("repeated examples: %q", got.Warnings)
	}
	job = newJob(examples[:1], 12)
	if got := mustRun(t, m, job); !warned(got, "With a single example") || got.Composed.HeldOut != nil {
		t.Errorf("one example: %q", got.Warnings)
	}
	m, examples = newFakeModel(10, 5, 12) // no module is good
	got := mustRun(t, m, newJob(examples, 12))
	for _, i := range got.Modules {
		if got.Weights[i] > 0.9 {
			t.Errorf("%s has weight %v though it harms", i, got.Weights[i])
		}
	}
	// Half of the examples contradict the other half, which is held out.
	m, examples = newFakeModel(10, 6, 12, 3, 7)
	for _, e := range examples[3:] {
		for _, token := range m.effects[e.Input] {
			token[3], token[7] = -3, -3
		}
	}
	job = newJob(examples, 12)
	job.Holdout = 3
	if got := mustRun(t, m, job); !got.Overfitted() || !warned(got, "Over-fitted") || !warned(got, "is worse than the base model alone") {
		t.Errorf("contradicting examples: %q", got.Warnings)
	}
}

func TestRunErrors(t *testing.T) {
	broken := errors.New("broken")
	cases := map[string]struct {
		change func(*Job, *fakeModel)
		want   string
	}{
		"no modules":      {func(j *Job, _ *fakeModel) { j.Modules = nil }, "modules: "},
		"repeated module": {func(j *Job, _ *fakeModel) { j.Modules[1] = "m0" }, `modules: "m0" occurs twice`},
		"no examples":     {func(j *Job, _ *fakeModel) { j.Examples = nil }, "examples: "},
		"all held out":    {func(j *Job, _ *fakeModel) { j.Holdout = 5 }, "holdout: "},
		"no budget":       {func(j *Job, _ *fakeModel) { j.Budget = 0 }, "budget: "},
		"large budget":    {func(j *Job, _ *fakeModel) { j.Budget = 1e9 }, "budget: "},
		"no batch":        {func(j *Job, _ *fakeModel) { j.Batch = 0 }, "batch: "},
		"bound":           {func(j *Job, _ *fakeModel) { j.Bound = math.NaN() }, "bound: "},
		"optimizer": {func(j *Job, _ *fakeModel) {
			j.NewOptimizer = func(search.Problem) (search.Optimizer, error) { return nil, broken }
		}, "broken"},
		"trace": {func(j *Job, _ *fakeModel) {
			j.Begin = func(search.Problem, []string) ([]search.Evaluation, func(search.Evaluation), error) {
				return nil, nil, broken
			}
		}, "broken"},
		"losses missing": {func(_ *Job, m *fakeModel) { m.wrong = func(s *search.Score) { s.Examples = s.Examples[1:] } }, "evaluator: "},
		"tokens missing": {func(_ *Job, m *fakeModel) { m.wrong = func(s *search.Score) { s.LogProbs = s.LogProbs[1:] } }, "evaluator: "},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			m, examples := newFakeModel(11, 5, 12, 3)
			job := newJob(examples, 12)
			c.change(&job, m)
			if _, err := Run(t.Context(), m, job); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error %v, want %q", err, c.want)
			}
		})
	}
}

// Sizes at the edges must run: one module, tiny budgets, a batch larger than everything, no log-probabilities, a narrow box.
func TestRunEdges(t *testing.T) {
	for _, modules := range []int{1, 2, 40} {
		for _, examples := range []int{1, 2, 5} {
			for _, budget := range []int{1, 2, 3, 4, 5, 9} {
				m, all := newFakeModel(12, examples, modules, 0)
				m.wrong = func(s *search.Score) { s.LogProbs = nil }
				job := newJob(all, modules)
				job.Budget, job.Batch, job.Bound = budget, 1000, 0.5
				got := mustRun(t, m, job)
				if got.Evaluations > budget || got.Composed == nil || got.ZeroShot == nil {
					t.Errorf("%d modules, %d examples, budget %d: %+v", modules, examples, budget, got)
				}
				if got.BestSingle != nil && slices.Max(got.BestSingle.Weights) != 0.5 {
					t.Errorf("a module alone has weights %v in a box of 0.5", got.BestSingle.Weights)
				}
			}
		}
	}
}
