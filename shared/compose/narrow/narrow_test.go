package narrow

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/medley-lora/medley/shared/search"
	"github.com/medley-lora/medley/shared/task"
)

// market is a synthetic pool: families of near-copies, of which a few families are good on all examples.
type market struct {
	family   []int // of each module
	sketches [][]float64
	losses   [][]float64 // [module][example]
	tokens   []int
	units    int // scorings of one module on one example that were asked for
}

const markets = 20 // seeds that a statement about chance is tested on

func newMarket(seed uint64, families, copies, good int) *market {
	rng := rand.New(rand.NewPCG(seed, 1))
	m := &market{tokens: []int{2, 1, 3, 2, 4}}
	directions := make([][]float64, families)
	for f := range directions {
		for range 16 {
			directions[f] = append(directions[f], rng.NormFloat64())
		}
	}
	for _, i := range rng.Perm(families * copies) {
		f := i % families
		sketch, losses := slices.Clone(directions[f]), make([]float64, len(m.tokens))
		for j := range sketch {
			sketch[j] = 3 * (sketch[j] + 0.02*rng.NormFloat64())
		}
		for j := range losses {
			losses[j] = 4 + 0.5*rng.NormFloat64() + 0.01*float64(i)/float64(families*copies)
			if f < good {
				losses[j] -= 2.5
			}
		}
		m.family, m.sketches, m.losses = append(m.family, f), append(m.sketches, sketch), append(m.losses, losses)
	}
	return m
}

func (m *market) sketch(i int) ([]float64, error) { return m.sketches[i], nil }

func (m *market) score(_ context.Context, modules, examples []int) ([]search.Score, error) {
	m.units += len(modules) * len(examples)
	var scores []search.Score
	for _, i := range modules {
		var s search.Score
		for _, e := range examples {
			s.Examples = append(s.Examples, m.losses[i][e])
			for range m.tokens[e] {
				s.LogProbs = append(s.LogProbs, -m.losses[i][e])
			}
		}
		scores = append(scores, s)
	}
	return scores, nil
}

func (m *market) options(seed uint64) Options {
	return Options{Modules: len(m.family), Tokens: m.tokens, Evaluations: 21, Keep: 16, Seed: seed, Sketch: m.sketch}
}

// Two hundred modules of 20 kinds, 2 of them good, and 21 evaluations: enough for each kind to be tried, not for each module.
func TestRunFindsTheGoodKinds(t *testing.T) {
	for seed := range uint64(markets) {
		m := newMarket(seed, 20, 10, 2)
		got, err := Run(t.Context(), m.options(seed), m.score)
		if err != nil {
			t.Fatal(err)
		}
		if a, b := m.family[got.Kept[0]], m.family[got.Kept[1]]; a >= 2 || b >= 2 || a == b {
			t.Errorf("seed %d: the two best kept are of kinds %d and %d, want 0 and 1", seed, a, b)
		}
		seen := map[int]bool{}
		for _, i := range got.Kept {
			if seen[m.family[i]] {
				t.Errorf("seed %d: kind %d is kept twice: %v", seed, m.family[i], got.Kept)
			}
			seen[m.family[i]] = true
		}
	}
}

// Without sketches the same pool wastes places on copies; this is what the sketches are for.
func TestRunWithoutSketchesKeepsCopies(t *testing.T) {
	copies := 0
	for seed := range uint64(markets) {
		m := newMarket(seed, 20, 10, 2)
		o := m.options(seed)
		o.Sketch = nil
		got, err := Run(t.Context(), o, m.score)
		if err != nil {
			t.Fatal(err)
		}
		seen := map[int]bool{}
		for _, i := range got.Kept {
			if seen[m.family[i]] {
				copies++
			}
			seen[m.family[i]] = true
		}
	}
	if copies < markets {
		t.Errorf("%d copies kept in %d runs without sketches; the pool does not test what it should", copies, markets)
	}
}

// The market's scores must come back whole and in the order of the examples, whatever order they were scored in.
func TestRunScoresAreComplete(t *testing.T) {
	m := newMarket(3, 40, 1, 4)
	got, err := Run(t.Context(), m.options(3), m.score)
	if err != nil {
		t.Fatal(err)
	}
	for k, i := range got.Kept {
		s := got.Scores[k]
		if !reflect.DeepEqual(s.Examples, m.losses[i]) || s.Loss != task.TokenMean(m.losses[i], m.tokens) {
			t.Errorf("module %d: losses %v (mean %v), want %v", i, s.Examples, s.Loss, m.losses[i])
		}
		if back, err := task.ExampleLosses(s.LogProbs, m.tokens); err != nil || len(back) != 5 || math.Abs(back[4]-m.losses[i][4]) > 1e-12 {
			t.Errorf("module %d: log-probabilities give losses %v, %v", i, back, err)
		}
	}
	if !slices.IsSortedFunc(got.Scores, func(a, b search.Score) int { return int(math.Copysign(1, a.Loss-b.Loss)) }) {
		t.Error("kept modules are not sorted by loss")
	}
}

// At every size: no more is spent than allowed, what is said to be spent was spent, and the outcome repeats.
func TestRunBounds(t *testing.T) {
	for _, families := range []int{1, 2, 7, 60} {
		for _, examples := range []int{1, 3, 5} {
			for _, evaluations := range []int{1, 2, 10, 21, 55} {
				for _, keep := range []int{1, 4, 20} {
					m := newMarket(9, families, 2, 1)
					m.tokens = m.tokens[:examples]
					o := Options{Modules: len(m.family), Tokens: m.tokens, Evaluations: evaluations, Keep: keep, Seed: 5, Sketch: m.sketch}
					got, err := Run(t.Context(), o, m.score)
					if err != nil {
						t.Fatal(err)
					}
					spent := (m.units + examples - 1) / examples
					again, _ := Run(t.Context(), o, m.score)
					switch {
					case spent > evaluations || got.Evaluations != spent:
						t.Errorf("%+v: spent %d, said %d", o, spent, got.Evaluations)
					case len(got.Kept) < 1 || len(got.Kept) > keep || len(got.Scores) != len(got.Kept):
						t.Errorf("%+v: kept %v", o, got.Kept)
					case !reflect.DeepEqual(got.Kept, again.Kept) || !reflect.DeepEqual(got.Rounds, again.Rounds):
						t.Errorf("%+v: kept %v, then %v", o, got.Kept, again.Kept)
					}
				}
			}
		}
	}
}

func TestRunFailedScoresAreLast(t *testing.T) {
	m := newMarket(4, 30, 1, 3)
	for i, f := range m.family {
		if f >= 3 { // only the good ones can be scored
			m.losses[i][0] = math.NaN()
			m.losses[i][2] = math.Inf(1)
		}
	}
	o := m.options(4)
	o.Evaluations = 30
	got, err := Run(t.Context(), o, m.score)
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range got.Kept[:3] {
		if m.family[i] >= 3 {
			t.Errorf("kept %v: module %d failed, and is before ones that did not", got.Kept, i)
		}
	}
}

func TestRunErrors(t *testing.T) {
	broken := errors.New("broken")
	m := newMarket(5, 10, 1, 1)
	cases := map[string]struct {
		change func(*Options)
		score  Scorer
	}{
		"scorer fails":   {score: func(context.Context, []int, []int) ([]search.Score, error) { return nil, broken }},
		"too few scores": {score: func(context.Context, []int, []int) ([]search.Score, error) { return nil, nil }},
		"too few losses": {score: func(_ context.Context, modules, _ []int) ([]search.Score, error) {
			return make([]search.Score, len(modules)), nil
		}},
		"too few log-probabilities": {score: func(ctx context.Context, modules, examples []int) ([]search.Score, error) {
			s, err := m.score(ctx, modules, examples)
			s[0].LogProbs = s[0].LogProbs[:0]
			return s, err
		}},
		"sketch fails": {change: func(o *Options) { o.Sketch = func(int) ([]float64, error) { return nil, broken } }, score: m.score},
		"ragged sketches": {change: func(o *Options) {
			o.Sketch = func(i int) ([]float64, error) { return make([]float64, i), nil }
		}, score: m.score},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			o := m.options(1)
			if c.change != nil {
				c.change(&o)
			}
			if _, err := Run(t.Context(), o, c.score); err == nil {
				t.Fatal("no error")
			}
		})
	}
}

func TestRunProgress(t *testing.T) {
	m := newMarket(6, 30, 1, 1)
	o := m.options(6)
	last, total := 0, 0
	o.Progress = func(done, all int) {
		if done <= last {
			t.Errorf("progress went from %d to %d", last, done)
		}
		last, total = done, all
	}
	if _, err := Run(t.Context(), o, m.score); err != nil || last != total || last != m.units {
		t.Errorf("progress ended at %d of %d after %d scorings, %v", last, total, m.units, err)
	}
}

func TestPlan(t *testing.T) {
	for _, c := range []struct {
		n, examples, units int
		want               []int
	}{
		{20, 5, 100, []int{20, 20, 20, 20}}, // all can be scored on everything
		{30, 5, 105, []int{30, 23, 18, 14}},
		{200, 5, 105, []int{49, 25, 12, 6}}, // the classic halving
		{200, 1, 21, []int{21}},
		{200, 5, 6, []int{2, 1, 1, 1}},
		{200, 5, 5, []int{1, 1, 1, 1}}, // one evaluation
	} {
		rungs := rungs(c.examples)
		got := plan(c.n, rungs, c.units)
		if !reflect.DeepEqual(got, c.want) || cost(got, rungs) > c.units {
			t.Errorf("plan(%d modules, %d examples, %d units) = %v (cost %d), want %v", c.n, c.examples, c.units, got, cost(got, rungs), c.want)
		}
	}
}

func TestUnit(t *testing.T) {
	for name, c := range map[string]struct{ in, want []float64 }{
		"plain":    {[]float64{3, -4}, []float64{0.6, -0.8}},
		"huge":     {[]float64{3e300, 4e300}, []float64{0.6, 0.8}},
		"tiny":     {[]float64{3e-320, 0}, []float64{1, 0}},
		"zero":     {[]float64{0, 0}, []float64{0, 0}},
		"infinite": {[]float64{math.Inf(1), 1}, []float64{0, 0}},
		"NaN":      {[]float64{math.NaN(), 1}, []float64{0, 0}},
	} {
		if got := unit(c.in); distance(got, c.want) > 1e-12 || math.IsNaN(distance(got, c.want)) {
			t.Errorf("%s: unit(%v) = %v, want %v", name, c.in, got, c.want)
		}
	}
}
