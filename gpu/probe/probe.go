// Package probe decides which backend runs: one is trusted only after a self-test with known answers, and the fastest that
// passes is taken. What was found and why is part of the answer, so that it can be shown.
package probe

import (
	"context"
	"fmt"
	"slices"

	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/shared/fault"
)

// Candidate is a backend that may be there.
type Candidate struct {
	Name string
	Open func() (backend.Backend, error)
	// Examine, if set, is how the candidate is examined instead of opening it here: for one that lives in another process. measure asks
	// for its speed. Only the end of ctx is an error.
	Examine func(ctx context.Context, measure bool) (Report, error)
	// LastResort marks a backend that Auto takes only when no other passes, however fast: an oracle. So is one that emulates a
	// graphics processor (backend.Info.Software).
	LastResort bool
	// Tolerance is the largest difference from the known answers that passes the self-test, relative to the largest number of an
	// answer; 0 is 1e-4, which is for f32. Low-precision weights need more.
	Tolerance float64
}

// Report says what was found of one candidate.
type Report struct {
	Name     string  `json:"name"`
	Device   string  `json:"device,omitempty"`
	Software bool    `json:"software"`
	Passed   bool    `json:"passed"`
	Worst    float64 `json:"worst_difference"` // of the self-test, relative to the largest value of each answer
	Error    string  `json:"error,omitempty"`  // why it is not usable
	GFLOPS   float64 `json:"gflops,omitempty"` // f32 matrix product, 0 if not measured
	Chosen   bool    `json:"chosen"`

	lastResort bool
}

// Auto is the name that asks for the best backend.
const Auto = "auto"

// Choice is which backend to take and why. There is one report per candidate that was looked at.
type Choice struct {
	Name    string // "" if none is usable
	Reason  string
	Reports []Report
}

// Open opens the backend that Choose takes. The caller closes it.
func Open(ctx context.Context, name string, candidates []Candidate) (backend.Backend, Choice, error) {
	choice, err := Choose(ctx, name, candidates, false)
	if err != nil {
		return nil, choice, err
	}
	i := slices.IndexFunc(candidates, func(c Candidate) bool { return c.Name == choice.Name })
	b, err := candidates[i].Open()
	return b, choice, err
}

// Choose takes the backend called name, or the best of all for Auto. With all set, every candidate is examined and measured; without it
// only those that may be taken are, and speed is measured when there are several to choose from.
func Choose(ctx context.Context, name string, candidates []Candidate, all bool) (Choice, error) {
	var looked []Candidate
	for _, c := range candidates {
		if all || c.Name == name || name == Auto && !c.LastResort {
			looked = append(looked, c)
		}
	}
	choice, err := choose(ctx, name, looked, all)
	if err == nil && choice.Name == "" && name == Auto && !all { // nothing usable: look at the last resorts too
		choice, err = choose(ctx, name, candidates, false)
	}
	if err == nil && choice.Name == "" {
		err = refusal(name, candidates, choice.Reports)
	}
	return choice, err
}

// choose examines the candidates and takes one, if one passes. Speed takes time to measure, so without all it is measured only to
// tell rivals apart.
func choose(ctx context.Context, name string, candidates []Candidate, all bool) (Choice, error) {
	var choice Choice
	for _, c := range candidates {
		r, err := examine(ctx, c, all)
		if err != nil {
			return choice, err
		}
		choice.Reports = append(choice.Reports, r)
	}
	if name == Auto && !all && rivals(choice.Reports) > 1 {
		for i, r := range choice.Reports {
			if !r.rival() {
				continue
			}
			var err error
			if choice.Reports[i], err = examine(ctx, candidates[i], true); err != nil {
				return choice, err
			}
		}
	}
	chosen := -1
	for i, r := range choice.Reports {
		if r.Passed && (name == Auto || candidates[i].Name == name) && (chosen < 0 || better(r, choice.Reports[chosen])) {
			chosen = i
		}
	}
	if chosen >= 0 {
		choice.Reports[chosen].Chosen = true
		choice.Name, choice.Reason = candidates[chosen].Name, reason(name, choice.Reports[chosen], rivals(choice.Reports))
	}
	return choice, nil
}

// rival says whether Auto would take the backend for its speed.
func (r Report) rival() bool { return r.Passed && !r.lastResort }

func rivals(all []Report) int {
	n := 0
	for _, r := range all {
		if r.rival() {
			n++
		}
	}
	return n
}

func better(r, than Report) bool {
	if r.lastResort != than.lastResort {
		return than.lastResort
	}
	return r.GFLOPS > than.GFLOPS
}

// examine tests a candidate. Only the end of ctx is an error; a failing candidate is a report.
func examine(ctx context.Context, c Candidate, measure bool) (Report, error) {
	examine := c.Examine
	if examine == nil {
		examine = func(ctx context.Context, measure bool) (Report, error) { return openAndTest(ctx, c, measure) }
	}
	r, err := examine(ctx, measure)
	r.lastResort = c.LastResort || r.Software
	return r, err
}

func openAndTest(ctx context.Context, c Candidate, measure bool) (Report, error) {
	r := Report{Name: c.Name}
	b, err := c.Open()
	if err != nil {
		r.Error = err.Error()
		return r, ctx.Err()
	}
	defer b.Close()
	info := b.Info()
	r.Device, r.Software = info.Device, info.Software
	r.Worst, err = SelfTest(ctx, b, c.Tolerance)
	if ctx.Err() != nil {
		return r, ctx.Err()
	}
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

func reason(name string, r Report, rivals int) string {
	switch {
	case name != Auto:
		return fmt.Sprintf("%s, as asked; the self-test passed", r.Name)
	case r.lastResort:
		return fmt.Sprintf("%s: nothing better passed the self-test", r.Name)
	case rivals < 2 || r.GFLOPS == 0:
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
