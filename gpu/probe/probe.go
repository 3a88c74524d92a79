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

// Open opens the backend that Choose takes. One that was examined in this process is the one that is returned: what it measured for itself
// need not be measured again. The caller closes it.
func Open(ctx context.Context, name string, candidates []Candidate) (backend.Backend, Choice, error) {
	choice, taken, err := choose(ctx, name, candidates, false)
	if err != nil {
		return nil, choice, err
	}
	if taken.backend != nil {
		return taken.backend, choice, nil
	}
	b, err := taken.Open()
	return b, choice, err
}

// Choose takes the backend called name, or the best of all for Auto. With all set, every candidate is examined and measured; without it
// only those that may be taken are, and speed is measured when there are several to choose from.
func Choose(ctx context.Context, name string, candidates []Candidate, all bool) (Choice, error) {
	choice, taken, err := choose(ctx, name, candidates, all)
	if err == nil {
		taken.close()
	}
	return choice, err
}

// choose is Choose; the subject that it takes is the caller's to close.
func choose(ctx context.Context, name string, candidates []Candidate, all bool) (Choice, *subject, error) {
	var looked []Candidate
	for _, c := range candidates {
		if all || c.Name == name || name == Auto && !c.LastResort {
			looked = append(looked, c)
		}
	}
	choice, taken, err := compare(ctx, name, looked, all)
	if err == nil && taken == nil && name == Auto && !all { // nothing usable: look at the last resorts too
		choice, taken, err = compare(ctx, name, candidates, false)
	}
	if err == nil && taken == nil {
		err = refusal(name, candidates, choice.Reports)
	}
	return choice, taken, err
}

// compare examines the candidates and takes one, if one passes; it closes the others. Speed takes time to measure, so without all it is
// measured only to tell rivals apart.
func compare(ctx context.Context, name string, candidates []Candidate, all bool) (choice Choice, taken *subject, err error) {
	subjects := make([]*subject, len(candidates))
	defer func() {
		for _, s := range subjects {
			if s != nil && s != taken {
				s.close()
			}
		}
	}()
	for i, c := range candidates {
		subjects[i] = &subject{Candidate: c}
		if err := subjects[i].examine(ctx, all); err != nil {
			return choice, nil, err
		}
	}
	if name == Auto && !all && rivals(subjects) > 1 {
		for _, s := range subjects {
			if !s.report.rival() {
				continue
			}
			if err := s.examine(ctx, true); err != nil {
				return choice, nil, err
			}
		}
	}
	for _, s := range subjects {
		if s.report.Passed && (name == Auto || s.Name == name) && (taken == nil || better(s.report, taken.report)) {
			taken = s
		}
	}
	if taken != nil {
		taken.report.Chosen = true
		choice.Name, choice.Reason = taken.Name, reason(name, taken.report, rivals(subjects))
		if name == Auto {
			choice.Reason += refused(subjects)
		}
	}
	for _, s := range subjects {
		choice.Reports = append(choice.Reports, s.report)
	}
	return choice, taken, nil
}

// rival says whether Auto would take the backend for its speed.
func (r Report) rival() bool { return r.Passed && !r.lastResort }

func rivals(all []*subject) int {
	n := 0
	for _, s := range all {
		if s.report.rival() {
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

// subject is a candidate under examination.
type subject struct {
	Candidate
	report  Report
	backend backend.Backend // open, if it passed in this process
}

func (s *subject) close() {
	if s.backend != nil {
		s.backend.Close()
	}
}

// examine tests the candidate, or goes on from an earlier test that did not measure. Only the end of ctx is an error; a failing candidate
// is a report.
func (s *subject) examine(ctx context.Context, measure bool) (err error) {
	if s.Examine != nil {
		s.report, err = s.Examine(ctx, measure)
	} else {
		err = s.examineHere(ctx, measure)
	}
	s.report.lastResort = s.LastResort || s.report.Software
	return err
}

// examineHere keeps what passes open.
func (s *subject) examineHere(ctx context.Context, measure bool) error {
	r := &s.report
	var err error
	if s.backend == nil {
		r.Name = s.Name
		if s.backend, err = s.Open(); err == nil {
			info := s.backend.Info()
			r.Device, r.Software = info.Device, info.Software
			r.Worst, err = SelfTest(ctx, s.backend, s.Tolerance)
		}
	}
	if err == nil && measure {
		r.GFLOPS, err = speed(ctx, s.backend)
	}
	r.Passed = err == nil
	if err == nil || ctx.Err() != nil {
		return ctx.Err()
	}
	r.Error = err.Error()
	s.close()
	s.backend = nil
	return nil
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

// refused says which backends cannot be used, and why, so that nobody wonders where a graphics processor has gone.
func refused(subjects []*subject) string {
	all := ""
	for _, s := range subjects {
		if !s.report.Passed {
			all += fmt.Sprintf("; %s cannot be used: %s", s.Name, s.report.Error)
		}
	}
	return all
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
