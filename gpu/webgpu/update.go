package webgpu

import (
	"maps"
	"math"
	"slices"

	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/gpu/device"
	"github.com/medley-lora/medley/gpu/kernel"
)

// shapeOf recognises the factors of this backend, and keeps their memory.
func (p *pass) shapeOf(r backend.Resident) (backend.FactorShape, bool) {
	f, ok := r.(*resident)
	if !ok || f == nil || f.b != p.b || f.kind != backend.FactorKind || !p.use(f) {
		return backend.FactorShape{}, false
	}
	return f.shape, true
}

// hiddenBytes bounds what the middle of a low-rank update holds at a time.
const hiddenBytes = 32 << 20

// update adds the low-rank terms to y. The rows of each segment are cut into items, for which the steps are: h = x Aᵀ for all terms
// side by side, for products their weighted sum, and y += h Bᵀ. Factors in several slabs of the heap take a step for each slab.
func (p *pass) update(x, y *tensor, u *backend.Update) {
	for _, rows := range spans(x.rows, p.windowSize(widest(x, y))) {
		l := lowRank{p: p, x: x, y: y, rows: rows, down: map[*slab]*items{}, up: map[*slab]*items{}}
		for _, s := range u.Segments {
			l.segment(s, u.Factors)
		}
		l.record()
	}
}

// lowRank collects the items of one window of rows.
type lowRank struct {
	p    *pass
	x, y *tensor
	rows span

	hidden   int // vec4s of h so far
	down, up map[*slab]*items
	fold     foldItems
}

// items are the items of one slab, six numbers each, and the most blocks that one has.
type items struct {
	numbers []uint32
	blocks  int
}

// foldItems are the items of fold, and the most terms and blocks that one has.
type foldItems struct {
	numbers       []uint32
	terms, blocks int
}

// term is one whose module has a factor here and whose weight is not zero.
type term struct {
	factor *resident
	weight float32
}

// layout is what the items of one segment share.
type layout struct {
	stride   int // vec4s in a row of h
	down, up map[*slab]*blocks
	weights  int // of a product: where its weights start in tables, and how many terms and blocks of each there are
	terms    int
	rank     int
}

// blocks is a list of blocks of one slab, and, once it is in the pass's tables, where.
type blocks struct {
	numbers   []uint32
	count, at int
}

// segment cuts one segment into items.
func (l *lowRank) segment(s backend.Segment, factors []backend.Resident) {
	var terms []term
	for _, t := range s.Terms {
		if f, ok := factors[t.Module].(*resident); ok && t.Weight != 0 {
			terms = append(terms, term{f, t.Weight})
		}
	}
	first, end := max(s.Row0, l.rows.first), min(s.Row1, l.rows.first+l.rows.count)
	if len(terms) == 0 || first >= end {
		return
	}
	g := l.layout(terms, s.Product)
	most := int(min(l.p.b.limit(), hiddenBytes) / 16)
	for row := first; row < end; row += kernel.UpdateRows {
		rows := min(kernel.UpdateRows, end-row)
		if l.hidden > 0 && l.hidden+rows*g.stride > most {
			l.record()
		}
		l.item(g, uint32(row-l.rows.first), uint32(rows))
	}
}

// layout puts the ranks of all terms side by side in a row of h, and for a product their sum after them.
func (l *lowRank) layout(terms []term, product bool) layout {
	g := layout{down: map[*slab]*blocks{}, up: map[*slab]*blocks{}}
	in4, out4 := uint32(kernel.Vectors(l.x.cols)), uint32(kernel.Vectors(l.y.cols))
	if product {
		g.rank, g.terms = kernel.Vectors(terms[0].factor.shape.Rank), len(terms)
		g.weights = len(l.p.tables)
		for _, t := range terms {
			l.p.table(math.Float32bits(t.weight))
		}
	}
	for _, t := range terms {
		coefficient := math.Float32bits(t.weight * t.factor.shape.Scale)
		for r := range uint32(kernel.Vectors(t.factor.shape.Rank)) {
			column := uint32(g.stride) + r
			enter(g.down, t.factor.down.slab, t.factor.down.vec4()+4*r*in4, column)
			if product {
				column = uint32(g.terms*g.rank) + r
			}
			enter(g.up, t.factor.up.slab, t.factor.up.vec4()+4*r*out4, column, coefficient)
		}
		g.stride += kernel.Vectors(t.factor.shape.Rank)
	}
	g.stride += g.rank
	for _, half := range []map[*slab]*blocks{g.down, g.up} {
		for _, b := range half {
			b.at = l.p.table(b.numbers...)
		}
	}
	return g
}

func enter(to map[*slab]*blocks, s *slab, numbers ...uint32) {
	if to[s] == nil {
		to[s] = &blocks{}
	}
	to[s].numbers = append(to[s].numbers, numbers...)
	to[s].count++
}

// item enters some rows of a segment: one item for each slab, and in the first half for every few blocks.
func (l *lowRank) item(g layout, row, rows uint32) {
	h, stride := uint32(l.hidden), uint32(g.stride)
	l.hidden += int(rows * stride)
	each := kernel.NewDown().Blocks()
	for s, b := range g.down {
		to := itemsOf(l.down, s)
		for first := 0; first < b.count; first += each {
			to.numbers = append(to.numbers, row, rows, h, stride, uint32(b.at+2*first), uint32(min(each, b.count-first)))
		}
	}
	for s, b := range g.up {
		to := itemsOf(l.up, s)
		to.numbers = append(to.numbers, row, rows, h, stride, uint32(b.at), uint32(b.count))
		to.blocks = max(to.blocks, b.count)
	}
	if g.terms > 0 {
		l.fold.numbers = append(l.fold.numbers, rows, h, stride, uint32(g.weights), uint32(g.terms), uint32(g.rank))
		l.fold.terms, l.fold.blocks = max(l.fold.terms, g.terms), max(l.fold.blocks, g.rank)
	}
}

func itemsOf(all map[*slab]*items, s *slab) *items {
	if all[s] == nil {
		all[s] = &items{}
	}
	return all[s]
}

// inOrder returns the slabs of a half as the heap made them, so that the order of sums is always the same.
func inOrder(all map[*slab]*items) []*slab {
	return slices.SortedFunc(maps.Keys(all), func(a, b *slab) int { return a.number - b.number })
}

// record enters the steps for the items so far, and starts anew.
func (l *lowRank) record() {
	if l.hidden == 0 {
		return
	}
	p := l.p
	h := p.get(int64(l.hidden) * 16)
	if h == nil {
		return
	}
	defer p.put(h)
	hidden := device.Binding{Buffer: h, Bytes: int64(l.hidden) * 16}
	down, fold, up := kernel.NewDown(), kernel.NewFold(), kernel.NewUp()
	for _, s := range inOrder(l.down) {
		i := l.down[s]
		p.chunks(i.numbers, down.Step(l.x.cols, 0, 1).Cost, func(at, n int) {
			p.add(down, down.Step(l.x.cols, at, n), l.x.bind(l.rows), device.Binding{Buffer: s.buffer}, tablesBinding, hidden)
		})
	}
	if f := l.fold; len(f.numbers) > 0 {
		p.chunks(f.numbers, fold.Step(0, 1, f.terms, f.blocks).Cost, func(at, n int) {
			p.add(fold, fold.Step(at, n, f.terms, f.blocks), tablesBinding, hidden)
		})
	}
	for _, s := range inOrder(l.up) {
		i := l.up[s]
		p.chunks(i.numbers, up.Step(l.y.cols, 0, 1, i.blocks).Cost, func(at, n int) {
			p.add(up, up.Step(l.y.cols, at, n, i.blocks), hidden, device.Binding{Buffer: s.buffer}, tablesBinding, l.y.bind(l.rows))
		})
	}
	l.hidden, l.fold = 0, foldItems{}
	clear(l.down)
	clear(l.up)
}

// chunks enters items, six numbers each, in the tables and cuts them into steps of bearable cost.
func (p *pass) chunks(numbers []uint32, costOfOne float64, step func(at, n int)) {
	at, left := p.table(numbers...), len(numbers)/6
	most := int(max(1, min(kernel.MaxItems, p.b.stepCost/costOfOne)))
	for ; left > 0; left -= most {
		step(at, min(left, most))
		at += 6 * most
	}
}
