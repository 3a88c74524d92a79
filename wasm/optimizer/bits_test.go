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
	for _, c := range []struct {
		name   string
		budget int
		groups []int
		want   string
	}{
		{"auto", 60, []int{2, 3}, "7eacfab097c3c83c"},
		{"auto", 300, nil, "bb559a930318bab0"},
		{"auto", 600, nil, "fe9f1396507351de"},
		{"gntr", 60, []int{2, 3}, "7eacfab097c3c83c"},
		{"cobyla", 60, []int{2, 3}, "09cfe0f9890b9dc4"},
		{"coord", 60, nil, "56abeb297389b739"},
		{"es", 60, nil, "4dd606f04e832065"},
		{"random", 60, []int{2, 3}, "41009742292934f3"},
		{"zero", 60, nil, "3ecb33e15783bec5"},
	} {
		p := problem(9, c.budget, 1.5)
		p.Batch, p.Groups = 7, c.groups
		o, err := New(c.name, p)
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
		if got := fmt.Sprintf("%016x", h.Sum64()); got != c.want {
			t.Errorf("%s with %d evaluations asks %s, expected %s", c.name, c.budget, got, c.want)
		}
	}
}
