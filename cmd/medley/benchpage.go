package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/medley-lora/medley/shared/checkpoint"
	"github.com/medley-lora/medley/shared/fault"
)

// write leaves optimizers.md in dir, and results.json and a figure per family in a folder optimizers beside it.
func (r *benchResult) write(dir string) error {
	folder := filepath.Join(dir, "optimizers")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return fault.Wrap(err, fault.Invalid, "--out "+dir, "cannot be made: %v", errorWithoutPath(err))
	}
	files := map[string][]byte{}
	for _, family := range []string{zooFamily, syntheticFamily} {
		figure, err := r.figure(family)
		if err != nil {
			return err
		}
		if figure != nil {
			files[filepath.Join(folder, family+".svg")] = figure
		}
	}
	numbers, err := r.numbers()
	if err != nil {
		return err
	}
	files[filepath.Join(folder, "results.json")] = numbers
	files[filepath.Join(dir, "optimizers.md")] = r.page()
	for path, data := range files {
		if err := checkpoint.WriteFile(path, data); err != nil {
			return fault.In("--out "+dir, err)
		}
	}
	return nil
}

// numbers are the results with one search on a line.
func (r *benchResult) numbers() ([]byte, error) {
	short := *r
	short.Runs = nil
	head, err := json.MarshalIndent(short, "", " ")
	if err != nil {
		return nil, err
	}
	var lines []string
	for _, run := range r.Runs {
		line, err := json.Marshal(run)
		if err != nil {
			return nil, err
		}
		lines = append(lines, "  "+string(line))
	}
	return append(bytes.Replace(head, []byte(`"runs": null`), []byte("\"runs\": [\n"+strings.Join(lines, ",\n")+"\n ]"), 1), '\n'), nil
}

const pageHead = `# Optimizers

<!-- Written by medley bench optimizers: change the program, not this page. -->

Every built-in optimizer on the same problems, in one run. Repeat with

` + "```" + `
%s
` + "```" + `

- **The zoo's tasks**: nine tasks that none of its modules was trained on, each with draws of 20 of the 22 modules and five examples to search on. Accuracy (exact
  match, percent) and loss (token-mean cross-entropy) are of up to 100 examples that no search has seen; the few-shot objective is what was searched for.
- **Synthetic problems**: logits or losses over 20 weights made from random numbers, with an instance for each draw. The objective itself is the goal; regret is 0 at the
  lowest objective that any search saw, long ones included, and 1 at zero weights.

What an optimizer asks at once is its own choice, up to the batch; rounds are what it took. An interval is the bootstrap's of the mean; a difference has
the standard error of its mean over problems. "%s" hides the log-probabilities of tokens, as an evaluator does that has none.
%s. %s, %.0f minutes.
`

// page is the whole as Markdown.
func (r *benchResult) page() []byte {
	var b strings.Builder
	complete := ""
	if !r.Complete {
		complete = " The run was interrupted: later draws are missing."
	}
	fmt.Fprintf(&b, pageHead, r.Command, plainDefault, "Here: "+r.Measured, "Backend "+r.Backend, r.Seconds/60)
	b.WriteString(complete + "\n")
	family := ""
	for _, c := range r.Cells {
		if c.Family != family {
			family = c.Family
			fmt.Fprintf(&b, "\n![%s](optimizers/%s.svg)\n", c.title(), family)
		}
		fmt.Fprintf(&b, "\n## %s\n\n", c.title())
		heading := c.heading()
		fmt.Fprintf(&b, "| %s |\n|%s\n", strings.Join(heading, " | "), strings.Repeat("---|", len(heading)))
		for _, row := range c.Rows {
			fmt.Fprintf(&b, "| %s |\n", strings.Join(c.cells(row), " | "))
		}
	}
	return []byte(b.String())
}
