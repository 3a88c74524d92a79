// Package report writes the outcome of a composition as one HTML page that needs nothing else: no script, no network, no other
// file. It is for a stranger: what improved, by how much, whether to believe it, and how to repeat it.
package report

import (
	"bytes"
	_ "embed"
	"html/template"
	"io"

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
