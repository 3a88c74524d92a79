// Package searchtest is the contract of search.Optimizer as a test: every implementation runs it, native or sandboxed. What it tests is
// in package searchcheck.
package searchtest

import (
	"testing"

	"github.com/medley-lora/medley/shared/search"
	"github.com/medley-lora/medley/shared/search/searchcheck"
)

// Make returns a new optimizer for p.
type Make = searchcheck.Make

// Evaluator scores candidates of Problem.
type Evaluator = searchcheck.Evaluator

// Run holds the optimizers that create returns to the contract of search.Optimizer.
func Run(t *testing.T, create Make) {
	for _, c := range (searchcheck.Suite{Make: create}).Checks() {
		t.Run(c.Name, func(t *testing.T) {
			if err := c.Run(); err != nil {
				t.Error(err)
			}
		})
	}
}

// ReturnsLowest holds an optimizer that documents no other choice to the candidate with the lowest objective.
func ReturnsLowest(t *testing.T, create Make) {
	t.Helper()
	if err := (searchcheck.Suite{Make: create}).ReturnsLowest(); err != nil {
		t.Error(err)
	}
}

// Problem is a problem of n weights within ±1.5 whose scores carry six log-probabilities, of two examples.
func Problem(n, budget, batch int) search.Problem { return searchcheck.Problem(n, budget, batch) }
