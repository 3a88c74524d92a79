package main

import (
	"bytes"
	"fmt"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// figures are the drawings of a page, by file name; there is none of what was not measured.
func figures(r *results) (map[string][]byte, error) {
	all := map[string][]byte{}
	for _, f := range []struct {
		name string
		draw func(*results) (*sheet, error)
	}{
		{"products.svg", drawProducts}, {"evaluations.svg", drawEvaluations}, {"scaling.svg", drawScaling}, {"searches.svg", drawSearches},
	} {
		s, err := f.draw(r)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.name, err)
		}
		if s == nil {
			continue
		}
		var b bytes.Buffer
		if err := s.write(&b); err != nil {
			return nil, fmt.Errorf("%s: %w", f.name, err)
		}
		all[f.name] = b.Bytes()
	}
	return all, nil
}

// drawProducts has a panel per number of rows, a line per weight and a mark per system.
func drawProducts(r *results) (*sheet, error) {
	if len(r.Products) == 0 {
		return nil, nil
	}
	low, high := rateRange(r.Products)
	var panels []*plot.Plot
	var systems []string
	for _, rows := range productRows {
		var names []string
		marks := map[string]plotter.XYs{}
		for _, p := range slices.Backward(r.Products) { // the first on top
			if p.Rows != rows {
				continue
			}
			for _, t := range p.Timings {
				rate, _ := p.gflops(t.System)
				marks[t.System] = append(marks[t.System], plotter.XY{X: rate, Y: float64(len(names))})
				if !slices.Contains(systems, t.System) {
					systems = append(systems, t.System)
				}
			}
			names = append(names, fmt.Sprintf("%s %s, %d to %d", p.Model, p.Map, p.In, p.Out))
		}
		if len(names) == 0 {
			continue
		}
		p := newPanel(fmt.Sprintf("%d rows", rows), "GFLOP/s (log scale)", "")
		logAxis(&p.X, low, high)
		p.NominalY(names...)
		p.Y.Min, p.Y.Max = -0.6, float64(len(names))-0.4
		p.Add(lines(false, true))
		for _, s := range systems {
			if err := addMarks(p, s, marks[s]); err != nil {
				return nil, err
			}
		}
		panels = append(panels, p)
	}
	return &sheet{title: "Matrix products by the frozen weights of FLAN-T5: more is better", columns: 2, panels: panels, width: 500, height: 235, systems: systems}, nil
}

func rateRange(all []productResult) (low, high float64) {
	for _, p := range all {
		for _, t := range p.Timings {
			rate, _ := p.gflops(t.System)
			if low == 0 || rate < low {
				low = rate
			}
			high = max(high, rate)
		}
	}
	return low * 0.8, high * 1.25
}

// drawEvaluations has a panel of bars per workload.
func drawEvaluations(r *results) (*sheet, error) {
	if len(r.Evaluations) == 0 {
		return nil, nil
	}
	var panels []*plot.Plot
	for _, e := range r.Evaluations {
		p := newPanel(e.Workload, "evaluations per second", "")
		var names []string
		most := 0.0
		for i, t := range slices.Backward(e.Timings) {
			rate := 1 / t.median()
			most = max(most, rate)
			bar, err := plotter.NewBarChart(plotter.Values{rate}, 16)
			if err != nil {
				return nil, err
			}
			y := float64(len(e.Timings) - 1 - i)
			bar.Horizontal, bar.XMin, bar.Color, bar.LineStyle.Width = true, y, look(t.System).color, 0
			label, err := plotter.NewLabels(plotter.XYLabels{XYs: plotter.XYs{{X: rate, Y: y}}, Labels: []string{number(rate)}})
			if err != nil {
				return nil, err
			}
			label.TextStyle[0] = textStyle(11)
			label.TextStyle[0].YAlign, label.Offset = draw.YCenter, vg.Point{X: 5, Y: 1.5}
			p.Add(bar, label)
			names = append(names, t.System)
		}
		p.NominalY(names...)
		p.X.Min, p.X.Max = 0, most*1.2
		p.Y.Min, p.Y.Max = -0.6, float64(len(names))-0.4
		p.X.Tick.Marker = plot.TickerFunc(roundTicks)
		panels = append(panels, p)
	}
	return &sheet{title: "Scoring candidates: more is better", columns: 2, panels: panels, width: 480, height: 210}, nil
}

// drawScaling has a panel per size that was swept.
func drawScaling(r *results) (*sheet, error) {
	if len(r.Scaling) == 0 {
		return nil, nil
	}
	var panels []*plot.Plot
	var systems []string
	low, high := r.Scaling[0].Points[0].Timings[0].best(), 0.0
	for _, s := range r.Scaling {
		for _, p := range s.Points {
			for _, t := range p.Timings {
				low, high = min(low, t.best()), max(high, t.best())
				if !slices.Contains(systems, t.System) {
					systems = append(systems, t.System)
				}
			}
		}
	}
	for _, s := range r.Scaling {
		p := newPanel("", s.Size+" (log scale)", "seconds a call (log scale)")
		logAxis(&p.X, float64(s.Points[0].Value)*0.85, float64(s.Points[len(s.Points)-1].Value)*1.18)
		logAxis(&p.Y, low*0.8, high*1.25)
		p.X.Tick.Marker = plot.ConstantTicks(valueTicks(s.Points))
		p.Add(lines(true, true))
		for _, system := range systems {
			var xys plotter.XYs
			for _, at := range s.Points {
				if t, ok := at.Timings.of(system); ok {
					xys = append(xys, plotter.XY{X: float64(at.Value), Y: t.best()})
				}
			}
			if err := addCurve(p, system, xys); err != nil {
				return nil, err
			}
		}
		panels = append(panels, p)
	}
	return &sheet{title: "One call that scores all candidates: less is better", columns: 3, panels: panels, width: 335, height: 265, systems: systems}, nil
}

func valueTicks(points []point) []plot.Tick {
	ticks := make([]plot.Tick, len(points))
	for i, p := range points {
		ticks[i] = plot.Tick{Value: float64(p.Value), Label: fmt.Sprint(p.Value)}
	}
	return ticks
}

// drawSearches is the memory of one process over its searches.
func drawSearches(r *results) (*sheet, error) {
	if r.Searches == nil || len(r.Searches.Samples) == 0 {
		return nil, nil
	}
	p := newPanel("", "searches done", "memory, MiB")
	most := 0.0
	var xys plotter.XYs
	for _, s := range r.Searches.Samples {
		xys = append(xys, plotter.XY{X: float64(s.Searches), Y: s.MiB})
		most = max(most, s.MiB)
	}
	p.X.Min, p.X.Max = 0, xys[len(xys)-1].X
	p.Y.Min, p.Y.Max = 0, most*1.2
	p.X.Tick.Marker, p.Y.Tick.Marker = plot.TickerFunc(roundTicks), plot.TickerFunc(roundTicks)
	p.Add(lines(false, true))
	line, err := plotter.NewLine(xys)
	if err != nil {
		return nil, err
	}
	line.LineStyle = draw.LineStyle{Color: blue, Width: vg.Length(2)}
	p.Add(line)
	return &sheet{title: "One process, one search after the other", columns: 1, panels: []*plot.Plot{p}, width: 620, height: 220}, nil
}
