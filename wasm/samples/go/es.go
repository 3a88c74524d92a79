//go:build wasip1

package main

import (
	"math"
	"slices"
	"strconv"
)

// es is the (1+λ) evolution strategy with the one-fifth success rule (Rechenberg, "Evolutionsstrategie", 1973): mutate the best point in
// every weight, widen the mutations when one in five or more succeeds, else narrow them. λ is what is asked for at once.
//
// Everything is sums and products of float64 in a fixed order, so every machine and every language computes the same bits.
type es struct {
	config
	random  splitMix
	sigma   float64 // standard deviation of a mutation, as a share of a third of a weight's range
	asked   int
	pending [][]float64 // asked and not answered
	best    []float64   // nil before the first finite objective
	bestF   float64
}

// Four failures undo a success, so the width holds still at a success in five.
const (
	firstSigma = 0.3
	leastSigma = 0.001
	mostSigma  = 1.0
	widen      = 1.5
	narrow     = 0.9036020036098448 // the inverse of the fourth root of widen
)

func newES(c config) *es { return &es{config: c, random: splitMix(c.Seed), sigma: firstSigma} }

// room returns how many of k candidates may be asked for now.
func (e *es) room(k int) (int, *refusal) {
	if len(e.pending) > 0 {
		return 0, &refusal{badState, "asked again before every candidate was answered"}
	}
	return min(k, e.Budget-e.asked), nil
}

// ask fills the rows of x, as many as there is room for: 0 first, and then mutations of the best point, of 0 before there is one.
func (e *es) ask(x []float64) {
	for row := range slices.Chunk(x, e.Dim) {
		clear(row)
		if e.asked > 0 {
			e.mutate(row)
		}
		for i, v := range row {
			row[i] = min(max(v, e.Lower[i]), e.Upper[i]) + 0 // + 0 turns -0 into 0
		}
		e.pending = append(e.pending, slices.Clone(row))
		e.asked++
	}
}

// mutate fills x with the best point moved by sigma in every weight. The conversions keep a compiler from fusing a product into a sum.
func (e *es) mutate(x []float64) {
	copy(x, e.best)
	for i := range x {
		third := (e.Upper[i] - e.Lower[i]) / 3
		x[i] += float64(float64(e.sigma*third) * e.random.normal())
	}
}

// tell learns the objectives f of the rows of x. Nothing changes if one of them is refused.
func (e *es) tell(x, f []float64) *refusal {
	for i, v := range x {
		if weight := i % e.Dim; !(v >= e.Lower[weight] && v <= e.Upper[weight]) {
			return &refusal{badArgument, "told a candidate whose weight " + strconv.Itoa(weight+1) + " is outside the bounds"}
		}
	}
	for i, objective := range f {
		e.learn(x[i*e.Dim:][:e.Dim], objective)
	}
	return nil
}

func (e *es) learn(x []float64, f float64) {
	asked, known := e.strike(x), e.best != nil
	better := !math.IsNaN(f) && !math.IsInf(f, 0) && (!known || f < e.bestF)
	if better {
		e.best, e.bestF = slices.Clone(x), f
	}
	switch {
	case !asked || !known: // a warm start, or the first point: neither says anything of the width
	case better:
		e.sigma = min(e.sigma*widen, mostSigma)
	default:
		e.sigma = max(e.sigma*narrow, leastSigma)
	}
}

// strike takes x off the pending candidates and says whether it was there.
func (e *es) strike(x []float64) bool {
	i := slices.IndexFunc(e.pending, func(p []float64) bool { return slices.Equal(p, x) })
	if i < 0 {
		return false
	}
	e.pending = slices.Delete(e.pending, i, i+1)
	return true
}

// splitMix is SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
type splitMix uint64

func (s *splitMix) next() uint64 {
	*s += 0x9e3779b97f4a7c15
	z := uint64(*s)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// normal returns the sum of twelve uniform numbers less 6, of mean 0 and variance 1: near enough to a Gaussian, and without a logarithm.
func (s *splitMix) normal() float64 {
	sum := -6.0
	for range 12 {
		sum += float64(float64(s.next()>>11) / (1 << 53))
	}
	return sum
}
