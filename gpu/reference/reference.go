// Package reference implements every operation as plain loops in float64. It is the oracle that fast backends are held to, so
// it is written to be read and is never optimised.
package reference

import (
	"context"
	"slices"

	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/shared/fault"
)

// New returns the reference backend.
func New() backend.Backend { return reference{} }

type reference struct{}

// matrix is every kind of resident but factors: a weight [rows, cols], a table or a vector (one row).
type matrix struct {
	rows, cols int
	data       []float32
}

func (m *matrix) Bytes() int64 { return int64(len(m.data)) * 4 }
func (m *matrix) Free()        { m.data = nil }

type factor struct {
	shape backend.FactorShape
	a, b  []float32 // [rank, in], [out, rank]
}

func (f *factor) Bytes() int64 { return int64(len(f.a)+len(f.b)) * 4 }
func (f *factor) Free()        { f.a, f.b = nil, nil }

func (reference) Info() backend.Info {
	return backend.Info{Name: "reference", Device: "plain Go loops in float64", Threads: 1}
}

func (reference) Matrix(w []float32, out, in int) (backend.Resident, error) {
	return newMatrix("matrix", slices.Clone(w), out, in)
}

func (reference) Table(t []float32, n, d int) (backend.Resident, error) {
	return newMatrix("table", t, n, d)
}

func (reference) Vector(v []float32) (backend.Resident, error) {
	return newMatrix("vector", slices.Clone(v), 1, len(v))
}

func (reference) Factor(a, b []float32, rank, in, out int, scale float32) (backend.Resident, error) {
	if rank < 1 || len(a) != rank*in || len(b) != out*rank {
		return nil, fault.New(fault.Internal, "factor", "%d and %d numbers for rank %d, in %d, out %d", len(a), len(b), rank, in, out)
	}
	shape := backend.FactorShape{Rank: rank, In: in, Out: out, Scale: scale}
	return &factor{shape: shape, a: slices.Clone(a), b: slices.Clone(b)}, nil
}

func newMatrix(kind string, data []float32, rows, cols int) (backend.Resident, error) {
	if rows < 1 || cols < 1 || len(data) != rows*cols {
		return nil, fault.New(fault.Internal, kind, "%d numbers for [%d, %d]", len(data), rows, cols)
	}
	return &matrix{rows: rows, cols: cols, data: data}, nil
}

func (reference) Begin(ctx context.Context) backend.Pass { return &pass{ctx: ctx} }

func (reference) Close() error { return nil }
