package tokenizer

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/medley-lora/medley/shared/fault"
)

// bpe is a model of byte pair encoding (arXiv 1508.07909): a word starts as its characters, or bytes, and the pair of neighbours whose
// merge was learned first is merged, the leftmost of equals, until none is left.
type bpe struct {
	ids    map[string]int32          // by text
	merges map[[2]int32]bpeMerge     // by the pair of ids
	cut    []splitter                // what cuts a stretch into words, one after the other
	byByte *[256]int32               // ids of single bytes, of a byte-level model; nil for characters
	spaces func(string, bool) string // what becomes of white space before that, told whether the stretch begins the text; or nil
	whole  bool                      // a word that is in the vocabulary is one token, whatever the merges say (ignore_merges)

	fallback     *[256]int32 // ids of <0x00> to <0xFF> for characters that are not in the vocabulary; nil for none
	unknown      int32       // for those that still have no id; -1 leaves them out
	joinUnknowns bool        // a run of unknown characters is one token (fuse_unk)
}

// bpeMerge is what a pair becomes.
type bpeMerge struct{ rank, id int32 }

// maxMerges bounds a table; the largest published ones have some 300,000.
const maxMerges = 1 << 22

// newMerges numbers pairs of texts. Every half and every result must be in the vocabulary.
func newMerges(ids map[string]int32, pairs [][2]string) (map[[2]int32]bpeMerge, error) {
	if len(pairs) > maxMerges {
		return nil, fault.New(fault.TooLarge, "merges", "has %d entries; at most %d are supported", len(pairs), maxMerges)
	}
	merges := make(map[[2]int32]bpeMerge, len(pairs))
	for rank, pair := range pairs {
		a, okA := ids[pair[0]]
		b, okB := ids[pair[1]]
		id, ok := ids[pair[0]+pair[1]]
		if !okA || !okB || !ok {
			return nil, fault.New(fault.Invalid, "merges", "entry %d, %.100q and %.100q, is of tokens that the vocabulary lacks", rank, pair[0], pair[1])
		}
		merges[[2]int32{a, b}] = bpeMerge{int32(rank), id} // of equal pairs the last counts, as in Hugging Face's library
	}
	return merges, nil
}

func (m *bpe) encode(text string, begins bool, ids []int32) []int32 {
	if m.spaces != nil {
		text = m.spaces(text, begins)
	}
	var work bpeWork
	m.words(text, m.cut, func(word string) { ids = m.word(&work, word, ids) })
	return ids
}

// words cuts text by the splitters left over and hands out what comes of it.
func (m *bpe) words(text string, cut []splitter, yield func(string)) {
	if text == "" {
		return
	}
	if len(cut) == 0 {
		yield(text)
		return
	}
	cut[0](text, func(part string) { m.words(part, cut[1:], yield) })
}

// symbol is a token of a word, linked to its neighbours; id -1 has been merged into the one before.
type symbol struct{ id, before, after int32 }

// bpeWork is scratch memory for one stretch of text.
type bpeWork struct {
	symbols []symbol
	heap    []candidate
}

// candidate is a merge that may be done at a symbol.
type candidate struct{ rank, at, id int32 }

func (a candidate) less(b candidate) bool {
	return a.rank < b.rank || (a.rank == b.rank && a.at < b.at)
}

func (m *bpe) word(w *bpeWork, word string, ids []int32) []int32 {
	if m.whole {
		if id, ok := m.ids[word]; ok {
			return append(ids, id)
		}
	}
	w.symbols, w.heap = w.symbols[:0], w.heap[:0]
	m.symbols(w, word)
	for i := range w.symbols {
		w.symbols[i].before, w.symbols[i].after = int32(i)-1, int32(i)+1
	}
	for i := range w.symbols {
		m.consider(w, int32(i))
	}
	for len(w.heap) > 0 {
		c := w.pop()
		s := &w.symbols[c.at]
		if s.id < 0 || int(s.after) >= len(w.symbols) {
			continue
		}
		next := &w.symbols[s.after]
		if now, ok := m.merges[[2]int32{s.id, next.id}]; !ok || now.id != c.id {
			continue // a neighbour has changed since
		}
		s.id, next.id, s.after = c.id, -1, next.after
		if int(s.after) < len(w.symbols) {
			w.symbols[s.after].before = c.at
		}
		if s.before >= 0 {
			m.consider(w, s.before)
		}
		m.consider(w, c.at)
	}
	for _, s := range w.symbols {
		if s.id >= 0 {
			ids = append(ids, s.id)
		}
	}
	return ids
}

// symbols sets w.symbols to the tokens that a word starts as.
func (m *bpe) symbols(w *bpeWork, word string) {
	for i := 0; m.byByte != nil && i < len(word); i++ {
		m.add(w, m.byByte[word[i]])
	}
	if m.byByte != nil {
		return
	}
	for i, r := range word {
		char := word[i : i+utf8.RuneLen(r)]
		id, ok := m.ids[char]
		switch {
		case ok:
			m.add(w, id)
		case m.fallback != nil && !m.lacksByte(char):
			for _, b := range []byte(char) {
				m.add(w, m.fallback[b])
			}
		default:
			m.add(w, -1)
		}
	}
}

func (m *bpe) lacksByte(char string) bool {
	for _, b := range []byte(char) {
		if m.fallback[b] < 0 {
			return true
		}
	}
	return false
}

// add enters a token, or the unknown one for -1.
func (m *bpe) add(w *bpeWork, id int32) {
	if id < 0 {
		last := len(w.symbols) - 1
		if m.unknown < 0 || (m.joinUnknowns && last >= 0 && w.symbols[last].before == afterUnknown) {
			return
		}
		w.symbols = append(w.symbols, symbol{id: m.unknown, before: afterUnknown})
		return
	}
	w.symbols = append(w.symbols, symbol{id: id})
}

// afterUnknown marks an unknown symbol until the symbols of the word are linked.
const afterUnknown = -2

// consider enters the merge of a symbol with the next, if there is one.
func (m *bpe) consider(w *bpeWork, at int32) {
	s := w.symbols[at]
	if int(s.after) >= len(w.symbols) {
		return
	}
	if merge, ok := m.merges[[2]int32{s.id, w.symbols[s.after].id}]; ok {
		w.push(candidate{merge.rank, at, merge.id})
	}
}

func (w *bpeWork) push(c candidate) {
	w.heap = append(w.heap, c)
	for i := len(w.heap) - 1; i > 0 && w.heap[i].less(w.heap[(i-1)/2]); i = (i - 1) / 2 {
		w.heap[i], w.heap[(i-1)/2] = w.heap[(i-1)/2], w.heap[i]
	}
}

func (w *bpeWork) pop() candidate {
	top, last := w.heap[0], len(w.heap)-1
	w.heap[0] = w.heap[last]
	w.heap = w.heap[:last]
	for i := 0; ; {
		least := i
		for c := 2*i + 1; c <= 2*i+2 && c < last; c++ {
			if w.heap[c].less(w.heap[least]) {
				least = c
			}
		}
		if least == i {
			return top
		}
		w.heap[i], w.heap[least] = w.heap[least], w.heap[i]
		i = least
	}
}

// byteChars are the characters that stand for bytes in the vocabulary of a byte-level model: printable ones for themselves, and
// those from U+0100 on for the rest (GPT-2's bytes_to_unicode).
var byteChars, charBytes = func() (chars [256]rune, bytes map[rune]byte) {
	bytes = make(map[rune]byte, 256)
	next := rune(256)
	for b := range rune(256) {
		chars[b] = b
		if b < '!' || (b > '~' && b < '¡') || b == '\u00ad' {
			chars[b] = next
			next++
		}
		bytes[chars[b]] = byte(b)
	}
	return chars, bytes
}()

// rawBytes is what a token of a byte-level model stands for: its characters' bytes, or, if one of them stands for none, its own.
func rawBytes(token string) (raw string, all bool) {
	var b strings.Builder
	for _, r := range token {
		c, ok := charBytes[r]
		if !ok {
			return token, false
		}
		b.WriteByte(c)
	}
	return b.String(), true
}

// fallbackBytes finds the tokens <0x00> to <0xFF>.
func fallbackBytes(ids map[string]int32) *[256]int32 {
	table := new([256]int32)
	for b := range table {
		id, ok := ids[fmt.Sprintf("<0x%02X>", b)]
		if table[b] = id; !ok {
			table[b] = -1
		}
	}
	return table
}
