package main

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestDemo(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "zoo")
	o := succeed(t, "demo", "--task", "last_week", "--budget", "6", "--keep", dir, "--backend", "reference")
	for _, want := range []string{"last_week", "zero-shot", "composed", "medley compose", dir} {
		if !strings.Contains(o.stdout, want) {
			t.Errorf("does not say %q:\n%s", want, o.stdout)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "base", "config.json")); err != nil {
		t.Error(err)
	}
	got := decode[struct {
		Tasks   map[string]composed
		Backend string
		Seconds float64
	}](t, succeed(t, "demo", "--task", "last_week", "--budget", "6", "--json", "--backend", "reference"))
	if len(got.Tasks) != 1 || got.Backend != "reference" || got.Seconds <= 0 {
		t.Errorf("%d tasks on %s in %v s", len(got.Tasks), got.Backend, got.Seconds)
	}
	for name, r := range got.Tasks {
		if r.ZeroShot == nil || r.BestSingle == nil || r.Composed == nil || r.Composed.Accuracy == nil || r.Evaluations != 6 {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

// A budget of one evaluation is spent on zero weights: no module was tried.
func TestDemoOfOneEvaluation(t *testing.T) {
	if o := succeed(t, "demo", "--task", "last_week", "--budget", "1", "--backend", "reference"); !strings.Contains(o.stdout, "last_week") {
		t.Errorf("says:\n%s", o.stdout)
	}
}

func TestDemoCanceled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, args := range [][]string{{"demo", "--backend", "reference"}, {"demo", "--backend", "reference", "--json"}} {
		if o := medleyWith(ctx, "", args...); o.code != exitCanceled {
			t.Errorf("exit code %d: %s", o.code, o.stderr)
		}
	}
}

func TestDoctor(t *testing.T) {
	if o := succeed(t, "doctor"); !strings.Contains(o.stdout, "reference") || !strings.Contains(o.stdout, "auto takes") {
		t.Errorf("doctor says:\n%s", o.stdout)
	}
	got := decode[struct {
		Backends []struct {
			Name           string
			Passed, Chosen bool
		}
		Reason, System, Go string
	}](t, succeed(t, "doctor", "--json"))
	chosen := 0
	var names []string
	for _, b := range got.Backends {
		names = append(names, b.Name)
		if b.Chosen && b.Passed {
			chosen++
		}
	}
	if chosen != 1 || !slices.Equal(names, []string{"cpu", "webgpu", "reference"}) || got.Reason == "" || got.System == "" || got.Go == "" {
		t.Errorf("%+v", got)
	}
}
