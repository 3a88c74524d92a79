// Package model is what the families of models have in common: packed batches of sequences, updates of linear maps, and the loading of
// a checkpoint onto a backend.
package model

import (
	"github.com/medley-lora/medley/gpu/backend"
)

// Packed is a ragged batch of token sequences, one after the other: sequence i is IDs[Starts[i]:Starts[i+1]].
type Packed struct {
	IDs    []int32
	Starts []int // one more than there are sequences
}

// Len is the number of sequences.
func (b Packed) Len() int { return len(b.Starts) - 1 }

// Longest is the length of the longest sequence.
func (b Packed) Longest() int {
	longest := 0
	for i := range b.Len() {
		longest = max(longest, b.Starts[i+1]-b.Starts[i])
	}
	return longest
}

// Append adds one sequence.
func (b *Packed) Append(ids []int32) {
	if len(b.Starts) == 0 {
		b.Starts = []int{0}
	}
	b.IDs = append(b.IDs, ids...)
	b.Starts = append(b.Starts, len(b.IDs))
}

// Spans pairs each sequence of queries with the same sequence of keys.
func Spans(queries, keys Packed) []backend.Span {
	s := make([]backend.Span, queries.Len())
	for i := range s {
		s[i] = backend.Span{Q0: queries.Starts[i], Q1: queries.Starts[i+1], K0: keys.Starts[i], K1: keys.Starts[i+1]}
	}
	return s
}

// Updates returns the low-rank update of a linear map for the rows of one side of a batch, or nil for none.
type Updates func(name string) *backend.Update

// Of is the update of a map; there are none in nil Updates.
func (u Updates) Of(name string) *backend.Update {
	if u == nil {
		return nil
	}
	return u(name)
}

// Stretch is a run of layers over one packing of the rows. It starts at Layer and ends where the next stretch starts, so that
// sequences that differ only from some layer on can be computed once until then.
type Stretch struct {
	Layer int     // 0 in the first; the number of layers in one that only copies the result
	Rows  []int32 // for each row, the row of the stretch before that it continues; unused in the first
	In    Packed
	Up    Updates
}

// Run embeds the rows of the first of at least one stretch and takes them through the layers: [tokens of the last] -> [tokens of the last,
// width]. layers runs the layers [first, end) of a stretch on x, and may free it.
func Run(p backend.Pass, embed backend.Resident, count int, stretches []Stretch, layers func(x backend.Tensor, s Stretch, first, end int) backend.Tensor) backend.Tensor {
	x := p.Embed(embed, stretches[0].In.IDs)
	for i, s := range stretches {
		end := count
		if i+1 < len(stretches) {
			end = stretches[i+1].Layer
		}
		if i > 0 {
			before := x
			x = p.Gather(before, s.Rows)
			p.Free(before)
		}
		x = layers(x, s, s.Layer, end)
	}
	return x
}

// Through takes x, which it frees, through the layers [first, end), and frees what each makes beside its result.
func Through(p backend.Pass, x backend.Tensor, first, end int, layer func(i int, x backend.Tensor) backend.Tensor) backend.Tensor {
	for i := first; i < end; i++ {
		before := x
		x = p.Scope(func() backend.Tensor { return layer(i, before) })
		p.Free(before)
	}
	return x
}

// Map is a linear map that an adapter may update.
type Map struct{ In, Out int }

// Linear is a linear map on a backend.
type Linear struct {
	Name   string // as adapters call it
	Weight backend.Resident
	Bias   backend.Resident // nil for none
}

// Forward is x Wᵀ + bias, updated.
func (l *Linear) Forward(p backend.Pass, x backend.Tensor, up Updates) backend.Tensor {
	return p.Linear(x, l.Weight, backend.Linear{Bias: l.Bias, Update: up.Of(l.Name)})
}

// AddTo is Forward plus a residual.
func (l *Linear) AddTo(p backend.Pass, residual, x backend.Tensor, up Updates) backend.Tensor {
	return p.Linear(x, l.Weight, backend.Linear{Bias: l.Bias, Residual: residual, Update: up.Of(l.Name)})
}

// Norm is a root-mean-square normalisation on a backend.
type Norm struct {
	Gain    backend.Resident
	Epsilon float32
}

// Forward normalises x.
func (n *Norm) Forward(p backend.Pass, x backend.Tensor) backend.Tensor {
	return p.Norm(x, n.Gain, n.Epsilon)
}

// Transpose turns [rows, cols] into [cols, rows].
func Transpose(w []float32, rows, cols int) []float32 {
	flipped := make([]float32, len(w))
	for r := range rows {
		for c := range cols {
			flipped[c*rows+r] = w[r*cols+c]
		}
	}
	return flipped
}
