package engine

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
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

// TestCuts compares what is kept of many tokens with what sorting all of them leaves.
func TestCuts(t *testing.T) {
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 3))
		logits := make([]float32, 1+r.IntN(2000))
		for i := range logits {
			logits[i] = float32(math.Round(r.NormFloat64()*16) / 4) // some are alike
		}
		sorted := mostLikely(logits, 0)
		slices.SortStableFunc(sorted, func(a, b int32) int { return cmp.Compare(logits[b], logits[a]) })
		k, p := 1+r.IntN(len(logits)), 0.001+0.998*r.Float64()
		top := mostLikely(logits, k)
		weights, total := weigh(logits, top, 0.7)
		kept, their, sum := nucleus(logits, top, weights, total, p)
		slices.Sort(top)
		if want := slices.Sorted(slices.Values(sorted[:k])); !slices.Equal(top, want) {
			t.Errorf("seed %d: of %d tokens the top %d are %v, want %v", seed, len(logits), k, top, want)
		}
		all, whole := weigh(logits, sorted[:k], 0.7)
		n, reached := 0, 0.0
		for reached < p*whole && n < k {
			reached += all[n]
			n++
		}
		if len(kept) != n || !slices.Equal(kept, sorted[:n]) || len(their) != n || math.Abs(sum-reached) > 1e-9 {
			t.Errorf("seed %d: the nucleus of %g has %d tokens, %v, want %v", seed, p, len(kept), kept, sorted[:n])
		}
	}
}

// BenchmarkChoose draws from a vocabulary of SmolLM2's size.
func BenchmarkChoose(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 2))
	logits := make([]float32, 49152)
	for i := range logits {
		logits[i] = float32(r.NormFloat64() * 4)
	}
	for name, s := range map[string]Sampling{"temperature": {Temperature: 1}, "top 50": {Temperature: 1, TopK: 50}, "nucleus": {Temperature: 1, TopP: 0.95}} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				choose(logits, s, r)
			}
		})
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
