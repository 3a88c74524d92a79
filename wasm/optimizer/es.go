package optimizer

import "github.com/medley-lora/medley/shared/search"

// es is the (1+λ) evolution strategy with the one-fifth success rule (Rechenberg, "Evolutionsstrategie", 1973): mutate the
// best point in every weight, widen the mutations when one in five or more succeeds, else narrow them. λ is what is asked for
// at once. It is the simplest search that adapts, and the one that the sample plugins repeat: everything here is sums and
// products, so that any language gives the same bits.
type es struct {
	ledger
	chance splitMix
	sigma  float64 // standard deviation of a mutation, as a share of a third of a weight's range
}

// Four failures undo a success, so the width holds still at a success in five.
const (
	firstSigma = 0.3
	leastSigma = 0.001
	mostSigma  = 1.0
	widen      = 1.5
	narrow     = 0.9036020036098448 // the inverse of the fourth root of widen
)

func newES(p search.Problem) (search.Optimizer, error) {
	return &es{ledger: newLedger(p), chance: splitMix(p.Seed), sigma: firstSigma}, nil
}

// Ask returns 0 and then mutations of the best point, of 0 before there is one.
func (e *es) Ask(n int) ([][]float64, error) {
	k, err := e.Room(n)
	if err != nil {
		return nil, err
	}
	x := make([][]float64, k)
	for i := range x {
		x[i] = make([]float64, e.Problem.Dim)
		if e.Asked+i > 0 {
			e.mutate(x[i])
		}
	}
	return e.propose(x...), nil
}

// mutate fills x with the best point moved by sigma in every weight.
func (e *es) mutate(x []float64) {
	copy(x, e.Lowest)
	for i := range x {
		third := (e.Problem.Upper[i] - e.Problem.Lower[i]) / 3
		x[i] += float64(float64(e.sigma*third) * e.chance.normal())
	}
}

// Tell adapts the width to each answer in turn, whatever the batch: a success is a new best point.
func (e *es) Tell(x [][]float64, s []search.Score) error {
	if err := e.Check(x, s); err != nil {
		return err
	}
	for i := range x {
		before, known := e.LowestF, e.Lowest != nil
		asked := e.Take(x[i], s[i])
		switch {
		case !asked || !known: // a warm start, or the first point: neither says anything of the width
		case e.LowestF < before:
			e.sigma = min(e.sigma*widen, mostSigma)
		default:
			e.sigma = max(e.sigma*narrow, leastSigma)
		}
	}
	return nil
}
