package main

import (
	"bytes"
	"fmt"
	"image/color"
	"math"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// Lines of the figures, in the order of the contenders: colours that stay apart for most kinds of colour blindness (after Okabe and Ito,
// 2008), and dashes, for the rest and for print.
var (
	figureColours = []color.RGBA{
		{R: 0x00, G: 0x5f, B: 0xa8, A: 255}, {R: 0x56, G: 0xa8, B: 0xd8, A: 255}, {R: 0xd5, G: 0x5e, B: 0x00, A: 255}, {R: 0x00, G: 0x8c, B: 0x68, A: 255},
		{R: 0xb0, G: 0x5a, B: 0x90, A: 255}, {R: 0x88, G: 0x88, B: 0x88, A: 255}, {R: 0xbb, G: 0xbb, B: 0xbb, A: 255}, {R: 0xc8, G: 0x96, B: 0x00, A: 255},
		{R: 0x40, G: 0x40, B: 0x40, A: 255}, {R: 0x90, G: 0x30, B: 0x20, A: 255},
	}
	figureDashes = [][]vg.Length{nil, {7, 3}, {2, 3}, {9, 3, 2, 3}}
	figureInk    = color.RGBA{R: 0x22, G: 0x22, B: 0x22, A: 255}
	figureRule   = color.RGBA{R: 0xdd, G: 0xdd, B: 0xdd, A: 255}
)

// Sizes of a figure, in points.
const (
	panelWidth   = 330
	panelHeight  = 260
	titleHeight  = 26
	legendHeight = 22
	figureMargin = 12
)

func figureText(size vg.Length) text.Style {
	return text.Style{
		Color: figureInk, Font: font.Font{Typeface: "Liberation", Variant: "Sans", Size: size}, XAlign: draw.XLeft, YAlign: draw.YBottom, Handler: plot.DefaultTextHandler,
	}
}

// figure draws the cells of a family with the largest budget: the lowest value so far, against evaluations and against rounds.
func (r *benchResult) figure(family string) ([]byte, error) {
	var cells []benchCell
	for _, c := range r.Cells {
		if c.Family != family {
			continue
		}
		if len(cells) > 0 && c.Budget > cells[0].Budget {
			cells = nil
		}
		if len(cells) == 0 || c.Budget == cells[0].Budget {
			cells = append(cells, c)
		}
	}
	if len(cells) == 0 {
		return nil, nil
	}
	var panels []*plot.Plot
	for _, c := range cells {
		p, err := r.panel(c, fmt.Sprintf("%d at once", c.Batch), "evaluations", func(row benchRow) []float64 { return row.curve })
		if err != nil {
			return nil, err
		}
		panels = append(panels, p)
	}
	last := cells[len(cells)-1]
	if last.Batch > 1 {
		p, err := r.panel(last, fmt.Sprintf("%d at once", last.Batch), "rounds (log scale)", func(row benchRow) []float64 { return row.rounds })
		if err != nil {
			return nil, err
		}
		p.X.Scale, p.X.Min = plot.LogScale{}, 1
		p.X.Tick.Marker = plot.TickerFunc(decades)
		panels = append(panels, p)
	}
	title := "Lowest few-shot objective so far on the zoo's tasks, mean"
	if family == syntheticFamily {
		title = "Lowest normalised regret so far on the synthetic problems, mean"
	}
	return r.sheet(title, panels)
}

// newPanel is an empty plot in the style of the figures.
func newPanel(title, x string) *plot.Plot {
	p := plot.New()
	p.BackgroundColor = nil
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = title, x, ""
	p.Title.TextStyle.Font, p.Title.TextStyle.Color, p.Title.Padding = figureText(12).Font, figureInk, 4
	for _, a := range []*plot.Axis{&p.X, &p.Y} {
		a.Label.TextStyle.Font, a.Tick.Label.Font = figureText(11).Font, figureText(10.5).Font
		a.Label.TextStyle.Color, a.Tick.Label.Color, a.Color = figureInk, figureInk, figureInk
		a.LineStyle.Width, a.Padding = 0.8, 2
	}
	return p
}

// panel is one plot; the default is drawn last, on top.
func (r *benchResult) panel(c benchCell, title, x string, curve func(benchRow) []float64) (*plot.Plot, error) {
	p := newPanel(title, x)
	grid := plotter.NewGrid()
	grid.Vertical.Width, grid.Horizontal = 0, draw.LineStyle{Color: figureRule, Width: 0.6}
	p.Add(grid)
	low, high := math.Inf(1), 0.0
	for i := len(r.order) - 1; i >= 0; i-- {
		row, ok := c.row(r.order[i])
		if !ok {
			continue
		}
		var xys plotter.XYs
		for k, v := range curve(row) {
			xys = append(xys, plotter.XY{X: float64(k + 1), Y: max(v, leastShown)})
			low, high = min(low, max(v, leastShown)), max(high, v)
		}
		line, err := plotter.NewLine(xys)
		if err != nil {
			return nil, err
		}
		line.LineStyle, line.StepStyle = stroke(i), plotter.PostStep
		p.Add(line)
	}
	p.Y.Scale, p.Y.Min, p.Y.Max = plot.LogScale{}, low/1.1, high*1.1
	p.Y.Tick.Marker = plot.TickerFunc(decades)
	p.X.Min = 0
	return p, nil
}

// leastShown bounds a logarithmic scale.
const leastShown = 1e-3

func (c benchCell) row(name string) (benchRow, bool) {
	for _, row := range c.Rows {
		if row.Optimizer == name {
			return row, true
		}
	}
	return benchRow{}, false
}

func stroke(i int) draw.LineStyle {
	width := vg.Length(1.4)
	if i == 0 {
		width = 2.6
	}
	return draw.LineStyle{Color: figureColours[i%len(figureColours)], Width: width, Dashes: figureDashes[i%len(figureDashes)]}
}

// decades are 1, 2 and 5 times powers of ten.
func decades(low, high float64) []plot.Tick {
	var all []plot.Tick
	for e := int(math.Floor(math.Log10(low))); math.Pow10(e) <= high; e++ {
		for _, f := range []float64{1, 2, 5} {
			if v := f * math.Pow10(e); v >= low && v <= high {
				all = append(all, plot.Tick{Value: v, Label: fmt.Sprintf("%.3g", v)})
			}
		}
	}
	return all
}

// figureSheet is a row of panels under a title and over a legend.
type figureSheet struct {
	title         string
	names         []string                                   // of the legend
	swatch        func(c draw.Canvas, i int, x, y vg.Length) // draws name i's mark, 26 points wide
	width, height vg.Length                                  // of a panel
}

// sheet shows the contenders' curves.
func (r *benchResult) sheet(title string, panels []*plot.Plot) ([]byte, error) {
	return figureSheet{title, r.order, func(c draw.Canvas, i int, x, y vg.Length) { c.StrokeLine2(stroke(i), x, y, x+26, y) }, panelWidth, panelHeight}.svg(panels)
}

func (s figureSheet) svg(panels []*plot.Plot) ([]byte, error) {
	width := s.width*vg.Length(len(panels)) + 2*figureMargin
	style := figureText(11)
	var places []vg.Point // of the legend's entries, from the foot
	x, lines := vg.Length(figureMargin), 1
	for _, name := range s.names {
		need := 32 + style.Width(name) + 20
		if x+need > width {
			x, lines = figureMargin, lines+1
		}
		places = append(places, vg.Point{X: x, Y: vg.Length(lines)})
		x += need
	}
	legend := vg.Length(legendHeight * lines)
	height := s.height + titleHeight + legend + 2*figureMargin
	svg := vgsvg.New(width, height)
	all := draw.New(svg)
	all.SetColor(color.White)
	all.Fill(all.Rectangle.Path())
	all.FillText(figureText(14), vg.Point{X: figureMargin, Y: height - titleHeight}, s.title)
	for i, name := range s.names {
		y := figureMargin + vg.Length(lines)*legendHeight - places[i].Y*legendHeight
		s.swatch(all, i, places[i].X, y+4)
		all.FillText(style, vg.Point{X: places[i].X + 32, Y: y}, name)
	}
	area := draw.Crop(all, figureMargin, -figureMargin, figureMargin+legend, -titleHeight-8)
	tiles := draw.Tiles{Rows: 1, Cols: len(panels), PadX: 16}
	for i, canvas := range plot.Align([][]*plot.Plot{panels}, tiles, area)[0] {
		panels[i].Draw(canvas)
	}
	var b bytes.Buffer
	if _, err := svg.WriteTo(&b); err != nil {
		return nil, err
	}
	return []byte(strings.ReplaceAll(b.String(), "font-family:Liberation Sans", "font-family:Liberation Sans,Arial,Helvetica,sans-serif")), nil
}
