package engine

import (
	"math"
	"math/rand/v2"
	"testing"
)

// TestChoose draws many tokens and compares their frequencies with the distribution that the settings define.
func TestChoose(t *testing.T) {
	logits := []float32{1, 3, 2, 3, -1}
	cases := []struct {
		name     string
		sampling Sampling
		want     []float64
	}{
		{"greedy takes the first highest", Sampling{}, []float64{0, 1, 0, 0, 0}},
		{"temperature 1", Sampling{Temperature: 1}, softmax(logits, 1, 0, 1, 2, 3, 4)},
		{"temperature 2", Sampling{Temperature: 2}, softmax(logits, 2, 0, 1, 2, 3, 4)},
		{"top 3", Sampling{Temperature: 1, TopK: 3}, softmax(logits, 1, 1, 2, 3)},
		{"nucleus of 0.5", Sampling{Temperature: 1, TopP: 0.5}, softmax(logits, 1, 1, 3)},
		{"a tiny nucleus keeps one", Sampling{Temperature: 1, TopP: 1e-9}, softmax(logits, 1, 1)},
	}
	const draws = 20000
	for _, c := range cases {
		stream := rand.New(rand.NewPCG(1, 2))
		counts := make([]float64, len(logits))
		for range draws {
			counts[choose(logits, c.sampling, stream)]++
		}
		for i, want := range c.want {
			if got := counts[i] / draws; math.Abs(got-want) > 0.015 { // four standard deviations
				t.Errorf("%s: token %d came in %.3f of the draws, want %.3f", c.name, i, got, want)
			}
		}
	}
}

// softmax is the distribution over the tokens that are kept.
func softmax(logits []float32, temperature float64, kept ...int) []float64 {
	p, total := make([]float64, len(logits)), 0.0
	for _, i := range kept {
		p[i] = math.Exp(float64(logits[i]) / temperature)
		total += p[i]
	}
	for i := range p {
		p[i] /= total
	}
	return p
}

func TestSamplingCheck(t *testing.T) {
	bad := []Sampling{{MaxTokens: -1}, {MaxTokens: 1 << 20}, {Temperature: -1}, {Temperature: math.NaN()}, {Temperature: math.Inf(1)},
		{TopK: -1}, {TopP: -0.1}, {TopP: 1.1}, {TopP: math.NaN()}}
	for _, s := range bad {
		if s.check() == nil {
			t.Errorf("%+v was taken", s)
		}
	}
	if err := (Sampling{MaxTokens: 5, Temperature: 0.7, TopK: 40, TopP: 0.9}).check(); err != nil {
		t.Error(err)
	}
}
