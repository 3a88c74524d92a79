package webgpu

import (
	"math"
	"slices"
	"unsafe"

	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/gpu/kernel"
	"github.com/medley-lora/medley/shared/fault"
)

func (p *pass) Attend(q, k, v backend.Tensor, a backend.Attention) backend.Tensor {
	p.begin()
	query, key, value := p.input("attention", q), p.input("attention", k), p.input("attention", v)
	y := p.shape(query.rows, query.cols)
	if p.Err != nil || !p.ok(backend.CheckAttention(query, key, value, a)) || !p.allocate(y) || y.buffer == nil {
		return y
	}
	if key.rows == 0 {
		p.clear(y)
		return y
	}
	width := query.cols / a.Heads
	if width > kernel.MaxHead {
		p.Fail(fault.New(fault.Unsupported, "attention", "a head of %d columns; this backend takes at most %d", width, kernel.MaxHead))
		return y
	}
	at := attending{
		p: p, query: query, key: key, value: value, y: y, spec: a,
		kernel: kernel.NewAttend(width),
		most:   p.windowSize(widest(query)),
	}
	if a.Bias != nil {
		at.bias = p.placeBias(a.Bias)
	}
	next := 0 // the first row that is not dealt with
	for _, s := range a.Spans {
		at.add(backend.Span{Q0: next, Q1: s.Q0}) // between spans: no keys, and so zeros
		at.add(s)
		next = s.Q1
	}
	at.add(backend.Span{Q0: next, Q1: y.rows})
	at.record()
	return y
}

// placeBias enters a bias in the tables, once for all layers that use it.
func (p *pass) placeBias(bias []float32) int {
	for _, b := range p.bias {
		if slices.Equal(b.values, bias) {
			return b.at
		}
	}
	at := len(p.tables)
	for _, v := range bias {
		p.table(math.Float32bits(v))
	}
	p.bias = append(p.bias, placed{slices.Clone(bias), at})
	return at
}

// attending collects the items of one call.
type attending struct {
	p                    *pass
	query, key, value, y *tensor
	spec                 backend.Attention
	kernel               kernel.Attend
	bias                 int
	most                 int // rows of a window

	placed           placedPages    // the latest
	items            []backend.Span // of at most kernel.AttendRows queries each
	q0, q1, k0, k1   int            // what the items cover; k0 > k1 stands for no keys
	scores, mostKeys int
}

// The kernel's pages are the backend's: another number does not compile.
var _ = [1]struct{}{}[backend.PageRows-kernel.PageRows]

// placedPages is where the pages of a span are in the tables, their rows counted from a window's first.
type placedPages struct {
	pages     *int32
	first, at int
}

// add cuts a span into items. The first queries of later items are at later positions.
func (a *attending) add(s backend.Span) {
	for row := s.Q0; row < s.Q1; row += kernel.AttendRows {
		item := s
		item.Q0, item.Q1, item.QPos = row, min(s.Q1, row+kernel.AttendRows), s.QPos+row-s.Q0
		a.item(item)
	}
}

// item enters an item, after recording those before it if the windows would become too large, or the work of a step.
func (a *attending) item(s backend.Span) {
	scores := (s.Q1 - s.Q0) * (s.K1 - s.K0)
	grown := a.including(s)
	if len(a.items) > 0 && (!grown.fits() || len(a.items) == kernel.MaxItems || a.kernel.Cost(a.spec.Heads, a.y.cols/a.spec.Heads, a.scores+scores) > a.p.b.stepCost) {
		a.record()
		grown = a.including(s)
	}
	if !grown.fits() {
		a.p.Fail(fault.New(fault.TooLarge, "attention", "%d keys of %d columns; this device reads at most %d bytes at once",
			s.K1-s.K0, a.key.cols, a.p.b.limit()))
		return
	}
	a.q0, a.q1, a.k0, a.k1 = grown.q0, grown.q1, grown.k0, grown.k1
	a.items = append(a.items, s)
	a.scores += scores
	a.mostKeys = max(a.mostKeys, s.K1-s.K0)
}

// including is a, as far as its windows go, with one more item.
func (a *attending) including(s backend.Span) attending {
	g := *a
	if len(g.items) == 0 {
		g.q0, g.k0, g.k1 = s.Q0, math.MaxInt, 0
	}
	g.q1 = s.Q1
	if first, end := keyRows(s); first < end {
		g.k0, g.k1 = min(g.k0, first), max(g.k1, end)
	}
	return g
}

// keyRows is the range of rows that the keys of a span are in.
func keyRows(s backend.Span) (first, end int) {
	if s.Pages == nil || s.K0 == s.K1 {
		return s.K0, s.K1
	}
	pages := s.Pages[:backend.PagesOf(s.K1)]
	return int(slices.Min(pages)) * backend.PageRows, (int(slices.Max(pages)) + 1) * backend.PageRows
}

// aligned is a window of the rows [first, end) and a few before them.
func aligned(first, end int) span {
	first = first / windowRows * windowRows
	return span{first, end - first}
}

func (a *attending) fits() bool {
	return aligned(a.q0, a.q1).count <= a.most && (a.k0 >= a.k1 || aligned(a.k0, a.k1).count <= a.most)
}

// pages enters the first rows of a span's pages in a window in the tables, and returns where. Items of one span share them.
func (a *attending) pages(s backend.Span, first int) int {
	if a.placed.pages == unsafe.SliceData(s.Pages) && a.placed.first == first {
		return a.placed.at
	}
	a.placed = placedPages{unsafe.SliceData(s.Pages), first, len(a.p.tables)}
	for _, n := range s.Pages[:backend.PagesOf(s.K1)] {
		a.p.table(uint32(int(n)*backend.PageRows - first))
	}
	return a.placed.at
}

// record enters the step for the items so far, and starts anew.
func (a *attending) record() {
	if len(a.items) == 0 || a.p.Err != nil {
		return
	}
	queries, keys := aligned(a.q0, a.q1), span{0, 1}
	if a.k0 < a.k1 {
		keys = aligned(a.k0, a.k1)
	}
	numbers := make([]uint32, 0, 8*len(a.items))
	for _, s := range a.items {
		pages := uint32(0)
		if s.Pages != nil && s.K0 < s.K1 {
			pages = 1 + uint32(a.pages(s, keys.first))
		}
		seen := s.K1 - s.K0
		if a.spec.Causal {
			seen = min(s.QPos+1, seen)
		}
		shift := int32(a.spec.BiasZero - s.QPos)
		numbers = append(numbers, uint32(s.Q0-queries.first), uint32(s.Q1-s.Q0), uint32(max(0, s.K0-keys.first)), uint32(s.K1-s.K0), uint32(seen), uint32(shift),
			uint32(int32(max(math.MinInt32, s.QPos+1-a.spec.Window))), pages)
	}
	step := a.kernel.Step(kernel.AttendSize{
		Heads: a.spec.Heads, Group: a.spec.Groups(), Windowed: a.spec.Window > 0, Width: a.y.cols / a.spec.Heads, Scale: a.spec.Scale, Items0: a.p.table(numbers...), Items: len(a.items),
		Biased: a.spec.Bias != nil, Bias0: a.bias, Keys: a.mostKeys, Scores: a.scores,
	})
	a.p.add(a.kernel, step, a.query.bind(queries), a.key.bind(keys), a.value.bind(keys), tablesBinding, a.y.bind(queries))
	a.items, a.scores, a.mostKeys = a.items[:0], 0, 0
}
