package webgpu

import (
	"testing"

	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/gpu/backend/backendtest"
	"github.com/medley-lora/medley/gpu/engine"
	"github.com/medley-lora/medley/gpu/engine/enginetest"
	"github.com/medley-lora/medley/gpu/kernel"
	"github.com/medley-lora/medley/shared/checkpoint"
	"github.com/medley-lora/medley/shared/zoo/zootest"
)

// BenchmarkProduct is 256 x 1024 x 1024 in every form and storage.
func BenchmarkProduct(b *testing.B) {
	const rows, width = 256, 1024
	for _, storage := range []kernel.Storage{kernel.F32, kernel.F16, kernel.Int8} {
		for _, tile := range kernel.Tiles {
			b.Run(string(storage)+" "+tile.String(), func(b *testing.B) {
				g := open(b, openDevice(b), Options{Tile: tile, Storage: storage})
				w := must[backend.Resident](b)(g.Matrix(normal(1, width*width), width, width))
				for b.Loop() {
					if _, err := g.timeProducts(b.Context(), w, rows, width, 1); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(2*rows*width*width*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
			})
		}
	}
}

// BenchmarkPacked is 64 x 1024 x 1024 with every type that stays packed.
func BenchmarkPacked(b *testing.B) {
	const rows, width = 64, 1024
	g := open(b, openDevice(b), Options{})
	for _, kind := range checkpoint.PackedTypes() {
		if !g.Packs(kind) {
			continue
		}
		b.Run(string(kind), func(b *testing.B) {
			w := must[backend.Resident](b)(g.PackedMatrix(backendtest.Blocks(b, kind, 1, width, width)))
			for b.Loop() {
				if _, err := g.timeProducts(b.Context(), w, rows, width, 1); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(2*rows*width*width*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
		})
	}
}

// BenchmarkZoo scores 20 compositions of five modules on five examples.
func BenchmarkZoo(b *testing.B) {
	z := enginetest.Open(b, open(b, openDevice(b), Options{}), engine.Options{})
	o := zootest.LoadGolden(b).Objective[0]
	f := zootest.LoadGolden(b).Forward[0]
	compositions := make([]engine.Composition, 20)
	for i := range compositions {
		weights := make([]float64, len(o.Modules))
		for j := range weights {
			weights[j] = float64(i+j) / 40
		}
		compositions[i] = z.Composition(b, "delta", o.Modules, weights)
	}
	examples := z.EncodeGolden(f.Examples)
	for b.Loop() {
		if _, err := z.Score(b.Context(), examples, compositions); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N*len(compositions))/b.Elapsed().Seconds(), "evaluations/s")
}
