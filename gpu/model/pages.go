package model

import (
	"slices"

	"github.com/medley-lora/medley/gpu/backend"
)

// Sequence is where the keys and values of one sequence are in a Cache. The zero value has none.
type Sequence struct {
	// Context is what, beside its tokens, the keys and values of a sequence follow from, such as the modules that update it: sequences that
	// begin alike share pages if it is equal.
	Context string
	// Private keeps a sequence from sharing.
	Private bool

	pages  []int32
	tokens []int32 // that are in the cache
	last   uint64  // contents of the newest whole page; 0 for none
}

// Len is how many tokens are in the cache.
func (s *Sequence) Len() int { return len(s.tokens) }

// Pages is how many pages it has.
func (s *Sequence) Pages() int { return len(s.pages) }

// Span is the attention of the last rows of a sequence, row q0 of the queries being the first of them, to all of it.
func (s *Sequence) Span(q0, rows int) backend.Span {
	return backend.Span{Q0: q0, Q1: q0 + rows, K1: len(s.tokens), QPos: len(s.tokens) - rows, Pages: s.pages}
}

// pages counts who uses the pages of a cache. Whole pages are known by what they hold, and stay so when nobody uses them any more, until
// they are needed for something else.
type pages struct {
	most  int // pages; 0 for any number
	all   []page
	free  []int32 // that hold nothing
	idle  []int32 // that nobody uses, those left longest ago first
	known map[contents]int32
	count uint64 // of contents so far
}

type page struct {
	users    int
	number   uint64 // of its contents, which no others ever have; 0 for a page that is not whole
	contents contents
}

// contents is what a page holds: tokens after those of another page, or at the beginning in some context.
type contents struct {
	after   uint64
	context string
	tokens  [backend.PageRows]int32
}

// contents is a page of tokens after those of another, or with none at the beginning.
func (s *Sequence) contents(after uint64, tokens []int32) contents {
	c := contents{after: after, tokens: [backend.PageRows]int32(tokens)}
	if after == 0 {
		c.context = s.Context
	}
	return c
}

// share gives a sequence whose pages are whole those that are known to hold what the first of the tokens would fill, and returns how many
// tokens these are.
func (p *pages) share(s *Sequence, tokens []int32) (shared int) {
	for _, n := range p.find(s, tokens) {
		if p.all[n].users == 0 {
			p.idle = slices.DeleteFunc(p.idle, func(i int32) bool { return i == n })
		}
		p.all[n].users++
		s.pages, s.last = append(s.pages, n), p.all[n].number
		s.tokens = append(s.tokens, tokens[shared:shared+backend.PageRows]...)
		shared += backend.PageRows
	}
	return shared
}

// find lists the pages that share would give.
func (p *pages) find(s *Sequence, tokens []int32) (found []int32) {
	if s.Private || len(s.tokens)%backend.PageRows != 0 {
		return nil
	}
	last := s.last
	for ; len(tokens) >= backend.PageRows; tokens = tokens[backend.PageRows:] {
		n, ok := p.known[s.contents(last, tokens[:backend.PageRows])]
		if !ok {
			break
		}
		found, last = append(found, n), p.all[n].number
	}
	return found
}

// shared is how many of those have users.
func (p *pages) shared(s *Sequence, tokens []int32) (used int) {
	for _, n := range p.find(s, tokens) {
		if p.all[n].users > 0 {
			used++
		}
	}
	return used
}

// extend makes room for tokens and returns the rows that they have. What others share of it is there once the step that they are fed in
// has stored its keys and values.
func (p *pages) extend(s *Sequence, tokens []int32) (rows []int32) {
	for _, t := range tokens {
		at := len(s.tokens) % backend.PageRows
		if at == 0 {
			s.pages = append(s.pages, p.take())
		}
		n := s.pages[len(s.pages)-1]
		rows = append(rows, n*backend.PageRows+int32(at))
		s.tokens = append(s.tokens, t)
		if at == backend.PageRows-1 && !s.Private {
			p.know(n, s)
		}
	}
	return rows
}

// know enters the page that a sequence has just filled, unless another holds the same.
func (p *pages) know(n int32, s *Sequence) {
	c := s.contents(s.last, s.tokens[len(s.tokens)-backend.PageRows:])
	p.count++
	s.last = p.count
	if same, ok := p.known[c]; ok {
		s.last = p.all[same].number
		return
	}
	if p.known == nil {
		p.known = map[contents]int32{}
	}
	p.known[c] = n
	p.all[n].number, p.all[n].contents = s.last, c
}

// take finds a page: one that holds nothing, a new one, or beyond the most of them one that nobody has used for longest.
func (p *pages) take() (n int32) {
	switch last := len(p.free) - 1; {
	case last >= 0:
		n, p.free = p.free[last], p.free[:last]
	case len(p.idle) > 0 && p.most > 0 && len(p.all) >= p.most:
		n, p.idle = p.idle[0], p.idle[1:]
		p.forget(n)
	default:
		n = int32(len(p.all))
		p.all = append(p.all, page{})
	}
	p.all[n].users = 1
	return n
}

func (p *pages) forget(n int32) {
	delete(p.known, p.all[n].contents)
	p.all[n] = page{}
}

// drop takes a sequence's pages from it. The last of them go first when room is needed: without those before it a page cannot be found.
func (p *pages) drop(s *Sequence) {
	for _, n := range slices.Backward(s.pages) {
		if p.all[n].users--; p.all[n].users > 0 {
			continue
		}
		if p.all[n].number == 0 {
			p.free = append(p.free, n)
		} else {
			p.idle = append(p.idle, n)
		}
	}
	s.pages, s.tokens, s.last = nil, nil, 0
}

// used is how many pages have users.
func (p *pages) used() int { return len(p.all) - len(p.free) - len(p.idle) }
