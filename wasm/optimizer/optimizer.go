// Package optimizer holds the search algorithms: pure functions of the problem and the scores, seeded, without clocks or
// I/O. The same code runs natively and as a WebAssembly guest, so it stays small, and its arithmetic avoids what differs
// between the two: the machine's exponential, and sums of products that a compiler may fuse (an explicit float64 conversion
// forbids that).
package optimizer

import (
	"strings"

	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/search"
)

// Default is the algorithm to use when there is no reason for another.
const Default = "auto"

// Algorithm is a name for New and what stands behind it, in one line.
type Algorithm struct{ Name, Summary string }

type entry struct {
	Algorithm
	make func(search.Problem) (search.Optimizer, error)
}

var algorithms = []entry{
	{Algorithm{"auto", "gntr for the objective of a few examples; for any other one by what its budget is worth (default)"}, newAuto},
	{Algorithm{"gntr", "single modules first, then a Gaussian-process trust region on log-probabilities, in batches; on few examples it stops when they tell no more and ends with the mean of its points"}, newGNTR},
	{Algorithm{"cobyla", "linear trust region as LoraHub ran it through nevergrad's NGOpt, one candidate at a time"}, newCOBYLA},
	{Algorithm{"coord", "one weight at a time by steps that grow and turn, several weights at once in batches"}, newCoord},
	{Algorithm{"es", "evolution strategy (1+λ) with the one-fifth rule, the simplest that adapts"}, newES},
	{Algorithm{"random", "uniform within the bounds, a control"}, newRandom},
	{Algorithm{"zero", "zero weights alone, a control"}, newZero},
}

// Algorithms lists what New makes, the default first.
func Algorithms() []Algorithm {
	list := make([]Algorithm, len(algorithms))
	for i, a := range algorithms {
		list[i] = a.Algorithm
	}
	return list
}

// New returns the optimizer called name for p. The error names the field of p that is wrong, or "optimizer".
func New(name string, p search.Problem) (search.Optimizer, error) {
	if err := p.Check(); err != nil {
		return nil, err
	}
	names := make([]string, len(algorithms))
	for i, a := range algorithms {
		if a.Name == name {
			return a.make(p)
		}
		names[i] = a.Name
	}
	return nil, fault.New(fault.NotFound, "optimizer", "%q is not one of %s", name, strings.Join(names, ", "))
}
