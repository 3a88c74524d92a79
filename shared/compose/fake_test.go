package compose

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/medley-lora/medley/shared/search"
	"github.com/medley-lora/medley/shared/task"
)

// fakeModel has one logit per target token, linear in the weights: p = sigmoid(bias + Σ w_i·effect_i). An answer is right if the
// first token of its example has p > 1/2. It counts what it is asked.
type fakeModel struct {
	effects map[string][][]float64 // [input][token][module]
	outputs map[string]string
	scored  int    // weight vectors times examples
	largest int    // batch
	after   func() // called after each Score, if set
	wrong   func(*search.Score)
}

// newFakeModel makes n examples of one to three tokens for which the modules of good help, by different amounts, the others
// harm a little, and copies of bad ones are bad too.
func newFakeModel(seed uint64, n, modules int, good ...int) (*fakeModel, []task.Example) {
	rng := rand.New(rand.NewPCG(seed, 2))
	m := &fakeModel{effects: map[string][][]float64{}, outputs: map[string]string{}}
	var examples []task.Example
	for i := range n {
		e := task.Example{Input: fmt.Sprintf("question %d", i), Output: fmt.Sprintf("Answer %d.", i)}
		for range 1 + i%3 {
			effects := make([]float64, modules)
			for j := range effects {
				effects[j] = -0.5 + 0.3*rng.NormFloat64()
				if k := slices.Index(good, j); k >= 0 {
					effects[j] = 2.5 - float64(k) + 0.7*rng.NormFloat64()
				}
			}
			m.effects[e.Input] = append(m.effects[e.Input], effects)
		}
		m.outputs[e.Input] = e.Output
		examples = append(examples, e)
	}
	return m, examples
}

func (m *fakeModel) logit(input string, token int, weights []float64) float64 {
	z := -2.0
	for j, w := range weights {
		z += w * m.effects[input][token][j]
	}
	return z
}

func (m *fakeModel) Tokens(examples []task.Example) ([]int, error) {
	tokens := make([]int, len(examples))
	for i, e := range examples {
		tokens[i] = len(m.effects[e.Input])
	}
	return tokens, nil
}

func (m *fakeModel) Score(ctx context.Context, examples []task.Example, weights [][]float64) ([]search.Score, error) {
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	m.scored += len(examples) * len(weights)
	m.largest = max(m.largest, len(weights))
	scores := make([]search.Score, len(weights))
	for k, w := range weights {
		s := &scores[k]
		for _, e := range examples {
			sum := 0.0
			for t := range m.effects[e.Input] {
				p := -math.Log1p(math.Exp(-m.logit(e.Input, t, w)))
				s.LogProbs = append(s.LogProbs, p)
				sum -= p
			}
			s.Examples = append(s.Examples, sum/float64(len(m.effects[e.Input])))
		}
		if m.wrong != nil {
			m.wrong(s)
		}
	}
	if m.after != nil {
		m.after()
	}
	return scores, nil
}

func (m *fakeModel) Generate(ctx context.Context, inputs []string, weights []float64, progress func(int)) ([]string, error) {
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	var answers []string
	for i, input := range inputs {
		answer := "no idea"
		if m.logit(input, 0, weights) > 0 {
			answer = " " + m.outputs[input]
		}
		answers = append(answers, answer)
		progress(i + 1)
	}
	return answers, nil
}

// climber is a plain optimizer: zero weights, every module alone if asked for, then random steps from the best.
type climber struct {
	problem search.Problem
	rng     *rand.Rand
	queue   [][]float64
	best    []float64
	bestF   float64
	known   [][]float64 // told, and not worth asking for
	choose  []float64   // what Best returns, if set
}

func newClimber(p search.Problem, singles bool) *climber {
	c := &climber{problem: p, rng: rand.New(rand.NewPCG(p.Seed, 3)), bestF: math.Inf(1), queue: [][]float64{make([]float64, p.Dim)}}
	if singles {
		for i := range p.Dim {
			x := make([]float64, p.Dim)
			x[i] = min(1, p.Upper[i])
			c.queue = append(c.queue, x)
		}
	}
	return c
}

func (c *climber) Ask(n int) ([][]float64, error) {
	c.queue = slices.DeleteFunc(c.queue, func(x []float64) bool {
		return slices.ContainsFunc(c.known, func(y []float64) bool { return slices.Equal(x, y) })
	})
	for len(c.queue) < n {
		x := make([]float64, c.problem.Dim)
		copy(x, c.best)
		for range 2 {
			i := c.rng.IntN(len(x))
			x[i] = min(max(x[i]+0.5*c.rng.NormFloat64(), c.problem.Lower[i]), c.problem.Upper[i])
		}
		c.queue = append(c.queue, x)
	}
	x := c.queue[:n]
	c.queue = slices.Clone(c.queue[n:])
	return x, nil
}

func (c *climber) Tell(x [][]float64, s []search.Score) error {
	c.known = append(c.known, x...)
	for i := range x {
		if s[i].Objective < c.bestF {
			c.best, c.bestF = slices.Clone(x[i]), s[i].Objective
		}
	}
	return nil
}

func (c *climber) Best() []float64 {
	if c.choose != nil {
		return c.choose
	}
	return c.best
}

// newJob is a job of modules named m0, m1, … that the climber searches, singles first.
func newJob(examples []task.Example, modules int) Job {
	job := Job{
		Examples: examples, Objective: task.Objective{Name: task.Sparse, Penalty: 0.05}, Budget: 40, Batch: 8, Seed: 1,
		NewOptimizer: func(p search.Problem) (search.Optimizer, error) { return newClimber(p, true), nil },
	}
	for i := range modules {
		job.Modules = append(job.Modules, fmt.Sprintf("m%d", i))
	}
	return job
}
