package lora

import (
	"math"
	"slices"
	"strings"

	"github.com/medley-lora/medley/shared/fault"
	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas32"
	"gonum.org/v1/gonum/blas/blas64"
	"gonum.org/v1/gonum/mat"
)

// Layer returns the layer of target, nil if the adapter leaves that map alone.
func (a *Adapter) Layer(target string) *Layer {
	i, found := slices.BinarySearchFunc(a.Layers, target, func(l Layer, target string) int {
		return strings.Compare(l.Target, target)
	})
	if !found {
		return nil
	}
	return &a.Layers[i]
}

// Update returns the dense update Scale·B·A, [Out, In] row-major.
func (l *Layer) Update() []float32 {
	w := make([]float32, l.Out*l.In)
	l.add(w)
	return w
}

// AddTo merges the layer into the base's weight w, [Out, In] row-major. A w of another size is fault.Invalid.
func (l *Layer) AddTo(w []float32) error {
	if len(w) != l.Out*l.In {
		return fault.New(fault.Invalid, l.Target, "the base has %d numbers there, the adapter is for %d by %d", len(w), l.Out, l.In)
	}
	l.add(w)
	return nil
}

func (l *Layer) add(w []float32) {
	general := func(rows, cols int, data []float32) blas32.General {
		return blas32.General{Rows: rows, Cols: cols, Stride: cols, Data: data}
	}
	blas32.Gemm(blas.NoTrans, blas.NoTrans, float32(l.Scale),
		general(l.Out, l.Rank, l.B), general(l.Rank, l.In, l.A), 1, general(l.Out, l.In, w))
}

// addProduct adds factor·B·A of layer l to d, in double precision.
func addProduct(d *mat.Dense, factor float64, l *Layer) {
	blas64.Gemm(blas.NoTrans, blas.NoTrans, factor,
		widen(l.B, l.Out, l.Rank).RawMatrix(), widen(l.A, l.Rank, l.In).RawMatrix(), 1, d.RawMatrix())
}

func widen(x []float32, rows, cols int) *mat.Dense { return mat.NewDense(rows, cols, widened(x)) }

func widened(x []float32) []float64 {
	y := make([]float64, len(x))
	for i, v := range x {
		y[i] = float64(v)
	}
	return y
}

// narrow rounds x, whose rows are contiguous, to single precision.
func narrow(x *mat.Dense) []float32 {
	data := x.RawMatrix().Data
	y := make([]float32, len(data))
	for i, v := range data {
		y[i] = float32(v)
	}
	return y
}

func finite[T float32 | float64](x []T) bool {
	for _, v := range x {
		if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
			return false
		}
	}
	return true
}
