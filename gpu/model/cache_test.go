package model

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/gpu/reference"
)

// TestPages takes sequences of few different beginnings through a cache in random order: every row that a sequence has must hold what
// follows from its own context and tokens, whoever stored it, and a page must be free when nobody has it.
func TestPages(t *testing.T) {
	for seed := range uint64(8) {
		r := rand.New(rand.NewPCG(seed, 1))
		c := NewCache(1, 1)
		if seed%2 == 1 {
			c.Keep(12)
		}
		stored := map[int32]uint64{} // by row
		var live []*Sequence
		shared := 0
		for range 300 {
			switch choice := r.IntN(10); {
			case choice < 3:
				live = append(live, &Sequence{Context: fmt.Sprint(r.IntN(2)), Private: r.IntN(8) == 0})
			case len(live) == 0:
			case choice < 5:
				i := r.IntN(len(live))
				c.Drop(live[i])
				if live[i].Len() != 0 || live[i].Pages() != 0 {
					t.Fatal("a sequence that was dropped has something left")
				}
				live = slices.Delete(live, i, i+1)
			default:
				s := live[r.IntN(len(live))]
				next := make([]int32, 1+r.IntN(3*backend.PageRows))
				for i := range next {
					next[i] = int32(s.Len() + i) // all alike, but for one token in a hundred
					if r.IntN(100) == 0 {
						next[i] = -1
					}
				}
				n := c.Share(s, next)
				shared += n
				first := s.Len()
				rows := c.Extend(s, next[n:])
				for i, hash := range beginnings(s) {
					if i >= first {
						stored[rows[i-first]] = hash
					}
				}
			}
			check(t, c, live, stored)
		}
		if shared == 0 {
			t.Error("nothing was shared")
		}
	}
}

// beginnings is a hash of what the keys and values of each token follow from.
func beginnings(s *Sequence) []uint64 {
	h := fnv.New64a()
	h.Write([]byte(s.Context))
	hashes := make([]uint64, len(s.tokens))
	for i, token := range s.tokens {
		h.Write(binary.LittleEndian.AppendUint32(nil, uint32(token)))
		hashes[i] = h.Sum64()
	}
	return hashes
}

func check(t *testing.T, c *Cache, live []*Sequence, stored map[int32]uint64) {
	t.Helper()
	users := map[int32]int{}
	for _, s := range live {
		for _, n := range s.pages {
			users[n]++
		}
		if want := backend.PagesOf(s.Len()); s.Pages() != want {
			t.Fatalf("%d tokens in %d pages, want %d", s.Len(), s.Pages(), want)
		}
		for i, want := range beginnings(s) {
			row := s.pages[i/backend.PageRows]*backend.PageRows + int32(i%backend.PageRows)
			if stored[row] != want {
				t.Fatalf("row %d does not hold what follows from the first %d tokens", row, i+1)
			}
		}
	}
	for n, p := range c.pages.all {
		free := slices.Contains(c.pages.free, int32(n)) || slices.Contains(c.pages.idle, int32(n))
		if p.users != users[int32(n)] || free != (p.users == 0) {
			t.Fatalf("page %d has %d users, counts %d, free %v", n, users[int32(n)], p.users, free)
		}
	}
	if c.Used() != len(users) {
		t.Fatalf("%d pages are used, want %d", c.Used(), len(users))
	}
}

// TestPagesAreUsedAgain: beyond their bound pages that nobody uses are given to others, those left longest ago first, and the last of a
// sequence before the first.
func TestPagesAreUsedAgain(t *testing.T) {
	c := NewCache(1, 1)
	c.Keep(4)
	text := func(first int32, pages int) []int32 {
		tokens := make([]int32, pages*backend.PageRows)
		for i := range tokens {
			tokens[i] = first + int32(i)
		}
		return tokens
	}
	var a, b, again Sequence
	c.Extend(&a, text(0, 2))
	c.Extend(&b, text(1000, 2))
	c.Drop(&a)
	c.Drop(&b)
	var other Sequence
	c.Extend(&other, text(5000, 1))
	if n := len(c.pages.all); n != 4 {
		t.Errorf("%d pages, want 4", n)
	}
	if n := c.Share(&again, text(0, 2)); n != backend.PageRows {
		t.Errorf("%d tokens of what was left first are known, want those of the first page", n)
	}
	if n := c.Shared(&Sequence{}, text(1000, 2)); n != 0 {
		t.Errorf("%d pages that nobody uses count as used", n)
	}
	if n := c.Share(&Sequence{}, text(1000, 2)); n != 2*backend.PageRows {
		t.Errorf("%d tokens of what was left last are known, want two pages", n)
	}
}

// TestFit: what is stored stays when a cache grows.
func TestFit(t *testing.T) {
	p := reference.New().Begin(t.Context())
	c := NewCache(2, 3)
	var s Sequence
	var want []float32
	for step := range 5 {
		rows := c.Extend(&s, make([]int32, 20))
		c.Fit(p, step%2)
		table, err := reference.New().Table([]float32{float32(step), 1, 2}, 1, 3)
		if err != nil {
			t.Fatal(err)
		}
		k := p.Embed(table, make([]int32, len(rows)))
		c.Store(p, 1, k, p.Gate(backend.ReLU, k, k), rows)
		for range rows {
			want = append(want, float32(step), 1, 2)
		}
	}
	keys, err := p.Read(c.Layer(1).Keys)
	if err != nil {
		t.Fatal(err)
	}
	values, err := p.Read(c.Layer(1).Values)
	if err != nil {
		t.Fatal(err)
	}
	for i, w := range want {
		if keys[i] != w || values[i] != w*w {
			t.Fatalf("number %d is %g and %g, want %g and its square", i, keys[i], values[i], w)
		}
	}
	if rows, _ := c.Layer(0).Keys.Dims(); rows < 4*backend.PageRows || rows > 8*backend.PageRows {
		t.Errorf("%d rows for 100 tokens", rows)
	}
}
