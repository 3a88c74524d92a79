// Package narrow chooses few of many modules for a search whose budget cannot try each of them.
//
// It is successive halving with examples as the resource (Jamieson and Talwalkar, "Non-stochastic Best Arm Identification and
// Hyperparameter Optimization", 2016; Li et al., "Hyperband", 2018): modules are scored alone on one example, the better half
// on two, the better half of those on four, and so on until the rest is scored on all. Modules that nearly repeat one another
// would share their fate and fill the last round with copies, so that, if their updates can be sketched, a diverse subset is
// drawn and a near-duplicate of a better module is passed over while others are left.
package narrow

import (
	"context"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/search"
	"github.com/medley-lora/medley/shared/task"
)

// Options say how far to narrow.
type Options struct {
	Modules     int    // to choose from
	Tokens      []int  // target tokens of each example
	Evaluations int    // the most to spend, an evaluation being one module scored on every example; at least 1
	Keep        int    // the most modules to return; at least 1
	Seed        uint64 // of the draw and of the order of the examples

	// Sketch returns a fingerprint of module i's update, of one length for all modules. Only its direction counts. It is called
	// once per module, in order. Without it the draw is random and near-duplicates go unseen.
	Sketch func(i int) ([]float64, error)
	// Progress, if set, is told how much of the cost is spent, in scorings of one module on one example.
	Progress func(done, total int)
}

// Scorer scores modules alone at weight 1 on some of the examples. The scores hold the losses and, if known, the
// log-probabilities of those examples in that order; their objective is not used.
type Scorer func(ctx context.Context, modules, examples []int) ([]search.Score, error)

// Round is one step of the halving.
type Round struct {
	Modules  int `json:"modules"`  // scored in it
	Examples int `json:"examples"` // that each had been scored on after it
}

// Result is what is left.
type Result struct {
	Kept        []int          // modules, best first
	Scores      []search.Score // of Kept on all examples; the objective is not set
	Rounds      []Round
	Evaluations int // spent: scorings of one module on one example, by the number of examples, rounded up
}

// Run narrows. The outcome is a function of the options, the sketches and the scores alone. Errors are the scorer's and the
// sketch's, or fault.Internal where one of them breaks its contract.
func Run(ctx context.Context, o Options, score Scorer) (Result, error) {
	sketches, err := sketchAll(o)
	if err != nil {
		return Result{}, err
	}
	rng := rand.New(rand.NewPCG(o.Seed, 0x6e6172726f77)) // a stream of its own: "narrow"
	order := rng.Perm(len(o.Tokens))
	drawn := draw(rng, o.Modules, sketches)
	rungs := rungs(len(o.Tokens))
	sizes := plan(len(drawn), rungs, o.Evaluations*len(o.Tokens))
	h := halving{options: o, score: score, order: order, sketches: sketches, total: cost(sizes, rungs)}
	for _, m := range drawn[:sizes[0]] {
		h.alive = append(h.alive, &arm{module: m, losses: make([]float64, len(o.Tokens)), logProbs: make([][]float64, len(o.Tokens))})
	}
	var result Result
	for k, rung := range rungs {
		h.keep(sizes[k])
		if err := h.round(ctx, rung); err != nil {
			return Result{}, err
		}
		result.Rounds = append(result.Rounds, Round{Modules: len(h.alive), Examples: rung})
	}
	h.keep(o.Keep)
	for _, a := range h.alive {
		result.Kept = append(result.Kept, a.module)
		result.Scores = append(result.Scores, a.complete(o.Tokens))
	}
	result.Evaluations = (h.total + len(o.Tokens) - 1) / len(o.Tokens)
	return result, nil
}

// rungs returns how many of n examples the modules have been scored on after each round: 1, 2, 4, … n.
func rungs(n int) []int {
	var all []int
	for e := 1; e < n; e *= 2 {
		all = append(all, e)
	}
	return append(all, n)
}

// plan returns how many of n modules to score in each round, for at most units scorings of one module on one example. All
// modules are in if halving can pay for them, and then as many stay as possible; otherwise as many as halving can pay for.
func plan(n int, rungs []int, units int) []int {
	shrink := func(first int, ratio float64) []int {
		sizes := make([]int, len(rungs))
		left := float64(first)
		for k := range sizes {
			sizes[k] = max(1, int(math.Round(left)))
			left *= ratio
		}
		return sizes
	}
	for percent := 100; percent >= 50; percent-- {
		if sizes := shrink(n, float64(percent)/100); cost(sizes, rungs) <= units {
			return sizes
		}
	}
	for first := n - 1; first > 1; first-- {
		if sizes := shrink(first, 0.5); cost(sizes, rungs) <= units {
			return sizes
		}
	}
	return shrink(1, 1)
}

// cost is the number of scorings of one module on one example. Examples that a module was scored on already are not paid again.
func cost(sizes, rungs []int) int {
	sum, before := 0, 0
	for k, rung := range rungs {
		sum += sizes[k] * (rung - before)
		before = rung
	}
	return sum
}

// arm is a module in the running.
type arm struct {
	module   int
	losses   []float64   // [examples]
	logProbs [][]float64 // [examples]; nil where unknown
	loss     float64     // token mean over the examples scored so far
}

func (a *arm) complete(tokens []int) search.Score {
	s := search.Score{Objective: math.NaN(), Loss: task.TokenMean(a.losses, tokens), Examples: a.losses}
	for _, p := range a.logProbs {
		if p == nil {
			s.LogProbs = nil
			break
		}
		s.LogProbs = append(s.LogProbs, p...)
	}
	return s
}

type halving struct {
	options  Options
	score    Scorer
	order    []int // of the examples
	sketches [][]float64
	alive    []*arm
	scored   int // examples so far
	done     int
	total    int
}

// round scores those alive on the examples up to rung and sorts them, best first.
func (h *halving) round(ctx context.Context, rung int) error {
	examples := slices.Clone(h.order[h.scored:rung])
	slices.Sort(examples)
	modules := make([]int, len(h.alive))
	for i, a := range h.alive {
		modules[i] = a.module
	}
	scores, err := h.score(ctx, modules, examples)
	if err != nil {
		return err
	}
	if len(scores) != len(modules) {
		return fault.New(fault.Internal, "evaluator", "gave %d scores for %d modules", len(scores), len(modules))
	}
	h.scored = rung
	for i, a := range h.alive {
		if err := h.add(a, examples, scores[i]); err != nil {
			return err
		}
	}
	slices.SortStableFunc(h.alive, func(a, b *arm) int {
		switch { // a loss that is not a number is the worst
		case a.loss < b.loss || math.IsNaN(b.loss) && !math.IsNaN(a.loss):
			return -1
		case b.loss < a.loss || math.IsNaN(a.loss) && !math.IsNaN(b.loss):
			return 1
		}
		return 0
	})
	h.done += len(modules) * len(examples)
	if h.options.Progress != nil {
		h.options.Progress(h.done, h.total)
	}
	return nil
}

// add files the score of an arm on some examples under those examples.
func (h *halving) add(a *arm, examples []int, s search.Score) error {
	if len(s.Examples) != len(examples) {
		return fault.New(fault.Internal, "evaluator", "gave the losses of %d examples for %d", len(s.Examples), len(examples))
	}
	at := 0
	for j, e := range examples {
		a.losses[e] = s.Examples[j]
		if s.LogProbs == nil {
			continue
		}
		n := h.options.Tokens[e]
		if at+n > len(s.LogProbs) {
			return fault.New(fault.Internal, "evaluator", "gave %d log-probabilities, too few for its examples", len(s.LogProbs))
		}
		a.logProbs[e] = s.LogProbs[at : at+n]
		at += n
	}
	losses, tokens := make([]float64, h.scored), make([]int, h.scored)
	for j, e := range h.order[:h.scored] {
		losses[j], tokens[j] = a.losses[e], h.options.Tokens[e]
	}
	a.loss = task.TokenMean(losses, tokens)
	return nil
}

// keep leaves the best n alive, near-duplicates of better ones only where nothing else is left. The arms are sorted.
func (h *halving) keep(n int) {
	if n >= len(h.alive) {
		return
	}
	var chosen, repeats []*arm
	for _, a := range h.alive {
		repeated := slices.ContainsFunc(chosen, func(b *arm) bool { return h.nearDuplicates(a.module, b.module) })
		if repeated {
			repeats = append(repeats, a)
		} else if chosen = append(chosen, a); len(chosen) == n {
			break
		}
	}
	h.alive = append(chosen, repeats[:min(len(repeats), n-len(chosen))]...)
}

func (h *halving) nearDuplicates(i, j int) bool {
	return h.sketches != nil && distance(h.sketches[i], h.sketches[j]) < nearDuplicate
}
