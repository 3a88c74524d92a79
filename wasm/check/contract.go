package check

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/search"
	"github.com/medley-lora/medley/shared/search/searchcheck"
	"github.com/medley-lora/medley/wasm/host"
)

// contractCheck returns what it saw, and what is wrong: a fault.Error, or skip.
type contractCheck struct {
	name string
	run  func(context.Context, *subject) (string, error)
}

// contract is what a worker checks. The first four call the plugin as no host would, to see what it makes of that.
func contract() []contractCheck {
	return []contractCheck{
		{"refusals", checkRefusals},
		{"configuration", checkConfiguration},
		{"buffers", checkBuffers},
		{"choice", checkChoice},
		{"bounds", checkBounds},
		{"budget", suiteCheck(searchcheck.Suite.KeepsBudget, "asked for more, it stops at its budget")},
		{"same seed", suiteCheck(searchcheck.Suite.IsDeterministic, "the same candidates, bit for bit")},
		{"interpreter", checkInterpreter},
		{"other seed", checkOtherSeed},
		{"warm start", suiteCheck(searchcheck.Suite.TakesStrangers, "takes scores of points that it did not ask for")},
		{"failed scores", suiteCheck(searchcheck.Suite.SurvivesFailures, "goes on after NaN and +Inf")},
		{"order of scores", suiteCheck(searchcheck.Suite.TakesAnyOrder, "takes the scores of a round last candidate first")},
		{"replay", suiteCheck(searchcheck.Suite.Resumes, "told its past again, it goes on as it would have")},
		{"cost", checkCost},
		{"progress", checkProgress},
	}
}

// subject is the plugin in a worker, compiled by the first check that needs it.
type subject struct {
	task
	runtime  *host.Runtime
	compiled *host.Module
	failure  error // of the compilation
	bare     *bareModule
	open     []*host.Guest
}

// check runs one check, with guests of its own.
func (s *subject) check(c contractCheck) Result {
	begin := time.Now()
	detail, err := within(s.Each, func(ctx context.Context) (string, error) {
		detail, err := c.run(ctx, s)
		for _, g := range s.open {
			if err == nil {
				err = g.Err() // of opt_best, which returns none
			}
			_ = g.Close()
		}
		s.open = nil
		return detail, err
	})
	return judge(c.name, begin, detail, err)
}

// suite makes guests of the compiled plugin that live as long as ctx.
func (s *subject) suite(ctx context.Context) (searchcheck.Suite, error) {
	if s.compiled == nil && s.failure == nil {
		s.runtime, s.failure = host.New(context.Background(), host.Options{})
		if s.failure == nil {
			s.compiled, s.failure = s.runtime.Compile(context.Background(), s.Wasm)
		}
	}
	if s.failure != nil {
		return searchcheck.Suite{}, s.failure
	}
	return s.suiteOf(ctx, s.compiled), nil
}

func (s *subject) suiteOf(ctx context.Context, m *host.Module) searchcheck.Suite {
	return searchcheck.Suite{MaxDim: s.MaxDim, Make: func(p search.Problem) (search.Optimizer, error) {
		g, err := m.New(ctx, p, s.Plugin)
		if err != nil {
			return nil, err
		}
		s.open = append(s.open, g)
		return g, nil
	}}
}

// suiteCheck is a part of the contract that every optimizer is held to.
func suiteCheck(part func(searchcheck.Suite) error, seen string) func(context.Context, *subject) (string, error) {
	return func(ctx context.Context, s *subject) (string, error) {
		suite, err := s.suite(ctx)
		if err != nil {
			return "", err
		}
		return seen, part(suite)
	}
}

func checkBounds(ctx context.Context, s *subject) (string, error) {
	suite, err := s.suite(ctx)
	if err != nil {
		return "", err
	}
	seen := "1, 2, 20 and 200 weights in batches of 1, 8 and 64"
	if most := s.MaxDim; most > 0 && most < 200 {
		seen = fmt.Sprintf("up to %d weights, which is its max_dim, in batches of 1, 8 and 64", most)
	}
	return seen, suite.KeepsBounds()
}

// interpreted is how many times as long a call may take in the interpreter.
const interpreted = 30

func checkInterpreter(ctx context.Context, s *subject) (string, error) {
	suite, err := s.suite(ctx)
	if err != nil {
		return "", err
	}
	limits := host.DefaultLimits()
	limits.Call, limits.Start = interpreted*limits.Call, interpreted*limits.Start
	r, err := host.New(ctx, host.Options{Interpreter: true, Limits: limits})
	if err != nil {
		return "", err
	}
	defer r.Close()
	m, err := r.Compile(ctx, s.Wasm)
	if err != nil {
		return "", err
	}
	difference, err := suite.Compare(s.suiteOf(ctx, m))
	if err == nil && difference != "" {
		err = fault.New(fault.Invalid, "", "asks for something else than when compiled: %s", difference)
	}
	return "asks for the same as when compiled, bit for bit", err
}

func checkOtherSeed(ctx context.Context, s *subject) (string, error) {
	suite, err := s.suite(ctx)
	if err != nil {
		return "", err
	}
	other := suite
	other.Make = func(p search.Problem) (search.Optimizer, error) {
		p.Seed++
		return suite.Make(p)
	}
	difference, err := suite.Compare(other)
	if difference == "" {
		return "asks for the same with another seed, as one may that draws nothing at random", err
	}
	return "asks for something else with another seed", err
}

// progressBudget is what the progress is measured with.
const progressBudget, progressBatch, progressDim = 200, 8, 20

// sphere is the sum of squared distances to a point within the box.
type sphere struct{ centre []float64 }

func (f sphere) at(x []float64) float64 {
	sum := 0.0
	for i, v := range x {
		sum += (v - f.centre[i]) * (v - f.centre[i])
	}
	return sum
}

// Evaluate scores without log-probabilities.
func (f sphere) Evaluate(_ context.Context, x [][]float64) ([]search.Score, error) {
	scores := make([]search.Score, len(x))
	for i := range x {
		scores[i].Objective = f.at(x[i])
	}
	return scores, nil
}

// checkProgress says how far the plugin comes, and judges nothing: what it is good at is its author's to know.
func checkProgress(ctx context.Context, s *subject) (string, error) {
	suite, err := s.suite(ctx)
	if err != nil {
		return "", err
	}
	p := searchcheck.Problem(progressDim, progressBudget, progressBatch)
	if s.MaxDim > 0 && s.MaxDim < p.Dim {
		p = searchcheck.Problem(s.MaxDim, progressBudget, progressBatch)
	}
	p.L1, p.Groups = 0, nil
	r := rand.New(rand.NewPCG(20, 200))
	draw := func(width float64) []float64 {
		x := make([]float64, p.Dim)
		for i := range x {
			x[i] = width * (2*r.Float64() - 1)
		}
		return x
	}
	f := sphere{draw(1)}
	o, err := suite.Make(p)
	if err != nil {
		return "", err
	}
	result, err := search.Run(ctx, p, o, f, search.RunOptions{})
	if err != nil {
		return "", err
	}
	random := math.Inf(1)
	for range progressBudget {
		random = min(random, f.at(draw(p.Upper[0])))
	}
	if result.Best == nil {
		return "", fault.New(fault.Invalid, "", "chose nothing after %d evaluations", result.Evaluations)
	}
	return fmt.Sprintf("sphere of %d weights: %.3g after %d evaluations; zero has %.3g, the best of %d random points %.3g",
		p.Dim, f.at(result.Best), result.Evaluations, f.at(make([]float64, p.Dim)), progressBudget, random), nil
}
