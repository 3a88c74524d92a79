package task

import (
	"math"
	"testing"

	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/zoo/zootest"
)

func objective(t *testing.T, name string) Objective {
	t.Helper()
	o, err := ParseObjective(name)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// The original's numbers: its "lorahub" value gives the cross-entropy, from which "mean" must follow, and back.
func TestValueAsTheOriginal(t *testing.T) {
	for _, g := range zootest.LoadGolden(t).Objective {
		size := 0.0
		for _, w := range g.Weights {
			size += math.Abs(w)
		}
		penalty := 0.05 * size / float64(len(g.Weights))
		for composition, want := range map[string]struct{ LoraHub, Mean float64 }{"product": g.Product, "delta": g.Delta} {
			ce := want.Mean - penalty
			losses, tokens := []float64{ce + 0.5, ce, ce, ce, ce - 0.25}, []int{1, 1, 3, 1, 2}
			for name, want := range map[string]float64{LoraHub: want.LoraHub, Mean: want.Mean} {
				// The original computes in float32.
				if got := objective(t, name).Value(losses, tokens, g.Weights); math.Abs(got-want) > 1e-6*(1+want) {
					t.Errorf("%s, %s, %s: %v, want %v", g.Task, composition, name, got, want)
				}
			}
		}
	}
}

func TestValueByHand(t *testing.T) {
	losses, tokens, weights := []float64{1, 4}, []int{3, 1}, []float64{1, -0.5, 0, 0}
	for name, want := range map[string]float64{
		LoraHub: (3*1+4)/4.0/2 + 0.05*1.5/4,
		Mean:    (3*1+4)/4.0 + 0.05*1.5/4,
		Sparse:  (3*1+4)/4.0 + 0.05*1.5,
	} {
		o := objective(t, name)
		if got := o.Value(losses, tokens, weights); math.Abs(got-want) > 1e-12 {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
		// Problem.L1 promises that the objective holds L1·Σ|w| and that the rest does not depend on w.
		if rest := o.Value(losses, tokens, make([]float64, 4)); math.Abs(rest+o.L1(4)*1.5-want) > 1e-12 {
			t.Errorf("%s: L1 is not the slope of the penalty", name)
		}
	}
	if got := objective(t, Sparse).Value(nil, nil, weights); !math.IsNaN(got) {
		t.Errorf("without examples: %v, want NaN", got)
	}
}

func TestWithPenalty(t *testing.T) {
	o, err := objective(t, Sparse).WithPenalty(0)
	if err != nil || o.L1(20) != 0 {
		t.Errorf("penalty 0: %+v, %v", o, err)
	}
	for _, bad := range []float64{-0.1, math.NaN(), math.Inf(1)} {
		if _, err := o.WithPenalty(bad); fault.CodeOf(err) != fault.Invalid {
			t.Errorf("penalty %v: error %v", bad, err)
		}
	}
}

func TestParseObjectiveRefuses(t *testing.T) {
	for _, bad := range []string{"", "Sparse", "l1"} {
		if _, err := ParseObjective(bad); fault.CodeOf(err) != fault.Invalid {
			t.Errorf("%q: error %v", bad, err)
		}
	}
}

func TestExampleLosses(t *testing.T) {
	got, err := ExampleLosses([]float64{-1, -3, -5}, []int{2, 1})
	if err != nil || len(got) != 2 || got[0] != 2 || got[1] != 5 {
		t.Fatalf("got %v, %v; want [2 5]", got, err)
	}
	for _, tokens := range [][]int{{2}, {2, 2}, {3, 0}, {-1, 4}, nil} {
		if _, err := ExampleLosses([]float64{-1, -3, -5}, tokens); err == nil {
			t.Errorf("tokens %v for three log-probabilities: no error", tokens)
		}
	}
}

func TestCorrect(t *testing.T) {
	for _, c := range []struct {
		answer, target string
		want           bool
	}{
		{"Yes.", "yes", true},
		{" a.b.c \n", "ABC", true},
		{"yes", "no", false},
		{"", "...", true},
		{"a b", "ab", false},
		{"ÉTÉ", "été", true},
		{"yes!", "yes", false},
	} {
		if got := Correct(c.answer, c.target); got != c.want {
			t.Errorf("Correct(%q, %q) = %v", c.answer, c.target, got)
		}
	}
}

func TestAccuracy(t *testing.T) {
	examples := []Example{{"", "a"}, {"", "b"}, {"", "c"}, {"", "d"}}
	if got := Accuracy([]string{"a", "x", "C.", "d"}, examples); got != 75 {
		t.Errorf("Accuracy = %v, want 75", got)
	}
	if got := Accuracy(nil, nil); got != 0 {
		t.Errorf("Accuracy of nothing = %v, want 0", got)
	}
}
