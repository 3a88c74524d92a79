package main

import (
	"bytes"
	"cmp"
	_ "embed"
	"fmt"
	"math"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"text/template"

	"github.com/medley-lora/medley/shared/compose"
)

//go:embed card.md.tmpl
var cardText string

var cardTemplate = template.Must(template.New("card").Parse(cardText))

// card is what a model card says. Texts in it are safe in Markdown.
type card struct {
	Title, Base, License, Method, Command, Optimizer, Objective, Penalty, Backend, Zero string
	Examples, Holdout, EvalExamples, Evaluations, Rank                                  int
	Seed                                                                                uint64
	Accuracy                                                                            bool
	Weights                                                                             []cardWeight
	Points                                                                              []cardPoint
	Warnings                                                                            []string
}

type cardWeight struct{ Name, Weight string }

type cardPoint struct{ Name, Objective, Loss, Accuracy string }

// newCard describes a composition for the base called base. Of the user's machine and examples it says nothing.
func newCard(title, base, license string, out *compose.Output) *card {
	c := &card{
		Title: inCell(title), Base: base, License: license, Method: out.Method, Command: withoutFolders(out.Command), Optimizer: inCell(out.Optimizer),
		Objective: out.Objective.Name, Penalty: fmt.Sprint(out.Objective.Penalty), Backend: out.Backend, Seed: out.Seed, Examples: out.Examples,
		Holdout: out.Holdout, EvalExamples: out.EvalExamples, Evaluations: out.Evaluations, Rank: out.Rank,
	}
	var zero []string
	heaviest := slices.SortedStableFunc(slices.Values(out.Modules), func(a, b string) int {
		return cmp.Compare(math.Abs(out.Weights[b]), math.Abs(out.Weights[a]))
	})
	for _, name := range heaviest {
		if w := out.Weights[name]; w != 0 {
			c.Weights = append(c.Weights, cardWeight{inCell(name), fmt.Sprint(w)})
		} else {
			zero = append(zero, inCell(name))
		}
	}
	c.Zero = strings.Join(zero, ", ")
	add := func(name string, p *compose.Point) {
		if p == nil {
			return
		}
		c.Points = append(c.Points, cardPoint{inCell(name), fmt.Sprintf("%.4f", p.Objective), fmt.Sprintf("%.4f", p.Loss), percent(p)})
		c.Accuracy = c.Accuracy || p.Accuracy != nil
	}
	add("the base alone", out.ZeroShot)
	if out.BestSingle != nil {
		add("best single module: "+out.BestSingle.Module, out.BestSingle)
	}
	add("this adapter", out.Composed)
	for _, w := range out.Warnings {
		c.Warnings = append(c.Warnings, inCell(w))
	}
	return c
}

func (c *card) text() ([]byte, error) {
	var b bytes.Buffer
	err := cardTemplate.Execute(&b, c)
	return b.Bytes(), err
}

// inCell makes text of others safe in a table of Markdown.
func inCell(s string) string {
	return strings.NewReplacer("|", `\|`, "<", "&lt;", "\n", " ", "\r", " ", "[", `\[`, "`", "'").Replace(printable(s))
}

// localPath is an absolute path, or one that leaves the folder or begins at home, in a command line.
var localPath = regexp.MustCompile(`(^|[\s'"=])(?:~|\.{1,2})?/[^\s'"]*`)

// withoutFolders leaves of each local path its last part, which says enough to repeat a run and nothing of the machine.
func withoutFolders(command string) string {
	return strings.ReplaceAll(localPath.ReplaceAllStringFunc(command, func(match string) string {
		at := strings.IndexAny(match, "~./")
		return match[:at] + filepath.Base(match[at:])
	}), "```", "'''")
}
