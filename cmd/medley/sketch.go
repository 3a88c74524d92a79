package main

import (
	"slices"

	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/lora"
	"github.com/medley-lora/medley/shared/peft"
)

// A sketch costs reading sketchLayers layers of a module, about a tenth of it, and projecting them sketchSize times.
const (
	sketchSize   = 128
	sketchLayers = 8
)

// sketcher returns fingerprints of modules, by number. It holds one module's layers at a time.
func sketcher(modules []module) func(i int) ([]float64, error) {
	return func(i int) ([]float64, error) {
		s, err := sketch(modules[i].folder)
		return s, fault.In("module "+modules[i].name, err)
	}
}

func sketch(folder string) ([]float64, error) {
	m, err := peft.Open(folder, peft.OpenOptions{AllowPickle: true})
	if err != nil {
		return nil, err
	}
	some, err := m.LoadLayers(spread(m.Layers, sketchLayers))
	if err != nil {
		return nil, err
	}
	s := lora.Sketch(some, sketchSize)
	if slices.ContainsFunc(s, func(v float64) bool { return v != 0 }) {
		return s, nil
	}
	// Modules that leave these layers alone must not look like copies of one another.
	all, err := m.Load()
	if err != nil {
		return nil, err
	}
	return lora.Sketch(all, sketchSize), nil
}

// spread returns the targets of n layers evenly spaced over all. Modules of equal targets give the same ones.
func spread(layers []peft.LayerInfo, n int) []string {
	n = min(n, len(layers))
	targets := make([]string, n)
	for k := range targets {
		targets[k] = layers[k*len(layers)/n].Target
	}
	return targets
}
