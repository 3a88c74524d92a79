package engine

import (
	"cmp"
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
	order := make([]int32, len(logits))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortStableFunc(order, func(a, b int32) int { return cmp.Compare(logits[b], logits[a]) })
	if s.TopK > 0 && s.TopK < len(order) {
		order = order[:s.TopK]
	}
	weights, total := make([]float64, len(order)), 0.0
	for i, token := range order {
		weights[i] = math.Exp((float64(logits[token]) - float64(logits[order[0]])) / s.Temperature)
		total += weights[i]
	}
	if s.TopP > 0 && s.TopP < 1 {
		total = nucleus(&weights, s.TopP*total)
	}
	draw := stream.Float64() * total
	for i, w := range weights {
		if draw -= w; draw < 0 {
			return order[i]
		}
	}
	return order[len(weights)-1] // rounding left a crumb
}

// nucleus keeps the fewest leading weights that reach enough, at least one, and returns their sum.
func nucleus(weights *[]float64, enough float64) float64 {
	sum := 0.0
	for i, w := range *weights {
		if sum += w; sum >= enough {
			*weights = (*weights)[:i+1]
			break
		}
	}
	return sum
}
