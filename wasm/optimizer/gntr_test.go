package optimizer

import (
	"cmp"
	"context"
	"math"
	"slices"
	"testing"

	"github.com/medley-lora/medley/shared/search"
	"github.com/medley-lora/medley/wasm/optimizer/synthetic"
)

// trace runs a search and returns all its evaluations.
func trace(t *testing.T, p search.Problem, e search.Evaluator) []search.Evaluation {
	t.Helper()
	o, err := New("gntr", p)
	if err != nil {
		t.Fatal(err)
	}
	var all []search.Evaluation
	if _, err := search.Run(t.Context(), p, o, e, search.RunOptions{Observe: func(e search.Evaluation) { all = append(all, e) }}); err != nil {
		t.Fatal(err)
	}
	return all
}

func TestGNTRBeginsWithSingles(t *testing.T) {
	s := synthetic.Skills(3, 20, 15, 3)
	for _, batch := range []int{1, 8, 64} {
		all := trace(t, s.Problem(40, batch, 1), s)
		seen := make([]bool, 21)
		for _, e := range all[:21] {
			kind := slices.Index(e.Candidate, 1) + 1 // 0 for the zero vector
			if n := nonzero(e.Candidate); n > 1 || n == 1 && kind == 0 {
				t.Fatalf("batch %d: evaluation %d is %v", batch, e.Number, e.Candidate)
			}
			seen[kind] = true
		}
		if slices.Contains(seen, false) {
			t.Errorf("batch %d: the first 21 leave one out", batch)
		}
		if want := min(batch, 21); all[0].RoundSize != want {
			t.Errorf("batch %d: the first round has %d candidates", batch, all[0].RoundSize)
		}
		if batch == 1 {
			continue
		}
		best := all[0]
		for _, e := range all[:21] {
			if e.Score.Objective < best.Score.Objective {
				best = e
			}
		}
		pairs := 0
		for _, e := range all[21 : 21+all[21].RoundSize] {
			if nonzero(e.Candidate) == 2 && slices.Contains(e.Candidate, 1) && slices.Contains(e.Candidate, 0.6) {
				pairs++
			}
		}
		if pairs != 4 {
			t.Errorf("batch %d: %d pairs in the second round, expected 4", batch, pairs)
		}
		if last := all[len(all)-1]; last.Best > best.Score.Objective {
			t.Errorf("batch %d: ends at %v, a single module reaches %v", batch, last.Best, best.Score.Objective)
		}
	}
}

func TestGNTRSinglesWithinBounds(t *testing.T) {
	s := synthetic.Sphere(1, 6)
	p := s.Problem(40, 64, 1)
	p.Upper = []float64{0.5, 0.5, 0.5, 2, 2, 2}
	p.Lower[5] = 0.25
	first := trace(t, p, s)[:7]
	for i, e := range first {
		want := []float64{0, 0, 0, 0, 0, 0.25}
		if i > 0 {
			want[i-1] = min(1, p.Upper[i-1])
		}
		if !slices.Equal(e.Candidate, want) {
			t.Errorf("candidate %d is %v, expected %v", i+1, e.Candidate, want)
		}
	}
}

// More modules than the budget has room for: chance picks which are tried alone.
func TestGNTRManyModules(t *testing.T) {
	s := synthetic.Sphere(1, 200)
	singles := map[int]bool{}
	for _, e := range trace(t, s.Problem(40, 8, 1), s)[:24] {
		if i := slices.Index(e.Candidate, 1); i >= 0 {
			singles[i] = true
		}
	}
	if len(singles) != 23 || singles[0] && singles[1] && singles[2] && singles[3] {
		t.Errorf("%d singles: %v", len(singles), singles)
	}
}

func TestGNTRSkipsWhatItWasTold(t *testing.T) {
	s := synthetic.Sphere(1, 4)
	p := s.Problem(30, 64, 1)
	o, err := New("gntr", p)
	if err != nil {
		t.Fatal(err)
	}
	warm := [][]float64{{0, 0, 0, 0}, {0, 1, 0, 0}}
	scores, err := s.Evaluate(t.Context(), warm)
	if err != nil {
		t.Fatal(err)
	}
	if err := o.Tell(warm, scores); err != nil {
		t.Fatal(err)
	}
	x, err := o.Ask(64)
	if err != nil {
		t.Fatal(err)
	}
	want := [][]float64{{1, 0, 0, 0}, {0, 0, 1, 0}, {0, 0, 0, 1}}
	if !slices.EqualFunc(x, want, slices.Equal) {
		t.Errorf("asks %v", x)
	}
}

// Where every weight is fixed there is one candidate.
func TestGNTRConverges(t *testing.T) {
	s := synthetic.Sphere(1, 2)
	p := s.Problem(10, 4, 1)
	p.Lower, p.Upper = []float64{0.5, 0}, []float64{0.5, 0}
	if all := trace(t, p, s); len(all) != 1 {
		t.Errorf("%d evaluations of one point", len(all))
	}
}

// The objectives that an evaluator may hold to the log-probabilities: the model must find out which it is.
func TestEntropyScale(t *testing.T) {
	s := synthetic.Linear(1, 8, 12, 10)
	p := s.Problem(40, 8, 1)
	for name, c := range map[string]struct {
		objective func(search.Score) float64
		scale     float64 // 0 if log-probabilities are of no use
	}{
		"token mean":          {func(s search.Score) float64 { return s.Loss }, 1},
		"a fifth, as LoraHub": {func(s search.Score) float64 { return s.Loss / 5 }, 0.2},
		"something else":      {func(s search.Score) float64 { return math.Abs(s.LogProbs[0]-s.LogProbs[1]) + 1 }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			made, err := newGNTR(p)
			if err != nil {
				t.Fatal(err)
			}
			g := made.(*gntr)
			x, err := g.Ask(8)
			if err != nil {
				t.Fatal(err)
			}
			scores, err := s.Evaluate(t.Context(), x)
			if err != nil {
				t.Fatal(err)
			}
			for i := range scores {
				scores[i].Objective = c.objective(scores[i]) + g.penalty(x[i])
			}
			if err := g.Tell(x, scores); err != nil {
				t.Fatal(err)
			}
			centre, _ := g.centre()
			m := g.model(centre)
			if math.Abs(m.scale-c.scale) > 0.01 || (m.weights == nil) != (c.scale == 0) {
				t.Errorf("scale %v with %d outputs", m.scale, len(m.weights))
			}
		})
	}
}

// longAnswers has more tokens than the model has outputs.
type longAnswers struct{ synthetic.Composition }

func (l longAnswers) Evaluate(ctx context.Context, x [][]float64) ([]search.Score, error) {
	scores, err := l.Composition.Evaluate(ctx, x)
	for i := range scores {
		scores[i].LogProbs = slices.Repeat(scores[i].LogProbs, 100)
	}
	return scores, err
}

func TestManyTokensBecomeOneOutputPerExample(t *testing.T) {
	s := longAnswers{synthetic.Skills(1, 5, 6, 2)}
	p := s.Problem(30, 8, 1)
	for name, c := range map[string]struct {
		groups  []int
		outputs int
	}{
		"two examples":  {[]int{200, 400}, 2},
		"an empty one":  {[]int{200, 0, 400}, 2},
		"unknown":       {nil, 0},
		"wrong numbers": {[]int{200, 300}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			p.Groups = c.groups
			made, err := newGNTR(p)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := search.Run(t.Context(), p, made, s, search.RunOptions{}); err != nil {
				t.Fatal(err)
			}
			g := made.(*gntr)
			if len(g.outputs.weights) != c.outputs {
				t.Errorf("%d outputs, expected %d", len(g.outputs.weights), c.outputs)
			}
			centre, _ := g.centre()
			if m := g.model(centre); (m.weights != nil) != (c.outputs > 0) {
				t.Errorf("the model has %d outputs", len(m.weights))
			}
		})
	}
}

// Log-probabilities that are none must not reach the model.
func TestGNTRDistrustsLogProbs(t *testing.T) {
	for name, bad := range map[string]float64{"NaN": math.NaN(), "positive": 3, "-Inf": math.Inf(-1)} {
		t.Run(name, func(t *testing.T) {
			s := broken{synthetic.Skills(1, 5, 6, 2), bad}
			all := trace(t, s.Problem(30, 8, 1), s)
			if len(all) != 30 || !isFinite(all[29].Best) {
				t.Errorf("%d evaluations, best %v", len(all), all[len(all)-1].Best)
			}
		})
	}
}

type broken struct {
	synthetic.Composition
	value float64
}

func (b broken) Evaluate(ctx context.Context, x [][]float64) ([]search.Score, error) {
	scores, err := b.Composition.Evaluate(ctx, x)
	for i := range scores {
		if i%2 == 0 {
			scores[i].LogProbs[0] = b.value
		}
	}
	return scores, err
}

// A model of enough points foresees the objective between them, and its gradient is that of its values.
func TestSurrogate(t *testing.T) {
	for _, s := range []synthetic.Composition{synthetic.Linear(2, 3, 4, 6), plainScores(synthetic.Linear(2, 3, 4, 6))} {
		t.Run(s.Name, func(t *testing.T) {
			p := s.Problem(120, 30, 1)
			made, err := newGNTR(p)
			if err != nil {
				t.Fatal(err)
			}
			g := made.(*gntr)
			r, err := newRandom(p)
			if err != nil {
				t.Fatal(err)
			}
			points, err := r.Ask(120)
			if err != nil {
				t.Fatal(err)
			}
			scores, err := s.Evaluate(t.Context(), points)
			if err != nil {
				t.Fatal(err)
			}
			if err := g.Tell(points[:110], scores[:110]); err != nil {
				t.Fatal(err)
			}
			centre, _ := g.centre()
			m := g.model(centre)
			grad := make([]float64, 3)
			for i, x := range points[110:] {
				want := scores[110+i].Loss
				value := m.smooth(x, grad)
				if math.Abs(value-want) > 0.03*want {
					t.Errorf("at %v the model says %v, the loss is %v", x, value, want)
				}
				for d := range x {
					y := slices.Clone(x)
					y[d] += 1e-5
					if slope := (m.smooth(y, nil) - value) / 1e-5; math.Abs(slope-grad[d]) > 1e-3*(1+math.Abs(slope)) {
						t.Errorf("slope %d is %v, by difference %v", d, grad[d], slope)
					}
				}
			}
		})
	}
}

// grouped is a problem that says how many examples its tokens are of.
func grouped(s synthetic.Composition, budget int, groups ...int) search.Problem {
	p := s.Problem(budget, 8, 1)
	p.Groups = groups
	return p
}

// TestGNTRMovesFewModules: with few examples only the modules that did best alone move, and pairs are made of them; with as many
// examples as modules all of them may.
func TestGNTRMovesFewModules(t *testing.T) {
	s := synthetic.Skills(3, 20, 15, 3)
	moved := func(p search.Problem) (count int, best []int) {
		all := trace(t, p, s)
		touched := map[int]bool{}
		for _, e := range all[21:] {
			for i, v := range e.Candidate {
				if v != 0 {
					touched[i] = true
				}
			}
		}
		singles := slices.Clone(all[:21])
		slices.SortStableFunc(singles, func(a, b search.Evaluation) int { return cmp.Compare(a.Score.Objective, b.Score.Objective) })
		for _, e := range singles {
			if i := slices.Index(e.Candidate, 1); i >= 0 && len(best) < 5 {
				best = append(best, i)
				delete(touched, i)
			}
		}
		return len(touched), best
	}
	if others, best := moved(grouped(s, 40, 3, 3, 3, 3, 3)); others != 0 {
		t.Errorf("%d modules beside the best %v moved", others, best)
	}
	if others, _ := moved(grouped(s, 40)); others == 0 {
		t.Error("without examples to count, only the best five moved")
	}
}

// TestGNTREndsWithTheMean: the last candidate is the mean of the likely points by their likelihood, and Best returns it unless a module alone has a
// lower objective.
func TestGNTREndsWithTheMean(t *testing.T) {
	for seed := range uint64(6) {
		s := synthetic.Skills(seed, 20, 15, int(1+seed%3))
		p := grouped(s, 200, 3, 3, 3, 3, 3)
		o, err := New("gntr", p)
		if err != nil {
			t.Fatal(err)
		}
		var all []search.Evaluation
		result, err := search.Run(t.Context(), p, o, s, search.RunOptions{Observe: func(e search.Evaluation) { all = append(all, e) }})
		if err != nil || result.Stopped != search.StoppedConverged || len(all) < 21+2*8+1 || len(all) > 120 {
			t.Fatalf("seed %d: %s after %d evaluations, %v", seed, result.Stopped, len(all), err)
		}
		last, before := all[len(all)-1], all[:len(all)-1]
		single, lowest := math.Inf(1), before[len(before)-1].Best
		mean, total := make([]float64, 20), 0.0
		for _, e := range before {
			if nonzero(e.Candidate) <= 1 {
				single = min(single, e.Score.Objective)
			}
			weight := math.Exp(-15 * (e.Score.Objective - lowest))
			if weight < 0.05 {
				continue
			}
			axpy(weight, e.Candidate, mean)
			total += weight
		}
		for i, v := range last.Candidate {
			if math.Abs(v-mean[i]/total) > 1e-4 { // the model's scale of the objective is fitted
				t.Fatalf("seed %d: weight %d of the last candidate is %v, the mean %v", seed, i, v, mean[i]/total)
			}
		}
		want := last
		if last.Score.Objective > single {
			want = slices.MinFunc(all, func(a, b search.Evaluation) int { return cmp.Compare(a.Score.Objective, b.Score.Objective) })
		}
		if !slices.Equal(result.Best, want.Candidate) {
			t.Errorf("seed %d: best is %v, want %v", seed, result.Best, want.Candidate)
		}
	}
}

// On few examples the candidates are the same, whatever the evaluator takes at once.
func TestGNTRBatchDoesNotMatter(t *testing.T) {
	s := synthetic.Skills(3, 20, 15, 3)
	p := grouped(s, 60, 3, 3, 3, 3, 3)
	want := trace(t, p, s)
	for _, batch := range []int{1, 3, 64} {
		p.Batch = batch
		if got := trace(t, p, s); !slices.EqualFunc(got, want, func(a, b search.Evaluation) bool { return slices.Equal(a.Candidate, b.Candidate) }) {
			t.Errorf("batches of %d: other candidates than in batches of 8", batch)
		}
	}
}

// TestGNTRSpendsNoMoreThanItNeeds: on few examples a larger budget changes nothing once there is twice the number of modules, and 40.
func TestGNTRSpendsNoMoreThanItNeeds(t *testing.T) {
	for _, c := range []struct{ modules, enough int }{{5, 40}, {20, 40}, {30, 60}} {
		longest := 0
		for seed := range uint64(4) {
			s := synthetic.Skills(seed, c.modules, 15, 3)
			enough, long := trace(t, grouped(s, c.enough, 3, 3, 3, 3, 3), s), trace(t, grouped(s, 1000, 3, 3, 3, 3, 3), s)
			if !slices.EqualFunc(enough, long, func(a, b search.Evaluation) bool { return slices.Equal(a.Candidate, b.Candidate) }) {
				t.Errorf("%d modules, seed %d: other candidates of %d than of 1000", c.modules, seed, c.enough)
			}
			longest = max(longest, len(long))
		}
		if longest > c.enough || longest < c.modules+2*roundSize {
			t.Errorf("%d modules: up to %d evaluations, expected no more than %d", c.modules, longest, c.enough)
		}
	}
}
