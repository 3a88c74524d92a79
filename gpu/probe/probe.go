// Package probe decides which backend runs: one is trusted only after a self-test with known answers, and the fastest that
// passes is taken. What was found and why is part of the answer, so that it can be shown.
package probe

import (
	"context"
	"fmt"

	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/shared/fault"
)

// Candidate is a backend that may be there.
type Candidate struct {
	Name string
	Open func() (backend.Backend, error)
	// LastResort marks a backend that Auto takes only when no other passes, however fast: an oracle or an emulation.
	LastResort bool
}

// Report says what was found of one candidate.
type Report struct {
	Name   string       `json:"name"`
	Device string       `json:"device,omitempty"`
	Passed bool         `json:"passed"`
	Worst  float64      `json:"worst_difference"` // of the self-test, relative to the largest value of each answer
	Error  string       `json:"error,omitempty"`  // why it is not usable
	GFLOPS float64      `json:"gflops,omitempty"` // f32 matrix product, 0 if not measured
	Chosen bool         `json:"chosen"`
	Info   backend.Info `json:"-"`
}

// Auto is the name that asks for the best backend.
const Auto = "auto"

// Open returns the backend called name, or the best of all for Auto, with one report per candidate that was looked at and the reason for
// the choice. Speed is measured when all is set, or when Auto has several to choose from. The caller closes the backend.
func Open(ctx context.Context, name string, candidates []Candidate, all bool) (backend.Backend, []Report, string, error) {
	var looked []Candidate
	for _, c := range candidates {
		if all || c.Name == name || name == Auto && !c.LastResort {
			looked = append(looked, c)
		}
	}
	chosen, reports, err := choose(ctx, name, looked, all)
	if err == nil && chosen < 0 && name == Auto && !all { // nothing usable: look at the last resorts too
		looked = candidates
		chosen, reports, err = choose(ctx, name, looked, false)
	}
	if err != nil {
		return nil, reports, "", err
	}
	if chosen < 0 {
		return nil, reports, "", refusal(name, candidates, reports)
	}
	b, err := looked[chosen].Open()
	if err != nil {
		return nil, reports, "", err
	}
	reports[chosen].Chosen = true
	return b, reports, reason(name, chosen, reports), nil
}

// choose examines the candidates and returns the number of the one to take, or −1.
func choose(ctx context.Context, name string, candidates []Candidate, all bool) (int, []Report, error) {
	chosen := -1
	reports := make([]Report, len(candidates))
	for i, c := range candidates {
		r, err := examine(ctx, c, all || name == Auto && len(candidates) > 1)
		if err != nil {
			return -1, reports, err
		}
		reports[i] = r
		if !r.Passed || name != Auto && c.Name != name {
			continue
		}
		if chosen < 0 || better(c, r, candidates[chosen], reports[chosen]) {
			chosen = i
		}
	}
	return chosen, reports, nil
}

func better(c Candidate, r Report, than Candidate, thanReport Report) bool {
	if c.LastResort != than.LastResort {
		return than.LastResort
	}
	return r.GFLOPS > thanReport.GFLOPS
}

// examine opens a candidate, tests it and closes it. Only the end of ctx is an error; a failing candidate is a report.
func examine(ctx context.Context, c Candidate, measure bool) (Report, error) {
	r := Report{Name: c.Name}
	b, err := c.Open()
	if err != nil {
		r.Error = err.Error()
		return r, ctx.Err()
	}
	defer b.Close()
	r.Info = b.Info()
	r.Device = r.Info.Device
	worst, err := SelfTest(ctx, b)
	if ctx.Err() != nil {
		return r, ctx.Err()
	}
	r.Worst = worst
	if err != nil {
		r.Error = err.Error()
		return r, nil
	}
	r.Passed = true
	if measure {
		r.GFLOPS, err = speed(ctx, b)
	}
	return r, err
}

func reason(name string, chosen int, reports []Report) string {
	r := reports[chosen]
	if name != Auto {
		return fmt.Sprintf("%s, as asked; the self-test passed", r.Name)
	}
	if r.GFLOPS == 0 {
		return fmt.Sprintf("%s: the self-test passed", r.Name)
	}
	return fmt.Sprintf("%s: the fastest that passed the self-test, %.3g GFLOP/s", r.Name, r.GFLOPS)
}

func refusal(name string, candidates []Candidate, reports []Report) error {
	if name == Auto {
		return fault.New(fault.Unsupported, "backend", "none passed its self-test; see: medley doctor")
	}
	known := ""
	for _, c := range candidates {
		known += ", " + c.Name
	}
	for _, r := range reports {
		if r.Name == name {
			return fault.New(fault.Unsupported, "backend", "%s cannot be used here: %s", name, r.Error)
		}
	}
	return fault.New(fault.Invalid, "backend", "%q is not known; expected %s%s", name, Auto, known)
}
