package compose

import (
	"context"
	"fmt"
	"slices"

	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/search"
	"github.com/medley-lora/medley/shared/task"
)

// answer lets the model answer the few examples and the evaluation examples before and after, and measures accuracy.
func (r *run) answer(ctx context.Context) error {
	few := r.Examples[:min(len(r.Examples), maxPredictions)]
	asked := slices.Concat(few, r.Eval)
	g := generator{run: r, total: 2*len(asked) + len(r.Eval)}
	var before, after []string
	for _, part := range []struct {
		point    *Point
		examples []task.Example
		answers  *[]string
	}{{r.result.ZeroShot, asked, &before}, {r.result.Composed, asked, &after}, {r.result.BestSingle, r.Eval, new([]string)}} {
		if part.point == nil || len(part.examples) == 0 {
			continue
		}
		answers, err := g.generate(ctx, part.examples, part.point.Weights)
		if ctx.Err() != nil {
			r.warn("Canceled before all answers were generated.")
			return nil
		}
		if err != nil {
			return err
		}
		*part.answers = answers
		if len(r.Eval) > 0 {
			accuracy := task.Accuracy(answers[len(answers)-len(r.Eval):], r.Eval)
			part.point.Accuracy = &accuracy
		}
	}
	r.result.EvalExamples = len(r.Eval)
	if before == nil {
		return nil
	}
	shown := len(few) + min(len(r.Eval), maxPredictions)
	for i, e := range asked[:shown] {
		p := Prediction{
			Input: e.Input, Target: e.Output, Before: before[i], After: after[i],
			BeforeRight: task.Correct(before[i], e.Output), AfterRight: task.Correct(after[i], e.Output),
		}
		if i < len(few) {
			p.HeldOut = i >= len(r.search)
			r.result.Few = append(r.result.Few, p)
		} else {
			r.result.Eval = append(r.result.Eval, p)
		}
	}
	return nil
}

// generator asks the model and counts the answers for progress.
type generator struct {
	*run
	done, total int
}

func (g *generator) generate(ctx context.Context, examples []task.Example, weights []float64) ([]string, error) {
	inputs := make([]string, len(examples))
	for i, e := range examples {
		inputs[i] = e.Input
	}
	answers, err := g.model.Generate(ctx, inputs, weights, func(done int) {
		g.observe(Progress{Stage: Generating, Done: g.done + done, Total: g.total})
	})
	if err == nil && len(answers) != len(inputs) {
		err = fault.New(fault.Internal, "model", "gave %d answers to %d inputs", len(answers), len(inputs))
	}
	g.done += len(inputs)
	return answers, err
}

// A held-out loss is worth words when it is above what it is compared with by a ratio and by nats: a handful of examples cannot
// tell less from chance, and of two losses near zero neither matters. When this was measured, the leave-one-out estimate warned of
// four of the six tasks of the built-in zoo on which the true loss is far above (0.2 and more), and of one that is well.
const (
	overfitRatio, overfitNats = 2.0, 0.1
	worseRatio, worseNats     = 1.1, 0.02
)

// Overfitted reports whether the composed point's held-out loss is much above its loss on the examples searched with.
func (r *Result) Overfitted() bool {
	c := r.Composed
	return c != nil && c.HeldOut != nil && *c.HeldOut > max(overfitRatio*c.Loss, c.Loss+overfitNats)
}

func (r *run) warn(format string, args ...any) {
	r.result.Warnings = append(r.result.Warnings, fmt.Sprintf(format, args...))
}

// warnAbout adds what a user should know before trusting the result.
func (r *run) warnAbout() {
	res := &r.result
	r.warnAboutHeldOut()
	if zero := res.ZeroShot; zero != nil && res.Composed.Objective >= zero.Objective {
		r.warn("No weights were found that are better than zero weights: these modules do not help with these examples.")
	}
	failed := 0
	for _, step := range res.History {
		if step.Objective == nil {
			failed++
		}
	}
	if failed > 0 {
		r.warn("%d of %d evaluations of the search failed: their loss was not a finite number.", failed, len(res.History))
	}
	if res.Stopped == search.StoppedCanceled {
		r.warn("The search was canceled after %d of %d evaluations.", res.Evaluations, r.Budget)
	}
	if n := res.Narrowed; n != nil {
		r.warn("%d of %d modules were searched with, chosen by %d of the %d evaluations: with this budget not every module can be tried.",
			len(n.To), n.From, n.Evaluations, r.Budget)
	}
	r.warnAboutRepeats("evaluation examples", r.Eval)
	r.warnAboutRepeats("held-out examples", r.held)
}

func (r *run) warnAboutHeldOut() {
	res := &r.result
	c := res.Composed
	switch {
	case c.HeldOut == nil && len(r.search) == 1 && len(r.held) == 0:
		r.warn("With a single example nothing can be held out: whether the composed adapter does well on others is unknown.")
	case res.Overfitted():
		r.warn("Over-fitted: the composed adapter's held-out loss (%.3g) is much above its loss on the examples searched with (%.3g). "+
			"They are fitted rather than the task; more examples are the remedy.", *c.HeldOut, c.Loss)
	}
	if c.HeldOut == nil {
		return
	}
	for _, other := range []struct {
		name  string
		point *Point
	}{{"the best single module", res.BestSingle}, {"the base model alone", res.ZeroShot}} {
		p := other.point
		if p == nil || p.HeldOut == nil || *c.HeldOut < max(worseRatio**p.HeldOut, *p.HeldOut+worseNats) {
			continue
		}
		r.warn("On held-out examples the composed adapter (loss %.3g) is worse than %s (%.3g).", *c.HeldOut, other.name, *p.HeldOut)
	}
}

// warnAboutRepeats warns of examples that were searched with too: they say nothing of how the adapter does on others.
func (r *run) warnAboutRepeats(what string, examples []task.Example) {
	searched := map[string]bool{}
	for _, e := range r.search {
		searched[e.Input] = true
	}
	repeats := 0
	for _, e := range examples {
		if searched[e.Input] {
			repeats++
		}
	}
	if repeats > 0 {
		r.warn("%d of the %d %s have an input that was also searched with, which flatters the result.", repeats, len(examples), what)
	}
}
