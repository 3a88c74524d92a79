package lora

import (
	"hash/fnv"
	"math"
	"math/rand/v2"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas32"
)

// Sketch is a fingerprint of the adapter's update, [size]: number k is Σ over the layers of u_kᵀ (Scale·B·A) v_k, where u_k and
// v_k are vectors of random signs that depend on the target's name and k alone. For two adapters the mean of the products of
// their numbers estimates the inner product of their updates (random projections: Johnson and Lindenstrauss, "Extensions of
// Lipschitz mappings into a Hilbert space", 1984), so that the angle between sketches is about the angle between updates, the
// closer the larger size is. It is linear: the difference of two sketches is the sketch of the difference of the updates.
// It costs about 2·size·Σ Rank·(In+Out) operations; the dense update is never made.
func Sketch(a *Adapter, size int) []float64 {
	sketch := make([]float64, size)
	for i := range a.Layers {
		l := &a.Layers[i]
		source := signSource(l.Target)
		left := blas32.General{Rows: size, Cols: l.Rank, Stride: l.Rank, Data: make([]float32, size*l.Rank)}  // row k is u_kᵀ B
		right := blas32.General{Rows: size, Cols: l.Rank, Stride: l.Rank, Data: make([]float32, size*l.Rank)} // row k is (A v_k)ᵀ
		b := blas32.General{Rows: l.Out, Cols: l.Rank, Stride: l.Rank, Data: l.B}
		at := blas32.General{Rows: l.Rank, Cols: l.In, Stride: l.In, Data: l.A}
		blas32.Gemm(blas.NoTrans, blas.NoTrans, 1, signs(source, size, l.Out), b, 0, left)
		blas32.Gemm(blas.NoTrans, blas.Trans, 1, signs(source, size, l.In), at, 0, right)
		for k := range sketch {
			sum := 0.0
			for r := range l.Rank {
				sum += float64(left.Data[k*l.Rank+r]) * float64(right.Data[k*l.Rank+r])
			}
			sketch[k] += l.Scale * sum
		}
	}
	return sketch
}

// signSource is the stream of one target, whatever else an adapter has.
func signSource(target string) *rand.PCG {
	h := fnv.New64a()
	h.Write([]byte(target))
	return rand.NewPCG(h.Sum64(), 0x736b65746368) // not the stream that DARE draws from: "sketch"
}

// signs draws a matrix of 1 and -1.
func signs(source *rand.PCG, rows, cols int) blas32.General {
	x := make([]float32, rows*cols)
	var bits uint64
	for i := range x {
		if i%64 == 0 {
			bits = source.Uint64()
		}
		x[i] = math.Float32frombits(0x3f800000 | uint32(bits)<<31)
		bits >>= 1
	}
	return blas32.General{Rows: rows, Cols: cols, Stride: cols, Data: x}
}
