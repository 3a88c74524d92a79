package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/medley-lora/medley/shared/zoo/zootest"
)

// scored mirrors the documented output of score --json.
type scored struct {
	Scores []struct {
		Weights   []float64
		Objective float64
		Loss      float64
		Examples  []struct {
			Loss     float64
			LogProbs []float64
		}
	}
	Modules []string
	Backend string
}

// score runs medley score on the reference backend.
func score(t *testing.T, args ...string) scored {
	t.Helper()
	return decode[scored](t, succeed(t, append([]string{"score", "--json", "--backend", "reference"}, args...)...))
}

// The objectives of the original code, for both compositions.
func TestScoreIsTheOriginals(t *testing.T) {
	p := newPlace(t)
	for _, want := range zootest.LoadGolden(t).Objective[:2] {
		weights := strings.Trim(strings.Join(strings.Fields(fmt.Sprint(want.Weights)), ","), "[]")
		for method, values := range map[string]struct{ LoraHub, Mean float64 }{"delta": want.Delta, "product": want.Product} {
			for objective, value := range map[string]float64{"lorahub": values.LoraHub, "mean": values.Mean} {
				args := append(p.modules(want.Modules...), "--base", p.base(), "--examples", p.few(want.Task), "--weights="+weights, "--method", method,
					"--objective", objective)
				got := score(t, args...).Scores[0].Objective
				if math.Abs(got-value) > 1e-4 { // float32 against float32 by other orders of summation
					t.Errorf("%s %s of %s: %v, the original gives %v", method, objective, want.Task, got, value)
				}
			}
		}
	}
}

func TestScoreJSON(t *testing.T) {
	p := newPlace(t)
	file := p.write(t, "weights.jsonl", "[1, 0.5]\n[0, 0]\n[[-1.5, 0], [0, 1]]\n")
	args := append(p.modules("plural", "french"), "--base", p.base(), "--examples", p.few("several"), "--weights", file)
	got := score(t, args...)
	if !slices.Equal(got.Modules, []string{"plural", "french"}) || got.Backend != "reference" || len(got.Scores) != 4 {
		t.Fatalf("modules %v on %s, %d scores", got.Modules, got.Backend, len(got.Scores))
	}
	for i, want := range [][]float64{{1, 0.5}, {0, 0}, {-1.5, 0}, {0, 1}} {
		s := got.Scores[i]
		if !slices.Equal(s.Weights, want) || len(s.Examples) != 5 {
			t.Fatalf("score %d is of %v with %d examples", i, s.Weights, len(s.Examples))
		}
		sum, tokens := 0.0, 0
		for j, x := range s.Examples {
			own := 0.0
			for _, v := range x.LogProbs {
				own -= v
			}
			if math.Abs(own/float64(len(x.LogProbs))-x.Loss) > 1e-9 {
				t.Errorf("score %d, example %d: loss %v, of its log-probabilities %v", i, j, x.Loss, own/float64(len(x.LogProbs)))
			}
			sum, tokens = sum+own, tokens+len(x.LogProbs)
		}
		penalty := 0.05 * (math.Abs(want[0]) + math.Abs(want[1]))
		if math.Abs(sum/float64(tokens)-s.Loss) > 1e-9 || math.Abs(s.Loss+penalty-s.Objective) > 1e-9 {
			t.Errorf("score %d: loss %v, objective %v; its tokens say %v with a penalty of %v", i, s.Loss, s.Objective, sum/float64(tokens), penalty)
		}
	}
	listed := score(t, append(p.modules("plural", "french"), "--base", p.base(), "--examples", p.few("several"), "--weights", "1,0.5")...)
	if listed.Scores[0].Loss != got.Scores[0].Loss {
		t.Errorf("in a batch of four %v, alone %v", got.Scores[0].Loss, listed.Scores[0].Loss)
	}
}

func TestScoreForPeople(t *testing.T) {
	p := newPlace(t)
	args := append([]string{"score", "--base", p.base(), "--examples", p.few("several"), "--weights", "1"}, p.modules("plural")...)
	o := succeed(t, args...)
	for _, want := range []string{"objective", "loss"} {
		if !strings.Contains(o.stdout, want) {
			t.Errorf("the table does not say %q:\n%s", want, o.stdout)
		}
	}
}

// A pattern means the same whether the shell expands it or not, and where a folder's name is a pattern itself.
func TestModulesByPattern(t *testing.T) {
	p := newPlace(t)
	rest := []string{"--base", p.base(), "--examples", p.few("several"), "--weights", "1,0,0,0,0,0"}
	quoted := score(t, append([]string{"--modules", p.module("pick_*")}, rest...)...)
	expanded := append([]string{"--modules", p.module("pick_animal")}, p.module("pick_body"), p.module("pick_color"), p.module("pick_fruit"),
		p.module("pick_tool"), p.module("pick_vehicle"))
	shell := score(t, append(expanded, rest...)...)
	if len(quoted.Modules) != 6 || !slices.Equal(quoted.Modules, shell.Modules) || quoted.Scores[0].Loss != shell.Scores[0].Loss {
		t.Errorf("quoted %v, expanded by the shell %v", quoted.Modules, shell.Modules)
	}
}

// TestPrecision: weights in fewer bits move the loss a little, and score says by how much.
func TestPrecision(t *testing.T) {
	p := newPlace(t)
	args := append([]string{"score", "--base", p.base(), "--examples", p.few("in_paris"), "--weights", "1"}, p.modules("french")...)
	exact := decode[scoreOutput](t, succeed(t, append(args, "--json", "--backend", "cpu")...))
	if exact.Precision != "f32" || exact.LossDifference != nil {
		t.Errorf("in f32: %+v", exact)
	}
	for _, precision := range []string{"bf16", "int8"} {
		asked := append(args, "--backend", "cpu", "--precision", precision)
		got := decode[scoreOutput](t, succeed(t, append(asked, "--json")...))
		difference := math.Abs(float64(got.Scores[0].Loss - exact.Scores[0].Loss))
		if got.LossDifference == nil || math.Abs(float64(*got.LossDifference)-difference) > 1e-12 || difference == 0 || difference > 0.2 {
			t.Errorf("%s: loss %v against %v, difference %v", precision, got.Scores[0].Loss, exact.Scores[0].Loss, got.LossDifference)
		}
		if o := succeed(t, asked...); !strings.Contains(o.stdout, precision+" against f32") {
			t.Errorf("%s: %s", precision, o.stdout)
		}
	}
	for _, c := range []struct{ backend, precision, says string }{
		{"auto", "f64", "not known; expected one of bf16, f16, f32, int8"},
		{"webgpu", "bf16", "not offered by backend webgpu"},
		{"reference", "int8", "not offered by backend reference"},
		{"cpu", "f16", "not offered by backend cpu"},
	} {
		o := medley(t, append(args, "--backend", c.backend, "--precision", c.precision)...)
		if o.code != exitUsage && o.code != exitFailed || !strings.Contains(o.stderr, "--precision") || !strings.Contains(o.stderr, c.says) {
			t.Errorf("%s %s: exit code %d: %s", c.backend, c.precision, o.code, o.stderr)
		}
	}
}

// Rows of padding alone are rows: nothing is masked away until no number is left.
func TestScoreOfPadding(t *testing.T) {
	p := newPlace(t)
	examples := p.write(t, "pad.jsonl", `{"input":"<pad> <pad>","output":"<pad>"}`+"\n"+`{"input":"","output":"x"}`+"\n"+`{"input":"   ","output":"x"}`)
	args := append([]string{"score", "--base", p.base(), "--examples", examples, "--weights", "0.5", "--backend", "reference", "--json"}, p.modules("add")...)
	got := decode[scoreOutput](t, succeed(t, args...))
	if len(got.Scores) != 1 || len(got.Scores[0].Examples) != 3 {
		t.Fatalf("%+v", got)
	}
	for i, e := range got.Scores[0].Examples {
		if loss := float64(e.Loss); !(loss > 0) || math.IsInf(loss, 0) {
			t.Errorf("example %d: a loss of %v", i+1, loss)
		}
	}
}
