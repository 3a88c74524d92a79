package optimizer

import (
	"context"
	"math"
	"testing"

	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/search"
	"github.com/medley-lora/medley/shared/search/searchtest"
)

func TestContract(t *testing.T) {
	for _, a := range Algorithms() {
		t.Run(a.Name, func(t *testing.T) {
			searchtest.Run(t, func(p search.Problem) (search.Optimizer, error) { return New(a.Name, p) })
		})
	}
}

func TestReturnsLowest(t *testing.T) {
	for _, name := range []string{"cobyla", "coord", "es", "random"} { // gntr documents another choice
		searchtest.ReturnsLowest(t, func(p search.Problem) (search.Optimizer, error) { return New(name, p) })
	}
}

func TestNewRefuses(t *testing.T) {
	if Algorithms()[0].Name != Default {
		t.Errorf("the first algorithm is %s", Algorithms()[0].Name)
	}
	if _, err := New("adam", searchtest.Problem(2, 5, 1)); fault.CodeOf(err) != fault.NotFound {
		t.Errorf("unknown name: %v", err)
	}
	if _, err := New("cobyla", searchtest.Problem(maxCOBYLA+1, 5, 1)); fault.CodeOf(err) != fault.Unsupported {
		t.Errorf("too many weights for cobyla: %v", err)
	}
	if _, err := New("gntr", search.Problem{}); fault.CodeOf(err) != fault.Invalid {
		t.Errorf("empty problem: %v", err)
	}
}

// Objectives at the ends of the numbers must neither stop a search nor make it ask for what is not a number.
func TestHugeObjectives(t *testing.T) {
	for _, a := range Algorithms() {
		for name, objective := range map[string]func(i int) float64{
			"alternating": func(i int) float64 { return math.Copysign(1e308, float64(i%2)-0.5) },
			"constant":    func(int) float64 { return 1e308 },
			"tiny":        func(i int) float64 { return float64(i) * 5e-324 },
			"infinite":    func(i int) float64 { return math.Inf(i%2*2 - 1) },
		} {
			t.Run(a.Name+" "+name, func(t *testing.T) {
				p := searchtest.Problem(6, 60, 5)
				o, err := New(a.Name, p)
				if err != nil {
					t.Fatal(err)
				}
				told := 0
				result, err := search.Run(t.Context(), p, o, scorer(func() search.Score {
					told++
					return search.Score{Objective: objective(told), LogProbs: []float64{-1e300, 0, -1, -2, -3, -4}}
				}), search.RunOptions{})
				if name == "infinite" {
					if fault.CodeOf(err) != fault.Invalid || told != 60 {
						t.Errorf("%d evaluations, %v", told, err)
					}
				} else if err != nil || result.Evaluations != 60 && result.Stopped != search.StoppedConverged {
					t.Errorf("%+v, %v", result, err)
				}
			})
		}
	}
}

// scorer evaluates without looking at the candidates.
type scorer func() search.Score

func (s scorer) Evaluate(_ context.Context, x [][]float64) ([]search.Score, error) {
	scores := make([]search.Score, len(x))
	for i := range scores {
		scores[i] = s()
	}
	return scores, nil
}
