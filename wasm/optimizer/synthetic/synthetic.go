// Package synthetic makes up compositions on which optimizers are compared and tested: the answer is known in microseconds, and
// nothing of the zoo is in it. Every function is a pure function of its seed.
package synthetic

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/medley-lora/medley/shared/search"
)

// Composition is an evaluator: the loss of tokens whose logits depend on the weights, and an L1 term. Make one with the functions below.
type Composition struct {
	Name  string
	Dim   int
	L1    float64
	Plain bool // scores carry no log-probabilities

	tokens  int
	logits  func(w []float64) [][]float64
	quality func(w []float64) float64 // instead of logits: the loss itself
}

// Evaluate is search.Evaluator's, and never fails.
func (s Composition) Evaluate(_ context.Context, x [][]float64) ([]search.Score, error) {
	scores := make([]search.Score, len(x))
	for i, w := range x {
		penalty := 0.0
		for _, v := range w {
			penalty += s.L1 * math.Abs(v)
		}
		if s.quality != nil {
			scores[i].Loss = s.quality(w)
		} else {
			for _, z := range s.logits(w) {
				sum := 0.0
				for _, v := range z {
					sum += math.Exp(v - z[0])
				}
				scores[i].LogProbs = append(scores[i].LogProbs, -math.Log(sum)) // the label is the first word
				scores[i].Loss += math.Log(sum) / float64(s.tokens)
			}
		}
		if s.Plain {
			scores[i].LogProbs = nil
		}
		scores[i].Objective = scores[i].Loss + penalty
	}
	return scores, nil
}

// Problem is the search for the lowest objective within ±1.5. It names no examples: the objective is the goal itself.
func (s Composition) Problem(budget, batch int, seed uint64) search.Problem {
	p := search.Problem{Dim: s.Dim, Budget: budget, Batch: batch, Seed: seed, L1: s.L1}
	p.Lower, p.Upper = search.Box(s.Dim, 1.5)
	return p
}

func gaussians(r *rand.Rand, rows, columns int, scale float64) [][]float64 {
	m := matrix(rows, columns)
	for i := range m {
		for j := range m[i] {
			m[i][j] = scale * r.NormFloat64()
		}
	}
	return m
}

// Linear makes a composition: every module moves every logit, in proportion to its weight.
func Linear(seed uint64, dim, tokens, vocabulary int) Composition {
	r := rand.New(rand.NewPCG(seed, 1))
	base := gaussians(r, tokens, vocabulary, 1)
	for t := range base {
		base[t][0] -= 2
	}
	effects := make([][][]float64, dim)
	for i := range effects {
		effects[i] = gaussians(r, tokens, vocabulary, 1)
	}
	return Composition{Name: fmt.Sprintf("linear %d tokens", tokens), Dim: dim, tokens: tokens, L1: 0.05 / float64(dim), logits: func(w []float64) [][]float64 {
		z := matrix(tokens, vocabulary)
		for t := range z {
			copy(z[t], base[t])
			for i, v := range w {
				axpy(v, effects[i][t], z[t])
			}
		}
		return z
	}}
}

// Skills makes a composition: a few modules know a part of the tokens each and saturate, all the others harm in one direction or the other.
func Skills(seed uint64, dim, tokens, helpful int) Composition {
	r := rand.New(rand.NewPCG(seed, 2))
	effects := gaussians(r, dim, tokens, 0.6)
	order := r.Perm(dim)[:helpful]
	for k, i := range order {
		for t := range tokens {
			if t%helpful == k {
				effects[i][t] = 4 + r.NormFloat64()
			}
		}
	}
	return Composition{Name: fmt.Sprintf("skills %d", helpful), Dim: dim, tokens: tokens, L1: 0.05, logits: func(w []float64) [][]float64 {
		z := matrix(tokens, 2)
		for t := range z {
			z[t][1] = 3
			for i, v := range w {
				z[t][0] += 1.5 * math.Tanh(v) * effects[i][t]
				z[t][1] += 0.3 * v * v
			}
		}
		return z
	}}
}

// Product makes a composition: logits from (Σ w_i B_i)(Σ w_i A_i)h, as LoraHub composes: even in w, with no slope at 0.
func Product(seed uint64, dim, tokens, vocabulary int) Composition {
	const rank, hidden = 4, 6
	r := rand.New(rand.NewPCG(seed, 3))
	states, base := gaussians(r, tokens, hidden, 1), gaussians(r, tokens, vocabulary, 1)
	a, b := make([][][]float64, dim), make([][][]float64, dim)
	for i := range a {
		a[i], b[i] = gaussians(r, rank, hidden, 0.6), gaussians(r, vocabulary, rank, 0.6)
	}
	for t := range base {
		base[t][0] -= 2
	}
	return Composition{Name: "product", Dim: dim, tokens: tokens, L1: 0.05 / float64(dim), logits: func(w []float64) [][]float64 {
		sumA, sumB := matrix(rank, hidden), matrix(vocabulary, rank)
		for i, v := range w {
			for k := range sumA {
				axpy(v, a[i][k], sumA[k])
			}
			for k := range sumB {
				axpy(v, b[i][k], sumB[k])
			}
		}
		z := matrix(tokens, vocabulary)
		middle := make([]float64, rank)
		for t := range z {
			for k := range middle {
				middle[k] = dot(sumA[k], states[t])
			}
			for v := range z[t] {
				z[t][v] = base[t][v] + dot(sumB[v], middle)
			}
		}
		return z
	}}
}

// Quadratic makes a composition: log1p of a form of low rank.
func Quadratic(seed uint64, dim int) Composition {
	r := rand.New(rand.NewPCG(seed, 4))
	directions := gaussians(r, 5, dim, 1)
	target := gaussians(r, 1, dim, 0.5)[0]
	return Composition{Name: "quadratic", Dim: dim, L1: 0.05 / float64(dim), quality: func(w []float64) float64 {
		sum := 0.0
		for _, u := range directions {
			d := dot(u, w) - dot(u, target)
			sum += d * d
		}
		return math.Log1p(sum)
	}}
}

// Sphere makes a composition: the squared distance from a point.
func Sphere(seed uint64, dim int) Composition {
	target := gaussians(rand.New(rand.NewPCG(seed, 5)), 1, dim, 0.5)[0]
	return Composition{Name: "sphere", Dim: dim, quality: func(w []float64) float64 {
		sum := 0.0
		for i, v := range w {
			sum += (v - target[i]) * (v - target[i])
		}
		return sum
	}}
}

func matrix(rows, columns int) [][]float64 {
	m := make([][]float64, rows)
	for i := range m {
		m[i] = make([]float64, columns)
	}
	return m
}

func dot(a, b []float64) float64 {
	sum := 0.0
	for i, v := range a {
		sum += v * b[i]
	}
	return sum
}

// axpy adds s·x to y.
func axpy(s float64, x, y []float64) {
	for i, v := range x {
		y[i] += s * v
	}
}
