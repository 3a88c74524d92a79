package lora

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/medley-lora/medley/shared/fault"
)

// ModuleSet is a pool of modules by name, loaded when first asked for and then kept. It is safe for concurrent use.
type ModuleSet struct {
	names  []string
	load   map[string]func() (*Adapter, error)
	loaded atomic.Int64
}

// NewModuleSet makes a set of the named modules. load is called at most once per name, possibly for several names at once;
// its error is remembered. A name given twice is fault.Invalid.
func NewModuleSet(names []string, load func(name string) (*Adapter, error)) (*ModuleSet, error) {
	s := &ModuleSet{names: slices.Clone(names), load: make(map[string]func() (*Adapter, error), len(names))}
	for _, name := range names {
		if s.load[name] != nil {
			return nil, fault.New(fault.Invalid, "modules", "%q is named twice", name)
		}
		s.load[name] = sync.OnceValues(func() (*Adapter, error) {
			a, err := load(name)
			if err != nil {
				return nil, fault.In("module "+name, err)
			}
			s.loaded.Add(1)
			return a, nil
		})
	}
	return s, nil
}

// Names lists the modules in the order given.
func (s *ModuleSet) Names() []string { return slices.Clone(s.names) }

// Loaded counts the modules in memory.
func (s *ModuleSet) Loaded() int { return int(s.loaded.Load()) }

// Module returns the named module. Names outside the set are fault.NotFound; errors of loading carry the module's name.
func (s *ModuleSet) Module(name string) (*Adapter, error) {
	load := s.load[name]
	if load == nil {
		return nil, fault.New(fault.NotFound, "module "+name, "there is no such module in the set")
	}
	return load()
}

// Modules returns the named modules in that order, or the first error.
func (s *ModuleSet) Modules(names []string) ([]*Adapter, error) {
	modules := make([]*Adapter, len(names))
	for i, name := range names {
		m, err := s.Module(name)
		if err != nil {
			return nil, err
		}
		modules[i] = m
	}
	return modules, nil
}
