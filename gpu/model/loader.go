package model

import (
	"slices"

	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/shared/checkpoint"
	"github.com/medley-lora/medley/shared/fault"
)

// Weights is the checkpoint that a model is loaded from.
type Weights interface {
	// Shape returns a tensor's shape, or false if there is none of that name.
	Shape(name string) ([]int, bool)
	// Float32 returns a tensor's numbers, valid until the checkpoint is closed.
	Float32(name string) ([]float32, error)
	// Release says that a tensor's numbers have been copied elsewhere and need not stay in memory.
	Release(name string)
}

// PackedWeights are Weights of which some are blocks of small integers.
type PackedWeights interface {
	Weights
	// Packed returns a matrix that is in blocks, valid until the checkpoint is closed.
	Packed(name string) (backend.Packed, bool)
}

// Quantiser are Weights that are made into blocks of small integers as they are loaded.
type Quantiser interface {
	Weights
	// Quantise returns the weight of a linear map in blocks, or false for one that stays as it is.
	Quantise(name string, w []float32, out, in int) (backend.Packed, bool, error)
}

// Loaded is what a model has on its backend.
type Loaded struct {
	maps  map[string]Map
	bytes int64
	free  []backend.Resident
}

// Free gives the backend's memory back.
func (m *Loaded) Free() {
	for _, r := range m.free {
		r.Free()
	}
	m.free = nil
}

// Maps returns the linear maps that adapters may update, by name.
func (m *Loaded) Maps() map[string]Map { return m.maps }

// Bytes is the memory that the backend holds for the model.
func (m *Loaded) Bytes() int64 { return m.bytes }

// Loader uploads a checkpoint. It keeps the first error, after which it does nothing, so that loading reads like the checkpoint's table of
// contents.
type Loader struct {
	Weights Weights
	Backend backend.Backend
	Model   *Loaded
	Err     error
}

// NewLoader starts loading into an empty model.
func NewLoader(w Weights, b backend.Backend, into *Loaded) *Loader {
	into.maps = map[string]Map{}
	return &Loader{Weights: w, Backend: b, Model: into}
}

// Has says whether the checkpoint has a tensor.
func (l *Loader) Has(name string) bool {
	_, ok := l.Weights.Shape(name)
	return ok
}

// Linear uploads a map with the bias beside it if biased, and enters it as one that adapters may update.
func (l *Loader) Linear(name string, out, in int, biased bool) Linear {
	l.Model.maps[name] = Map{In: in, Out: out}
	m := Linear{Name: name, Weight: l.Matrix(name+".weight", out, in)}
	if biased {
		m.Bias = l.Vector(name+".bias", out, 1)
	}
	return m
}

// Matrix uploads the weight of a linear map.
func (l *Loader) Matrix(name string, out, in int) backend.Resident {
	r := l.packed(name, out, in, true)
	if r == nil {
		w := l.Tensor(name, out, in)
		r = l.Keep(name, func() (backend.Resident, error) { return l.matrix(name, w, out, in) })
	}
	l.Weights.Release(name)
	return r
}

// matrix uploads numbers, in blocks if the weights and the backend are made for it.
func (l *Loader) matrix(name string, w []float32, out, in int) (backend.Resident, error) {
	q, quantises := l.Weights.(Quantiser)
	packer, takes := l.Backend.(backend.Packer)
	if quantises && takes {
		if p, ok, err := q.Quantise(name, w, out, in); err != nil || ok {
			if err != nil {
				return nil, err
			}
			return packer.PackedMatrix(p)
		}
	}
	return l.Backend.Matrix(w, out, in)
}

// packed uploads a matrix or a table as the blocks that it is, and is nil if it is none or the backend has no use for them.
func (l *Loader) packed(name string, rows, cols int, matrix bool) backend.Resident {
	weights, has := l.Weights.(PackedWeights)
	packer, takes := l.Backend.(backend.Packer)
	if l.Err != nil || !has || !takes {
		return nil
	}
	p, ok := weights.Packed(name)
	if !ok || p.Rows != rows || p.Cols != cols || (matrix && !packer.Packs(p.Type)) {
		return nil
	}
	return l.Keep(name, func() (backend.Resident, error) {
		if !matrix {
			return packer.PackedTable(p)
		}
		if err := checkpoint.CheckBlocks(p.Type, p.Data); err != nil {
			return nil, err
		}
		return packer.PackedMatrix(p)
	})
}

// Table makes rows to be gathered.
func (l *Loader) Table(name string, n, d int) backend.Resident {
	if r := l.packed(name, n, d, false); r != nil {
		return r
	}
	t := l.Tensor(name, n, d)
	return l.Keep(name, func() (backend.Resident, error) { return l.Backend.Table(t, n, d) })
}

// Vector uploads n numbers, each times scale.
func (l *Loader) Vector(name string, n int, scale float32) backend.Resident {
	v := slices.Clone(l.Tensor(name, n))
	for i := range v {
		v[i] *= scale
	}
	return l.Keep(name, func() (backend.Resident, error) { return l.Backend.Vector(v) })
}

// Tensor returns the numbers of a tensor after checking its shape.
func (l *Loader) Tensor(name string, shape ...int) []float32 {
	if l.Err != nil {
		return nil
	}
	got, ok := l.Weights.Shape(name)
	switch {
	case !ok:
		l.Err = fault.New(fault.Invalid, name, "the checkpoint has no such tensor")
	case !slices.Equal(got, shape):
		l.Err = fault.New(fault.Invalid, name, "has shape %v; config.json says %v", got, shape)
	default:
		var data []float32
		if data, l.Err = l.Weights.Float32(name); l.Err == nil {
			return data
		}
	}
	return nil
}

// Keep makes what upload uploads a part of the model.
func (l *Loader) Keep(name string, upload func() (backend.Resident, error)) backend.Resident {
	if l.Err != nil {
		return nil
	}
	r, err := upload()
	if err != nil {
		l.Err = fault.In(name, err)
		return nil
	}
	l.Model.free = append(l.Model.free, r)
	l.Model.bytes += r.Bytes()
	return r
}
