// Package abi is the guest side of the guest interface, version 1 (package wasm/host describes it), over the algorithms of
// wasm/optimizer. It is ordinary Go that tests anywhere; package wasm/guest/reactor exports it from a WebAssembly module.
//
// A guest is not safe for concurrent use. It panics, which traps in WebAssembly, only where there is no memory left.
package abi

import (
	"math"
	"strconv"

	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/search"
	"github.com/medley-lora/medley/wasm/optimizer"
)

// Version is the version of the interface, major<<16 | minor.
const Version = 1 << 16

// Release is the guest's own version. It grows with every change of the candidates that an algorithm asks for, since a recorded search
// can be resumed only by the version that began it.
const Release = "1"

// preferredBatch is what the default algorithm makes good use of: more candidates of one model find little more.
const preferredBatch = 8

// The results of Create, Ask, Tell and Best. Ask's counts candidates otherwise, and Best's says how it knows its candidate.
const (
	OK          = 0
	BadArgument = -1
	Unsupported = -2
	BadState    = -3

	Observed  = 1 // the candidate was evaluated, with that objective
	Predicted = 2 // it was not, and its objective is NaN
)

// Guest is one optimizer, from its creation on, and the memory that it shares with its host.
type Guest struct {
	heap      heap
	optimizer search.Optimizer // nil before Create
	dim       int
	told      map[uint64]float64 // first finite objective by the hash of the candidate
	info      uint64             // lent; 0 before it was asked for
	last      uint64             // lent: why the last call was refused; 0 if none ever was
}

// New returns a guest without an optimizer. address is where the host finds a number, unique as long as the number lives.
func New(address func(*float64) uint32) *Guest {
	return &Guest{heap: heap{address: address}, told: map[uint64]float64{}}
}

// Alloc is opt_alloc. The memory is zero and 8-aligned.
func (g *Guest) Alloc(n uint32) uint32 { return g.heap.alloc(n) }

// Free is opt_free.
func (g *Guest) Free(p, n uint32) { g.heap.free(p, n) }

// Create is opt_create: n bytes of JSON at p, as readConfig describes them. After a refusal it may be called again.
func (g *Guest) Create(p, n uint32) int32 {
	if g.optimizer != nil {
		return g.refuse(BadState, "there is an optimizer already: an instance holds one")
	}
	text, ok := g.heap.bytes(p, n)
	if !ok {
		return g.refuse(BadArgument, "the configuration is outside the memory that was allocated")
	}
	c, err := readConfig(text)
	if err != nil {
		return g.fail(err)
	}
	o, err := optimizer.New(c.optimizer, c.problem)
	if err == nil {
		err = c.check()
	}
	if err != nil {
		return g.fail(err)
	}
	g.optimizer, g.dim = o, c.problem.Dim
	return OK
}

// Ask is opt_ask: it writes at most k candidates to x [k·dim] and returns how many.
func (g *Guest) Ask(x, k uint32) int32 {
	if g.optimizer == nil {
		return g.refuseEarly()
	}
	if k == 0 || k > math.MaxInt32 {
		return g.refuse(BadArgument, "k must be at least 1")
	}
	out, ok := g.heap.floats(x, uint64(k)*uint64(g.dim))
	if !ok {
		return g.refuse(BadArgument, "x is outside the memory that was allocated, or not aligned")
	}
	candidates, err := g.optimizer.Ask(int(k))
	if err != nil { // k is right, so it was not the time to ask
		return g.refuse(BadState, err.Error())
	}
	for i, c := range candidates {
		copy(out[i*g.dim:], c)
	}
	return int32(len(candidates))
}

// Tell is opt_tell: k candidates x [k·dim], their objectives f [k], and m log-probabilities each, aux [k·m]. A row of aux that is NaN
// throughout stands for none.
func (g *Guest) Tell(x, f, k, aux, m uint32) int32 {
	if g.optimizer == nil {
		return g.refuseEarly()
	}
	if k == 0 {
		return OK
	}
	cells, ok := g.heap.floats(x, uint64(k)*uint64(g.dim))
	objectives, okF := g.heap.floats(f, uint64(k))
	var logProbs []float64
	okAux := m == 0
	if m > 0 {
		logProbs, okAux = g.heap.floats(aux, uint64(k)*uint64(m))
	}
	if !ok || !okF || !okAux {
		return g.refuse(BadArgument, "x, f or aux is outside the memory that was allocated, or not aligned")
	}
	candidates, scores := make([][]float64, k), make([]search.Score, k)
	for i := range candidates {
		candidates[i] = cells[i*g.dim:][:g.dim:g.dim]
		scores[i] = search.Score{Objective: objectives[i], Loss: math.NaN(), LogProbs: known(logProbs[i*int(m):][:m:m])}
	}
	if err := g.optimizer.Tell(candidates, scores); err != nil {
		return g.fail(err)
	}
	for i, c := range candidates {
		h := hash(c)
		if _, ok := g.told[h]; !ok && !math.IsNaN(objectives[i]) && !math.IsInf(objectives[i], 0) {
			g.told[h] = objectives[i]
		}
	}
	return OK
}

// known returns the row, or nil if it holds no number.
func known(row []float64) []float64 {
	for _, v := range row {
		if !math.IsNaN(v) {
			return row
		}
	}
	return nil
}

// Best is opt_best: it writes the candidate to use to x [dim] and its objective to f [1]. 0 means that there is none yet.
func (g *Guest) Best(x, f uint32) int32 {
	if g.optimizer == nil {
		return g.refuseEarly()
	}
	out, ok := g.heap.floats(x, uint64(g.dim))
	objective, okF := g.heap.floats(f, 1)
	if !ok || !okF {
		return g.refuse(BadArgument, "x or f is outside the memory that was allocated, or not aligned")
	}
	best := g.optimizer.Best()
	if best == nil {
		return 0
	}
	copy(out, best)
	if value, ok := g.told[hash(best)]; ok {
		objective[0] = value
		return Observed
	}
	objective[0] = math.NaN()
	return Predicted
}

// hash is 64-bit FNV-1a over the bits of x, a number at a time.
func hash(x []float64) uint64 {
	h := uint64(14695981039346656037)
	for _, v := range x {
		h = (h ^ math.Float64bits(v)) * 1099511628211
		h ^= h >> 32 // the product alone would not carry high bits down
	}
	return h
}

// Info is opt_info: JSON that says what the guest is, pointer<<32 | length. It may be called before Create.
func (g *Guest) Info() uint64 {
	if g.info == 0 {
		text := `{"name":"medley","version":` + strconv.Quote(Release) + `,"wants_aux":true,"max_dim":` + strconv.Itoa(search.MaxDim) +
			`,"preferred_batch":` + strconv.Itoa(preferredBatch) + `,"optimizers":[`
		for i, a := range optimizer.Algorithms() {
			if i > 0 {
				text += ","
			}
			text += strconv.Quote(a.Name)
		}
		g.info = g.heap.lend(text + "]}")
	}
	return g.info
}

// LastError is opt_last_error: why the last refused call was refused, pointer<<32 | length, length 0 if none was. The text is there until
// the next refusal.
func (g *Guest) LastError() uint64 { return g.last }

func (g *Guest) refuseEarly() int32 {
	return g.refuse(BadState, "there is no optimizer yet: create one")
}

// refuse notes why and returns the code.
func (g *Guest) refuse(code int32, why string) int32 {
	if g.last != 0 {
		g.heap.free(uint32(g.last>>32), uint32(g.last))
	}
	g.last = g.heap.lend(why)
	return code
}

// fail refuses with an error of what was asked for.
func (g *Guest) fail(err error) int32 {
	switch fault.CodeOf(err) {
	case fault.Unsupported, fault.NotFound:
		return g.refuse(Unsupported, err.Error())
	}
	return g.refuse(BadArgument, err.Error())
}
