package samples

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/medley-lora/medley/shared/search"
	"github.com/medley-lora/medley/shared/search/searchtest"
)

// TestMemory gives and takes blocks in every order: none touches another, and what is given back is used again.
func TestMemory(t *testing.T) {
	type block struct {
		at      uint64
		content []byte
	}
	for _, k := range kinds(t) {
		t.Run(k.name, func(t *testing.T) {
			p, r := k.start(t), rand.New(rand.NewPCG(5, 6))
			var held []block
			held = append(held, block{p.call("opt_alloc", 0), nil}) // of no bytes, but a place
			for range 2000 {
				if len(held) > 50 || r.IntN(2) == 0 && len(held) > 0 {
					i := r.IntN(len(held))
					b := held[i]
					if got, ok := p.Memory().Read(uint32(b.at), uint32(len(b.content))); !ok || b.at == 0 || !bytes.Equal(got, b.content) {
						t.Fatalf("%d bytes at %d have changed", len(b.content), b.at)
					}
					p.call("opt_free", b.at, uint64(len(b.content)))
					held = slices.Delete(held, i, i+1)
					continue
				}
				content := make([]byte, r.IntN(1<<r.IntN(16)+1))
				for i := range content {
					content[i] = byte(r.Uint32())
				}
				held = append(held, block{p.lend(content), content})
			}
			for _, b := range held {
				p.call("opt_free", b.at, uint64(len(b.content)))
			}
			for i := range 100 { // what is given back piece by piece is one block again, or 32 MB would be needed
				var at [100]uint64
				for j := range at {
					at[j] = p.lend(make([]byte, 64*(i+1)))
				}
				for _, a := range at {
					p.call("opt_free", a, uint64(64*(i+1)))
				}
			}
			t.Logf("%d KiB", p.Memory().Size()>>10)
			if size := p.Memory().Size(); size > 12<<20 {
				t.Errorf("%d bytes for at most 3 MB at once", size)
			}
			if at := p.call("opt_alloc", 0xffff_fff0); at != 0 {
				t.Errorf("4 GiB are at %d", at)
			}
		})
	}
}

// TestLongSearch: an instance does not grow with what it was asked and told.
func TestLongSearch(t *testing.T) {
	const rounds = 2000
	for _, k := range small(t) { // Go's collector runs when it pleases
		t.Run(k.name, func(t *testing.T) {
			p := k.start(t)
			if code := p.create(`{"dim":3,"budget":100000,"batch":8,"seed":"1","lower":[-1,-1,-1],"upper":[1,1,1],"options":` + k.options + `}`); code != 0 {
				t.Fatal(p.lastError())
			}
			var size uint32
			for i := range rounds {
				x, f := p.numbers(make([]float64, 24)...), p.numbers(8, 7, 6, 5, 4, 3, 2, float64(-i))
				if n := p.code("opt_ask", x, 8); n != 8 {
					t.Fatalf("asked for 8, got %d (%q)", n, p.lastError())
				}
				if p.code("opt_ask", x, 8) != -3 || p.code("opt_tell", x, f, 8, 0, 0) != 0 {
					t.Fatal(p.lastError())
				}
				p.call("opt_free", x, 24*8)
				p.call("opt_free", f, 8*8)
				if i == rounds/2 {
					size = p.Memory().Size()
				}
			}
			if now := p.Memory().Size(); now > size {
				t.Errorf("%d bytes of memory, %d in the middle", now, size)
			}
		})
	}
}

// The largest problem, of what a sample says that it takes, fits into what a host gives to an upload.
func TestManyWeights(t *testing.T) {
	for _, language := range Languages() {
		t.Run(language, func(t *testing.T) {
			m := compile(t, language, false) // with the memory that is the default
			dim := search.MaxDim
			if most := m.Info().MaxDim; most > 0 {
				dim = most
			}
			p := searchtest.Problem(dim, 120, 64)
			g, err := m.New(t.Context(), p, nil)
			if err != nil {
				t.Fatal(err)
			}
			result, err := search.Run(t.Context(), p, g, &searchtest.Evaluator{Problem: p}, search.RunOptions{})
			if err != nil || result.Evaluations != p.Budget {
				t.Errorf("%d evaluations, %v", result.Evaluations, err)
			}
		})
	}
}
