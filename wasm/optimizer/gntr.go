package optimizer

import (
	"math"
	"slices"

	"github.com/medley-lora/medley/shared/search"
)

// gntr is what auto takes for few examples: a Gauss-Newton-like trust region on a Gaussian process, in batches.
//
// It first scores 0 and every module alone at weight 1, since the best single module is both a good start and a result that
// the search may not fall behind. Then it models all that was told around the best point (see surrogate), and asks for the
// model's minima within trust regions of several sizes at once, which makes a batch a line search; the first such batch also
// holds pairs of the best single modules, which one local model of the objective cannot foresee. The region grows and
// shrinks by success, as in Powell's and TuRBO's methods (Eriksson et al., "Scalable global optimization via local
// Bayesian optimization", 2019).
//
// A few examples cannot tell many modules apart, and the lowest loss on them is rarely the best model. So where the problem says how
// many examples there are, five things hold the search back, all chosen by leaving examples out
// (`medley bench optimizers --leave-one-out`). The model moves only as many modules as there are examples, those that did best alone. Its
// rounds have one size whatever the batch, so that the result does not depend on what the evaluator takes at once. The search ends, within
// the budget, when two rounds in a row made the examples less than one nat more likely: one nat is what a parameter has to gain by
// Akaike's criterion (1974). It ends in any case after twice as many evaluations as there are modules, or 40 if that is more: of the lengths
// tried the shortest whose loss on what was left out is within one standard error of the lowest (the rule of Breiman et al.,
// "Classification and regression trees", 1984), so that a larger budget does no harm. And the last evaluation is spent on the mean of the
// points, each weighted by its likelihood, as Bayesian model averaging does (Hoeting et al., "Bayesian model averaging: a tutorial", 1999),
// with the penalty as the prior. Best returns this mean unless a module alone has a lower objective.
//
// It works in coordinates in which every range has length 3, so that LoraHub's weights are their own coordinates.
type gntr struct {
	ledger
	scale []float64 // [d] weight per coordinate
	l1    []float64 // [d] penalty per |coordinate|

	planned bool
	queue   [][]float64 // weights of the round under way still to be asked for
	climb   *climb      // the design, if it is not the modules alone
	paired  bool        // the batch with pairs was asked

	outputs outputs
	read    int           // log-probabilities per score that outputs is made for; 0 before the first
	seen    []observation // succeeded
	from    int           // of seen, the first of the present search: those before it were given up
	failed  [][]float64   // coordinates of failed evaluations
	known   *gp           // the model whose hyperparameters hold until there are refit·chosen points
	chosen  int

	active   []bool    // [d] what the model may move; nil for all
	unit     float64   // objective per token-mean cross-entropy, by the latest model
	idle     int       // rounds in a row that gained less than one nat
	mean     []float64 // the candidate that is the mean of the points; nil until it is asked for
	meanF    float64   // its objective; NaN until it is told
	averaged bool      // the mean was asked for, or is a point that was tried

	radius float64 // of the trust region, largest coordinate
	round  *round  // the batch under evaluation, if the model made it
}

// round remembers what a batch of the model set out from.
type round struct {
	centre []float64
	best   float64
	size   int
}

const (
	designShare  = 0.6 // of the budget, for the modules alone: 22 modules fit into 40 evaluations
	firstRadius  = 0.5
	leastRadius  = 0.02
	mostRadius   = 3.0
	refit        = 1.15 // growth of the data after which hyperparameters are chosen anew
	descentSteps = 60
	sameCoord    = 1e-4 // candidates closer than this are one
	roundSize    = 8    // eight candidates of one model find nearly what forty of it would
	patience     = 2    // rounds in a row without a gain that end a search on few examples
	fewest       = 40   // evaluations that such a search may take, however few its modules
)

func newGNTR(p search.Problem) (search.Optimizer, error) { return makeGNTR(p), nil }

func makeGNTR(p search.Problem) *gntr {
	g := &gntr{ledger: newLedger(p), radius: firstRadius, meanF: math.NaN(), unit: 1, scale: thirds(p), l1: make([]float64, p.Dim)}
	for i, s := range g.scale {
		g.l1[i] = p.L1 * s
	}
	return g
}

// Ask returns at most n candidates: fewer in the rounds of the model, which learns between them.
func (g *gntr) Ask(n int) ([][]float64, error) {
	k, err := g.Room(n)
	if err != nil || k == 0 {
		return nil, err
	}
	if g.climb != nil {
		k = 1
	}
	switch {
	case g.climb != nil && len(g.queue) == 0:
		g.queue = g.ascend()
	case g.climb == nil && !g.planned:
		g.plan()
	}
	if len(g.queue) == 0 {
		if g.overfits() {
			g.queue = g.cautious()
		} else {
			g.queue = g.batch(min(k, max(roundSize, min(64, (g.Problem.Budget-g.Asked)/4))))
		}
	}
	k = min(k, len(g.queue))
	x := g.queue[:k]
	g.queue = g.queue[k:]
	return g.propose(x...), nil
}

// cautious returns a round of the search on few examples: of the model, then the mean of the points, then none.
func (g *gntr) cautious() [][]float64 {
	left := min(g.Problem.Budget, max(fewest, 2*g.Problem.Dim)) - g.Asked
	switch {
	case g.averaged:
		return nil
	case left > 1 && g.idle < patience:
		return g.batch(min(roundSize, left-1)) // one is kept for the mean
	}
	g.averaged = true
	if g.mean = g.average(); g.mean == nil {
		return nil
	}
	return [][]float64{g.mean}
}

// plan lists 0 and the modules alone, as many as the budget has room for, in an order of chance if not all fit.
func (g *gntr) plan() {
	g.planned = true
	room := min(g.Problem.Dim+1, max(2, int(designShare*float64(g.Problem.Budget))))
	order := make([]int, g.Problem.Dim)
	for i := range order {
		order[i] = i
	}
	if room < g.Problem.Dim+1 {
		g.rng.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	}
	g.queue = nil
	for i := range room {
		x := make([]float64, g.Problem.Dim)
		if i > 0 {
			x[order[i-1]] = 1
		}
		g.clip(x)
		if c := g.coordinates(x); !g.tried(c) && !slices.ContainsFunc(g.queue, func(y []float64) bool { return slices.Equal(x, y) }) {
			g.queue = append(g.queue, x)
		}
	}
}

func (g *gntr) Tell(x [][]float64, s []search.Score) error {
	if err := g.settle(x, s); err != nil {
		return err
	}
	for i := range x {
		c := g.coordinates(x[i])
		if slices.Equal(x[i], g.mean) {
			g.meanF = s[i].Objective
		}
		if !isFinite(s[i].Objective) {
			g.failed = append(g.failed, c)
			continue
		}
		if g.read == 0 && len(s[i].LogProbs) > 0 {
			if o, ok := newOutputs(len(s[i].LogProbs), g.Problem.Groups); ok {
				g.outputs, g.read = o, len(s[i].LogProbs)
			}
		}
		logProbs := s[i].LogProbs
		if len(logProbs) != g.read || g.climb != nil && g.climb.scalar {
			logProbs = nil
		}
		g.seen = append(g.seen, g.outputs.observe(c, s[i].Objective, g.penalty(c), logProbs))
	}
	if len(g.Pending) == 0 && len(g.queue) == 0 && g.round != nil {
		g.resize(*g.round)
		g.round = nil
	}
	return nil
}

// Best returns the mean of the points if it was evaluated and no module alone, nor zero, has a lower objective, else the candidate with
// the lowest objective.
func (g *gntr) Best() []float64 {
	floor := g.LowestF
	if singles := g.singles(); len(singles) > 0 {
		floor = singles[0].objective
	}
	if g.mean != nil && g.meanF <= floor {
		return slices.Clone(g.mean)
	}
	return g.ledger.Best()
}

// resize adapts the trust region to what a batch found: a single candidate says less than a batch, so it moves less.
func (g *gntr) resize(r round) {
	centre, _ := g.centre()
	won := centre.objective < r.best
	if g.idle++; g.nats(r.best-centre.objective) >= 1 {
		g.idle = 0
	}
	switch {
	case won && r.size > 1:
		g.radius = 1.1 * maxDistance(centre.x, r.centre)
	case won:
		g.radius *= 1.5
	case r.size > 1:
		g.radius *= 0.6
	default:
		g.radius *= 0.7
	}
	if g.climb != nil && g.radius < leastRadius {
		g.restart()
	}
	g.radius = min(max(g.radius, leastRadius), mostRadius)
}

// batch returns up to k candidates that were never tried.
func (g *gntr) batch(k int) [][]float64 {
	centre, ok := g.centre()
	if !ok { // nothing has succeeded yet
		return g.weights(g.fill(nil, k, nil, 0))
	}
	g.active = g.promising()
	g.round = &round{centre: centre.x, best: centre.objective, size: k}
	model := g.model(centre)
	var batch [][]float64
	if !g.paired && k > 1 {
		g.paired = true
		batch = g.pairs(model, k/2)
	}
	start := centre.x
	for i, n := 0, k-len(batch); i < n; i++ {
		radius := g.radius
		if n > 1 {
			radius *= spread(i, n)
		}
		x := start
		if model != nil {
			x = g.step(model, centre.x, start, radius)
			start = x
		}
		batch = g.fill(batch, len(batch)+1, x, radius)
	}
	return g.weights(batch)
}
