package backendtest

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/medley-lora/medley/gpu/backend"
)

// pages runs attention over keys that are scattered in pages, some shared by two spans, and over the same keys in stretches: against the
// reference, and bit for bit against each other.
func (s *suite) pages(t *testing.T) {
	for _, c := range []struct {
		heads, shared, width, window int
		causal, biased               bool
		keys                         []int // of each span
	}{
		{4, 2, 64, 0, true, false, []int{1, 32, 33, 64, 200}},
		{3, 3, 16, 0, false, true, []int{40, 0, 95, 31}},
		{6, 2, 7, 0, true, false, []int{100, 64, 3}},
		{2, 1, 33, 50, true, false, []int{150, 50, 97}},
		{4, 1, 32, 5, true, false, []int{33, 70}},
		{2, 2, 129, 0, true, true, []int{65, 130}},
	} {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			for _, queries := range []int{1, 17} {
				stretches, paged, page, rows := spansOf(c.keys, queries)
				attention := func(spans []backend.Span, keys, values func(m maker, p backend.Pass) backend.Tensor) [][]float32 {
					run := func(m maker, p backend.Pass) []backend.Tensor {
						a := backend.Attention{Heads: c.heads, KVHeads: c.shared, Scale: 0.3, Causal: c.causal, Window: c.window, Spans: spans}
						if c.biased {
							a.Bias, a.BiasZero = normal(130, 500*c.heads), 250
						}
						d := c.heads * c.width
						return []backend.Tensor{p.Attend(m.input(p, normal(131, rowsOf(paged)*d), rowsOf(paged), d), keys(m, p), values(m, p), a)}
					}
					s.compare(t, s.tolerance.Attend, run)
					return execute(t, s.backend, run)
				}
				e := c.shared * c.width
				whole := func(seed uint64) func(m maker, p backend.Pass) backend.Tensor {
					return func(m maker, p backend.Pass) backend.Tensor { return m.input(p, normal(seed, rows*e), rows, e) }
				}
				scattered := func(seed uint64) func(m maker, p backend.Pass) backend.Tensor {
					return func(m maker, p backend.Pass) backend.Tensor {
						return p.Gather(whole(seed)(m, p), page)
					}
				}
				got := attention(paged, scattered(132), scattered(133))
				if err := differ(got[0], attention(stretches, whole(132), whole(133))[0], 0); err != nil {
					t.Errorf("%d queries: in pages and in a stretch: %v", queries, err)
				}
			}
		})
	}
}

// spansOf lays the keys of spans out one after the other, each at the start of a page, and the same pages in another order: page is where
// each row then comes from. The last span has the keys of the first.
func spansOf(keys []int, queries int) (stretches, paged []backend.Span, page []int32, rows int) {
	var first []int // page of each span
	pages := 0
	for _, n := range keys {
		first = append(first, pages)
		pages += backend.PagesOf(n)
	}
	order := rand.New(rand.NewPCG(1, 2)).Perm(pages) // the place of each page
	page = make([]int32, pages*backend.PageRows)
	for n, at := range order {
		for i := range backend.PageRows {
			page[at*backend.PageRows+i] = int32(n*backend.PageRows + i)
		}
	}
	for i, n := range append(keys[:len(keys):len(keys)], keys[0]) {
		first := append(first, 0)
		k0 := first[i] * backend.PageRows
		s := backend.Span{Q0: i * queries, Q1: (i + 1) * queries, K0: k0, K1: k0 + n, QPos: max(0, n-queries)}
		stretches = append(stretches, s)
		s.K0, s.K1, s.Pages = 0, n, []int32{}
		for p := range backend.PagesOf(n) {
			s.Pages = append(s.Pages, int32(order[first[i]+p]))
		}
		paged = append(paged, s)
	}
	return stretches, paged, page, pages * backend.PageRows
}

// rowsOf is the query rows of spans.
func rowsOf(spans []backend.Span) int { return spans[len(spans)-1].Q1 }

// free frees tensors before their scope ends.
func (s *suite) free(t *testing.T) {
	s.compare(t, 0, func(m maker, p backend.Pass) []backend.Tensor {
		before := m.input(p, normal(134, 5*40), 5, 40)
		after := p.Zeros(8, 40)
		kept := p.Scope(func() backend.Tensor {
			p.Scatter(after, before, []int32{7, 1, 2, 0, 5})
			p.Free(before) // of the scope outside
			p.Zeros(5, 40) // which may take its place
			dropped := p.Zeros(5, 40)
			kept := p.Gather(after, []int32{0, 1, 7})
			p.Free(dropped)
			return kept
		})
		return []backend.Tensor{after, kept}
	})
	p := s.backend.Begin(t.Context())
	defer p.End()
	x := p.Zeros(2, 4)
	p.Free(x)
	if s.backend.Info().Name == s.reference.Info().Name {
		return // it has no memory to give back
	}
	if _, err := p.Read(x); err == nil {
		t.Error("a tensor that was freed is read")
	}
}
