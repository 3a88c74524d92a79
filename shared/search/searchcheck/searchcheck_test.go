package searchcheck

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/search"
)

// draws is an optimizer that keeps the contract but for one flaw.
type draws struct {
	p       search.Problem
	flaw    string
	r       *rand.Rand
	asked   int
	pending [][]float64
	best    []float64
	lowest  float64
}

// instances makes a flaw that no seed explains.
var instances uint64

func suite(flaw string) Suite {
	return Suite{Make: func(p search.Problem) (search.Optimizer, error) {
		d := &draws{p: p, flaw: flaw, lowest: math.Inf(1)}
		if flaw != "keeps bounds" {
			d.p.Lower, d.p.Upper = slices.Clone(p.Lower), slices.Clone(p.Upper)
		}
		if flaw == "no seed" {
			instances++
			p.Seed = instances
		}
		d.r = rand.New(rand.NewPCG(p.Seed, 0))
		return d, nil
	}}
}

func (d *draws) Ask(n int) ([][]float64, error) {
	if d.flaw != "asks again" && (n < 1 || len(d.pending) > 0) {
		return nil, fault.New(fault.Invalid, "", "not now")
	}
	if d.flaw == "one too many" {
		n++
	}
	if d.flaw != "no budget" {
		n = min(n, d.p.Budget-d.asked)
	}
	if d.flaw == "asks nothing" {
		n = 0
	}
	var x [][]float64
	for range n {
		w := make([]float64, d.p.Dim)
		for i := range w {
			w[i] = d.p.Lower[i] + d.r.Float64()*(d.p.Upper[i]-d.p.Lower[i])
			if d.flaw == "bounds" {
				w[i] *= 1.01
			}
		}
		x = append(x, w)
		d.pending = append(d.pending, slices.Clone(w))
	}
	d.asked += len(x)
	return x, nil
}

func (d *draws) Tell(x [][]float64, s []search.Score) error {
	if len(x) != len(s) {
		return fault.New(fault.Invalid, "", "of another length")
	}
	for _, w := range x {
		if d.flaw != "tells all" && within(d.p, w) != nil {
			return fault.New(fault.Invalid, "", "out of bounds")
		}
		if d.flaw == "no strangers" && !slices.ContainsFunc(d.pending, func(p []float64) bool { return slices.Equal(p, w) }) {
			return fault.New(fault.Invalid, "", "a stranger")
		}
	}
	if d.flaw == "order" && !slices.Equal(x[0], d.pending[0]) {
		return fault.New(fault.Invalid, "", "out of order")
	}
	for i, w := range x {
		d.pending = slices.DeleteFunc(d.pending, func(p []float64) bool { return slices.Equal(p, w) })
		better := s[i].Objective < d.lowest
		if d.flaw == "NaN" {
			better = !(s[i].Objective >= d.lowest)
		}
		if d.flaw == "last" || better && (d.flaw == "infinity" || !math.IsInf(s[i].Objective, 0)) {
			d.best, d.lowest = slices.Clone(w), s[i].Objective
		}
	}
	return nil
}

func (d *draws) Best() []float64 {
	if d.flaw == "made up" && d.best != nil {
		return make([]float64, d.p.Dim)
	}
	return slices.Clone(d.best)
}

// Each flaw is found by the check that is about it.
func TestChecks(t *testing.T) {
	flawless := suite("")
	for _, c := range flawless.Checks() {
		if err := c.Run(); err != nil {
			t.Errorf("%s: %v", c.Name, err)
		}
	}
	if err := flawless.ReturnsLowest(); err != nil {
		t.Errorf("returns lowest: %v", err)
	}
	for _, c := range []struct {
		flaw  string
		check func(Suite) error
		says  string
	}{
		{"bounds", Suite.KeepsBounds, "uneven bounds: weight 1 is"},
		{"one too many", Suite.KeepsBounds, "candidates where"},
		{"asks nothing", Suite.KeepsBounds, "0 candidates for a budget of 30"},
		{"no budget", Suite.KeepsBudget, "64 candidates for a budget of 21"},
		{"no seed", Suite.IsDeterministic, "two searches with one seed differ: 12 weights, batch 1, from round 1 on"},
		{"asks again", Suite.RefusesWrongCalls, "Ask(0) is no error"},
		{"tells all", Suite.RefusesWrongCalls, "telling a short candidate is no error"},
		{"no strangers", Suite.TakesStrangers, "before the first candidate: a stranger"},
		{"order", Suite.TakesAnyOrder, "out of order"},
		{"NaN", Suite.SurvivesFailures, "evaluations that are NaN: all: best is"},
		{"last", Suite.ReturnsLowest, "the best seen is"},
		{"made up", Suite.ReturnsGood, "which was never told"},
		{"no seed", Suite.Resumes, "resumed after"},
		{"keeps bounds", Suite.OwnsNothing, "round 1 asks"},
	} {
		if err := c.check(suite(c.flaw)); fault.CodeOf(err) != fault.Invalid || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, expected %q", c.flaw, err, c.says)
		}
	}
}

// Smaller optimizers are held to smaller problems.
func TestMaxDim(t *testing.T) {
	largest := 0
	small := suite("")
	create := small.Make
	small.MaxDim = 2
	small.Make = func(p search.Problem) (search.Optimizer, error) {
		largest = max(largest, p.Dim)
		return create(p)
	}
	for _, c := range small.Checks() {
		if err := c.Run(); err != nil {
			t.Errorf("%s: %v", c.Name, err)
		}
	}
	if largest != 2 {
		t.Errorf("the largest problem has %d weights", largest)
	}
}
