package lora

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/medley-lora/medley/shared/fault"
)

// Method names a way to compose modules i, with factors A_i and B_i, scales s_i and weights w_i, into one adapter.
//
// All but Delta and Product follow add_weighted_adapter of PEFT 0.21.2, with these remarks:
//   - as there, a single module is composed by Linear whatever is asked, so Rank and Density then do nothing;
//   - as there, a target that only some modules have is composed from those;
//   - magnitudes that tie at the edge of Density keep the lower index; PEFT leaves the choice to torch.topk;
//   - the DARE methods draw from Options.Seed; torch's stream is another, so single numbers differ from PEFT's;
//   - when the first module is rank-stabilised, PEFT keeps use_rslora in the result, which multiplies the update by √rank
//     against its own formula; here the result has scale 1.
type Method string

const (
	// Delta is Σ w_i s_i B_i A_i, exactly, for any ranks and targets: by concatenation, of rank Σ r_i, or with Options.Rank
	// the closest update of that rank. A module of weight 0 takes no rank.
	Delta Method = "delta"
	// Product is s (Σ w_i B_i)(Σ w_i A_i), LoraHub's own (arXiv 2307.13269). It is even in w. Ranks, scales and targets of
	// all modules must be equal.
	Product Method = "product"

	Linear Method = "linear" // (Σ √|w_i s_i| B_i)(Σ ±√|w_i s_i| A_i), the sign being that of w_i s_i: has cross terms
	Cat    Method = "cat"    // the update of Delta, by concatenation
	SVD    Method = "svd"    // the update of Delta at Options.Rank

	// TIES elects a sign for every entry of A and of B (TIES-Merging, arXiv 2306.01708), with the weights of Linear. Signs are
	// elected before weighting, so a module of weight 0 still votes and counts.
	TIES           Method = "ties"
	DARELinear     Method = "dare_linear"     // entries dropped at random, the rest rescaled (DARE, arXiv 2311.03099)
	DARETIES       Method = "dare_ties"       // DARE, then the election of TIES
	MagnitudePrune Method = "magnitude_prune" // the largest entries of each factor kept, then Linear

	// The forms below do the same to the dense updates s_i B_i A_i instead of the factors, with the weights as they are, and
	// keep the closest update of Options.Rank. They need a dense decomposition per layer and are slow.
	TIESSVD           Method = "ties_svd"
	DARELinearSVD     Method = "dare_linear_svd"
	DARETIESSVD       Method = "dare_ties_svd"
	MagnitudePruneSVD Method = "magnitude_prune_svd"
)

// Options are what some methods need beside weights; the zero value suits Delta. An option that the method does not use
// must be zero, Seed apart.
type Options struct {
	// Rank of the result, for Delta (0: no truncation) and the SVD methods (0: the largest of the modules' ranks). It must not
	// be more than every layer can have; a layer that can have less gets less.
	Rank         int
	Density      float64 // share of the entries that TIES, DARE and magnitude pruning keep, in (0, 1]
	MajoritySign string  // how TIES elects: "total" (or ""), by the sum of the values, or "frequency", by the number of modules
	Seed         uint64  // of DARE's random choice
}

// place is what a rule merges: concatenated factors, the factors one by one, or dense updates.
type place int

const (
	concatenated place = iota
	summed             // factors, weighted as LoraHub does
	factors            // factors, weighted as PEFT does
	updates            // dense updates
)

// rule says how a method works.
type rule struct {
	place    place
	sparsify func(x []float64, density float64, random *rand.Rand) // nil: every entry is kept
	elect    bool
}

var rules = map[Method]rule{
	Delta:             {place: concatenated},
	Product:           {place: summed},
	Linear:            {place: factors},
	Cat:               {place: concatenated},
	SVD:               {place: concatenated},
	TIES:              {place: factors, sparsify: keepLargest, elect: true},
	DARELinear:        {place: factors, sparsify: dropRandom},
	DARETIES:          {place: factors, sparsify: dropRandom, elect: true},
	MagnitudePrune:    {place: factors, sparsify: keepLargest},
	TIESSVD:           {place: updates, sparsify: keepLargest, elect: true},
	DARELinearSVD:     {place: updates, sparsify: dropRandom},
	DARETIESSVD:       {place: updates, sparsify: dropRandom, elect: true},
	MagnitudePruneSVD: {place: updates, sparsify: keepLargest},
}

// Methods lists all methods, sorted.
func Methods() []Method {
	names := make([]Method, 0, len(rules))
	for m := range rules {
		names = append(names, m)
	}
	slices.Sort(names)
	return names
}

// ParseMethod reads the name of a method; other names are fault.Invalid.
func ParseMethod(name string) (Method, error) {
	if _, known := rules[Method(name)]; !known {
		var list []string
		for _, m := range Methods() {
			list = append(list, string(m))
		}
		return "", fault.New(fault.Invalid, "method", "%q is none of %s", name, strings.Join(list, ", "))
	}
	return Method(name), nil
}

// decomposes tells whether the method always ends in a truncated singular value decomposition.
func (m Method) decomposes() bool { return m == SVD || rules[m].place == updates }

// check refuses options that are out of range or that the method would ignore.
func (o Options) check(m Method) error {
	r := rules[m]
	switch {
	case o.Rank < 0:
		return fault.New(fault.Invalid, "rank", "%d is negative", o.Rank)
	case o.Rank > 0 && m != Delta && !m.decomposes():
		return fault.New(fault.Invalid, "rank", "the method %s does not take a rank", m)
	case r.sparsify == nil && o.Density != 0:
		return fault.New(fault.Invalid, "density", "the method %s does not take a density", m)
	case r.sparsify != nil && !(o.Density > 0 && o.Density <= 1):
		return fault.New(fault.Invalid, "density", "the method %s needs a number above 0 and up to 1, not %v", m, o.Density)
	case !r.elect && o.MajoritySign != "":
		return fault.New(fault.Invalid, "majority sign", "the method %s does not elect signs", m)
	case !slices.Contains([]string{"", "total", "frequency"}, o.MajoritySign):
		return fault.New(fault.Invalid, "majority sign", "%q is neither total nor frequency", o.MajoritySign)
	}
	return nil
}

func checkWeights(modules []*Adapter, weights []float64) error {
	if len(modules) == 0 {
		return fault.New(fault.Invalid, "modules", "there is nothing to compose")
	}
	if len(weights) != len(modules) {
		return fault.New(fault.Invalid, "weights", "%d for %d modules", len(weights), len(modules))
	}
	for i, w := range weights {
		if math.IsNaN(w) || math.IsInf(w, 0) {
			return fault.New(fault.Invalid, "weights", "the weight of %s is %v", modules[i].Name, w)
		}
	}
	return nil
}
