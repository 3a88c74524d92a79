package lora

import (
	"cmp"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"

	"github.com/medley-lora/medley/shared/fault"
	"gonum.org/v1/gonum/mat"
)

// Compose makes one adapter of modules, one weight each. It has a layer for every target of a module (of nonzero weight,
// for Delta, Cat and SVD), whose rank may differ from layer to layer: a truncation spends no rank on what is exact
// with less. The result has no name; its base is the first that a module names. It does not depend on the number of CPUs.
//
// Errors are fault.Invalid and name the option, or the module that does not suit the method; a decomposition that does not
// converge is fault.Internal.
func Compose(method Method, modules []*Adapter, weights []float64, o Options) (*Adapter, error) {
	p, err := newPlan(method, modules, weights, o)
	if err != nil {
		return nil, err
	}
	composed := &Adapter{Base: firstBase(modules), Layers: make([]Layer, len(p.sites))}
	errs := make([]error, len(p.sites))
	eachLayer(len(p.sites), func(i int) { composed.Layers[i], errs[i] = p.layer(p.sites[i]) })
	if err := cmp.Or(errs...); err != nil {
		return nil, err
	}
	return composed, nil
}

// plan is a checked composition.
type plan struct {
	method Method
	rule   rule
	o      Options
	sites  []site
}

func newPlan(method Method, modules []*Adapter, weights []float64, o Options) (*plan, error) {
	if _, err := ParseMethod(string(method)); err != nil {
		return nil, err
	}
	if err := checkWeights(modules, weights); err != nil {
		return nil, err
	}
	if err := o.check(method); err != nil {
		return nil, err
	}
	sites, err := meet(modules, weights)
	if err != nil {
		return nil, err
	}
	if most := largestSide(sites); o.Rank > most {
		return nil, fault.New(fault.Invalid, "rank", "%d is more than the %d that the largest layer can have", o.Rank, most)
	}
	if len(modules) == 1 && method != Delta && method != Product {
		method, o = Linear, Options{}
	}
	p := &plan{method: method, rule: rules[method], o: o, sites: sites}
	if err := p.suits(modules); err != nil {
		return nil, err
	}
	if p.method.decomposes() && p.o.Rank == 0 {
		p.o.Rank = largestRank(modules)
	}
	if p.rule.place == concatenated {
		p.sites = withoutZeroWeights(sites)
	}
	return p, nil
}

// suits refuses modules that the method cannot combine.
func (p *plan) suits(modules []*Adapter) error {
	if p.rule.place != summed && p.rule.place != factors {
		return nil
	}
	if p.rule.place == summed {
		if err := sameTargets(modules, p.sites); err != nil {
			return err
		}
	}
	for _, s := range p.sites {
		if err := s.sameRanks(p.method); err != nil {
			return err
		}
		if p.rule.place != summed {
			continue
		}
		if err := s.sameScales(); err != nil {
			return err
		}
	}
	return nil
}

// withoutZeroWeights drops the parts of weight 0 and the sites left empty. If none is left, all sites stay, without
// parts, so that the zero adapter has layers for PEFT to load.
func withoutZeroWeights(sites []site) []site {
	var kept, empty []site
	for _, s := range sites {
		s.parts = slices.DeleteFunc(slices.Clone(s.parts), func(p part) bool { return p.weight == 0 })
		if len(s.parts) > 0 {
			kept = append(kept, s)
		} else {
			empty = append(empty, s)
		}
	}
	if len(kept) == 0 {
		return empty
	}
	return kept
}

// layer composes at one site.
func (p *plan) layer(s site) (Layer, error) {
	var f lowRank
	var err error
	switch {
	case p.rule.place == updates:
		f, err = truncateDense(p.mergedUpdates(s), p.o.Rank)
	case p.rule.place != concatenated:
		f = p.mergedFactors(s)
	case len(s.parts) == 0:
		f = lowRank{mat.NewDense(s.out, 1, nil), mat.NewDense(1, s.in, nil), 1}
	case p.o.Rank > 0 && p.o.Rank < s.rank():
		f, err = truncateSum(s, p.o.Rank)
	default:
		f = concatenate(s)
	}
	if err == nil {
		l := Layer{Target: s.target, In: s.in, Out: s.out, Rank: f.b.RawMatrix().Cols, Scale: f.scale}
		l.A, l.B = narrow(f.a), narrow(f.b)
		if finite(l.A) && finite(l.B) {
			return l, nil
		}
		err = fault.New(fault.Invalid, "", "the composed numbers are too large or not numbers; is a weight or a module wrong?")
	}
	return Layer{}, fault.In(s.target, err)
}

// rank is the rank of the concatenation of all parts.
func (s site) rank() int {
	sum := 0
	for _, p := range s.parts {
		sum += p.Rank
	}
	return sum
}

// lowRank is an update scale·b·a, before it is rounded to single precision.
type lowRank struct {
	b, a  *mat.Dense // [out, r], [r, in]
	scale float64
}

// concatenate gives Σ w_i s_i B_i A_i as [B_1 B_2 …][w_1 s_1 A_1; w_2 s_2 A_2; …].
func concatenate(s site) lowRank {
	b, a := mat.NewDense(s.out, s.rank(), nil), mat.NewDense(s.rank(), s.in, nil)
	at := 0
	for _, p := range s.parts {
		b.Slice(0, s.out, at, at+p.Rank).(*mat.Dense).Copy(widen(p.B, p.Out, p.Rank))
		rows := a.Slice(at, at+p.Rank, 0, s.in).(*mat.Dense)
		rows.Scale(p.weight*p.Scale, widen(p.A, p.Rank, p.In))
		at += p.Rank
	}
	return lowRank{b, a, 1}
}

// mergedFactors gives the low-rank update of the methods that combine all A_i into one A and all B_i into one B.
func (p *plan) mergedFactors(s site) lowRank {
	a, b := make([][]float64, len(s.parts)), make([][]float64, len(s.parts))
	wa, wb := make([]float64, len(s.parts)), make([]float64, len(s.parts))
	for i, m := range s.parts {
		a[i], b[i] = widened(m.A), widened(m.B)
		wa[i], wb[i] = m.weight, m.weight
		if p.rule.place == factors {
			wb[i] = math.Sqrt(math.Abs(m.weight * m.Scale))
			wa[i] = math.Copysign(wb[i], m.weight*m.Scale)
		}
	}
	scale := 1.0
	if p.rule.place == summed {
		scale = s.parts[0].Scale
	}
	random := p.random(s)
	rank := s.parts[0].Rank
	mergedA := mat.NewDense(rank, s.in, p.rule.merge(a, wa, p.o, random))
	return lowRank{mat.NewDense(s.out, rank, p.rule.merge(b, wb, p.o, random)), mergedA, scale}
}

// mergedUpdates gives the dense update of the methods that combine the updates s_i B_i A_i.
func (p *plan) mergedUpdates(s site) *mat.Dense {
	x, w := make([][]float64, len(s.parts)), make([]float64, len(s.parts))
	for i, m := range s.parts {
		d := mat.NewDense(s.out, s.in, nil)
		addProduct(d, m.Scale, m.Layer)
		x[i], w[i] = d.RawMatrix().Data, m.weight
	}
	return mat.NewDense(s.out, s.in, p.rule.merge(x, w, p.o, p.random(s)))
}

// random is the stream of one site: layers are composed in no fixed order, and a site's numbers should not depend on
// which others there are.
func (p *plan) random(s site) *rand.Rand {
	h := fnv.New64a()
	h.Write([]byte(s.target))
	return rand.New(rand.NewPCG(p.o.Seed, h.Sum64()))
}

func firstBase(modules []*Adapter) string {
	for _, m := range modules {
		if m.Base != "" {
			return m.Base
		}
	}
	return ""
}

// largestSide is the largest rank that the update at one of the sites can have.
func largestSide(sites []site) int {
	largest := 0
	for _, s := range sites {
		largest = max(largest, min(s.in, s.out))
	}
	return largest
}

func largestRank(modules []*Adapter) int {
	largest := 0
	for _, m := range modules {
		for _, l := range m.Layers {
			largest = max(largest, l.Rank)
		}
	}
	return largest
}

// eachLayer calls do for 0 … n-1 on all CPUs.
func eachLayer(n int, do func(i int)) {
	next := make(chan int)
	var workers sync.WaitGroup
	for range min(n, runtime.GOMAXPROCS(0)) {
		workers.Go(func() {
			for i := range next {
				do(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	workers.Wait()
}
