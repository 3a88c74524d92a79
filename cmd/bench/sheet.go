package main

import (
	"bytes"
	"image/color"
	"io"
	"math"
	"strconv"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

var (
	blue   = color.RGBA{R: 0x1f, G: 0x6f, B: 0xb4, A: 255}
	sky    = color.RGBA{R: 0x2a, G: 0xa1, B: 0xa8, A: 255}
	navy   = color.RGBA{R: 0x5b, G: 0x4b, B: 0xb5, A: 255}
	green  = color.RGBA{R: 0x7a, G: 0x8f, B: 0x2c, A: 255}
	orange = color.RGBA{R: 0xd9, G: 0x6b, B: 0x1d, A: 255}
	brown  = color.RGBA{R: 0xa8, G: 0x3a, B: 0x2a, A: 255}
	grey   = color.RGBA{R: 0x70, G: 0x70, B: 0x70, A: 255}
	ink    = color.RGBA{R: 0x22, G: 0x22, B: 0x22, A: 255}
	rule   = color.RGBA{R: 0xdd, G: 0xdd, B: 0xdd, A: 255}
)

// appearance of a system: Medley's are cold colours and filled, the others' warm or grey.
type appearance struct {
	color  color.Color
	shape  draw.GlyphDrawer
	dashes []vg.Length
}

func look(system string) appearance {
	switch system {
	case openblas:
		return appearance{grey, draw.TriangleGlyph{}, nil}
	case torch:
		return appearance{orange, draw.RingGlyph{}, nil}
	case torchBF:
		return appearance{brown, draw.SquareGlyph{}, nil}
	case medley("bf16"):
		return appearance{sky, draw.BoxGlyph{}, []vg.Length{7, 3}}
	case medley("int8"):
		return appearance{navy, draw.PyramidGlyph{}, []vg.Length{2, 3}}
	case medley("f32, product"):
		return appearance{green, draw.CrossGlyph{}, []vg.Length{7, 3, 2, 3}}
	}
	return appearance{blue, draw.CircleGlyph{}, nil}
}

// sans is laid out with Liberation Sans, which has the measures of the fonts that readers have.
const (
	sans      = "Liberation Sans"
	fallbacks = "Liberation Sans,Arial,Helvetica,sans-serif"
)

func textStyle(points vg.Length) text.Style {
	return text.Style{
		Color: ink, Font: font.Font{Typeface: "Liberation", Variant: "Sans", Size: points}, XAlign: draw.XLeft, YAlign: draw.YBottom, Handler: plot.DefaultTextHandler,
	}
}

func newPanel(title, x, y string) *plot.Plot {
	p := plot.New()
	p.BackgroundColor = nil
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = title, x, y
	p.Title.TextStyle.Font, p.Title.TextStyle.Color, p.Title.Padding = textStyle(12.5).Font, ink, 4
	for _, a := range []*plot.Axis{&p.X, &p.Y} {
		a.Label.TextStyle.Font, a.Tick.Label.Font = textStyle(11.5).Font, textStyle(11).Font
		a.Label.TextStyle.Color, a.Tick.Label.Color = ink, ink
		a.Color, a.Tick.Color, a.LineStyle.Width, a.Padding = grey, grey, 0.8, 2
	}
	return p
}

func logAxis(a *plot.Axis, low, high float64) {
	a.Scale, a.Min, a.Max = plot.LogScale{}, low, high
	a.Tick.Marker = plot.TickerFunc(logTicks)
}

// logTicks are 1, 2 and 5 times powers of ten, or the powers alone where those would crowd.
func logTicks(low, high float64) []plot.Tick {
	factors := []float64{1, 2, 5}
	if high/low > 500 {
		factors = factors[:1]
	}
	var all []plot.Tick
	for e := int(math.Floor(math.Log10(low))); math.Pow10(e) <= high; e++ {
		for _, f := range factors {
			if v := f * math.Pow10(e); v >= low && v <= high {
				all = append(all, plot.Tick{Value: v, Label: number(v)})
			}
		}
	}
	return all
}

// roundTicks are at most six round numbers.
func roundTicks(low, high float64) []plot.Tick {
	step := math.Pow10(int(math.Floor(math.Log10((high - low) / 5))))
	for _, f := range []float64{1, 2, 5, 10} {
		if step*f >= (high-low)/5 {
			step *= f
			break
		}
	}
	var all []plot.Tick
	for v := math.Ceil(low/step) * step; v <= high; v += step {
		all = append(all, plot.Tick{Value: v, Label: number(v)})
	}
	return all
}

// number shows three digits, or all of a whole number.
func number(v float64) string {
	if math.Abs(v) >= 100 {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}

func lines(vertical, horizontal bool) *plotter.Grid {
	g := plotter.NewGrid()
	g.Vertical, g.Horizontal = draw.LineStyle{Color: rule}, draw.LineStyle{Color: rule}
	if vertical {
		g.Vertical.Width = 0.6
	}
	if horizontal {
		g.Horizontal.Width = 0.6
	}
	return g
}

func addMarks(p *plot.Plot, system string, xys plotter.XYs) error {
	if len(xys) == 0 {
		return nil
	}
	marks, err := plotter.NewScatter(xys)
	if err != nil {
		return err
	}
	marks.GlyphStyle = glyph(system)
	p.Add(marks)
	return nil
}

func glyph(system string) draw.GlyphStyle {
	return draw.GlyphStyle{Color: look(system).color, Radius: 3.4, Shape: look(system).shape}
}

func stroke(system string) draw.LineStyle {
	return draw.LineStyle{Color: look(system).color, Width: 1.6, Dashes: look(system).dashes}
}

func addCurve(p *plot.Plot, system string, xys plotter.XYs) error {
	if len(xys) == 0 {
		return nil
	}
	line, err := plotter.NewLine(xys)
	if err != nil {
		return err
	}
	line.LineStyle = stroke(system)
	p.Add(line)
	return addMarks(p, system, xys)
}

// sheet is a figure: panels in columns under a title, and a legend for the systems.
type sheet struct {
	title         string
	columns       int
	panels        []*plot.Plot
	width, height vg.Length // of a panel
	systems       []string  // no legend if there are none
}

const (
	titleHeight  = 30
	legendHeight = 24
	margin       = 12
)

func (s *sheet) write(to io.Writer) error {
	rows := (len(s.panels) + s.columns - 1) / s.columns
	columns := min(s.columns, len(s.panels))
	width := s.width*vg.Length(columns) + 2*margin
	height := s.height*vg.Length(rows) + titleHeight + margin
	if len(s.systems) > 0 {
		height += legendHeight
	}
	svg := vgsvg.New(width, height)
	all := draw.New(svg)
	all.SetColor(color.White)
	all.Fill(all.Rectangle.Path())
	heading := textStyle(14.5)
	all.FillText(heading, vg.Point{X: margin, Y: height - titleHeight + 8}, s.title)

	grid := make([][]*plot.Plot, rows)
	for i := range grid {
		grid[i] = make([]*plot.Plot, columns)
		copy(grid[i], s.panels[i*columns:min(len(s.panels), (i+1)*columns)])
	}
	area := draw.Crop(all, margin, -margin, margin, -titleHeight)
	if len(s.systems) > 0 {
		area = draw.Crop(area, 0, 0, legendHeight, 0)
		s.legend(all)
	}
	tiles := draw.Tiles{Rows: rows, Cols: columns, PadX: 18, PadY: 16}
	for i, row := range plot.Align(grid, tiles, area) {
		for j, canvas := range row {
			if grid[i][j] != nil {
				grid[i][j].Draw(canvas)
			}
		}
	}
	var b bytes.Buffer
	if _, err := svg.WriteTo(&b); err != nil {
		return err
	}
	_, err := io.WriteString(to, strings.ReplaceAll(b.String(), "font-family:"+sans, "font-family:"+fallbacks))
	return err
}

// legend is one line at the foot.
func (s *sheet) legend(c draw.Canvas) {
	style := textStyle(11.5)
	x, y := vg.Length(margin), vg.Length(margin)
	for _, name := range s.systems {
		c.StrokeLine2(stroke(name), x, y+4, x+26, y+4)
		c.DrawGlyph(glyph(name), vg.Point{X: x + 13, Y: y + 4})
		c.FillText(style, vg.Point{X: x + 32, Y: y}, name)
		x += 32 + style.Width(name) + 20
	}
}
