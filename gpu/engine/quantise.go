package engine

import (
	"math"

	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/gpu/model"
	"github.com/medley-lora/medley/shared/checkpoint"
	"github.com/medley-lora/medley/shared/fault"
)

// Quantised is a weight that was turned into integers, and how far these are from it: the root of Σ(w − ŵ)² / Σw².
type Quantised struct {
	Name  string  `json:"name"`
	Error float64 `json:"error"`
}

// Quantised lists the weights that Options.Quantise has changed, in the order of loading.
func (e *Engine) Quantised() []Quantised { return e.changes }

// quantised are the types of Options.Quantise.
var quantised = map[string]checkpoint.DType{"q8": checkpoint.Q80, "q4": checkpoint.Q41}

// quantising makes weights into what Options.Quantise asks for.
func (e *Engine) quantising(w weights) (model.Weights, error) {
	kind, known := quantised[e.options.Quantise]
	packer, packs := e.backend.(backend.Packer)
	switch {
	case e.options.Quantise == "":
		return w, nil
	case !known:
		return nil, fault.New(fault.Invalid, "quantize", "%.100q; expected q8 or q4", e.options.Quantise)
	case !packs || !packer.Packs(kind):
		return nil, fault.New(fault.Unsupported, "quantize", "the backend %s keeps no weights of %s", e.info.Name, e.options.Quantise)
	}
	return quantising{w, kind, &e.changes}, nil
}

// quantising implements model.Quantiser.
type quantising struct {
	weights
	kind    checkpoint.DType
	changes *[]Quantised
}

func (q quantising) Quantise(name string, w []float32, out, in int) (backend.Packed, bool, error) {
	if _, whole := checkpoint.PackedBytes(q.kind, in); !whole {
		return backend.Packed{}, false, nil
	}
	data, err := checkpoint.Pack(q.kind, w)
	if err != nil {
		return backend.Packed{}, false, err
	}
	squares, off := 0.0, 0.0
	row := make([]float32, in)
	for i := range out {
		checkpoint.Unpack(q.kind, row, data[i*len(data)/out:(i+1)*len(data)/out])
		for j, v := range row {
			exact := float64(w[i*in+j])
			squares += exact * exact
			off += (exact - float64(v)) * (exact - float64(v))
		}
	}
	*q.changes = append(*q.changes, Quantised{name, math.Sqrt(off / max(squares, math.SmallestNonzeroFloat64))})
	return backend.Packed{Type: q.kind, Data: data, Rows: out, Cols: in}, true, nil
}
