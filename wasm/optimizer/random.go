package optimizer

import "github.com/medley-lora/medley/shared/search"

// random draws each weight uniformly within its bounds, after 0 as the first candidate: the control that an algorithm has
// to beat.
type random struct{ ledger }

func newRandom(p search.Problem) (search.Optimizer, error) { return &random{newLedger(p)}, nil }

func (r *random) Ask(n int) ([][]float64, error) {
	k, err := r.Room(n)
	if err != nil {
		return nil, err
	}
	x := make([][]float64, k)
	for i := range x {
		x[i] = make([]float64, r.Problem.Dim)
		if r.Asked+i > 0 {
			r.uniform(x[i])
		}
	}
	return r.propose(x...), nil
}

func (r *random) Tell(x [][]float64, s []search.Score) error { return r.settle(x, s) }

// zero asks for the base model alone, every weight at 0 or as near to it as the bounds allow, until that is scored: the control
// that composing at all has to beat.
type zero struct {
	ledger
	scored bool
}

func newZero(p search.Problem) (search.Optimizer, error) { return &zero{ledger: newLedger(p)}, nil }

func (z *zero) Ask(n int) ([][]float64, error) {
	if k, err := z.Room(n); err != nil || k == 0 || z.scored {
		return nil, err
	}
	return z.propose(make([]float64, z.Problem.Dim)), nil
}

func (z *zero) Tell(x [][]float64, s []search.Score) error {
	if err := z.Check(x, s); err != nil {
		return err
	}
	for i := range x {
		if z.Take(x[i], s[i]) && isFinite(s[i].Objective) {
			z.scored = true
		}
	}
	return nil
}

// uniform fills x with a point of the box.
func (l *ledger) uniform(x []float64) {
	for i := range x {
		lower, upper := l.Problem.Lower[i], l.Problem.Upper[i]
		x[i] = lower + float64(l.rng.Float64()*(upper-lower))
	}
}

// splitMix is SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014): a generator of three
// lines in any language.
type splitMix uint64

func (s *splitMix) next() uint64 {
	*s += 0x9e3779b97f4a7c15
	z := uint64(*s)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// normal returns the sum of twelve uniform numbers less 6, of mean 0 and variance 1: near enough to a Gaussian, and without a logarithm.
func (s *splitMix) normal() float64 {
	sum := -6.0
	for range 12 {
		sum += float64(float64(s.next()>>11) / (1 << 53)) // a division that compilers make a product
	}
	return sum
}
