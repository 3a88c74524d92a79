package report

import (
	"cmp"
	"fmt"
	"html/template"
	"math"
	"slices"
	"strings"

	"github.com/medley-lora/medley/shared/compose"
	"github.com/medley-lora/medley/shared/task"
)

// view is what the template prints.
type view struct {
	Report
	Verdict      string // better, unproven or worse: chooses the colour of the headline
	Headline     string
	Doubt        string // how far chance could explain it; may be empty
	Rows         []row
	HeldOutNote  string
	Formula      string
	HasAccuracy  bool
	HasHeldOut   bool // in the plot
	Weights      []weight
	OtherText    string // of modules without a bar; may be empty
	Wide, Narrow template.HTML
	PlotText     string // the plot in words
	Groups       []predictions
	Tables       []Section // what the job cost, then Report.Sections
}

// row is a point in the table of results.
type row struct {
	Name, Module             string
	Objective, Loss, HeldOut string
	Accuracy                 string
	Main                     bool
}

// weight is a bar: Left and Width are percentages of the track, whose middle is zero.
type weight struct {
	Name        string
	Value       string
	Left, Width float64
	Negative    bool
}

type predictions struct {
	ID, Title, Caption string
	List               []compose.Prediction
	Held               bool
}

// The most rows of weights, and the weight below which a module does not count as used.
const (
	maxWeights   = 60
	leastWeight  = 0.0005
	chanceFactor = 1.96 // standard errors: 95 %
)

func newView(r Report) (view, error) {
	res := &r.Result
	v := view{Report: r, Formula: formula(res.Objective)}
	v.Headline, v.Verdict, v.Doubt = headline(res)
	for _, p := range []struct {
		name  string
		point *compose.Point
	}{{"Base model, zero weights", res.ZeroShot}, {"Best single module", res.BestSingle}, {"Composed", res.Composed}} {
		if p.point == nil {
			continue
		}
		line := row{
			Name: p.name, Module: p.point.Module, Main: p.point == res.Composed, Accuracy: "–",
			Objective: num(&p.point.Objective), Loss: num(&p.point.Loss), HeldOut: num(p.point.HeldOut),
		}
		if a := p.point.Accuracy; a != nil {
			v.HasAccuracy = true
			right := int(math.Round(*a / 100 * float64(res.EvalExamples)))
			line.Accuracy = fmt.Sprintf("%s (%s of %s)", percent(*a), thousands(right), thousands(res.EvalExamples))
		}
		v.Rows = append(v.Rows, line)
	}
	v.HeldOutNote = heldOutNote(res)
	v.Weights, v.OtherText = bars(res)
	v.Groups = groups(res)
	v.Tables = append([]Section{{"Cost", cost(res)}}, r.Sections...)
	v.HasHeldOut = slices.ContainsFunc(res.History, func(s compose.Step) bool { return s.HeldOut != nil })
	v.PlotText = plotText(res)
	if len(res.History) == 0 {
		return v, nil
	}
	var err error
	if v.Wide, err = plotSVG(res, 700, 300, "wide"); err != nil {
		return view{}, err
	}
	v.Narrow, err = plotSVG(res, 320, 240, "narrow")
	return v, err
}

// headline says in a sentence what composing brought, by the best evidence at hand, and how to take it.
func headline(res *compose.Result) (sentence, verdict, doubt string) {
	zero, single, composed := res.ZeroShot, res.BestSingle, res.Composed
	if zero != nil && zero.Accuracy != nil && composed.Accuracy != nil {
		change, on := "raised", count(res.EvalExamples, "evaluation example")
		if *composed.Accuracy < *zero.Accuracy {
			change = "lowered"
		}
		sentence = fmt.Sprintf("Composing %s accuracy on %s from %s to %s", change, on, percent(*zero.Accuracy), percent(*composed.Accuracy))
		if *composed.Accuracy == *zero.Accuracy {
			sentence = fmt.Sprintf("Composing left accuracy on %s at %s", on, percent(*zero.Accuracy))
		}
		if single != nil && single.Accuracy != nil {
			sentence += fmt.Sprintf("; the best single module reaches %s", percent(*single.Accuracy))
		}
		verdict, doubt = judgeAccuracy(*zero.Accuracy, *composed.Accuracy, res.EvalExamples)
		if verdict == "better" && single != nil && single.Accuracy != nil {
			more, lead := besideSingle(*single.Accuracy, *composed.Accuracy, res.EvalExamples)
			return sentence + ".", more, doubt + " " + lead
		}
		return sentence + ".", verdict, doubt
	}
	if zero == nil || zero.HeldOut == nil || composed.HeldOut == nil {
		sentence = fmt.Sprintf("The composed adapter has a loss of %s on %s", num(&composed.Loss), count(res.Examples, "example"))
		if zero != nil {
			sentence += fmt.Sprintf("; the base model alone has %s", num(&zero.Loss))
		}
		return sentence + ".", "unproven", "Nothing was held out or evaluated, so this does not tell how the adapter does on other inputs."
	}
	what := "the loss on held-out examples"
	if res.HeldOutBy == compose.ByLeaveOneOut {
		what = "the held-out loss (estimated by leaving one example out)"
	}
	change := "lowered"
	if *composed.HeldOut >= *zero.HeldOut {
		change = "did not lower"
	}
	sentence = fmt.Sprintf("Composing %s %s: %s before, %s after", change, what, num(zero.HeldOut), num(composed.HeldOut))
	if single != nil && single.HeldOut != nil {
		sentence += fmt.Sprintf("; the best single module reaches %s", num(single.HeldOut))
	}
	doubt = "No evaluation examples were given, so accuracy was not measured."
	switch {
	case *composed.HeldOut >= *zero.HeldOut:
		verdict = "worse"
	case res.Overfitted(), single != nil && single.HeldOut != nil && *single.HeldOut < *composed.HeldOut:
		verdict = "unproven"
	default:
		verdict = "better"
	}
	return sentence + ".", verdict, doubt
}

// chance is the difference, at 95 %, that two accuracies (0 to 100) on n examples show by chance, as if the examples were drawn twice: on
// the same examples it is less, so what passes is safe to believe. The interval is Agresti and Caffo's ("Simple and effective
// confidence intervals for proportions and differences of proportions", 2000), which holds for few examples and for accuracies
// of 0 and 1 too.
func chance(a, b float64, n int) float64 {
	variance := func(p float64) float64 {
		p = (p/100*float64(n) + 1) / float64(n+2)
		return p * (1 - p) / float64(n+2)
	}
	return 100 * chanceFactor * math.Sqrt(variance(a)+variance(b))
}

// besideSingle says what composing adds to the best single module, for an adapter that is better than the base model.
func besideSingle(single, composed float64, n int) (verdict, lead string) {
	switch {
	case composed < single:
		return "unproven", "But the best single module alone does better."
	case composed == single:
		return "unproven", "But the best single module alone does as well."
	case composed-single <= chance(single, composed, n):
		return "better", "Its lead over the best single module can be chance."
	}
	return "better", "Its lead over the best single module is more than chance, too."
}

// judgeAccuracy says whether composing changed accuracy, measured on n examples.
func judgeAccuracy(before, after float64, n int) (verdict, doubt string) {
	chance := chance(before, after, n)
	switch gain := after - before; {
	case gain == 0:
		return "unproven", "There is no difference."
	case math.Abs(gain) <= chance:
		return "unproven", fmt.Sprintf("With %s a difference of %.1f points can be chance (up to %.1f points at 95%%).",
			count(n, "example"), math.Abs(gain), chance)
	case gain < 0:
		return "worse", "The composed adapter does worse than the base model alone."
	default:
		return "better", fmt.Sprintf("The gain of %.1f points is more than chance explains (%.1f points at 95%%).", gain, chance)
	}
}

func formula(o task.Objective) string {
	switch o.Name {
	case task.LoraHub:
		return fmt.Sprintf("cross-entropy divided by the number of examples, plus %g times the mean absolute weight", o.Penalty)
	case task.Mean:
		return fmt.Sprintf("cross-entropy plus %g times the mean absolute weight", o.Penalty)
	}
	return fmt.Sprintf("cross-entropy plus %g times the sum of absolute weights", o.Penalty)
}

func heldOutNote(res *compose.Result) string {
	if res.HeldOutBy == compose.ByHoldout {
		return fmt.Sprintf("Held-out loss is measured on %s that the search did not see.", count(res.Holdout, "example"))
	}
	if res.Examples < 2 {
		return "A held-out loss needs at least two examples."
	}
	return "Held-out loss is an estimate that costs nothing: each example's loss at the point that is best on the other examples. " +
		"It is optimistic, because the points themselves were proposed with all examples in view."
}

// bars are the modules in use by size of weight, and a sentence about the others.
func bars(res *compose.Result) ([]weight, string) {
	order := make([]int, 0, len(res.Modules))
	for i, w := range res.Composed.Weights {
		if math.Abs(w) >= leastWeight {
			order = append(order, i)
		}
	}
	size := func(i int) float64 { return math.Abs(res.Composed.Weights[i]) }
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(size(b), size(a)) })
	others := ""
	if zero := len(res.Modules) - len(order); zero > 0 {
		others = count(zero, "other module") + " at zero weight."
	}
	if len(order) > maxWeights {
		others = fmt.Sprintf("%s at smaller weights. %s", count(len(order)-maxWeights, "other module"), others)
		order = order[:maxWeights]
	}
	var all []weight
	for _, i := range order {
		w := res.Composed.Weights[i]
		value := strings.Replace(fmt.Sprintf("%+.3f", w), "-", "−", 1)
		bar := weight{Name: res.Modules[i], Value: value, Width: 50 * size(i) / size(order[0]), Left: 50}
		if w < 0 {
			bar.Negative = true
			bar.Left = 50 - bar.Width
		}
		all = append(all, bar)
	}
	return all, others
}

func groups(res *compose.Result) []predictions {
	var all []predictions
	add := func(id, title, of string, list []compose.Prediction, total int) {
		if len(list) == 0 {
			return
		}
		before, after, held := 0, 0, false
		for _, p := range list {
			before += btoi(p.BeforeRight)
			after += btoi(p.AfterRight)
			held = held || p.HeldOut
		}
		shown := count(len(list), of)
		if total > len(list) {
			shown = fmt.Sprintf("The first %d of %s", len(list), count(total, of))
		}
		all = append(all, predictions{
			ID: id, Title: title, List: list, Held: held,
			Caption: fmt.Sprintf("%s: %d right before, %d right composed. Case, full stops and surrounding space do not count.",
				shown, before, after),
		})
	}
	add("eval", "Answers on evaluation examples", "evaluation example", res.Eval, res.EvalExamples)
	add("few", "Answers on the few examples", "example", res.Few, res.Examples+res.Holdout)
	return all
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

func cost(res *compose.Result) []Fact {
	facts := []Fact{
		{"Examples searched with", thousands(res.Examples)},
		{"Modules", thousands(len(res.Modules))},
		{"Evaluations", thousands(res.Evaluations)},
	}
	if n := res.Narrowed; n != nil {
		how := fmt.Sprintf("from %s to %s with %s of these", count(n.From, "module"), thousands(len(n.To)), thousands(n.Evaluations))
		facts = append(facts, Fact{"Narrowed", how})
	}
	if res.ExtraEvaluations > 0 {
		facts = append(facts, Fact{"Evaluations for comparison", thousands(res.ExtraEvaluations) + " more, outside of the budget"})
	}
	return append(facts,
		Fact{"Rounds", thousands(res.Rounds)},
		Fact{"Ended by", res.Stopped},
		Fact{"Search time", seconds(res.SearchSeconds)},
		Fact{"Total time", seconds(res.Seconds)},
	)
}

func seconds(s float64) string {
	if s < 90 {
		return fmt.Sprintf("%.1f s", s)
	}
	return fmt.Sprintf("%.1f min", s/60)
}
