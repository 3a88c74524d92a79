package engine

import (
	"encoding/binary"
	"math"
	"slices"

	"github.com/medley-lora/medley/gpu/model"
	"github.com/medley-lora/medley/shared/lora"
)

// unit is one example under one composition.
type unit struct {
	example     int     // units with the same source have the same number
	source      []int32 // what goes through the layers that units share
	target      []int32
	composition *Composition
	tokens      tokens // of the request
}

// stretches lays out the work of the layers so that each runs once for all units that cannot differ yet: those of one sequence whose
// compositions agree in every module that has updated a layer so far. At the end every unit has rows of its own, in order.
// It returns the updates of those rows too.
func (e *Engine) stretches(units []unit, known *modules) (all []model.Stretch, last model.Updates) {
	var class []int // of each unit, among the sequences of the stretch before
	for _, layer := range divergences(units, known.first) {
		next, first := classes(units, known.first, layer)
		if len(all) > 0 && len(first) == all[len(all)-1].In.Len() {
			continue // nothing has diverged
		}
		all = append(all, stretch(layer, units, first, class, all, known))
		class = next
	}
	if n := len(all); all[n-1].In.Len() < len(units) {
		everyone := make([]int, len(units))
		for i := range everyone {
			everyone[i] = i
		}
		all = append(all, stretch(e.model.Layers(), units, everyone, class, all, known))
	}
	return all, all[len(all)-1].Up
}

// firstLayer is the first layer that an adapter updates; the number of layers if none.
func firstLayer(a *lora.Adapter, m Model) int {
	first := m.Layers()
	for _, l := range a.Layers {
		if layer, ok := m.Layer(l.Target); ok {
			first = min(first, layer)
		}
	}
	return first
}

// divergences lists the layers at which compositions may come to differ, in order; layer 0 is one.
func divergences(units []unit, first []int) []int {
	layers := []int{0}
	for _, u := range units {
		if u.composition != nil {
			for _, t := range u.composition.Terms {
				layers = append(layers, first[t.Module])
			}
		}
	}
	slices.Sort(layers)
	return slices.Compact(layers)
}

// classes numbers the units so that equal ones share a number up to and including a layer, and names the first unit of each class.
func classes(units []unit, firstLayers []int, layer int) (class, first []int) {
	seen := map[string]int{}
	class = make([]int, len(units))
	for i, u := range units {
		key := binary.AppendVarint(nil, int64(u.example))
		if u.composition != nil {
			key = appendTerms(key, u, firstLayers, layer)
		}
		number, ok := seen[string(key)]
		if !ok {
			number = len(first)
			seen[string(key)] = number
			first = append(first, i)
		}
		class[i] = number
	}
	return class, first
}

// appendTerms describes what a unit's composition does in the layers up to layer, and what a backend may choose by how to do it.
func appendTerms(key []byte, u unit, firstLayers []int, layer int) []byte {
	before := len(key)
	for _, t := range u.composition.Terms {
		if firstLayers[t.Module] <= layer {
			key = binary.AppendVarint(key, int64(t.Module))
			key = binary.LittleEndian.AppendUint32(key, math.Float32bits(t.Weight))
		}
	}
	if len(key) == before {
		return key
	}
	if u.composition.Product {
		key = append(key, 'p')
	}
	return binary.AppendVarint(key, int64(u.tokens.source))
}

// stretch packs one sequence for each of the units chosen. class says which sequence of the stretch before a unit was.
func stretch(layer int, units []unit, chosen, class []int, before []model.Stretch, known *modules) model.Stretch {
	s := model.Stretch{Layer: layer}
	var rows segments
	for _, i := range chosen {
		s.In.Append(units[i].source)
		rows.tokens = units[i].tokens.source
		rows.extend(units[i].composition, len(s.In.IDs))
		if len(before) > 0 {
			from := before[len(before)-1].In.Starts
			for row := from[class[i]]; row < from[class[i]+1]; row++ {
				s.Rows = append(s.Rows, int32(row))
			}
		}
	}
	s.Up = rows.updates(known)
	return s
}
