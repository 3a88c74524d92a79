package engine

import (
	"container/heap"
	"math"
	"math/rand/v2"
	"slices"
)

// choose picks a token from logits: the first highest when the temperature is 0, else a draw after temperature, top-k and
// nucleus (Holtzman et al. 2020), applied in that order as Transformers does.
func choose(logits []float32, s Sampling, stream *rand.Rand) int32 {
	if s.Temperature == 0 {
		best := 0
		for i, v := range logits {
			if v > logits[best] {
				best = i
			}
		}
		return int32(best)
	}
	kept := mostLikely(logits, s.TopK)
	weights, total := weigh(logits, kept, s.Temperature)
	if s.TopP > 0 && s.TopP < 1 {
		kept, weights, total = nucleus(logits, kept, weights, total, s.TopP)
	}
	draw := stream.Float64() * total
	for i, w := range weights {
		if draw -= w; draw < 0 {
			return kept[i]
		}
	}
	return kept[len(weights)-1] // rounding left a crumb
}

// likelier says which of two tokens is the likelier, the first of two alike.
func likelier(logits []float32, a, b int32) bool {
	return logits[a] > logits[b] || (logits[a] == logits[b] && a < b)
}

// mostLikely keeps the k likeliest tokens, or all for 0. A heap has the least likely of those so far on top: sorting a vocabulary takes
// longer than a step of a small model.
func mostLikely(logits []float32, k int) []int32 {
	if k == 0 || k >= len(logits) {
		all := make([]int32, len(logits))
		for i := range all {
			all[i] = int32(i)
		}
		return all
	}
	h := tokenHeap{logits: logits}
	for i := range int32(len(logits)) {
		switch {
		case len(h.tokens) < k:
			heap.Push(&h, i)
		case likelier(logits, i, h.tokens[0]):
			h.tokens[0] = i
			heap.Fix(&h, 0)
		}
	}
	return h.tokens
}

type tokenHeap struct {
	logits []float32
	tokens []int32
}

func (h *tokenHeap) Len() int           { return len(h.tokens) }
func (h *tokenHeap) Less(i, j int) bool { return likelier(h.logits, h.tokens[j], h.tokens[i]) }
func (h *tokenHeap) Swap(i, j int)      { h.tokens[i], h.tokens[j] = h.tokens[j], h.tokens[i] }
func (h *tokenHeap) Push(x any)         { h.tokens = append(h.tokens, x.(int32)) }
func (h *tokenHeap) Pop() any           { panic("nothing is popped") }

// weigh is the softmax of the kept tokens' logits without the division, and the sum.
func weigh(logits []float32, kept []int32, temperature float64) (weights []float64, total float64) {
	highest := math.Inf(-1)
	for _, token := range kept {
		highest = max(highest, float64(logits[token]))
	}
	weights = make([]float64, len(kept))
	for i, token := range kept {
		weights[i] = math.Exp((float64(logits[token]) - highest) / temperature)
		total += weights[i]
	}
	return weights, total
}

// nucleus keeps the fewest of the likeliest tokens whose weights reach the share p of the sum, at least one. A token of less than (1 − p)/n
// of the sum is not among them: all that are no likelier come to less than 1 − p. So few need sorting.
func nucleus(logits []float32, kept []int32, weights []float64, total, p float64) (of []int32, their []float64, sum float64) {
	least := (1 - p) * total / float64(len(kept))
	likely := make([]int, 0, 256) // places in kept
	for i, w := range weights {
		if w >= least {
			likely = append(likely, i)
		}
	}
	slices.SortFunc(likely, func(a, b int) int {
		if likelier(logits, kept[a], kept[b]) {
			return -1
		}
		return 1
	})
	for _, i := range likely {
		of, their, sum = append(of, kept[i]), append(their, weights[i]), sum+weights[i]
		if sum >= p*total {
			break
		}
	}
	return of, their, sum
}
