package optimizer

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math"
	"testing"

	"github.com/medley-lora/medley/shared/search"
)

// plain scores candidates with sums and guarded products alone, which every machine rounds alike.
func plain(_ context.Context, x [][]float64) ([]search.Score, error) {
	scores := make([]search.Score, len(x))
	for i, w := range x {
		for t := range 5 {
			sum := 0.0
			for j, v := range w {
				sum += float64(v * float64((1+t+3*j)%7-3))
			}
			scores[i].LogProbs = append(scores[i].LogProbs, -0.1-float64((sum-1)*(sum-1)))
			scores[i].Loss -= scores[i].LogProbs[t] / 5
		}
		scores[i].Objective = scores[i].Loss
	}
	return scores, nil
}

// The bits of every candidate, so that a change of the arithmetic does not go unnoticed: a recorded search can be resumed
// only by the version that began it, and the WebAssembly build has to ask what the native one asks. Where this fails on
// purpose, take the new value over.
func TestSameBitsEverywhere(t *testing.T) {
	for name, want := range map[string]string{"gntr": "1190060110457325", "cobyla": "09cfe0f9890b9dc4", "random": "41009742292934f3"} {
		p := problem(9, 60, 1.5)
		p.Batch, p.Groups = 7, []int{2, 3}
		o, err := New(name, p)
		if err != nil {
			t.Fatal(err)
		}
		h := fnv.New64a()
		for left := p.Budget; left > 0; {
			x, err := o.Ask(min(left, p.Batch))
			if err != nil {
				t.Fatal(err)
			}
			if len(x) == 0 {
				break // converged
			}
			for _, w := range x {
				for _, v := range w {
					var b [8]byte
					binary.LittleEndian.PutUint64(b[:], math.Float64bits(v))
					h.Write(b[:])
				}
			}
			left -= len(x)
			s, err := plain(t.Context(), x)
			if err != nil {
				t.Fatal(err)
			}
			if err := o.Tell(x, s); err != nil {
				t.Fatal(err)
			}
		}
		if got := fmt.Sprintf("%016x", h.Sum64()); got != want {
			t.Errorf("%s asks %s, expected %s", name, got, want)
		}
	}
}
