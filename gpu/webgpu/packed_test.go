package webgpu

import (
	"math"
	"slices"
	"testing"

	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/gpu/backend/backendtest"
	"github.com/medley-lora/medley/gpu/cpu"
	"github.com/medley-lora/medley/gpu/engine"
	"github.com/medley-lora/medley/gpu/engine/enginetest"
	"github.com/medley-lora/medley/shared/checkpoint"
	"github.com/medley-lora/medley/shared/task"
)

// TestPackedBytes: blocks take on the device what they take in a file, and what makes their layout simple: offsets that Q4_0 and Q5_0 do without,
// multiples of 8 bits instead of 6. A table in blocks takes nothing, and its rows come in any number.
func TestPackedBytes(t *testing.T) {
	b := open(t, openDevice(t), Options{})
	const rows, cols = 512, 768
	extra := map[checkpoint.DType]int64{ // of a row
		checkpoint.Q40: 2 * cols / 32, checkpoint.Q50: 2 * cols / 32, checkpoint.Q4K: 4 * cols / 256, checkpoint.Q5K: 4 * cols / 256, checkpoint.Q6K: 2 * cols / 256,
	}
	for _, kind := range checkpoint.PackedTypes() {
		packed := backendtest.Blocks(t, kind, 1, rows, cols)
		m := must[backend.Resident](t)(b.PackedMatrix(packed))
		if want := int64(len(packed.Data)) + rows*extra[kind]; m.Bytes() != want {
			t.Errorf("%s takes %d bytes, want %d", kind, m.Bytes(), want)
		}
		m.Free()
		table := must[backend.Resident](t)(b.PackedTable(packed))
		if table.Bytes() != 0 {
			t.Errorf("a table of %s takes %d bytes", kind, table.Bytes())
		}
		numbers := make([]float32, rows*cols)
		checkpoint.Unpack(kind, numbers, packed.Data)
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
