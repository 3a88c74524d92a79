package kernel

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/medley-lora/medley/gpu/device"
)

// variants are all programs that a backend can ask for.
func variants() []Kernel {
	all := []Kernel{NewDown(), NewFold(), NewUp(), Norm{Lanes}, Rows{Lanes}, Zeros{Lanes}, Bias{Lanes}, Rotate{Lanes}, LogSoftmaxEnd{Lanes}}
	for _, activation := range []string{"relu", "gelu_new", "silu"} {
		all = append(all, Gate{activation, false, Lanes}, Gate{activation, true, Lanes})
	}
	for sums := 1; sums <= Vectors(MaxHead)/(Attend{}).Slots(); sums++ {
		all = append(all, Attend{sums, true}, Attend{sums, false})
	}
	for _, tile := range Tiles {
		for _, storage := range []Storage{F32, F16, Int8, Blocks8, Blocks4, Blocks5, Super4, Super5, Super6} {
			all = append(all, Product{Tile: tile, Storage: storage}, Product{Tile: tile, Storage: storage, Residual: true}, Product{Tile: tile, Storage: storage, LogSoftmax: true})
		}
	}
	return all
}

// TestVariantsCompile has the device's own compiler read every text.
func TestVariantsCompile(t *testing.T) {
	d, err := device.Open(t.Context(), device.Options{Software: true})
	if err != nil {
		t.Fatalf("no adapter to test on (go tool -modfile=tools/go.mod task setup): %v", err)
	}
	defer d.Close()
	seen := map[Kernel]bool{}
	for _, k := range variants() {
		s := k.Source()
		p, err := d.NewProgram(s)
		if err != nil {
			t.Errorf("%+v: %v", k, err)
			continue
		}
		p.Free()
		if len(s.Bindings) > 8 {
			t.Errorf("%+v: %d storage bindings; a browser gives 8", k, len(s.Bindings))
		}
		if seen[k] {
			t.Errorf("%+v comes twice", k)
		}
		seen[k] = true
	}
}

// TestNothingLeft: every variant can be made, and nothing of what makes it stays.
func TestNothingLeft(t *testing.T) {
	for _, k := range variants() {
		if text := k.Source().WGSL; strings.Contains(text, "//#") || strings.Contains(text, "$") || !strings.HasPrefix(text, "// ") {
			t.Errorf("%+v: %.200s", k, text)
		}
	}
}

// TestStepsWithinLimits: no sizes that a backend can come to need more workgroups in a dimension, or more loop iterations, than
// WebGPU and llvmpipe grant. Rows are windows of at most 2^22, and widths go to twice those of the largest published T5.
func TestStepsWithinLimits(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	size := func(most int) int { return 1 + r.IntN(most)>>r.IntN(16) }
	for range 5000 {
		rows, in, out := size(1<<21), size(1<<17), size(1<<17)
		tile := Tiles[r.IntN(len(Tiles))]
		tiles := ceil(out, tile.TileColumns())
		items := size(MaxItems)
		steps := map[string]device.Step{
			"product":     Product{Tile: tile, Storage: F32}.Step(ProductSize{Rows: rows, In: in, Width: tiles * tile.TileColumns(), Out: out, Count: out, Tiles: tiles}),
			"log-softmax": Product{Tile: tile, Storage: F32, LogSoftmax: true}.Step(ProductSize{Rows: rows, In: in, Width: out, Count: out, Tiles: tiles}),
			"end":         LogSoftmaxEnd{Lanes}.Step(rows, size(1<<18)),
			"down":        NewDown().Step(in, 0, size(1<<22)),
			"up":          NewUp().Step(out, 0, items, size(60000)),
			"fold":        NewFold().Step(0, items, size(200), size(64)),
			"attend":      NewAttend(1 + r.IntN(MaxHead)).Step(AttendSize{Heads: size(256), Group: 1, Width: MaxHead, Items: items, Keys: size(20000), Scores: 1}),
			"norm":        Norm{Lanes}.Step(rows, in, 1), "gate": Gate{"silu", true, Lanes}.Step(rows * 32),
			"rows": Rows{Lanes}.Step(rows, 256, 0), "zeros": Zeros{Lanes}.Step(rows * 32),
			"bias": Bias{Lanes}.Step(rows, 128), "rotate": Rotate{Lanes}.Step(rows/4+1, 8, 128),
		}
		for name, s := range steps {
			if err := within(s); err != nil {
				t.Fatalf("%s, rows %d, in %d, out %d, items %d: %v", name, rows, in, out, items, err)
			}
		}
	}
}

func within(s device.Step) error {
	for _, n := range s.Groups {
		if n < 1 || n > 65535 {
			return fmt.Errorf("%v workgroups", s.Groups)
		}
	}
	if s.Iterations > 60000 {
		return fmt.Errorf("%d iterations", s.Iterations)
	}
	if !(s.Cost > 0) || len(s.Parameters) == 0 || len(s.Parameters)%16 != 0 {
		return fmt.Errorf("cost %g, %d bytes of parameters", s.Cost, len(s.Parameters))
	}
	return nil
}

func TestFlat(t *testing.T) {
	for _, n := range []int{1, groupsWide - 1, groupsWide, groupsWide + 1, 5*groupsWide + 3} {
		if g := flat(n); g[0]*g[1] < n || g[0]*(g[1]-1) >= n || g[2] != 1 {
			t.Errorf("%d workgroups become %v", n, g)
		}
	}
}

func TestTileFits(t *testing.T) {
	small := device.Info{WorkgroupInvocations: 256, WorkgroupBytes: 16384} // what a browser grants
	fitting := 0
	for _, tile := range Tiles {
		if tile.Fits(small) {
			fitting++
		}
		if tile.Form == Tiled && (tile.LoadsX()*tile.Lanes() != tile.TileRows()*tile.Depth() || tile.LoadsW()*tile.Lanes() != tile.TileVectors()*tile.Depth()*4) {
			t.Errorf("%s: loads do not come out even", tile)
		}
	}
	if fitting < 4 {
		t.Errorf("%d shapes fit a browser", fitting)
	}
}
