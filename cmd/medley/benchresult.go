package main

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/medley-lora/medley/wasm/optimizer"
)

// benchResult is what bench optimizers prints with --json.
type benchResult struct {
	Measured string      `json:"measured"` // in words
	Default  string      `json:"default"`
	Cells    []benchCell `json:"cells"`
	Runs     []benchRun  `json:"runs"`
	Backend  string      `json:"backend"`
	Seconds  float64     `json:"seconds"`
	Complete bool        `json:"complete"` // false after Ctrl-C
	Command  string      `json:"command"`

	order []string // lines of the figures, the default first
}

// benchCell ranks the contenders on one family with one budget and batch: by accuracy on the zoo, else by regret.
type benchCell struct {
	Family string     `json:"family"`
	Budget int        `json:"budget"`
	Batch  int        `json:"batch"`
	Rows   []benchRow `json:"rows"` // the best first
}

// benchRow is the mean over the searches of one contender.
type benchRow struct {
	Optimizer   string             `json:"optimizer"`
	Searches    int                `json:"searches"`
	Accuracy    estimate           `json:"accuracy"` // zoo only, as is Loss
	Loss        estimate           `json:"loss"`
	Regret      estimate           `json:"regret"` // synthetic only
	Problems    map[string]float64 `json:"problems"`
	Objective   float64            `json:"objective"`
	FewShotLoss float64            `json:"few_shot_loss"`
	Evaluations float64            `json:"evaluations"`
	Rounds      float64            `json:"rounds"`
	Millisecond float64            `json:"optimizer_ms_per_candidate"`

	curve, rounds []float64 // mean of the lowest objective or regret after each evaluation, and each round
}

// estimate is a mean with its 95 % interval, and by how much it exceeds the default's with a standard error.
type estimate struct {
	Mean       float64 `json:"mean"`
	Low        float64 `json:"low"`
	High       float64 `json:"high"`
	Difference float64 `json:"difference"`
	Error      float64 `json:"difference_error"`
}

func (c *benchOptimizersCommand) summarize(runs []benchRun, contenders []contender) *benchResult {
	r := &benchResult{Measured: c.title(), Default: contenders[0].name, Runs: runs}
	for _, k := range contenders {
		if k.name != "zero" && k.name != bestSingle { // they would be mere points
			r.order = append(r.order, k.name)
		}
	}
	for _, family := range []string{zooFamily, syntheticFamily} {
		for _, budget := range c.Budget {
			for _, batch := range c.Batch {
				cell := benchCell{Family: family, Budget: budget, Batch: batch}
				of := func(name string) (chosen []benchRun) {
					for _, run := range runs {
						if run.Family == family && run.Budget == budget && run.Batch == batch && run.Optimizer == name {
							chosen = append(chosen, run)
						}
					}
					return chosen
				}
				base := of(r.Default)
				for _, k := range contenders {
					if all := of(k.name); len(all) > 0 {
						cell.Rows = append(cell.Rows, newRow(k.name, all, base))
					}
				}
				slices.SortStableFunc(cell.Rows, cell.compare)
				if len(cell.Rows) > 0 {
					r.Cells = append(r.Cells, cell)
				}
			}
		}
	}
	return r
}

func (c benchCell) compare(a, b benchRow) int {
	if c.Family == zooFamily {
		return cmp.Or(-cmp.Compare(a.Accuracy.Mean, b.Accuracy.Mean), cmp.Compare(a.Loss.Mean, b.Loss.Mean))
	}
	return cmp.Compare(a.Regret.Mean, b.Regret.Mean)
}

func newRow(name string, all, base []benchRun) benchRow {
	row := benchRow{Optimizer: name, Searches: len(all), Problems: map[string]float64{}}
	mean := func(f func(benchRun) float64) float64 { return average(column(all, f)) }
	if all[0].Family == zooFamily {
		row.Accuracy = estimated(all, base, func(r benchRun) float64 { return r.Accuracy })
		row.Loss = estimated(all, base, func(r benchRun) float64 { return r.Loss })
	} else {
		row.Regret = estimated(all, base, func(r benchRun) float64 { return r.Regret })
	}
	byProblem := map[string][]float64{}
	for _, r := range all {
		v := r.Accuracy
		if r.Family == syntheticFamily {
			v = r.Regret
		}
		byProblem[r.Problem] = append(byProblem[r.Problem], v)
	}
	for problem, values := range byProblem {
		row.Problems[problem] = average(values)
	}
	row.Objective = mean(func(r benchRun) float64 { return r.Objective })
	row.FewShotLoss = mean(func(r benchRun) float64 { return r.FewShotLoss })
	row.Evaluations = mean(func(r benchRun) float64 { return float64(r.Evaluations) })
	row.Rounds = mean(func(r benchRun) float64 { return float64(r.Rounds) })
	row.Millisecond = mean(func(r benchRun) float64 { return 1e3 * r.Seconds / float64(r.Evaluations) })
	row.curve = averageCurve(all, func(r benchRun, i int) float64 { return r.Curve[min(i, len(r.Curve)-1)] }, func(r benchRun) int { return len(r.Curve) })
	row.rounds = averageCurve(all, func(r benchRun, i int) float64 {
		return r.Curve[r.RoundCurve[min(i, len(r.RoundCurve)-1)]-1]
	}, func(r benchRun) int { return len(r.RoundCurve) })
	return row
}

// averageCurve is the mean of curves, each going on at its last value, as long as the longest.
func averageCurve(all []benchRun, at func(r benchRun, i int) float64, length func(benchRun) int) []float64 {
	longest := 0
	for _, r := range all {
		longest = max(longest, length(r))
	}
	curve := make([]float64, longest)
	for i := range curve {
		for _, r := range all {
			curve[i] += at(r, i) / float64(len(all))
		}
	}
	return curve
}

func estimated(all, base []benchRun, f func(benchRun) float64) (e estimate) {
	e.Mean, e.Low, e.High = interval(column(all, f))
	if len(all) == len(base) {
		e.Difference, e.Error = pairedDifference(all, base, f)
	}
	return e
}

// pairedDifference is the mean of f over all less that over base, search by search, and its standard error. What differs in the draw alone is
// not independent, so the error is that of the means per task and example left out.
func pairedDifference(all, base []benchRun, f func(benchRun) float64) (mean, standardError float64) {
	type cluster struct {
		problem string
		left    int
	}
	grouped := map[cluster][]float64{}
	var order []cluster
	for i, r := range all {
		c := cluster{r.Problem, r.Left}
		if grouped[c] == nil {
			order = append(order, c)
		}
		grouped[c] = append(grouped[c], f(r)-f(base[i]))
	}
	means := make([]float64, len(order))
	for i, c := range order {
		means[i] = average(grouped[c])
	}
	mean = average(means)
	square := 0.0
	for _, m := range means {
		square += (m - mean) * (m - mean)
	}
	n := float64(len(means))
	return mean, math.Sqrt(square / n / math.Max(1, n-1))
}

// interval is the mean of values and its 95 % bootstrap interval (Efron 1979: 2,000 resamples with a fixed seed).
func interval(values []float64) (mean, low, high float64) {
	const resamples = 2_000
	random := rand.New(rand.NewPCG(1, 2))
	means := make([]float64, resamples)
	for i := range means {
		for range values {
			means[i] += values[random.IntN(len(values))] / float64(len(values))
		}
	}
	slices.Sort(means)
	return average(values), means[resamples/40], means[resamples-resamples/40]
}

func average(values []float64) float64 {
	sum := 0.0
	for _, v := range values {
		sum += v
	}
	return sum / math.Max(1, float64(len(values)))
}

func column(all []benchRun, f func(benchRun) float64) []float64 {
	values := make([]float64, len(all))
	for i, r := range all {
		values[i] = f(r)
	}
	return values
}

// heading and cells make the tables, for people and for the page alike.
func (c benchCell) heading() []string {
	if c.Family == zooFamily {
		return []string{"optimizer", "accuracy", "95 % interval", "against the default", "loss", "against the default", "few-shot objective", "evaluations", "rounds", "ms a candidate"}
	}
	head := []string{"optimizer", "regret", "95 % interval", "against the default"}
	return append(append(head, c.problems()...), "evaluations", "rounds", "ms a candidate")
}

func (c benchCell) problems() []string {
	var names []string
	for name := range c.Rows[0].Problems {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func (c benchCell) cells(r benchRow) []string {
	effort := []string{fmt.Sprintf("%.1f", r.Evaluations), fmt.Sprintf("%.1f", r.Rounds), fmt.Sprintf("%.2f", r.Millisecond)}
	if c.Family == zooFamily {
		return append([]string{
			r.Optimizer, fmt.Sprintf("%.1f", r.Accuracy.Mean), fmt.Sprintf("%.1f to %.1f", r.Accuracy.Low, r.Accuracy.High), r.Accuracy.against("%+.1f ± %.1f"),
			fmt.Sprintf("%.3f", r.Loss.Mean), r.Loss.against("%+.3f ± %.3f"), fmt.Sprintf("%.3f", r.Objective),
		}, effort...)
	}
	row := []string{r.Optimizer, fmt.Sprintf("%.3f", r.Regret.Mean), fmt.Sprintf("%.3f to %.3f", r.Regret.Low, r.Regret.High), r.Regret.against("%+.3f ± %.3f")}
	for _, name := range c.problems() {
		row = append(row, fmt.Sprintf("%.3f", r.Problems[name]))
	}
	return append(row, effort...)
}

func (e estimate) against(format string) string {
	if e.Difference == 0 && e.Error == 0 {
		return ""
	}
	return fmt.Sprintf(format, e.Difference, e.Error)
}

func (c benchCell) title() string {
	family := "Synthetic problems, normalised regret"
	if c.Family == zooFamily {
		family = "The zoo's tasks"
	}
	return fmt.Sprintf("%s: %d evaluations, %d at once", family, c.Budget, c.Batch)
}

// print shows the tables to people.
func (r *benchResult) print(a *app) {
	for _, cell := range r.Cells {
		a.note("\n%s", cell.title())
		cell.render(a.stdout)
	}
	a.note("\n%s; %.0f s on %s", r.Measured, r.Seconds, r.Backend)
	if r.Default != optimizer.Default {
		a.note("Differences are to %s.", r.Default)
	}
}

func (c benchCell) render(w io.Writer) {
	t := newTable(w, cells(c.heading())...)
	for _, row := range c.Rows {
		t.AppendRow(cells(c.cells(row)))
	}
	t.Render()
}
