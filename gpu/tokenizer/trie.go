package tokenizer

import (
	"bytes"
	"cmp"
	"slices"
)

// trie finds byte strings that start at a given place. Nodes are numbered breadth first, so the children of a node lie side
// by side: node n has the children first[n] to first[n+1]-1, in ascending order of their label.
type trie struct {
	first []int32
	label []byte
	value []int32    // -1 where no key ends
	root  [256]int32 // child(0, c): most searches end here
}

// trieEntry is a key and its value.
type trieEntry struct {
	key   string
	value int32
}

// newTrie builds a trie of entries; of equal keys the last counts.
func newTrie(entries []trieEntry) *trie {
	sorted := slices.Clone(entries)
	slices.SortStableFunc(sorted, func(a, b trieEntry) int { return cmp.Compare(a.key, b.key) })
	t := &trie{label: []byte{0}, value: []int32{-1}}
	type span struct{ lo, hi int } // the entries below a node
	level := []span{{0, len(sorted)}}
	for depth := 0; len(level) > 0; depth++ {
		base := int32(len(t.label) - len(level))
		var next []span
		for i, s := range level {
			for ; s.lo < s.hi && len(sorted[s.lo].key) == depth; s.lo++ {
				t.value[base+int32(i)] = sorted[s.lo].value
			}
			t.first = append(t.first, int32(len(t.label)))
			for s.lo < s.hi {
				c, end := sorted[s.lo].key[depth], s.lo+1
				for end < s.hi && sorted[end].key[depth] == c {
					end++
				}
				t.label, t.value = append(t.label, c), append(t.value, -1)
				next = append(next, span{s.lo, end})
				s.lo = end
			}
		}
		level = next
	}
	t.first = append(t.first, int32(len(t.label)))
	for c := range t.root {
		t.root[c] = t.child(0, byte(c))
	}
	return t
}

// child returns the node below node for byte c, or -1.
func (t *trie) child(node int32, c byte) int32 {
	lo, hi := t.first[node], t.first[node+1]
	if i := bytes.IndexByte(t.label[lo:hi], c); i >= 0 {
		return lo + int32(i)
	}
	return -1
}
