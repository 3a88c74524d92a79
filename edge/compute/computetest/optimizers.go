package computetest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/medley-lora/medley/edge/compute"
	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/search"
)

// Optimizers is compute.Optimizers of random search, whatever the name. A plugin is a file of words: "breaks" makes one that fails on
// opening, "fails" one that fails after two rounds, and anything else one that works.
type Optimizers struct{}

// Open makes random search ready.
func (Optimizers) Open(_ context.Context, spec compute.OptimizerSpec, _ int) (compute.Optimizer, error) {
	o := &optimizer{info: compute.OptimizerInfo{Name: spec.Name}}
	if spec.Wasm != nil {
		o.info = compute.OptimizerInfo{Name: "words", Version: "1.0", SHA256: digest(spec.Wasm)}
	}
	switch string(spec.Wasm) {
	case "breaks":
		return nil, fault.New(fault.Invalid, "optimizer", "plugin: breaks")
	case "fails":
		o.rounds = 2
	}
	return o, nil
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// Validate passes what Open opens.
func (o Optimizers) Validate(ctx context.Context, wasm []byte) (compute.Validation, error) {
	v := compute.Validation{Info: compute.OptimizerInfo{SHA256: digest(wasm)}, Checks: []compute.Check{{Name: "opens", Passed: true}}}
	opened, err := o.Open(ctx, compute.OptimizerSpec{Wasm: wasm}, 1)
	if err != nil {
		v.Checks[0].Passed, v.Checks[0].Detail = false, err.Error()
		return v, nil
	}
	v.Info = opened.Info()
	return v, nil
}

type optimizer struct {
	info    compute.OptimizerInfo
	rounds  int // after which it fails; 0 never
	failure error
}

func (o *optimizer) Info() compute.OptimizerInfo { return o.info }

func (o *optimizer) New(_ context.Context, p search.Problem) (search.Optimizer, error) {
	o.failure = nil
	return &random{owner: o, problem: p, source: rand.New(rand.NewPCG(p.Seed, 0)), lowest: math.Inf(1)}, nil //nolint:gosec // for tests
}

func (o *optimizer) Failure() error { return o.failure }

func (o *optimizer) Close() {}

// random asks for zero weights, and then for anything.
type random struct {
	owner   *optimizer
	problem search.Problem
	source  *rand.Rand
	asked   int
	rounds  int
	best    []float64
	lowest  float64
}

func (r *random) Ask(n int) ([][]float64, error) {
	if r.rounds++; r.owner.rounds > 0 && r.rounds > r.owner.rounds {
		r.owner.failure = fault.New(fault.Invalid, "optimizer", "plugin: failed in opt_ask")
		return nil, nil
	}
	var all [][]float64
	for range min(n, r.problem.Budget-r.asked) {
		x := make([]float64, r.problem.Dim)
		for i := range x {
			if r.asked > 0 {
				x[i] = r.problem.Lower[i] + r.source.Float64()*(r.problem.Upper[i]-r.problem.Lower[i])
			}
		}
		r.asked++
		all = append(all, x)
	}
	return all, nil
}

func (r *random) Tell(x [][]float64, s []search.Score) error {
	for i := range x {
		if s[i].Objective < r.lowest {
			r.best, r.lowest = slices.Clone(x[i]), s[i].Objective
		}
	}
	return nil
}

func (r *random) Best() []float64 { return r.best }
