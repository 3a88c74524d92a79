package report

import (
	"bytes"
	"fmt"
	"html/template"
	"image/color"
	"math"
	"strconv"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"

	"github.com/medley-lora/medley/shared/compose"
	"github.com/medley-lora/medley/shared/fault"
)

// Colours of the plot. The page replaces each by a variable of its style sheet, so that the plot follows the light or dark
// scheme of the reader.
var (
	ink  = color.RGBA{R: 1, G: 1, B: 1, A: 255}
	rule = color.RGBA{R: 2, G: 2, B: 2, A: 255}
	dot  = color.RGBA{R: 3, G: 3, B: 3, A: 255}
	best = color.RGBA{R: 4, G: 4, B: 4, A: 255}
	held = color.RGBA{R: 5, G: 5, B: 5, A: 255}

	schemeColours = strings.NewReplacer(
		"#010101", "var(--ink)", "#020202", "var(--rule)", "#030303", "var(--dot)", "#040404", "var(--best)", "#050505", "var(--held)",
	)
)

// logAbove is the ratio of the largest to the smallest value from which the scale is logarithmic, and logDecades is how much
// of it is shown: a loss of 1e-9 is as good as one of 1e-4.
const (
	logAbove   = 8
	logDecades = 4
)

// curves are the series of the plot, by evaluation.
type curves struct {
	objective, best, held plotter.XYs
	low, high             float64
	log                   bool
}

func newCurves(res *compose.Result) curves {
	c := curves{low: math.Inf(1), high: math.Inf(-1)}
	add := func(to *plotter.XYs, step compose.Step, v *float64) {
		if v != nil {
			*to = append(*to, plotter.XY{X: float64(step.Number), Y: *v})
			c.low, c.high = min(c.low, *v), max(c.high, *v)
		}
	}
	for _, step := range res.History {
		add(&c.objective, step, step.Objective)
		add(&c.best, step, step.Best)
		add(&c.held, step, step.HeldOut)
	}
	c.log = c.low > 0 && c.high/c.low > logAbove
	if !c.log {
		c.low = min(0, c.low)
		return c
	}
	c.low = max(c.low, c.high*math.Pow10(-logDecades))
	for _, xys := range []plotter.XYs{c.objective, c.best, c.held} {
		for i := range xys {
			xys[i].Y = max(xys[i].Y, c.low)
		}
	}
	return c
}

// plotSVG draws the search as an <svg> of this size in CSS pixels. It is one of two, of which the page shows the one that fits:
// text in a picture that is scaled down cannot be read.
func plotSVG(res *compose.Result, width, height int, class string) (template.HTML, error) {
	c := newCurves(res)
	if math.IsInf(c.low, 0) {
		return "", nil // nothing finite to draw
	}
	p := plot.New()
	p.BackgroundColor = nil
	p.X.Label.Text, p.Y.Label.Text = "evaluations", "loss"
	if c.log {
		p.Y.Label.Text = "loss (log scale)"
		p.Y.Scale = plot.LogScale{}
		p.Y.Min, p.Y.Max = c.low/1.15, c.high*1.15
		p.Y.Tick.Marker = plot.TickerFunc(logTicks)
	} else {
		p.Y.Min, p.Y.Max = c.low, c.high+0.05*(c.high-c.low)
		p.Y.Tick.Marker = plot.TickerFunc(func(low, high float64) []plot.Tick { return ticks(low, high, 5, 0) })
	}
	last := float64(res.History[len(res.History)-1].Number)
	p.X.Min, p.X.Max = float64(res.History[0].Number)-1, last+0.5
	p.X.Tick.Marker = plot.TickerFunc(func(low, high float64) []plot.Tick { return ticks(low, high, width/60, 1) })
	for _, axis := range []*plot.Axis{&p.X, &p.Y} {
		axis.Color, axis.Tick.Color, axis.Label.TextStyle.Color, axis.Tick.Label.Color = rule, rule, ink, ink
		axis.Label.TextStyle.Font.Size, axis.Tick.Label.Font.Size = 13, 12
		axis.LineStyle.Width, axis.Tick.LineStyle.Width, axis.Padding = 1, 1, 0
	}
	if err := addCurves(p, c); err != nil {
		return "", fault.Wrap(err, fault.Internal, "plot", "cannot be drawn")
	}
	canvas := vgsvg.New(font.Length(width), font.Length(height))
	p.Draw(draw.Crop(draw.New(canvas), 0, -10, 0, -4)) // room for the last tick's label
	var b bytes.Buffer
	if _, err := canvas.WriteTo(&b); err != nil {
		return "", fault.Wrap(err, fault.Internal, "plot", "cannot be drawn")
	}
	// The canvas begins with an XML declaration and a size in points; inline, only the drawing is wanted.
	drawing := b.String()
	start := strings.Index(drawing, "<svg")
	end := strings.IndexByte(drawing[max(start, 0):], '>')
	if start < 0 || end < 0 {
		return "", fault.New(fault.Internal, "plot", "was drawn in an unknown form")
	}
	open := fmt.Sprintf(`<svg class="%s" viewBox="0 0 %d %d" role="img" aria-labelledby="plot-text">`, class, width, height)
	return template.HTML(open + schemeColours.Replace(drawing[start+end+1:])), nil
}

func addCurves(p *plot.Plot, c curves) error {
	grid := plotter.NewGrid()
	grid.Vertical.Width, grid.Horizontal.Color, grid.Horizontal.Width = 0, rule, 0.5
	p.Add(grid)
	if len(c.held) > 0 {
		line, err := plotter.NewLine(c.held)
		if err != nil {
			return err
		}
		line.StepStyle = plotter.PostStep
		line.LineStyle = draw.LineStyle{Color: held, Width: 2, Dashes: []vg.Length{6, 4}}
		p.Add(line)
	}
	if len(c.best) > 0 {
		line, err := plotter.NewLine(c.best)
		if err != nil {
			return err
		}
		line.StepStyle = plotter.PostStep
		line.LineStyle = draw.LineStyle{Color: best, Width: 2.5}
		p.Add(line)
	}
	if len(c.objective) > 0 {
		points, err := plotter.NewScatter(c.objective)
		if err != nil {
			return err
		}
		points.GlyphStyle = draw.GlyphStyle{Color: dot, Radius: 2.8, Shape: draw.CircleGlyph{}}
		p.Add(points)
	}
	return nil
}

// ticks are at most about n round numbers from low to high, no closer than least.
func ticks(low, high float64, n int, least float64) []plot.Tick {
	span := (high - low) / float64(max(n, 2))
	if !(span > 0) {
		return []plot.Tick{{Value: low, Label: strconv.FormatFloat(low, 'g', 3, 64)}}
	}
	step := math.Pow10(int(math.Floor(math.Log10(span))))
	for _, factor := range []float64{1, 2, 5, 10} {
		if step*factor >= span {
			step *= factor
			break
		}
	}
	step = max(step, least)
	var all []plot.Tick
	for k := math.Ceil(low / step); k*step <= high; k++ {
		all = append(all, plot.Tick{Value: k * step, Label: strconv.FormatFloat(k*step, 'g', 6, 64)})
	}
	return all
}

// logTicks are the numbers 1, 2 and 5 times powers of ten, or the powers alone where those would crowd.
func logTicks(low, high float64) []plot.Tick {
	factors := []float64{1, 2, 5}
	if high/low > 200 {
		factors = factors[:1]
	}
	var all []plot.Tick
	for e := int(math.Floor(math.Log10(low))); math.Pow10(e) <= high; e++ {
		for _, factor := range factors {
			if v := factor * math.Pow10(e); v >= low && v <= high {
				all = append(all, plot.Tick{Value: v, Label: strconv.FormatFloat(v, 'g', 6, 64)})
			}
		}
	}
	return all
}

// plotText says what the plot shows.
func plotText(res *compose.Result) string {
	if len(res.History) == 0 {
		return ""
	}
	first, last := res.History[0], res.History[len(res.History)-1]
	text := fmt.Sprintf("Evaluations %d to %d. The best objective goes from %s to %s", first.Number, last.Number, num(first.Best), num(last.Best))
	if last.HeldOut != nil {
		text += fmt.Sprintf("; the held-out loss, had the search ended there, goes from %s to %s",
			num(first.HeldOut), num(last.HeldOut))
	}
	return text + "."
}
