package main

import (
	"bytes"
	_ "embed"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"text/template"
)

//go:embed page.md.tmpl
var pageText string

var pageTemplate = template.Must(template.New(page).Funcs(template.FuncMap{
	"torch":          func() string { return torch },
	"jobRows":        jobRows,
	"evaluationRows": evaluationRows,
	"ratioRows":      ratioRows,
	"productTable":   productTable,
	"spread":         spread,
	"busy":           busy,
	"scalingRows":    scalingRows,
	"freeRows":       freeRows,
	"searchesText":   searchesText,
	"gpuText":        gpuText,
}).Parse(pageText))

var blankLines = regexp.MustCompile(`\n{3,}`)

// markdown is the page.
func markdown(r *results) ([]byte, error) {
	var b bytes.Buffer
	if err := pageTemplate.Execute(&b, r); err != nil {
		return nil, err
	}
	text := blankLines.ReplaceAllString(b.String(), "\n\n")
	return []byte(strings.TrimRight(text, "\n") + "\n"), nil
}

func row(cells ...string) string { return "| " + strings.Join(cells, " | ") + " |" }

// times is a ratio, as people read it.
func times(v float64) string {
	if v >= 10 {
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

func jobRows(all []jobs) []string {
	var rows []string
	for _, workload := range all {
		bySystem := map[string][]job{}
		var order []string
		for _, j := range workload.Runs {
			if bySystem[j.System] == nil {
				order = append(order, j.System)
			}
			bySystem[j.System] = append(bySystem[j.System], j)
		}
		first := 0.0
		for _, name := range order {
			runs := bySystem[name]
			of := func(f func(job) float64) float64 {
				values := make([]float64, len(runs))
				for i, j := range runs {
					values[i] = f(j)
				}
				return median(values)
			}
			rate := of(func(j job) float64 { return float64(j.Evaluations) / j.Search })
			if first == 0 {
				first = rate
			}
			rows = append(rows, row(workload.Workload, name, fmt.Sprint(len(runs)), number(rate), times(rate/first),
				number(of(func(j job) float64 { return j.Wall }))+" s", mib(of(func(j job) float64 { return j.Peak }))))
		}
	}
	return rows
}

func mib(v float64) string {
	if v == 0 {
		return "not known"
	}
	return fmt.Sprintf("%.0f MiB", v)
}

func evaluationRows(all []evaluations) []string {
	var rows []string
	for _, e := range all {
		peer, _ := e.Timings.of(torch)
		for _, t := range e.Timings {
			ratio := ""
			if len(peer.Rounds) > 0 {
				ratio = times(peer.median() / t.median())
			}
			rows = append(rows, row(e.Workload, t.System, number(1/t.median()), number(1/slices.Max(t.Rounds))+" to "+number(1/t.best()), ratio, lossDifference(e, t.System)))
		}
	}
	return rows
}

// lossDifference compares with the system that computes the same in f32.
func lossDifference(e evaluations, system string) string {
	with := medley("f32")
	if system == medley("f32, product") || system == torchBF {
		with = torch
	}
	a, b := e.Losses[system], e.Losses[with]
	if system == with || system == torch || len(a) == 0 || len(b) == 0 {
		return ""
	}
	largest, at := 0.0, 0
	for i := range min(len(a), len(b)) {
		if d := math.Abs(a[i] - b[i]); d >= largest {
			largest, at = d, i
		}
	}
	return fmt.Sprintf("%.1e of %.2f", largest, b[at])
}

// comparisons are the ratios worth a line.
var comparisons = [][2]string{
	{medley("f32"), openblas}, {medley("f32"), torch}, {medley("bf16"), openblas}, {medley("bf16"), torchBF}, {medley("int8"), openblas}, {medley("int8"), torchBF},
}

func ratioRows(all []productResult) []string {
	var rows []string
	for _, c := range comparisons {
		var worst, best productResult
		lowest, highest, logs, n := math.Inf(1), 0.0, 0.0, 0
		for _, p := range all {
			own, ok := p.gflops(c[0])
			other, there := p.gflops(c[1])
			if !ok || !there {
				continue
			}
			ratio := own / other
			logs, n = logs+math.Log(ratio), n+1
			if ratio < lowest {
				lowest, worst = ratio, p
			}
			if ratio > highest {
				highest, best = ratio, p
			}
		}
		if n > 0 {
			rows = append(rows, row(c[0]+" to "+c[1], times(math.Exp(logs/float64(n))), times(lowest)+", "+worst.name(), times(highest)+", "+best.name()))
		}
	}
	return rows
}

func (p productResult) name() string {
	return fmt.Sprintf("%s %s at %d rows", p.Model, p.Map, p.Rows)
}

// productTable is wide, and has a column for each system that took part.
func productTable(all []productResult) string {
	var systems []string
	for _, p := range all {
		for _, t := range p.Timings {
			if !slices.Contains(systems, t.System) {
				systems = append(systems, t.System)
			}
		}
	}
	lines := []string{row(append([]string{"rows", "weight", "in", "out"}, systems...)...), row(slices.Repeat([]string{"---"}, len(systems)+4)...)}
	for _, p := range all {
		cells := []string{fmt.Sprint(p.Rows), p.Model + " " + p.Map, fmt.Sprint(p.In), fmt.Sprint(p.Out)}
		for _, s := range systems {
			cell := ""
			if rate, ok := p.gflops(s); ok {
				cell = number(rate)
			}
			cells = append(cells, cell)
		}
		lines = append(lines, row(cells...))
	}
	return strings.Join(lines, "\n") + "\n"
}

// spread is how much rounds of the same work differ, in percent.
func spread(all []productResult) float64 {
	var ratios []float64
	for _, p := range all {
		if t, ok := p.Timings.of(openblas); ok {
			ratios = append(ratios, slices.Max(t.Rounds)/t.best())
		}
	}
	if len(ratios) == 0 {
		return 0
	}
	return 100 * (median(ratios) - 1)
}

// busy says that a run is not worth quoting: on a quiet machine the spread is a few percent.
func busy(all []productResult) bool { return spread(all) > 20 }

func scalingRows(all []scaling) []string {
	var rows []string
	for _, s := range all {
		for _, t := range s.Points[0].Timings {
			from, to := s.Points[0].Value, 0
			var last timing
			for _, p := range s.Points {
				if at, ok := p.Timings.of(t.System); ok {
					last, to = at, p.Value
				}
			}
			rows = append(rows, row(s.Size, t.System, fmt.Sprint(from), fmt.Sprint(to), number(t.best())+" to "+number(last.best()), times(last.best()/t.best())))
		}
	}
	return rows
}

func freeRows(all []free) []string {
	var rows []string
	for _, q := range all {
		for _, c := range q.Cases {
			for i, t := range c.Timings {
				first, _ := q.Cases[0].Timings.of(t.System)
				memory := ""
				if i == 0 {
					memory = mib(c.Resident)
				}
				rows = append(rows, row(q.Question, c.Name, t.System, number(t.best()), times(t.best()/first.best()), memory))
			}
		}
	}
	return rows
}

func searchesText(s searchesResult) string {
	last := s.Samples[len(s.Samples)-1]
	early := s.Samples[len(s.Samples)/10]
	return fmt.Sprintf("%d searches of 40 evaluations over 20 modules of the zoo, one after the other in one process, take %s s. After %d it holds %.0f MiB, after %d %.0f MiB.",
		last.Searches, number(s.Seconds), early.Searches, early.MiB, last.Searches, last.MiB)
}

func gpuText(g gpuResult) string {
	switch {
	case g.Device == "":
		return "None was measured: " + strings.TrimSuffix(g.Why, ".") + "."
	case g.Software:
		rate, _ := g.Products[0].gflops(medley("webgpu"))
		return fmt.Sprintf("There was none. WebGPU ran on %s, an emulation on the processor, which is good for tests of correctness only: %s GFLOP/s at %s.",
			g.Device, number(rate), g.Products[0].name())
	}
	var b strings.Builder
	fmt.Fprintf(&b, "WebGPU on %s, f32.", g.Device)
	if g.Peak > 0 {
		fmt.Fprintf(&b, " Its peak rate for f32 is %s GFLOP/s by its data sheet.", number(g.Peak))
	}
	b.WriteString("\n\n| rows | weight | in | out | GFLOP/s | of peak |\n|---|---|---|---|---|---|\n")
	for _, p := range g.Products {
		rate, _ := p.gflops(medley("webgpu"))
		share := ""
		if g.Peak > 0 {
			share = fmt.Sprintf("%.1f %%", 100*rate/g.Peak)
		}
		fmt.Fprintln(&b, row(fmt.Sprint(p.Rows), p.Model+" "+p.Map, fmt.Sprint(p.In), fmt.Sprint(p.Out), number(rate), share))
	}
	b.WriteString("\n| workload | evaluations/s |\n|---|---|\n")
	for _, e := range g.Evaluations {
		fmt.Fprintln(&b, row(e.Workload, number(1/e.Timings[0].median())))
	}
	return b.String()
}
