// Package adapters is folders with adapters as jobs use them: loaded by name, sketched, composed and written. The command line and the
// job worker do the same with them.
package adapters

import (
	"path/filepath"
	"slices"
	"strings"

	"github.com/medley-lora/medley/shared/compose"
	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/lora"
	"github.com/medley-lora/medley/shared/peft"
)

// Folder is a folder with an adapter, and the name that it goes by.
type Folder struct{ Name, Path string }

// Load reads the adapter in a folder, as package peft does.
func Load(path string) (*lora.Adapter, error) {
	m, err := peft.Open(path, peft.OpenOptions{AllowPickle: true})
	if err != nil {
		return nil, err
	}
	return m.Load()
}

// Loader loads adapters by name. Errors have the field "module NAME".
func Loader(folders []Folder) func(name string) (*lora.Adapter, error) {
	paths := make(map[string]string, len(folders))
	for _, f := range folders {
		paths[f.Name] = f.Path
	}
	return func(name string) (*lora.Adapter, error) {
		path, ok := paths[name]
		if !ok {
			return nil, fault.New(fault.NotFound, "module "+name, "there is none of that name")
		}
		a, err := Load(path)
		if err != nil {
			return nil, fault.In("module "+name, err)
		}
		a.Name = name
		return a, nil
	}
}

// Rank is the largest rank of an adapter's layers, which may differ in it.
func Rank(a *lora.Adapter) int {
	rank := 0
	for _, l := range a.Layers {
		rank = max(rank, l.Rank)
	}
	return rank
}

// CheckRank refuses a rank to truncate to that no composition of the modules could have. The errors have that field.
func CheckRank(field string, rank int, method lora.Method, modules []*peft.Module) error {
	switch {
	case rank < 0:
		return fault.New(fault.Invalid, field, "%d is negative", rank)
	case rank > 0 && method != lora.Delta:
		return fault.New(fault.Invalid, field, "the method %s does not take a rank", method)
	}
	most := 0
	for _, m := range modules {
		for _, l := range m.Layers {
			most = max(most, min(l.In, l.Out))
		}
	}
	if rank > most {
		return fault.New(fault.Invalid, field, "%d is more than the %d that the largest layer can have", rank, most)
	}
	return nil
}

// taskType is PEFT's name for the kind of base that an adapter is of, by which PEFT chooses the class that wraps it: T5's maps are in an encoder
// or a decoder, those of decoder-only models in neither.
func taskType(a *lora.Adapter) string {
	for _, l := range a.Layers {
		if !strings.HasPrefix(l.Target, "encoder.") && !strings.HasPrefix(l.Target, "decoder.") {
			return "CAUSAL_LM"
		}
	}
	return "SEQ_2_SEQ_LM"
}

// Write composes modules, writes the adapter to the folder out, and reads it back. It returns the adapter on disk and how far its update is
// from the definition of the method. Errors of writing and reading have the field place, which names the folder.
func Write(out, place string, method lora.Method, modules []*lora.Adapter, weights []float64, o lora.Options, base string) (*lora.Adapter, compose.Difference, error) {
	composed, err := lora.Compose(method, modules, weights, o)
	if err != nil {
		return nil, compose.Difference{}, err
	}
	composed.Name = filepath.Base(out)
	if err := peft.Write(out, composed, peft.WriteOptions{TaskType: taskType(composed), BaseModel: base}); err != nil {
		return nil, compose.Difference{}, fault.In(place, err)
	}
	written, err := Load(out)
	if err != nil {
		return nil, compose.Difference{}, fault.In("reading back "+place, err)
	}
	_, total, err := lora.Difference(written, method, modules, weights, o)
	return written, compose.NewDifference(total), err
}

// Export writes the adapter that the weights of a result mean, as Write does.
func Export(out, place string, method lora.Method, folders []Folder, r *compose.Result, o lora.Options, base string) (*lora.Adapter, compose.Difference, error) {
	var chosen []*lora.Adapter
	var weights []float64
	load := Loader(folders)
	for i, name := range r.Modules {
		if w := r.Composed.Weights[i]; w != 0 {
			m, err := load(name)
			if err != nil {
				return nil, compose.Difference{}, err
			}
			chosen, weights = append(chosen, m), append(weights, w)
		}
	}
	if len(chosen) == 0 { // the base itself was best: a zero update of the first module's shape
		m, err := load(r.Modules[0])
		if err != nil {
			return nil, compose.Difference{}, err
		}
		chosen, weights = []*lora.Adapter{m}, []float64{0}
	}
	return Write(out, place, method, chosen, weights, o, base)
}

// A sketch costs reading sketchLayers layers of a module, about a tenth of it, and projecting them sketchSize times.
const (
	sketchSize   = 128
	sketchLayers = 8
)

// Sketcher returns fingerprints of modules, by number. It holds one module's layers at a time.
func Sketcher(folders []Folder) func(i int) ([]float64, error) {
	return func(i int) ([]float64, error) {
		s, err := sketch(folders[i].Path)
		return s, fault.In("module "+folders[i].Name, err)
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
