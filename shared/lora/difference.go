package lora

import (
	"math"
	"slices"
	"strings"

	"github.com/medley-lora/medley/shared/fault"
	"gonum.org/v1/gonum/mat"
)

// Deviation says how far an update D' is from the update D that it should be.
type Deviation struct {
	Target   string
	MaxAbs   float64 // the largest |D'-D| of one entry
	Relative float64 // ‖D'-D‖/‖D‖ in the Frobenius norm; +Inf if D is 0 and D' is not
}

// Difference recomputes what the method says of modules, densely and in double precision, and compares it with the
// update of made, an adapter that Compose gave or that was read back. It returns one deviation per target of
// either side, sorted, and that of all targets together, whose Target is empty; a target that made lacks counts as 0.
//
// What a truncation to Options.Rank lost counts as deviation: for Delta with a rank and for the SVD methods, Relative is the
// error of the truncation. To check only that such a composition was written and read back right, compare the copy with
// Delta of the composed adapter alone, weight 1.
//
// It needs memory for a few dense layers per CPU, more by one per module for the methods that combine dense updates.
func Difference(made *Adapter, method Method, modules []*Adapter, weights []float64, o Options) ([]Deviation, Deviation, error) {
	p, err := newPlan(method, modules, weights, o)
	if err != nil {
		return nil, Deviation{}, err
	}
	sites, err := p.sitesWith(made)
	if err != nil {
		return nil, Deviation{}, err
	}
	sums := make([]distance, len(sites))
	eachLayer(len(sites), func(i int) {
		want := p.definition(sites[i])
		got := mat.NewDense(sites[i].out, sites[i].in, nil)
		if l := made.Layer(sites[i].target); l != nil {
			addProduct(got, l.Scale, l)
		}
		sums[i] = distanceOf(got.RawMatrix().Data, want.RawMatrix().Data)
	})
	layers, all := make([]Deviation, len(sites)), distance{}
	for i, d := range sums {
		layers[i] = d.deviation(sites[i].target)
		all = distance{math.Max(all.maxAbs, d.maxAbs), all.square + d.square, all.of + d.of}
	}
	return layers, all.deviation(""), nil
}

// sitesWith lists the plan's sites and, without parts, those that only made has.
func (p *plan) sitesWith(made *Adapter) ([]site, error) {
	sites := slices.Clone(p.sites)
	for _, l := range made.Layers {
		i, found := slices.BinarySearchFunc(p.sites, l.Target, func(s site, target string) int {
			return strings.Compare(s.target, target)
		})
		if !found {
			sites = append(sites, site{target: l.Target, in: l.In, out: l.Out})
		} else if s := p.sites[i]; s.in != l.In || s.out != l.Out {
			return nil, fault.New(fault.Invalid, l.Target, "it is %d by %d, the modules' is %d by %d", l.Out, l.In, s.out, s.in)
		}
	}
	slices.SortFunc(sites, func(a, b site) int { return strings.Compare(a.target, b.target) })
	return sites, nil
}

// definition is the dense update of the method at one site, before any truncation. For sums it is accumulated module by
// module, independently of the concatenation that Compose makes.
func (p *plan) definition(s site) *mat.Dense {
	d := mat.NewDense(s.out, s.in, nil)
	switch {
	case len(s.parts) == 0:
	case p.rule.place == concatenated:
		for _, m := range s.parts {
			addProduct(d, m.weight*m.Scale, m.Layer)
		}
	case p.rule.place == updates:
		return p.mergedUpdates(s)
	default:
		f := p.mergedFactors(s)
		d.Mul(f.b, f.a)
		d.Scale(f.scale, d)
	}
	return d
}

// distance accumulates what a Deviation is made of.
type distance struct {
	maxAbs float64
	square float64 // ‖D'-D‖²
	of     float64 // ‖D‖²
}

func distanceOf(got, want []float64) distance {
	var d distance
	for i, w := range want {
		e := math.Abs(got[i] - w)
		d.maxAbs = math.Max(d.maxAbs, e) // NaN stays
		d.square += e * e
		d.of += w * w
	}
	return d
}

func (d distance) deviation(target string) Deviation {
	v := Deviation{Target: target, MaxAbs: d.maxAbs}
	if d.square != 0 {
		v.Relative = math.Sqrt(d.square / d.of)
	}
	return v
}
