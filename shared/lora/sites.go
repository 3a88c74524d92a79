package lora

import (
	"slices"
	"strings"

	"github.com/medley-lora/medley/shared/fault"
)

// part is one module's layer at a site.
type part struct {
	*Layer
	weight float64
	module string
}

// site is one linear map of the base with the parts that meet there, in the modules' order.
type site struct {
	target  string
	in, out int
	parts   []part
}

// meet lists the sites of all modules, sorted by target.
func meet(modules []*Adapter, weights []float64) ([]site, error) {
	at := map[string]*site{}
	for i, m := range modules {
		for j := range m.Layers {
			l := &m.Layers[j]
			s := at[l.Target]
			if s == nil {
				s = &site{target: l.Target, in: l.In, out: l.Out}
				at[l.Target] = s
			}
			if l.In != s.in || l.Out != s.out {
				return nil, fault.New(fault.Invalid, "module "+m.Name,
					"%s maps %d to %d numbers, in module %s %d to %d: they were not trained on the same base",
					l.Target, l.In, l.Out, s.parts[0].module, s.in, s.out)
			}
			s.parts = append(s.parts, part{l, weights[i], m.Name})
		}
	}
	if len(at) == 0 {
		return nil, fault.New(fault.Invalid, "modules", "none of them has a layer")
	}
	sites := make([]site, 0, len(at))
	for _, s := range at {
		sites = append(sites, *s)
	}
	slices.SortFunc(sites, func(a, b site) int { return strings.Compare(a.target, b.target) })
	return sites, nil
}

// sameRanks refuses, for method, parts of different ranks.
func (s site) sameRanks(method Method) error {
	first := s.parts[0]
	for _, p := range s.parts[1:] {
		if p.Rank != first.Rank {
			return fault.New(fault.Invalid, "module "+p.module,
				"the method %s needs equal ranks, but at %s the rank is %d, in module %s %d",
				method, s.target, p.Rank, first.module, first.Rank)
		}
	}
	return nil
}

// sameTargets refuses, for Product, modules that leave out a target of another.
func sameTargets(modules []*Adapter, sites []site) error {
	for _, s := range sites {
		for _, m := range modules {
			if m.Layer(s.target) == nil {
				return fault.New(fault.Invalid, "module "+m.Name,
					"the method product needs equal targets, but %s is missing, which module %s has", s.target, s.parts[0].module)
			}
		}
	}
	return nil
}

// sameScales refuses, for Product, parts of different scales.
func (s site) sameScales() error {
	first := s.parts[0]
	for _, p := range s.parts[1:] {
		if p.Scale != first.Scale {
			return fault.New(fault.Invalid, "module "+p.module,
				"the method product needs equal scales, but at %s the scale is %v, in module %s %v",
				s.target, p.Scale, first.module, first.Scale)
		}
	}
	return nil
}
