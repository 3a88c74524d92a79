package abi

import (
	"strconv"

	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/search"
	"github.com/medley-lora/medley/wasm/optimizer"
)

// config is what opt_create is told.
type config struct {
	problem   search.Problem
	init      []float64
	aux       int
	optimizer string
}

// readConfig reads a JSON object with the members
//
//	dim, budget, batch   integers
//	seed                 an unsigned 64-bit integer as text, since JSON's numbers do not hold one everywhere
//	lower, upper         dim numbers each
//	init                 dim numbers, the point to start from; [] leaves the choice to the algorithm
//	l1                   a number
//	aux                  an integer: log-probabilities that a score carries
//	groups               integers: how many of them belong to each example, in order; [] if that is not known
//	options              an object; its member optimizer, text, names the algorithm, and any other is refused
//
// Members of other names are ignored. A member of another type, or one that is there twice, is an error; one that is missing is zero.
func readConfig(text []byte) (config, error) {
	c := config{optimizer: optimizer.Default}
	r := newReader(text)
	r.object(func(name string) {
		switch name {
		case "dim":
			c.problem.Dim = r.integer(name)
		case "budget":
			c.problem.Budget = r.integer(name)
		case "batch":
			c.problem.Batch = r.integer(name)
		case "seed":
			c.problem.Seed = r.seed(name)
		case "lower":
			c.problem.Lower = list(r, name, r.number)
		case "upper":
			c.problem.Upper = list(r, name, r.number)
		case "init":
			c.init = list(r, name, r.number)
		case "l1":
			c.problem.L1 = r.number(name)
		case "aux":
			c.aux = r.integer(name)
		case "groups":
			c.problem.Groups = list(r, name, r.integer)
		case "options":
			r.object(func(option string) {
				if option != "optimizer" {
					r.fail(fault.New(fault.Unsupported, "options", "%q is not an option of this plugin: it has optimizer", option))
					return
				}
				c.optimizer = r.text(option)
			})
		default:
			r.skip()
		}
	})
	r.end()
	return c, r.err
}

func (r *reader) seed(name string) uint64 {
	digits := r.text(name)
	seed, err := strconv.ParseUint(digits, 10, 64)
	if err != nil {
		r.fail(fault.New(fault.Invalid, name, "is not a 64-bit number as text"))
	}
	return seed
}

// check refuses what the algorithms would not heed. The problem itself has been checked.
func (c config) check() error {
	if len(c.init) > 0 {
		if len(c.init) != c.problem.Dim {
			return fault.New(fault.Invalid, "init", "has %d values for %d weights", len(c.init), c.problem.Dim)
		}
		for i, v := range c.init {
			if v != min(max(0, c.problem.Lower[i]), c.problem.Upper[i]) {
				return fault.New(fault.Unsupported, "init", "value %d is not zero: searches start there; tell the score of another point before asking", i+1)
			}
		}
	}
	total := 0
	for _, n := range c.problem.Groups {
		total += n
	}
	if c.aux < 0 || len(c.problem.Groups) > 0 && total != c.aux {
		return fault.New(fault.Invalid, "aux", "is %d where the groups have %d", c.aux, total)
	}
	return nil
}
