package webgpu

import (
	"math"
	"slices"
	"testing"

	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/gpu/cpu"
	"github.com/medley-lora/medley/gpu/engine"
	"github.com/medley-lora/medley/gpu/engine/enginetest"
	"github.com/medley-lora/medley/shared/checkpoint"
	"github.com/medley-lora/medley/shared/task"
)

// TestPackedBytes: blocks take on the device what they take in a file, but for Q4_0, whose offsets are written out; a table in blocks
// takes nothing, and its rows come in any number.
func TestPackedBytes(t *testing.T) {
	b := open(t, openDevice(t), Options{})
	const rows, cols = 512, 96
	weights := make([]float32, rows*cols)
	for i := range weights {
		weights[i] = float32(i%61) - 30
	}
	for kind, extra := range map[checkpoint.DType]int64{checkpoint.Q80: 0, checkpoint.Q41: 0, checkpoint.Q40: 2 * rows * cols / 32} {
		data, err := checkpoint.Pack(checkpoint.Q41, weights)
		if kind == checkpoint.Q80 {
			data, err = checkpoint.Pack(kind, weights)
		}
		if kind == checkpoint.Q40 { // the blocks of Q4_1 without their offsets
			short := make([]byte, 0, len(data))
			for block := range slices.Chunk(data, 20) {
				short = append(append(short, block[:2]...), block[4:]...)
			}
			data = short
		}
		if err != nil {
			t.Fatal(err)
		}
		packed := backend.Packed{Type: kind, Data: data, Rows: rows, Cols: cols}
		m := must[backend.Resident](t)(b.PackedMatrix(packed))
		if want := int64(len(data)) + extra; m.Bytes() != want {
			t.Errorf("%s takes %d bytes, want %d", kind, m.Bytes(), want)
		}
		m.Free()
		table := must[backend.Resident](t)(b.PackedTable(packed))
		if table.Bytes() != 0 {
			t.Errorf("a table of %s takes %d bytes", kind, table.Bytes())
		}
		numbers := make([]float32, rows*cols)
		checkpoint.Unpack(kind, numbers, data)
		ids := []int32{3, 511, 3, 0}
		p := b.Begin(t.Context())
		got, err := p.Read(p.Embed(table, ids))
		p.End()
		if err != nil {
			t.Fatal(err)
		}
		for i, id := range ids {
			if !slices.Equal(got[i*cols:(i+1)*cols], numbers[int(id)*cols:(int(id)+1)*cols]) {
				t.Errorf("%s: row %d differs", kind, id)
			}
		}
		table.Free()
	}
}

// TestQuantised: a base whose weights became integers has the same losses as on the cpu backend, and takes the memory that it should.
func TestQuantised(t *testing.T) {
	loss := func(b backend.Backend, quantise string) (float64, int64) {
		z := enginetest.Open(t, b, engine.Options{Quantise: quantise})
		examples, _ := z.Engine.Encode([]task.Example{{Input: "one berry , several", Output: "berries"}, {Input: "two cats , one", Output: "cat"}})
		scores, err := z.Engine.Score(t.Context(), examples, []engine.Composition{{}})
		if err != nil {
			t.Fatal(err)
		}
		return scores[0].Loss, z.Engine.Model().Bytes()
	}
	exact, whole := loss(open(t, openDevice(t), Options{}), "")
	for quantise, share := range map[string]float64{"q8": 0.4, "q4": 0.3} {
		native, err := cpu.New(cpu.Options{Force: "generic"})
		if err != nil {
			t.Fatal(err)
		}
		want, _ := loss(native, quantise)
		got, bytes := loss(open(t, openDevice(t), Options{}), quantise)
		if d := math.Abs(got - want); !(d < 1e-4*want) || got == exact {
			t.Errorf("%s: loss %g, on the cpu %g, exact %g", quantise, got, want, exact)
		}
		if taken := float64(bytes) / float64(whole); taken > share {
			t.Errorf("%s takes %.2f of the memory", quantise, taken)
		}
	}
}
