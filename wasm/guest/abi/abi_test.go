package abi

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/medley-lora/medley/wasm/optimizer"
)

// remote is a guest with a host's view of it: memory by address, which natively is made up.
type remote struct {
	*Guest
	t *testing.T
}

func newRemote(t *testing.T) *remote {
	next := uint32(64)
	return &remote{New(func(*float64) uint32 {
		next += 1 << 20
		return next
	}), t}
}

// lend copies values to memory of the guest's.
func (r *remote) lend(values ...float64) uint32 {
	r.t.Helper()
	p := r.Alloc(uint32(8 * len(values)))
	copy(r.at(p, len(values)), values)
	return p
}

func (r *remote) at(p uint32, n int) []float64 {
	r.t.Helper()
	v, ok := r.heap.floats(p, uint64(n))
	if !ok {
		r.t.Fatalf("%d numbers at %d are not in memory", n, p)
	}
	return v
}

func (r *remote) text(at uint64) string {
	r.t.Helper()
	b, ok := r.heap.bytes(uint32(at>>32), uint32(at))
	if !ok {
		r.t.Fatalf("the text at %x is not in memory", at)
	}
	return string(b)
}

func (r *remote) create(json string) int32 {
	p := r.Alloc(uint32(len(json)))
	b, _ := r.heap.bytes(p, uint32(len(json)))
	copy(b, json)
	defer r.Free(p, uint32(len(json)))
	return r.Create(p, uint32(len(json)))
}

const plane = `{"dim":2,"budget":9,"batch":3,"seed":"7","lower":[-1,-1],"upper":[1,1],"init":[0,0],"l1":0,"aux":0,"options":{"optimizer":"random"}}`

// refused is a table's answer: a code, and a part of the sentence.
func (r *remote) refused(name string, got, code int32, message string) {
	r.t.Helper()
	if text := r.text(r.LastError()); got != code || !strings.Contains(text, message) {
		r.t.Errorf("%s: %d, %q; want %d, %q", name, got, text, code, message)
	}
}

func TestSearch(t *testing.T) {
	r := newRemote(t)
	if r.LastError() != 0 {
		t.Error("there is an error before the first call")
	}
	if got := r.create(plane); got != OK {
		t.Fatalf("create: %d, %s", got, r.text(r.LastError()))
	}
	x, f := r.Alloc(8*2*3), r.lend(5, 3, math.NaN())
	best, bestF := r.Alloc(16), r.Alloc(8)
	if got := r.Best(best, bestF); got != 0 {
		t.Errorf("there is a best, %d, before anything was told", got)
	}
	for range 3 {
		if got := r.Ask(x, 3); got != 3 {
			t.Fatalf("ask: %d, %s", got, r.text(r.LastError()))
		}
		if got := r.Tell(x, f, 3, 0, 0); got != OK {
			t.Fatalf("tell: %d, %s", got, r.text(r.LastError()))
		}
	}
	if got := r.Ask(x, 3); got != 0 {
		t.Errorf("asked for %d candidates beyond the budget", got)
	}
	if got := r.Best(best, bestF); got != Observed || r.at(bestF, 1)[0] != 3 {
		t.Errorf("best: %d with objective %v", got, r.at(bestF, 1)[0])
	}
}

func TestRefuses(t *testing.T) {
	r := newRemote(t)
	x := r.Alloc(48)
	r.refused("ask early", r.Ask(x, 1), BadState, "no optimizer yet")
	r.refused("tell early", r.Tell(x, x, 1, 0, 0), BadState, "no optimizer yet")
	r.refused("best early", r.Best(x, x), BadState, "no optimizer yet")
	r.refused("no JSON", r.create(`{`), BadArgument, "not JSON")
	r.refused("no problem", r.create(`{}`), BadArgument, "dim: must be from 1 to 10000, got 0")
	r.refused("no such algorithm", r.create(strings.Replace(plane, "random", "adam", 1)), Unsupported, `"adam" is not one of`)
	r.refused("start elsewhere", r.create(strings.Replace(plane, "[0,0]", "[0,0.5]", 1)), Unsupported, "init: value 2")
	r.refused("short start", r.create(strings.Replace(plane, "[0,0]", "[0]", 1)), BadArgument, "init: has 1 values for 2 weights")
	r.refused("groups without aux", r.create(strings.Replace(plane, `"aux":0`, `"aux":0,"groups":[1]`, 1)), BadArgument, "aux: is 0 where the groups have 1")
	r.refused("aux below 0", r.create(strings.Replace(plane, `"aux":0`, `"aux":-1`, 1)), BadArgument, "aux: is -1")
	r.refused("configuration outside", r.Create(x, 49), BadArgument, "outside the memory")
	if got := r.create(plane); got != OK {
		t.Fatalf("create after refusals: %d, %s", got, r.text(r.LastError()))
	}
	r.refused("create twice", r.create(plane), BadState, "already")
	r.refused("ask for none", r.Ask(x, 0), BadArgument, "at least 1")
	r.refused("ask for too many", r.Ask(x, 4), BadArgument, "outside the memory")
	r.refused("ask for -1", r.Ask(x, math.MaxUint32), BadArgument, "at least 1")
	r.refused("ask at null", r.Ask(0, 1), BadArgument, "outside the memory")
	r.refused("ask unaligned", r.Ask(x+4, 1), BadArgument, "not aligned")
	r.refused("best at the end", r.Best(x+40, x), BadArgument, "outside the memory")
	r.refused("tell outside the bounds", r.Tell(r.lend(2, 0), x, 1, 0, 0), BadArgument, "weight 1 is outside the bounds")
	r.refused("tell NaN", r.Tell(r.lend(math.NaN(), 0), x, 1, 0, 0), BadArgument, "weight 1 is outside the bounds")
	r.refused("tell too many", r.Tell(x, x, 4, 0, 0), BadArgument, "outside the memory")
	r.refused("tell with too much aux", r.Tell(x, x, 1, x, 7), BadArgument, "outside the memory")
	r.refused("tell so much that a product overflows", r.Tell(x, x, math.MaxUint32, x, math.MaxUint32), BadArgument, "outside the memory")
	if got := r.Ask(x, 2); got != 2 {
		t.Fatalf("ask after refusals: %d, %s", got, r.text(r.LastError()))
	}
	r.refused("ask again", r.Ask(x, 1), BadState, "asked again before 2 candidates were answered")
	if got := r.Tell(x, x, 0, 0, 0); got != OK {
		t.Errorf("told nothing: %d", got)
	}
}

// A failed candidate carries a row of NaN, which must not become the shape of all log-probabilities.
func TestUnknownLogProbs(t *testing.T) {
	nan := math.NaN()
	for _, c := range []struct {
		row  []float64
		want int
	}{{[]float64{nan, nan}, 0}, {[]float64{nan, -1}, 2}, {[]float64{-1, -2}, 2}, {nil, 0}} {
		if got := len(known(c.row)); got != c.want {
			t.Errorf("%v has %d log-probabilities, want %d", c.row, got, c.want)
		}
	}
}

func TestInfo(t *testing.T) {
	r := newRemote(t)
	var names []string
	for _, a := range optimizer.Algorithms() {
		names = append(names, `"`+a.Name+`"`)
	}
	want := `{"name":"medley","version":"1","wants_aux":true,"max_dim":10000,"preferred_batch":8,"optimizers":[` + strings.Join(names, ",") + `]}`
	if got := r.text(r.Info()); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if first, again := r.Info(), r.Info(); first != again {
		t.Errorf("the text is at %x and at %x", first, again)
	}
}

func TestHeap(t *testing.T) {
	r := newRemote(t)
	if p := r.Alloc(maxBlock + 1); p != 0 {
		t.Errorf("more memory than there can be is at %d", p)
	}
	if p := r.Alloc(0); p == 0 {
		t.Error("no memory at all is refused")
	}
	p := r.Alloc(9)
	for _, c := range []struct {
		p, n uint32
		ok   bool
	}{{p, 9, true}, {p, 10, false}, {p + 8, 1, true}, {p + 9, 0, true}, {p + 10, 0, false}, {p - 1, 1, false}, {p + 1, math.MaxUint32, false}} {
		if _, ok := r.heap.bytes(c.p, c.n); ok != c.ok {
			t.Errorf("%d bytes at %d of the block: %v", c.n, int64(c.p)-int64(p), ok)
		}
	}
	r.Free(p, 8)
	if _, ok := r.heap.bytes(p, 9); !ok {
		t.Error("memory is gone that was freed with another length")
	}
	r.Free(p, 9)
	r.Free(p, 9)
	if _, ok := r.heap.bytes(p, 9); ok {
		t.Error("memory is there that was freed")
	}
	before := len(r.heap.blocks)
	for range 10 {
		r.Ask(0, 0)
	}
	if got := len(r.heap.blocks); got != before+1 {
		t.Errorf("ten refusals hold %d blocks", got-before)
	}
}

// Objectives are found by a hash of the candidate alone, so it has to tell apart what differs in one bit.
func TestHash(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	seen := map[uint64]bool{}
	n := 0
	for range 1000 {
		x := []float64{r.Float64(), r.Float64(), 0}
		for i := range x {
			for bit := range 64 {
				y := append([]float64{}, x...)
				y[i] = math.Float64frombits(math.Float64bits(x[i]) ^ 1<<bit)
				seen[hash(y)] = true
				n++
			}
		}
	}
	if len(seen) != n {
		t.Errorf("%d hashes of %d candidates", len(seen), n)
	}
}
