// Package report writes the outcome of a composition as one HTML page that needs nothing else: no script, no network, no other
// file. It is for a stranger: what improved, by how much, whether to believe it, and how to repeat it.
package report

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"strconv"

	"github.com/medley-lora/medley/shared/compose"
	"github.com/medley-lora/medley/shared/fault"
)

// Report is what the page tells. All text in it may come from anyone: it is shown as text, without control characters and cut
// to a length that can be read.
type Report struct {
	Title    string // of the task
	Result   compose.Result
	Command  string // that repeats the job, quoted for a shell
	Sections []Section
}

// Section is a table of facts at the end: settings, backend, versions, digests.
type Section struct {
	Title string
	Facts []Fact
}

// Fact is one row of a Section.
type Fact struct{ Name, Value string }

// Settings are what a result does not say of its search.
type Settings struct{ Budget, Batch int }

// The titles of the sections that Of makes.
const (
	Search  = "Settings"
	Machine = "Machine"
	Adapter = "Adapter"
)

// Of tells of a result, with sections about its search, its machine and its adapter.
func Of(title string, o *compose.Output, s Settings) *Report {
	return &Report{
		Title: title, Result: o.Result, Command: o.Command,
		Sections: []Section{
			{Title: Search, Facts: []Fact{
				{"Method", o.Method}, {"Optimizer", optimizer(o)}, {"Seed", strconv.FormatUint(o.Seed, 10)},
				{"Objective", fmt.Sprintf("%s, penalty %g", o.Objective.Name, o.Objective.Penalty)},
				{"Budget", fmt.Sprintf("%d evaluations, at most %d at once", s.Budget, s.Batch)},
			}},
			{Title: Machine, Facts: []Fact{{"Backend", o.Backend}}},
			{Title: Adapter, Facts: []Fact{
				{"Adapter", o.Adapter}, {"Rank", strconv.Itoa(o.Rank)},
				{"Difference from the definition", fmt.Sprintf("%.1e relative, %.1e at most", float64(o.Difference.Relative), o.Difference.MaxAbs)},
				{"Base", o.Base},
			}},
		},
	}
}

// optimizer says which optimizer it was and how it was run.
func optimizer(o *compose.Output) string {
	if o.Plugin == nil {
		return o.Optimizer + ", " + o.Mode
	}
	text := fmt.Sprintf("%s %s, a plugin, SHA-256 %s", o.Optimizer, o.Plugin.Version, o.Plugin.SHA256)
	if options := o.Plugin.OptionsInWords(); options != "" {
		text += ", options " + options
	}
	return text
}

// Add puts facts at the end of a section that Of has made.
func (r *Report) Add(section string, facts ...Fact) {
	for i := range r.Sections {
		if r.Sections[i].Title == section {
			r.Sections[i].Facts = append(r.Sections[i].Facts, facts...)
		}
	}
}

//go:embed page.gohtml
var page string

var pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{
	"name": func(s string) string { return clean(s, 60) },
	"text": func(s string) string { return clean(s, 300) },
	"fact": func(s string) string { return clean(s, 1000) },
	"code": func(s string) string { return clean(s, 100_000) },
	"num":  num,
}).Parse(page))

// HTML writes the page. The result must have a composed point.
func HTML(w io.Writer, r Report) error {
	if r.Result.Composed == nil {
		return fault.New(fault.Invalid, "result", "has no composed point to report")
	}
	v, err := newView(r)
	if err != nil {
		return err
	}
	var b bytes.Buffer // so that a failure leaves no half page behind
	if err := pageTemplate.Execute(&b, v); err != nil {
		return fault.Wrap(err, fault.Internal, "report", "cannot be written")
	}
	_, err = w.Write(b.Bytes())
	return err
}
