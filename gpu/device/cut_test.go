package device

import "testing"

func TestCut(t *testing.T) {
	costing := func(costs ...float64) []Step {
		steps := make([]Step, len(costs))
		for i, c := range costs {
			steps[i].Cost = c
		}
		return steps
	}
	for _, c := range []struct {
		name  string
		steps []Step
		want  int
	}{
		{"none", nil, 0},
		{"all fit", costing(4e6, 5e6), 2},
		{"the third does not", costing(4e6, 6e6, 1), 2},
		{"one alone is too dear", costing(1e12, 1), 1},
		{"the second is too dear", costing(1, 1e12), 1},
		{"a step costs something at least", make([]Step, 500), 100},
		{"a copy costs its bytes", []Step{{Copy: &Copy{Bytes: 9e6}}, {Copy: &Copy{Bytes: 2e6}}}, 1},
		{"less than nothing counts as little", costing(-1e12, 1e7), 1},
	} {
		if got := cut(c.steps, 1e7); got != c.want {
			t.Errorf("%s: %d steps, want %d", c.name, got, c.want)
		}
	}
	if got := cut(make([]Step, 5000), 1e12); got != stepsPerSubmission {
		t.Errorf("cheap steps: %d in a submission, want %d", got, stepsPerSubmission)
	}
}
