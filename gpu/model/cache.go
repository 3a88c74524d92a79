package model

import "github.com/medley-lora/medley/gpu/backend"

// Cache holds the keys and values of sequences in pages, which sequences take as they grow and share where they begin alike (PagedAttention,
// arXiv 2309.06180). Its tensors belong to a pass.
type Cache struct {
	cols   int
	layers []Cached
	rows   int
	pages  pages
}

// Cached is one layer's keys and values, both [pages·backend.PageRows, cols].
type Cached struct{ Keys, Values backend.Tensor }

// NewCache makes a cache of keys and values of so many columns for so many layers.
func NewCache(layers, cols int) *Cache {
	return &Cache{cols: cols, layers: make([]Cached, layers)}
}

// Keep bounds the pages that are kept although nobody uses them: beyond so many in all they are used for something else. Without it there
// is no bound.
func (c *Cache) Keep(most int) { c.pages.most = max(1, most) }

// Fit makes room for the pages that sequences have and for so many that they will ask for. It is called before the rows that Extend has given
// are written. Room that was made is copied when more is needed, and then grows by half at least.
func (c *Cache) Fit(p backend.Pass, ahead int) {
	need := len(c.pages.all) * backend.PageRows
	if need <= c.rows {
		return
	}
	grown := max(c.rows*3/2/backend.PageRows*backend.PageRows, need+max(0, ahead-len(c.pages.free))*backend.PageRows)
	for i := range c.layers {
		l := &c.layers[i]
		l.Keys, l.Values = c.grow(p, l.Keys, grown), c.grow(p, l.Values, grown)
	}
	c.rows = grown
}

func (c *Cache) grow(p backend.Pass, t backend.Tensor, rows int) backend.Tensor {
	grown := p.Zeros(rows, c.cols)
	if t != nil {
		same := make([]int32, c.rows)
		for i := range same {
			same[i] = int32(i)
		}
		p.Scatter(grown, t, same)
		p.Free(t)
	}
	return grown
}

// Layer is a layer's keys and values, after Fit.
func (c *Cache) Layer(i int) Cached { return c.layers[i] }

// Store enters keys and values of a layer at rows that Extend has given, and returns the layer's.
func (c *Cache) Store(p backend.Pass, layer int, k, v backend.Tensor, rows []int32) (keys, values backend.Tensor) {
	l := c.layers[layer]
	p.Scatter(l.Keys, k, rows)
	p.Scatter(l.Values, v, rows)
	return l.Keys, l.Values
}

// Share gives a sequence the whole pages that are known to hold the first of these tokens after those that it has, and returns how many
// tokens these are.
func (c *Cache) Share(s *Sequence, tokens []int32) int { return c.pages.share(s, tokens) }

// Shared is how many pages that others use Share would give.
func (c *Cache) Shared(s *Sequence, tokens []int32) int { return c.pages.shared(s, tokens) }

// Extend makes room for tokens, and returns the rows for their keys and values, for the next step to store them. Sequences that are
// extended or share from then on may rely on them in the same step.
func (c *Cache) Extend(s *Sequence, tokens []int32) (rows []int32) { return c.pages.extend(s, tokens) }

// Drop takes a sequence's pages from it; it has no tokens then.
func (c *Cache) Drop(s *Sequence) { c.pages.drop(s) }

// Used is how many pages sequences have, shared ones counted once.
func (c *Cache) Used() int { return c.pages.used() }

// Knows says whether there are pages that a sequence could share.
func (c *Cache) Knows() bool { return len(c.pages.known) > 0 }

// PageBytes is the memory of a page.
func (c *Cache) PageBytes() int64 {
	return 4 * 2 * int64(len(c.layers)) * int64(c.cols) * backend.PageRows
}
