package main

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/medley-lora/medley/shared/bbh"
)

// bbhResult is what bench bbh prints with --json.
type bbhResult struct {
	Base     string            `json:"base"`
	Modules  int               `json:"modules"` // that draws are of
	Settings map[string]string `json:"settings"`
	Tasks    []bbhRow          `json:"tasks"`   // those of which something is known
	Average  bbhRow            `json:"average"` // over the tasks that are complete
	Complete bool              `json:"complete"`
	Limit    int               `json:"limit"` // items asked of each task; 0 is all
	Backend  string            `json:"backend"`
	Command  string            `json:"command"`

	draws int
	cells []bbhCell
}

// bbhRow is a task, or the average. What was not measured is nil. Accuracies are in percent.
type bbhRow struct {
	Task     string    `json:"task"`
	Items    int       `json:"items"`
	ZeroShot *float64  `json:"zero_shot"`
	FiveShot *float64  `json:"five_shot"`
	Draws    []float64 `json:"draws"` // of each draw measured, in order
	Mean     *float64  `json:"mean"`  // over all draws, once all are there
	Best     *float64  `json:"best"`

	// Tokens of an item, prompt and answer, and seconds.
	Tokens        bbhTokens `json:"tokens"`
	SearchSeconds float64   `json:"search_seconds"` // of a search, mean
	AnswerSeconds float64   `json:"answer_seconds"` // of all items of a composition, mean
	Seconds       float64   `json:"seconds"`        // of everything
}

// bbhTokens are means per item.
type bbhTokens struct {
	ZeroShot float64 `json:"zero_shot"`
	FiveShot float64 `json:"five_shot"`
	Composed float64 `json:"composed"`
	Answer   float64 `json:"answer"` // of a composition, beside its prompt
}

func (r *bbhRun) summarize() *bbhResult {
	out := &bbhResult{
		Base: r.Base, Modules: len(r.modules), Settings: r.state.Settings, Tasks: []bbhRow{}, Complete: r.done == r.total(), Limit: r.Limit, Backend: r.base.reason,
		Command: commandLine(r.app.args), draws: r.Draws,
	}
	for _, t := range r.tasks {
		if known := r.known(t); len(known) > 0 {
			out.Tasks = append(out.Tasks, newBBHRow(t.Name, known, r.Draws))
			out.cells = append(out.cells, known...)
		}
	}
	out.Average = averageRow(out.Tasks)
	return out
}

func newBBHRow(name string, cells []bbhCell, draws int) bbhRow {
	row := bbhRow{Task: name, Items: cells[0].Items, Draws: []float64{}}
	slices.SortFunc(cells, func(a, b bbhCell) int { return cmp.Or(cmp.Compare(a.Draw, b.Draw), cmp.Compare(a.Way, b.Way)) })
	prompt := func(c bbhCell) float64 { return float64(c.PromptTokens) / float64(c.Items) }
	var answers, searching, answering []float64
	for _, c := range cells {
		accuracy := c.accuracy()
		row.Seconds += c.SearchSeconds + c.AnswerSeconds
		switch c.Way {
		case wayZeroShot:
			row.ZeroShot, row.Tokens.ZeroShot = &accuracy, prompt(c)
		case wayFiveShot:
			row.FiveShot, row.Tokens.FiveShot = &accuracy, prompt(c)
		case wayComposed:
			row.Draws, row.Tokens.Composed = append(row.Draws, accuracy), prompt(c)
			answers = append(answers, float64(c.AnswerTokens)/float64(c.Items))
			searching, answering = append(searching, c.SearchSeconds), append(answering, c.AnswerSeconds)
		}
	}
	row.Tokens.Answer, row.SearchSeconds, row.AnswerSeconds = average(answers), average(searching), average(answering)
	if len(row.Draws) == draws {
		mean, best := average(row.Draws), slices.Max(row.Draws)
		row.Mean, row.Best = &mean, &best
	}
	return row
}

// complete tells whether everything of a task is known.
func (r bbhRow) complete() bool { return r.ZeroShot != nil && r.FiveShot != nil && r.Mean != nil }

// averageRow is the mean over the complete tasks, each weighing the same.
func averageRow(rows []bbhRow) bbhRow {
	out := bbhRow{Task: "average", Draws: []float64{}}
	rows = slices.DeleteFunc(slices.Clone(rows), func(r bbhRow) bool { return !r.complete() })
	if len(rows) == 0 {
		return out
	}
	mean := func(f func(bbhRow) float64) float64 {
		sum := 0.0
		for _, r := range rows {
			sum += f(r)
		}
		return sum / float64(len(rows))
	}
	of := func(f func(bbhRow) *float64) *float64 {
		v := mean(func(r bbhRow) float64 { return *f(r) })
		return &v
	}
	out.ZeroShot, out.FiveShot = of(func(r bbhRow) *float64 { return r.ZeroShot }), of(func(r bbhRow) *float64 { return r.FiveShot })
	out.Mean, out.Best = of(func(r bbhRow) *float64 { return r.Mean }), of(func(r bbhRow) *float64 { return r.Best })
	for draw := range rows[0].Draws {
		out.Draws = append(out.Draws, mean(func(r bbhRow) float64 { return r.Draws[draw] }))
	}
	out.Tokens = bbhTokens{
		mean(func(r bbhRow) float64 { return r.Tokens.ZeroShot }), mean(func(r bbhRow) float64 { return r.Tokens.FiveShot }),
		mean(func(r bbhRow) float64 { return r.Tokens.Composed }), mean(func(r bbhRow) float64 { return r.Tokens.Answer }),
	}
	out.SearchSeconds, out.AnswerSeconds = mean(func(r bbhRow) float64 { return r.SearchSeconds }), mean(func(r bbhRow) float64 { return r.AnswerSeconds })
	for _, r := range rows {
		out.Items += r.Items
		out.Seconds += r.Seconds
	}
	return out
}

// accuracyTable is the table that a stopped and resumed run shares with an unbroken one: no time is in it.
func (o *bbhResult) accuracyTable() (heading []string, rows [][]string) {
	heading = []string{"task", "items", "zero-shot", "five-shot", "mean", "best"}
	for draw := 1; draw <= o.draws; draw++ {
		heading = append(heading, fmt.Sprintf("draw %d", draw))
	}
	for _, r := range append(slices.Clone(o.Tasks), o.Average) {
		row := []string{r.Task, fmt.Sprint(r.Items), tenth(r.ZeroShot), tenth(r.FiveShot), tenth(r.Mean), tenth(r.Best)}
		for draw := range o.draws {
			if draw < len(r.Draws) {
				row = append(row, tenth(&r.Draws[draw]))
			} else {
				row = append(row, "-")
			}
		}
		rows = append(rows, row)
	}
	p := bbh.Published
	published := []string{"published average", "", tenth(&p.ZeroShot), "", tenth(&p.Mean), tenth(&p.Best)}
	return heading, append(rows, append(published, make([]string, o.draws)...))
}

// costTable is what answers took.
func (o *bbhResult) costTable() (heading []string, rows [][]string) {
	heading = []string{"task", "prompt tokens, zero-shot", "five-shot", "composed", "answer tokens", "seconds a search", "seconds to answer", "seconds in all"}
	for _, r := range append(slices.Clone(o.Tasks), o.Average) {
		rows = append(rows, []string{
			r.Task, tokensInWords(r.Tokens.ZeroShot), tokensInWords(r.Tokens.FiveShot), tokensInWords(r.Tokens.Composed), fmt.Sprintf("%.1f", r.Tokens.Answer),
			fmt.Sprintf("%.2f", r.SearchSeconds), fmt.Sprintf("%.2f", r.AnswerSeconds), fmt.Sprintf("%.1f", r.Seconds),
		})
	}
	return heading, rows
}

func tokensInWords(v float64) string {
	if v == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f", v)
}

func tenth(v *float64) string {
	if v == nil || math.IsNaN(*v) {
		return "-"
	}
	return fmt.Sprintf("%.1f", *v)
}

// print shows the tables to people.
func (o *bbhResult) print(a *app) {
	for _, table := range []func() ([]string, [][]string){o.accuracyTable, o.costTable} {
		heading, rows := table()
		t := newTable(a.stdout, cells(heading)...)
		for _, row := range rows {
			t.AppendRow(cells(row))
		}
		t.Render()
		fmt.Fprintln(a.stdout)
	}
	a.note("Accuracy in percent. The published average is LoraHub's over 27 tasks with FLAN-T5-large; it is comparable only for that base, its 196 modules and all items.")
	for _, remark := range o.remarks() {
		a.note("%s", remark)
	}
}

// remarks say what is missing.
func (o *bbhResult) remarks() []string {
	var all []string
	if !o.Complete {
		all = append(all, "The run was interrupted: what is missing is marked -, and the average is over the tasks that are complete.")
	}
	if o.Limit > 0 {
		all = append(all, fmt.Sprintf("Of each task only the first %s asked.", count(o.Limit, "item")))
	}
	cut := 0
	for _, c := range o.cells {
		cut += c.Cut
	}
	if cut > 0 {
		all = append(all, fmt.Sprintf("%s cut to what the model takes.", count(cut, "prompt")))
	}
	return all
}

func cells(texts []string) (all []any) {
	for _, t := range texts {
		all = append(all, t)
	}
	return all
}
