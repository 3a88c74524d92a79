package main

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/medley-lora/medley/shared/compose"
)

// printResult shows a composition to people.
func printResult(a *app, out *compose.Output, report string) {
	t := newTable(a.stdout, "", "objective", "loss", "held-out loss", "accuracy")
	row := func(name string, p *compose.Point) {
		if p != nil {
			t.AppendRow(table.Row{name, fmt.Sprintf("%.4f", p.Objective), fmt.Sprintf("%.4f", p.Loss), number(p.HeldOut), percent(p)})
		}
	}
	row("zero-shot", out.ZeroShot)
	if out.BestSingle != nil {
		row("best single: "+printable(out.BestSingle.Module), out.BestSingle)
	}
	row("composed", out.Composed)
	t.Render()
	fmt.Fprintf(a.stdout, "\nHeld-out loss by %s. %s\n\n", out.HeldOutBy, evaluationsInWords(out))
	printWeights(a, out.Weights)
	for _, w := range out.Warnings {
		a.note("warning: %s", w)
	}
	fmt.Fprintf(a.stdout, "\nAdapter of rank %d in %s; read back, it differs from the definition by %.1e.\n", out.Rank, out.Adapter, float64(out.Difference.Relative))
	if report != "" {
		fmt.Fprintf(a.stdout, "Report in %s.\n", report)
	}
}

func evaluationsInWords(out *compose.Output) string {
	text := fmt.Sprintf("%s in %s, %.2f s of search on %s.", count(out.Evaluations, "evaluation"), count(out.Rounds, "round"), out.SearchSeconds, out.Backend)
	if n := out.Narrowed; n != nil {
		text += fmt.Sprintf(" %d of them narrowed %d modules to %d.", n.Evaluations, n.From, len(n.To))
	}
	if out.ExtraEvaluations > 0 {
		text += fmt.Sprintf(" %d more, outside the budget, for the points of comparison.", out.ExtraEvaluations)
	}
	return text
}

// printWeights lists the modules in use, heaviest first.
func printWeights(a *app, weights map[string]float64) {
	var used []string
	for name, w := range weights {
		if w != 0 {
			used = append(used, name)
		}
	}
	slices.SortFunc(used, func(x, y string) int {
		return cmp.Or(cmp.Compare(math.Abs(weights[y]), math.Abs(weights[x])), cmp.Compare(x, y))
	})
	t := newTable(a.stdout, "module", "weight")
	for _, name := range used {
		t.AppendRow(table.Row{printable(name), fmt.Sprintf("%+.4f", weights[name])})
	}
	t.Render()
	if rest := len(weights) - len(used); rest > 0 {
		fmt.Fprintf(a.stdout, "Weight 0: %s.\n", count(rest, "module"))
	}
}

func number(v *float64) string {
	if v == nil {
		return "-"
	}
	return fmt.Sprintf("%.4f", *v)
}

// count writes "1 round", "3 rounds".
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
