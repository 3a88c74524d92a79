// Package guesttest records what an optimizer asks for and replays it against another build of the same one: vectors, in a format that
// tests in other languages read too (testdata/vectors.json of package guest holds some).
package guesttest

import (
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"testing"

	"github.com/medley-lora/medley/shared/search"
)

// Vectors is the file: JSON, whose numbers have the digits that bring back the same float64. NaN is null.
type Vectors struct {
	About string `json:"about"`
	Cases []Case `json:"cases"`
}

// Case is one search from its beginning to its end: create the optimizer with Config, then for each round ask, compare every candidate
// bit for bit, and tell its scores. In the end ask for the best.
type Case struct {
	Name   string  `json:"name"`
	Config Config  `json:"config"` // what opt_create is told
	Rounds []Round `json:"rounds"`
	Best   Best    `json:"best"`
}

// Config is search.Problem and the options, as the guest interface names them.
type Config struct {
	Dim     int               `json:"dim"`
	Budget  int               `json:"budget"`
	Batch   int               `json:"batch"`
	Seed    string            `json:"seed"`
	Lower   []float64         `json:"lower"`
	Upper   []float64         `json:"upper"`
	Init    []float64         `json:"init"`
	L1      float64           `json:"l1"`
	Aux     int               `json:"aux"`
	Groups  []int             `json:"groups"`
	Options map[string]string `json:"options"`
}

// Round is one ask and the tell that answers it.
type Round struct {
	Ask        int        `json:"ask"`        // how many candidates are asked for
	Candidates [][]Number `json:"candidates"` // what is to be returned: at most Ask; none in the last round, which ends the search
	Objectives []Number   `json:"objectives"` // what is told, one per candidate; null for a failed evaluation
	Aux        [][]Number `json:"aux"`        // log-probabilities, a row per candidate; a row is null where they are unknown
}

// Best is the answer to opt_best.
type Best struct {
	Weights   []Number `json:"weights"`
	Objective Number   `json:"objective"`
}

// Number is a float64 that is null in JSON if it is NaN.
type Number float64

// MarshalJSON writes the shortest digits that bring back the number.
func (n Number) MarshalJSON() ([]byte, error) {
	if math.IsNaN(float64(n)) {
		return []byte("null"), nil
	}
	return json.Marshal(float64(n))
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (n *Number) UnmarshalJSON(text []byte) error {
	if string(text) == "null" {
		*n = Number(math.NaN())
		return nil
	}
	return json.Unmarshal(text, (*float64)(n))
}

// Problems are small searches of different kinds.
func Problems() map[string]search.Problem {
	lower, upper := search.Box(20, 1.5)
	return map[string]search.Problem{
		"20 weights": {Dim: 20, Lower: lower, Upper: upper, Budget: 40, Batch: 8, Seed: 42, L1: 0.05, Groups: []int{1, 3, 2}},
		"1 weight":   {Dim: 1, Lower: []float64{-1}, Upper: []float64{2}, Budget: 9, Batch: 1, Seed: math.MaxUint64, Groups: []int{6}},
		"uneven bounds, no log-probabilities": {
			Dim: 4, Lower: []float64{-1, 0, 0.25, -0.3}, Upper: []float64{1, 0.5, 3, -0.1}, Budget: 30, Batch: 5, L1: 0.01,
		},
	}
}

// Small is a search that fits on a page, for testdata.
func Small() search.Problem {
	lower, upper := search.Box(3, 1.5)
	return search.Problem{Dim: 3, Lower: lower, Upper: upper, Budget: 9, Batch: 3, Seed: 7, L1: 0.05, Groups: []int{1, 2}}
}

// failing is the evaluation of a search, counted from 0, that fails in every case.
const failing = 3

// score is an objective made of sums and products alone, which every machine rounds alike.
func score(p search.Problem, i int, x []float64) search.Score {
	s := search.Score{Loss: math.NaN()}
	if i == failing {
		s.Objective = math.NaN()
		return s
	}
	penalty := 0.0
	for _, v := range x {
		penalty += float64(p.L1 * math.Abs(v))
	}
	tokens := 0
	for _, n := range p.Groups {
		tokens += n
	}
	const least = 5 // so that there is an objective where there are no log-probabilities
	for t := range max(tokens, least) {
		sum := -1.0
		for j, v := range x {
			sum += float64(v * float64((1+t+3*j)%7-3))
		}
		logProb := -0.125 - float64(sum*sum)
		s.Objective -= logProb
		if t < tokens {
			s.LogProbs = append(s.LogProbs, logProb)
		}
	}
	s.Objective = s.Objective/float64(max(tokens, least)) + penalty
	return s
}

// Record searches p with o, which is new, and returns what happened.
func Record(t testing.TB, name, algorithm string, p search.Problem, o search.Optimizer) Case {
	t.Helper()
	c := Case{Name: name, Config: newConfig(algorithm, p)}
	best := map[string]Number{}
	for told := 0; ; {
		r := Round{Ask: max(1, min(p.Batch, p.Budget-told)), Candidates: [][]Number{}, Objectives: []Number{}, Aux: [][]Number{}}
		x, err := o.Ask(r.Ask)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		scores := make([]search.Score, len(x))
		for i := range x {
			scores[i] = score(p, told+i, x[i])
			r.Candidates = append(r.Candidates, numbers(x[i]))
			r.Objectives = append(r.Objectives, Number(scores[i].Objective))
			if p.Groups != nil {
				r.Aux = append(r.Aux, numbers(scores[i].LogProbs))
			}
			best[key(x[i])] = Number(scores[i].Objective)
		}
		c.Rounds = append(c.Rounds, r)
		if len(x) == 0 {
			break
		}
		if err := o.Tell(x, scores); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		told += len(x)
	}
	c.Best = Best{Weights: numbers(o.Best()), Objective: best[key(o.Best())]}
	return c
}

func newConfig(algorithm string, p search.Problem) Config {
	c := Config{
		Dim: p.Dim, Budget: p.Budget, Batch: p.Batch, Seed: strconv.FormatUint(p.Seed, 10), Lower: p.Lower, Upper: p.Upper,
		Init: make([]float64, p.Dim), L1: p.L1, Groups: append([]int{}, p.Groups...), Options: map[string]string{"optimizer": algorithm},
	}
	for i := range c.Init {
		c.Init[i] = min(max(0, p.Lower[i]), p.Upper[i])
	}
	for _, n := range p.Groups {
		c.Aux += n
	}
	return c
}

// Replay holds o, which is new and made for the problem of the case, to what was recorded.
func (c Case) Replay(t testing.TB, o search.Optimizer) {
	t.Helper()
	for i, r := range c.Rounds {
		x, err := o.Ask(r.Ask)
		if err != nil {
			t.Fatalf("%s, round %d: %v", c.Name, i+1, err)
		}
		if len(x) != len(r.Candidates) {
			t.Fatalf("%s, round %d: %d candidates, want %d", c.Name, i+1, len(x), len(r.Candidates))
		}
		scores := make([]search.Score, len(x))
		for j := range x {
			if want := floats(r.Candidates[j]); key(x[j]) != key(want) {
				t.Fatalf("%s, round %d: candidate %d is %v, want %v", c.Name, i+1, j+1, x[j], want)
			}
			scores[j] = search.Score{Objective: float64(r.Objectives[j]), Loss: math.NaN()}
			if len(r.Aux) > 0 {
				scores[j].LogProbs = floats(r.Aux[j])
			}
		}
		if len(x) == 0 {
			break
		}
		if err := o.Tell(x, scores); err != nil {
			t.Fatalf("%s, round %d: %v", c.Name, i+1, err)
		}
	}
	if best := o.Best(); key(best) != key(floats(c.Best.Weights)) {
		t.Errorf("%s: the best is %v, want %v", c.Name, best, c.Best.Weights)
	}
}

// key tells vectors of different bits apart.
func key(x []float64) string {
	var b []byte
	for _, v := range x {
		b = strconv.AppendUint(b, math.Float64bits(v), 16)
		b = append(b, ' ')
	}
	return string(b)
}

func numbers(x []float64) []Number {
	var n []Number // null stays null
	for _, v := range x {
		n = append(n, Number(v))
	}
	return n
}

func floats(n []Number) []float64 {
	var x []float64
	for _, v := range n {
		x = append(x, float64(v))
	}
	return slices.Clip(x)
}
