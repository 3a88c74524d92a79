package optimizer

import (
	"math"
	"slices"
)

// observation is what the surrogate keeps of one told candidate.
type observation struct {
	x         []float64 // in scaled coordinates
	objective float64
	smooth    float64   // the objective without its L1 term
	logits    []float64 // log odds of each output; nil if the score carried no usable log-probabilities
	entropy   float64   // weighted mean of the cross-entropies that the logits stand for
}

// outputs says how the log-probabilities of a score become the outputs of the model: one per token or, where those are too
// many to solve for in time, one per example.
type outputs struct {
	groups  []int // tokens per output; nil for one each
	weights []float64
}

// maxOutputs bounds the work: fitting and descending are linear in it.
const maxOutputs = 128

// newOutputs returns how scores of n log-probabilities are read; ok is false if they cannot be.
func newOutputs(n int, groups []int) (o outputs, ok bool) {
	if n <= maxOutputs {
		o.weights = make([]float64, n)
		for i := range o.weights {
			o.weights[i] = 1 / float64(n)
		}
		return o, n > 0
	}
	total := 0
	for _, tokens := range groups {
		if tokens > 0 {
			o.groups = append(o.groups, tokens)
			o.weights = append(o.weights, float64(tokens)/float64(n))
		}
		total += tokens
	}
	return o, total == n && len(o.groups) <= maxOutputs
}

// logits reads the log-probabilities of one score; nil if there are none, or not all are such.
func (o outputs) logits(logProbs []float64) []float64 {
	for _, p := range logProbs {
		if math.IsNaN(p) || p > 1e-6 {
			return nil
		}
	}
	if len(logProbs) == 0 {
		return nil
	}
	z := make([]float64, 0, len(o.weights))
	if o.groups == nil {
		for _, p := range logProbs {
			z = append(z, logit(p))
		}
		return z
	}
	for _, tokens := range o.groups {
		sum := 0.0
		for _, p := range logProbs[:tokens] {
			sum += max(p, minLogit)
		}
		logProbs = logProbs[tokens:]
		z = append(z, logit(sum/float64(tokens)))
	}
	return z
}

// observe makes an observation at x; logProbs is nil or of the length that o is for.
func (o outputs) observe(x []float64, objective, penalty float64, logProbs []float64) observation {
	b := observation{x: x, objective: objective, smooth: objective - penalty}
	if b.logits = o.logits(logProbs); b.logits != nil {
		for t, z := range b.logits {
			loss, _ := negLogSigmoid(z)
			b.entropy += float64(o.weights[t] * loss)
		}
	}
	return b
}

// surrogate is a model of the objective around the best point so far. Where scores carry log-probabilities it is a process
// with one output per token, the change of its log odds, from which the loss follows: log odds are closer to linear in the
// weights than the loss is. Else it is one process on the loss itself. The L1 term is known and is not modelled.
type surrogate struct {
	*gp
	centre  []float64
	base    []float64 // [outputs] at the centre
	weights []float64 // [outputs] of the cross-entropies; nil if the output is the loss
	scale   float64   // from cross-entropy to objective

	offset, out, slopes []float64 // scratch
}

// maxPoints bounds the covariance matrix: farther points are left out.
const maxPoints = 128

// newSurrogate models seen around centre, one of them; known holds the hyperparameters of an earlier model, nil to choose
// anew. It is nil if the points cannot be modelled.
func newSurrogate(seen []observation, centre observation, weights []float64, known *gp) *surrogate {
	seen = nearest(seen, centre.x)
	m := &surrogate{centre: centre.x, offset: make([]float64, len(centre.x))}
	var targets [][]float64
	if scale, ok := entropyScale(seen, centre); ok {
		m.scale, m.weights, m.base = scale, weights, centre.logits
		var with []observation
		for _, o := range seen {
			if o.logits != nil {
				with = append(with, o)
			}
		}
		seen = with
		targets = newMatrix(len(weights), len(seen))
		for i, o := range seen {
			for t := range targets {
				targets[t][i] = o.logits[t] - centre.logits[t]
			}
		}
	} else {
		m.base = []float64{centre.smooth}
		limit := lossLimit(seen)
		targets = newMatrix(1, len(seen))
		for i, o := range seen {
			targets[0][i] = min(o.smooth, limit) - centre.smooth
		}
	}
	points := newMatrix(len(seen), len(centre.x))
	for i, o := range seen {
		copy(points[i], o.x)
		axpy(-1, centre.x, points[i])
	}
	m.gp = newGP(points)
	m.out, m.slopes = make([]float64, len(m.base)), make([]float64, len(m.base))
	if known != nil {
		m.kernel, m.noise = known.kernel, known.noise
	} else {
		m.choose(targets)
	}
	if !m.fit(targets) {
		return nil
	}
	return m
}

// smooth predicts the objective without the L1 term at x and, unless grad is nil, its gradient.
func (m *surrogate) smooth(x, grad []float64) float64 {
	copy(m.offset, x)
	axpy(-1, m.centre, m.offset)
	m.mean(m.offset, m.out)
	value := 0.0
	if m.weights == nil {
		value, m.slopes[0] = m.base[0]+m.out[0], 1
	} else {
		for t, w := range m.weights {
			loss, slope := negLogSigmoid(m.base[t] + m.out[t])
			value += float64(w * loss)
			m.slopes[t] = m.scale * w * slope
		}
		value *= m.scale
	}
	if grad != nil {
		m.gradient(m.offset, m.slopes, grad)
	}
	return value
}

// nearest returns the maxPoints observations closest to x, in the order of seen.
func nearest(seen []observation, x []float64) []observation {
	if len(seen) <= maxPoints {
		return seen
	}
	distances := make([]float64, len(seen))
	for i, o := range seen {
		distances[i] = squaredDistance(o.x, x)
	}
	sorted := append([]float64(nil), distances...)
	slices.Sort(sorted)
	var near []observation
	for i, o := range seen {
		if distances[i] < sorted[maxPoints] {
			near = append(near, o)
		}
	}
	return near
}

// entropyScale fits objective - L1 = scale·cross-entropy, scale being 1 for the token mean and 1 over the number of examples
// for LoraHub's objective. ok is false if log-probabilities do not explain the objective, or most scores lack them.
func entropyScale(seen []observation, centre observation) (scale float64, ok bool) {
	var count int
	var cross, square, total float64
	for _, o := range seen {
		if o.logits != nil {
			count++
			cross += float64(o.smooth * o.entropy)
			square += float64(o.entropy * o.entropy)
			total += float64(o.smooth * o.smooth)
		}
	}
	if centre.logits == nil || 2*count < len(seen) || !(cross > 0) {
		return 0, false
	}
	// 1 - R² through the origin. Clipped log odds and LoraHub's mean over batches are good for a few parts in a thousand.
	unexplained := 1 - cross/square*cross/total
	return cross / square, unexplained < 0.05
}

// lossLimit caps the scalar targets, lest one hopeless candidate set the scale for all.
func lossLimit(seen []observation) float64 {
	losses := make([]float64, len(seen))
	for i, o := range seen {
		losses[i] = o.smooth
	}
	slices.Sort(losses)
	quartile := losses[3*(len(losses)-1)/4]
	return quartile + float64(3*(quartile-losses[0]))
}
