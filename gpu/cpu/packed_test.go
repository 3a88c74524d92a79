//go:build cgo

package cpu

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"testing"

	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/gpu/backend/backendtest"
	"github.com/medley-lora/medley/shared/checkpoint"
)

func packedMatrix(tb testing.TB, b *native, kind checkpoint.DType, out, in int) backend.Resident {
	tb.Helper()
	return must(tb)(b.PackedMatrix(backendtest.Blocks(tb, kind, 1, out, in)))
}

// blockKinds are all types that stay packed.
func blockKinds() []checkpoint.DType { return slices.Sorted(maps.Keys(blockForms)) }

// A row's result is the same, bit for bit, alone and among others, whatever these hold and however many threads there are.
func TestPackedRowsApart(t *testing.T) {
	const rows, in, out = 23, 1024 + 256, 200
	data := normal(3, rows*in)
	data[4*in+5], data[9*in] = float32(math.NaN()), float32(math.Inf(-1))
	for _, isa := range available(t) {
		for _, kind := range blockKinds() {
			t.Run(isa+"/"+string(kind), func(t *testing.T) {
				run := func(threads, first, count int) []float32 {
					b := open(t, Options{Force: isa, Threads: threads})
					w := packedMatrix(t, b, kind, out, in)
					p := b.Begin(context.Background())
					defer p.End()
					x := p.Embed(must(t)(b.Table(data[first*in:(first+count)*in], count, in)), ascending(count))
					y, err := p.Read(p.Linear(x, w, backend.Linear{}))
					if err != nil {
						t.Fatal(err)
					}
					return y
				}
				together := run(3, 0, rows)
				for r := range rows {
					alone, among := run(1+r%2, r, 1), together[r*out:(r+1)*out]
					spoilt := r == 4 || r == 9
					for c := range out {
						if spoilt != !(math.Abs(float64(among[c])) < 1e6) || (!spoilt && alone[c] != among[c]) {
							t.Fatalf("row %d: %g alone, %g among others", r, alone[c], among[c])
						}
					}
				}
			})
		}
	}
}

// BenchmarkPacked is the products of a small model's feed-forward layer and head.
func BenchmarkPacked(b *testing.B) {
	for _, n := range []struct {
		kind    checkpoint.DType
		out, in int
	}{
		{checkpoint.Q41, 1536, 576}, {checkpoint.Q41, 576, 1536}, {checkpoint.Q80, 49152, 576},
		{checkpoint.Q41, 1536, 512}, {checkpoint.Q4K, 1536, 512}, {checkpoint.Q5K, 1536, 512}, {checkpoint.Q6K, 1536, 512}, {checkpoint.Q51, 1536, 512}, {checkpoint.Q80, 1536, 512},
	} {
		for _, rows := range []int{1, 8, 512} {
			for _, isa := range available(b) {
				if isa == "generic" || (rows == 512 && n.out > 10000) {
					continue
				}
				b.Run(fmt.Sprintf("%s/%d/%dx%d/%s", n.kind, rows, n.out, n.in, isa), func(b *testing.B) {
					o := open(b, Options{Force: isa})
					w := packedMatrix(b, o, n.kind, n.out, n.in)
					b.SetBytes(w.Bytes())
					measure(b, o, rows, n.in, 2*float64(rows*n.out*n.in), func(p backend.Pass, x backend.Tensor) backend.Tensor {
						return p.Linear(x, w, backend.Linear{})
					})
				})
			}
		}
	}
}
