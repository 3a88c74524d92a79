package task

import (
	"math"
	"slices"
	"strings"

	"github.com/medley-lora/medley/shared/fault"
)

// DefaultPenalty is LoraHub's coefficient of the weights' size.
const DefaultPenalty = 0.05

// The objectives, in which CE is the mean cross-entropy over all target tokens of n examples and w are N weights.
const (
	// LoraHub is the original's: CE/n + penalty·mean|w|, n examples being one batch. The division by n after a mean makes the
	// penalty weigh n times more than it seems to.
	LoraHub = "lorahub"
	// Mean is CE + penalty·mean|w|.
	Mean = "mean"
	// Sparse is CE + penalty·Σ|w|: a module must earn its place, however many there are.
	Sparse = "sparse"
)

// Objective is the number that a search makes small. Its zero value is of no use; ParseObjective makes one.
type Objective struct {
	Name    string  `json:"name"`
	Penalty float64 `json:"penalty"`
}

// ParseObjective returns the objective called name with DefaultPenalty.
func ParseObjective(name string) (Objective, error) {
	all := []string{Sparse, Mean, LoraHub}
	if !slices.Contains(all, name) {
		return Objective{}, fault.New(fault.Invalid, "objective", "is %q; one of %s is expected", shorten(name), strings.Join(all, ", "))
	}
	return Objective{Name: name, Penalty: DefaultPenalty}, nil
}

// WithPenalty returns o with another coefficient, which must be finite and not negative.
func (o Objective) WithPenalty(penalty float64) (Objective, error) {
	if !(penalty >= 0) || math.IsInf(penalty, 1) {
		return Objective{}, fault.New(fault.Invalid, "penalty", "is %v; a finite number of at least 0 is expected", penalty)
	}
	o.Penalty = penalty
	return o, nil
}

// L1 is the coefficient of Σ|w| for N weights, as search.Problem has it.
func (o Objective) L1(weights int) float64 {
	if o.Name == Sparse || weights == 0 {
		return o.Penalty
	}
	return o.Penalty / float64(weights)
}

// Value is the objective of the candidate weights whose examples have these losses (token-mean cross-entropies) and tokens
// (numbers of target tokens). Without examples it is NaN.
func (o Objective) Value(losses []float64, tokens []int, weights []float64) float64 {
	size := 0.0
	for _, w := range weights {
		size += math.Abs(w)
	}
	data := TokenMean(losses, tokens)
	if o.Name == LoraHub {
		data /= float64(len(losses))
	}
	return data + o.L1(len(weights))*size
}

// TokenMean is the mean loss over all tokens of examples with these mean losses and numbers of tokens; NaN if there are none.
func TokenMean(losses []float64, tokens []int) float64 {
	sum, count := 0.0, 0
	for i, loss := range losses {
		sum += loss * float64(tokens[i])
		count += tokens[i]
	}
	return sum / float64(count)
}

// ExampleLosses returns the mean cross-entropy of each example from the natural log-probabilities of its target tokens, example
// after example, as search.Score has them.
func ExampleLosses(logProbs []float64, tokens []int) ([]float64, error) {
	losses := make([]float64, len(tokens))
	at := 0
	for i, n := range tokens {
		if n < 1 || n > len(logProbs)-at {
			return nil, fault.New(fault.Invalid, "log-probabilities", "%d do not belong to examples of %d target tokens", len(logProbs), tokens)
		}
		for _, p := range logProbs[at : at+n] {
			losses[i] -= p
		}
		losses[i] /= float64(n)
		at += n
	}
	if at != len(logProbs) {
		return nil, fault.New(fault.Invalid, "log-probabilities", "%d do not belong to examples of %d target tokens", len(logProbs), tokens)
	}
	return losses, nil
}
