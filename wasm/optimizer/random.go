package optimizer

import "github.com/medley-lora/medley/shared/search"

// random draws each weight uniformly within its bounds, after 0 as the first candidate: the control that an algorithm has
// to beat.
type random struct{ ledger }

func newRandom(p search.Problem) (search.Optimizer, error) { return &random{newLedger(p)}, nil }

func (r *random) Ask(n int) ([][]float64, error) {
	k, err := r.room(n)
	if err != nil {
		return nil, err
	}
	x := make([][]float64, k)
	for i := range x {
		x[i] = make([]float64, r.problem.Dim)
		if r.asked+i > 0 {
			r.uniform(x[i])
		}
	}
	return r.propose(x...), nil
}

func (r *random) Tell(x [][]float64, s []search.Score) error { return r.settle(x, s) }

// uniform fills x with a point of the box.
func (l *ledger) uniform(x []float64) {
	for i := range x {
		lower, upper := l.problem.Lower[i], l.problem.Upper[i]
		x[i] = lower + float64(l.rng.Float64()*(upper-lower))
	}
}
