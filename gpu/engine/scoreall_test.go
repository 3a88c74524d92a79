package engine_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/medley-lora/medley/gpu/engine"
	"github.com/medley-lora/medley/shared/fault"
)

// TestScoreAll: requests with examples and compositions of their own, scored together, have the numbers that each has alone, bit for
// bit, whatever the memory of a pass.
func TestScoreAll(t *testing.T) {
	for name, open := range backends {
		for _, memory := range []int64{0, 300_000} {
			t.Run(name, func(t *testing.T) {
				z := openZoo(t, open(t), engine.Options{Memory: memory})
				var examples []engine.Example
				for _, task := range []string{"together", "in_paris"} {
					few, _ := z.few(t, task)
					examples = append(examples, few...)
				}
				longer := engine.Example{Source: examples[0].Source, Target: slices.Repeat(examples[1].Target, 9)} // keys and values pay here
				compositions := z.twenty(t)
				requests := []engine.ScoreRequest{
					{Examples: examples[:5], Compositions: compositions[:6]},
					{Examples: examples[:2], Compositions: compositions[:6]}, // the same, with fewer tokens
					{Examples: examples[4:5], Compositions: compositions[19:]},
					{Examples: examples[4:6], Compositions: compositions[19:]}, // follows on the same composition
					{Examples: []engine.Example{longer}, Compositions: compositions[3:9]},
					{Examples: examples},
				}
				r := rand.New(rand.NewPCG(4, 4))
				for range 3 {
					q := engine.ScoreRequest{}
					for range 1 + r.IntN(6) {
						q.Examples = append(q.Examples, examples[r.IntN(len(examples))])
						q.Compositions = append(q.Compositions, compositions[r.IntN(len(compositions))])
					}
					requests = append(requests, q)
				}
				together, err := z.ScoreAll(t.Context(), requests)
				if err != nil {
					t.Fatal(err)
				}
				for i, q := range requests {
					alone, err := z.Score(t.Context(), q.Examples, q.Compositions)
					if err != nil {
						t.Fatal(err)
					}
					if len(alone) != len(q.Compositions) || !slices.Equal(logProbs(alone), logProbs(together[i])) {
						t.Errorf("request %d: alone %v, with others %v", i, alone, together[i])
					}
				}
				if _, err := z.ScoreAll(t.Context(), append(requests, engine.ScoreRequest{})); fault.CodeOf(err) != fault.Invalid {
					t.Errorf("no examples: error %v", err)
				}
			})
		}
	}
}

// TestSharedBetweenRequests: the encoder's layers run once for equal inputs of several requests under equal modules.
func TestSharedBetweenRequests(t *testing.T) {
	count := &counter{Backend: backends["cpu"](t)}
	z := openZoo(t, count, engine.Options{})
	examples, _ := z.few(t, "in_paris")
	bare := []engine.Composition{{}}
	if _, err := z.ScoreAll(t.Context(), []engine.ScoreRequest{{Examples: examples, Compositions: bare}}); err != nil {
		t.Fatal(err)
	}
	alone := count.rows
	count.rows = 0
	q := engine.ScoreRequest{Examples: examples, Compositions: bare}
	if _, err := z.ScoreAll(t.Context(), []engine.ScoreRequest{q, q, q}); err != nil {
		t.Fatal(err)
	}
	if count.rows != alone || alone == 0 {
		t.Errorf("%d rows for three equal requests, %d for one", count.rows, alone)
	}
}
