//go:build wasip1

package main

import (
	"encoding/json"
	"slices"
)

// config is the problem to search, as opt_create is told it. Members that are not known are skipped.
type config struct {
	Dim     int            `json:"dim"`         // weights of a candidate
	Budget  int            `json:"budget"`      // candidates in all
	Batch   int            `json:"batch"`       // the most that are evaluated at once, a hint for the size of rounds
	Seed    uint64         `json:"seed,string"` // everything random comes from it; text, as JSON's numbers do not hold one everywhere
	Lower   []float64      `json:"lower"`       // [dim], inclusive
	Upper   []float64      `json:"upper"`       // [dim], inclusive
	Init    []float64      `json:"init"`        // [dim] or empty, the point to start from
	L1      float64        `json:"l1"`          // the objective holds l1·Σ|w|
	Aux     int            `json:"aux"`         // log-probabilities that a score carries
	Groups  []int          `json:"groups"`      // how many of them belong to each example, in order; empty if that is not known
	Options map[string]any `json:"options"`     // the plugin's own
}

const (
	maxDim    = 10_000
	maxBudget = 100_000
)

func readConfig(text []byte) (config, *refusal) {
	var c config
	if err := json.Unmarshal(text, &c); err != nil {
		return c, &refusal{badArgument, "the configuration is not the JSON that is expected: " + err.Error()}
	}
	if len(c.Options) > 0 {
		return c, &refusal{unsupported, "options: this plugin has none"}
	}
	return c, c.check()
}

func (c *config) check() *refusal {
	wrong := ""
	total := 0
	for _, n := range c.Groups {
		total += n
	}
	switch {
	case c.Dim < 1 || c.Dim > maxDim:
		wrong = "dim must be from 1 to 10000"
	case c.Budget < 1 || c.Budget > maxBudget:
		wrong = "budget must be from 1 to 100000"
	case c.Batch < 1:
		wrong = "batch must be at least 1"
	case len(c.Lower) != c.Dim || len(c.Upper) != c.Dim:
		wrong = "lower and upper must have dim values"
	case c.L1 < 0:
		wrong = "l1 must be 0 or more"
	case len(c.Init) != 0 && len(c.Init) != c.Dim:
		wrong = "init must have dim values"
	case len(c.Groups) != 0 && slices.Min(c.Groups) < 0:
		wrong = "groups must be 0 or more"
	case c.Aux < 0 || len(c.Groups) != 0 && total != c.Aux:
		wrong = "aux is not the sum of the groups"
	}
	for i := 0; wrong == "" && i < c.Dim; i++ {
		if c.Lower[i] > c.Upper[i] {
			wrong = "a lower bound is above the upper one"
		}
	}
	if wrong != "" {
		return &refusal{badArgument, wrong}
	}
	for i, v := range c.Init {
		// For another start the host tells that point before it asks.
		if v != min(max(0, c.Lower[i]), c.Upper[i]) {
			return &refusal{unsupported, "init: the search starts at zero, or the bound nearest to it"}
		}
	}
	return nil
}
