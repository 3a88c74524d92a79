// Package backend is the small interface between models and the hardware that runs them. A model is written once, against
// Pass; gpu/reference, gpu/cpu and the WebGPU device implement it, and backendtest holds each of them to the reference.
//
// All arithmetic is f32 with f32 (or wider) accumulation. Rows are packed: a batch of sequences is one [total tokens, d]
// tensor plus row ranges, so padding does not exist.
//
// Batch invariance: on one backend and machine, the numbers in a row of a result depend on that row's own inputs alone, bit
// for bit, and never on what else is in the batch. Resuming a search from its trace relies on it.
package backend

import (
	"context"

	"github.com/medley-lora/medley/shared/checkpoint"
)

// Tensor is a row-major f32 array [rows, cols] owned by the pass that made it.
type Tensor interface {
	Dims() (rows, cols int)
}

// Resident is something uploaded once and used by many passes: a weight matrix, a table, a vector or a factor pair. It is
// valid for the backend that made it until Free.
type Resident interface {
	// Bytes is the memory that the backend holds for it.
	Bytes() int64
	Free()
}

// Info says what a backend runs on, for people.
type Info struct {
	Name    string // "reference", "cpu", "webgpu"
	Device  string // "Intel Xeon, AVX-512, 2 threads"
	Threads int    // 0 where it has no meaning
	// Software marks a graphics interface that computes on the processor: right, and far slower than the cpu backend.
	Software bool
}

// Backend makes residents and passes. Its methods are safe for concurrent use.
type Backend interface {
	Info() Info
	// Matrix uploads the weight of a linear map, w [out, in]. The data is copied (the caller may release it).
	Matrix(w []float32, out, in int) (Resident, error)
	// Table uploads rows to be gathered by id, t [n, d]. The data may be kept: it must stay valid and unchanged until Free.
	Table(t []float32, n, d int) (Resident, error)
	// Vector uploads a gain [d].
	Vector(v []float32) (Resident, error)
	// Factor uploads one module's update of one linear map: scale·B·A with a [rank, in] and b [out, rank]. Copied.
	Factor(a, b []float32, rank, in, out int, scale float32) (Resident, error)
	// Begin opens a pass. When ctx ends, the rest of the pass does nothing and Read returns the context's error.
	Begin(ctx context.Context) Pass
	Close() error
}

// Pass records operations; they may run at once or when Read needs them. It keeps the first error, after which every
// operation is a no-op that returns a tensor of the right shape, and Read returns that error: a model's forward pass needs no error
// plumbing. Shape mismatches are errors, never panics: implementations call the functions of check.go. A pass is not safe for concurrent use.
type Pass interface {
	// Embed gathers rows: ids [n] of table [v, d] -> [n, d].
	Embed(table Resident, ids []int32) Tensor
	// Norm is root-mean-square layer normalisation (arXiv 1910.07467): x·gain/√(mean(x²)+eps), per row. A gain of fewer columns, a
	// multiple of 4 that divides x's, normalises each stretch of that many by itself, as for the heads of queries and keys.
	Norm(x Tensor, gain Resident, eps float32) Tensor
	// Linear is x Wᵀ, plus what opt adds: x [n, in] -> [n, out].
	Linear(x Tensor, w Resident, opt Linear) Tensor
	// Rotate is rotary position embedding (arXiv 2104.09864) of every head: x [n, heads·d] and angles [n, d], a row's d/2 cosines and then
	// its d/2 sines. Column i of a head becomes x_i·cos_i − x_{i+d/2}·sin_i, column i+d/2 becomes x_{i+d/2}·cos_i + x_i·sin_i.
	Rotate(x, angles Tensor, heads int) Tensor
	// Attend is multi-head attention over row ranges: q [n, heads·d], k and v [m, kvHeads·d] -> [n, heads·d].
	Attend(q, k, v Tensor, a Attention) Tensor
	// Gate applies an activation to a, multiplied by b elementwise unless b is nil.
	Gate(act Activation, a, b Tensor) Tensor
	// Gather copies rows: x [n, d] and rows [m] -> [m, d]. Row numbers may repeat.
	Gather(x Tensor, rows []int32) Tensor
	// Scatter copies row i of src to row rows[i] of dst, which Zeros made. Row numbers must not repeat.
	Scatter(dst, src Tensor, rows []int32)
	// Zeros makes a tensor of zeros (key and value caches).
	Zeros(rows, cols int) Tensor
	// Free frees a tensor before its scope ends.
	Free(t Tensor)
	// LogProbs is the log-softmax of x Wᵀ at one column per row: x [n, in], head [vocabulary, in], targets [n] -> [n, 1]. The
	// logits are never held all at once.
	LogProbs(x Tensor, head Resident, targets []int32) Tensor
	// Scope runs f and frees every tensor made in it but the one it returns.
	Scope(f func() Tensor) Tensor
	// Read waits for t and copies it to the host, row-major.
	Read(t Tensor) ([]float32, error)
	// End frees the pass and its tensors.
	End()
}

// HeadSplitter is a Pass that can give every head of a row a row of its own. Keys and values are linear in what they are made from, so
// attention can then work on that instead, the maps going over the few rows of queries: see t5.Targets.Absorb.
type HeadSplitter interface {
	// SplitHeads is [n, heads·d] -> [n·heads, heads·d]: row i·heads+h is head h of row i in its own columns, zeros in the others.
	SplitHeads(x Tensor, heads int) Tensor
	// JoinHeads is [n·heads, heads·d] -> [n, heads·d]: head h of row i is that of row i·heads+h.
	JoinHeads(x Tensor, heads int) Tensor
}

// SplitsHeads says whether the passes of b are HeadSplitters: a method of that name on b says so.
func SplitsHeads(b Backend) bool {
	s, ok := b.(interface{ SplitsHeads() bool })
	return ok && s.SplitsHeads()
}

// Packed is a matrix [Rows, Cols] whose rows are blocks of small integers, as GGUF files have them.
type Packed struct {
	Type       checkpoint.DType
	Data       []byte
	Rows, Cols int
}

// Packer is a Backend that keeps such matrices packed and unpacks them as it uses them.
type Packer interface {
	// Packs says whether PackedMatrix takes a type.
	Packs(t checkpoint.DType) bool
	// PackedMatrix uploads the weight of a linear map [out, in]. Its blocks must hold finite numbers. Copied.
	PackedMatrix(w Packed) (Resident, error)
	// PackedTable uploads rows to be gathered by id, of any type in blocks. The data may be kept, as by Table.
	PackedTable(t Packed) (Resident, error)
}

// Linear holds what Pass.Linear adds to the product. The zero value adds nothing.
type Linear struct {
	Bias     Resident // a vector [out], or nil
	Residual Tensor   // [n, out], or nil
	Update   *Update  // nil for the bare map
}

// Update adds low-rank terms to a linear map, different ones for different rows. Rows outside every segment get none and
// cost nothing.
type Update struct {
	Factors  []Resident // by module; nil where a module leaves this map alone
	Segments []Segment  // disjoint, in ascending row order
}

// Segment says which modules the rows [Row0, Row1) use. With Product unset the rows get Σ weight_i·scale_i·x·A_iᵀ·B_iᵀ. With
// it they get scale·x·(Σ weight_i A_i)ᵀ·(Σ weight_i B_i)ᵀ, LoraHub's own composition (arXiv 2307.13269, section 3.3), for which
// the factors present must agree in rank and scale.
type Segment struct {
	Row0, Row1 int
	Terms      []Term
	Product    bool
	// Tokens is how many rows have these terms in the whole call that the pass is a part of, 0 if unknown. A backend may choose by it how
	// to compute, such as composing a weight for the segment first: it does not depend on how the call is cut into passes.
	Tokens int
}

// Term is one module and its weight.
type Term struct {
	Module int // index into Update.Factors
	Weight float32
}

// Attention says who attends to whom. For query row i at position p (QPos + i − Q0) and key row j at position r (j − K0) of one
// span, the score is Scale·q·k + Bias[(r−p)+BiasZero, head]; Causal masks r > p, and a Window r ≤ p − Window too. A span without keys
// gives zeros.
type Attention struct {
	Heads    int
	KVHeads  int // of k and v, 0 for Heads: head h uses that of number h/(Heads/KVHeads) (grouped queries, arXiv 2305.13245)
	Window   int // 0: none; else with Causal, and every query row must see a key
	Scale    float32
	Causal   bool
	Spans    []Span    // one per sequence, disjoint in query rows; query rows outside every span are zero
	Bias     []float32 // [distances, Heads], or nil; must cover every distance that occurs
	BiasZero int       // the row of Bias for distance 0
}

// Span is one sequence: query rows [Q0, Q1) see key rows [K0, K1).
type Span struct {
	Q0, Q1, K0, K1 int
	QPos           int // position of query row Q0; keys start at position 0
	// Pages, unless nil, is where the key rows are, K0 being 0: number j is row j%PageRows of page Pages[j/PageRows], and page n is the rows
	// of k and v from n·PageRows on. Spans may share pages (arXiv 2309.06180, section 4).
	Pages []int32
}

// PageRows is the rows of a page of keys or of values.
const PageRows = 32

// PagesOf is how many pages so many rows take.
func PagesOf(rows int) int { return (rows + PageRows - 1) / PageRows }

// Groups is how many heads share one of k and v.
func (a Attention) Groups() int {
	if a.KVHeads == 0 {
		return 1
	}
	return a.Heads / a.KVHeads
}

// First is the first key row of a span that a query row at position p sees, counted from K0.
func (a Attention) First(p int) int {
	if a.Window == 0 {
		return 0
	}
	return max(0, p-a.Window+1)
}

// Activation is a pointwise function.
type Activation int

const (
	ReLU    Activation = iota // max(0, x)
	GELUNew                   // 0.5·x·(1+tanh(√(2/π)·(x+0.044715·x³))), "gelu_new" (arXiv 1606.08415)
	SiLU                      // x·sigmoid(x)
)
