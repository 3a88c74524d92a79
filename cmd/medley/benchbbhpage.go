package main

import (
	"encoding/json"
	"fmt"
	"image/color"
	"math"
	"path/filepath"
	"slices"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/medley-lora/medley/shared/bbh"
	"github.com/medley-lora/medley/shared/checkpoint"
	"github.com/medley-lora/medley/shared/fault"
)

// write leaves bbh.md in dir, and results.json and the figures in the folder bbh beside it, where the state is.
func (o *bbhResult) write(dir string) error {
	folder := filepath.Join(dir, bbhFolder)
	numbers, err := json.MarshalIndent(o, "", " ")
	if err != nil {
		return err
	}
	files := map[string][]byte{filepath.Join(folder, "results.json"): append(numbers, '\n'), filepath.Join(dir, "bbh.md"): o.page()}
	for name, figure := range map[string]func() ([]byte, error){"accuracy.svg": o.accuracyFigure, "search.svg": o.searchFigure, "tokens.svg": o.tokensFigure} {
		if len(o.Tasks) == 0 {
			break
		}
		data, err := figure()
		if err != nil {
			return err
		}
		files[filepath.Join(folder, name)] = data
	}
	for path, data := range files {
		if err := checkpoint.WriteFile(path, data); err != nil {
			return fault.In("--out "+dir, err)
		}
	}
	return nil
}

const bbhHead = `# BIG-Bench Hard

<!-- Written by medley bench bbh: change the program, not this page. -->

The protocol of LoraHub ([arXiv 2307.13269](https://arxiv.org/abs/2307.13269)) on %s of BIG-Bench Hard. Repeat with

` + "```" + `
%s
` + "```" + `

Each task is shuffled as Python's ` + "`random.seed(42)`" + ` does. The first %d items are searched with; of the first %d none is asked; the others are. Of %s, %d draws
of %s are made as ` + "`random.seed(1)`, `random.sample`" + ` does, and so on. Mean and best are over the draws; an answer is right if it is the target, case, outer space and
full stops aside. Zero-shot is the base alone, five-shot the base with the searched items in its prompt. Accuracy in percent.

Backend %s. %s
`

// page is the whole as Markdown.
func (o *bbhResult) page() []byte {
	var b strings.Builder
	fmt.Fprintf(&b, bbhHead, count(len(o.Tasks), "task"), withoutFolders(o.Command), bbh.Few, bbh.Pool, count(o.Modules, "module"), o.draws, o.Settings["sample"], o.Backend, strings.Join(o.remarks(), " "))
	table := func(heading []string, rows [][]string) {
		fmt.Fprintf(&b, "| %s |\n|%s\n", strings.Join(heading, " | "), strings.Repeat("---|", len(heading)))
		for _, row := range rows {
			fmt.Fprintf(&b, "| %s |\n", strings.Join(row, " | "))
		}
	}
	b.WriteString("\n![Accuracy by task](bbh/accuracy.svg)\n\n")
	table(o.accuracyTable())
	b.WriteString("\nThe published average is over 27 tasks with FLAN-T5-large and LoraHub's 196 modules: comparable only where base, modules and items are these.\n\n## The searches\n\n")
	b.WriteString("![The lowest objective so far](bbh/search.svg)\n\n## Tokens and time\n\n![Tokens of an item](bbh/tokens.svg)\n\n")
	table(o.costTable())
	return []byte(b.String())
}

// The marks of the accuracy figure.
var bbhMarks = []struct {
	name  string
	style draw.GlyphStyle
}{
	{"zero-shot", draw.GlyphStyle{Color: figureColours[5], Radius: 4, Shape: draw.BoxGlyph{}}},
	{"five-shot", draw.GlyphStyle{Color: figureColours[2], Radius: 4, Shape: draw.PyramidGlyph{}}},
	{"composed, each draw", draw.GlyphStyle{Color: figureColours[1], Radius: 2.5, Shape: draw.CircleGlyph{}}},
	{"composed, mean", draw.GlyphStyle{Color: figureColours[0], Radius: 4.5, Shape: draw.CircleGlyph{}}},
}

// accuracyFigure has a line for each task.
func (o *bbhResult) accuracyFigure() ([]byte, error) {
	p := newPanel("", "accuracy, percent")
	grid := plotter.NewGrid()
	grid.Vertical, grid.Horizontal = draw.LineStyle{Color: figureRule, Width: 0.6}, draw.LineStyle{Color: figureRule, Width: 0.4}
	p.Add(grid)
	marks := make([]plotter.XYs, len(bbhMarks))
	var ticks []plot.Tick
	for i, r := range o.Tasks {
		y := float64(len(o.Tasks) - i)
		ticks = append(ticks, plot.Tick{Value: y, Label: besideAxis(r.Task)})
		for k, v := range []*float64{r.ZeroShot, r.FiveShot, nil, r.Mean} {
			if v != nil {
				marks[k] = append(marks[k], plotter.XY{X: *v, Y: y})
			}
		}
		for _, v := range r.Draws {
			marks[2] = append(marks[2], plotter.XY{X: v, Y: y})
		}
	}
	for k, xys := range marks {
		if len(xys) == 0 {
			continue
		}
		s, err := plotter.NewScatter(xys)
		if err != nil {
			return nil, err
		}
		s.GlyphStyle = bbhMarks[k].style
		p.Add(s)
	}
	p.X.Min, p.X.Max, p.Y.Min, p.Y.Max = 0, 100, 0.4, float64(len(o.Tasks))+0.6
	p.Y.Tick.Marker, p.Y.Tick.Length = plot.ConstantTicks(ticks), 0
	var names []string
	for _, m := range bbhMarks {
		names = append(names, m.name)
	}
	swatch := func(c draw.Canvas, i int, x, y vg.Length) { c.DrawGlyph(bbhMarks[i].style, vg.Point{X: x + 16, Y: y}) }
	return figureSheet{"Accuracy by task", names, swatch, 640, vg.Length(70 + 18*len(o.Tasks))}.svg([]*plot.Plot{p})
}

// searchFigure is the lowest objective so far, in parts of the first one, averaged over all searches.
func (o *bbhResult) searchFigure() ([]byte, error) {
	var curves [][]float64
	longest := 0
	for _, c := range o.cells {
		var curve []float64
		for _, v := range c.Best {
			if v != nil {
				curve = append(curve, *v)
			}
		}
		if len(curve) > 0 && curve[0] > 0 {
			curves, longest = append(curves, curve), max(longest, len(curve))
		}
	}
	p := newPanel("", "evaluations")
	p.Add(plotter.NewGrid())
	xys := make(plotter.XYs, longest)
	for k := range xys {
		xys[k].X = float64(k + 1)
		for _, curve := range curves {
			xys[k].Y += curve[min(k, len(curve)-1)] / curve[0] / float64(len(curves))
		}
	}
	if longest > 0 {
		line, err := plotter.NewLine(xys)
		if err != nil {
			return nil, err
		}
		line.LineStyle, line.StepStyle = stroke(0), plotter.PostStep
		p.Add(line)
	}
	p.X.Min, p.X.Max, p.Y.Min, p.Y.Max = 0, math.Max(1, float64(longest)), 0, 1.05
	swatch := func(c draw.Canvas, i int, x, y vg.Length) { c.StrokeLine2(stroke(i), x, y, x+26, y) }
	name := fmt.Sprintf("mean of %s", inSearches(len(curves)))
	return figureSheet{"Lowest objective so far, in parts of that of the first evaluation", []string{name}, swatch, 520, panelHeight}.svg([]*plot.Plot{p})
}

// besideAxis leaves room for fonts wider than the one that was measured.
func besideAxis(label string) string { return label + "      " }

func inSearches(n int) string {
	if n == 1 {
		return "1 search"
	}
	return fmt.Sprintf("%d searches", n)
}

// tokensFigure compares the prompts of the three ways.
func (o *bbhResult) tokensFigure() ([]byte, error) {
	p := newPanel("", "")
	var bars [3]plotter.Values
	var labels []string
	for _, r := range slices.Backward(o.Tasks) { // from the foot
		labels = append(labels, besideAxis(r.Task))
		for k, v := range []float64{r.Tokens.ZeroShot, r.Tokens.FiveShot, r.Tokens.Composed} {
			bars[k] = append(bars[k], v)
		}
	}
	names := []string{"zero-shot", "five-shot", "composed"}
	colours := []color.Color{figureColours[5], figureColours[2], figureColours[0]}
	const thickness = 5
	for k, values := range bars {
		b, err := plotter.NewBarChart(values, thickness)
		if err != nil {
			return nil, err
		}
		b.Color, b.LineStyle.Width, b.Horizontal, b.Offset = colours[k], 0, true, vg.Length(1-k)*thickness
		p.Add(b)
	}
	p.NominalY(labels...)
	p.Y.LineStyle.Width, p.X.Label.Text, p.X.Min = 0, "tokens of a prompt, mean", 0
	swatch := func(c draw.Canvas, i int, x, y vg.Length) {
		c.FillPolygon(colours[i], []vg.Point{{X: x + 8, Y: y - 4}, {X: x + 24, Y: y - 4}, {X: x + 24, Y: y + 4}, {X: x + 8, Y: y + 4}})
	}
	return figureSheet{"Tokens of a prompt", names, swatch, 640, vg.Length(70 + 20*len(o.Tasks))}.svg([]*plot.Plot{p})
}
