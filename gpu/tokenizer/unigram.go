package tokenizer

import (
	"math"
	"slices"
	"unicode/utf8"

	"github.com/medley-lora/medley/shared/fault"
)

// unknownPenalty is how far below the worst piece an unknown rune scores.
const unknownPenalty = 10

// maxPieces bounds a vocabulary; the largest T5 one (mT5) has 250,112 entries.
const maxPieces = 1 << 20

// piece is an entry of the vocabulary with its log-probability.
type piece struct {
	text  string
	score float64
}

// unigram is a unigram language model (arXiv 1804.10959): of all ways to cut a word into pieces it takes the likeliest.
type unigram struct {
	pieces       []piece // by id
	trie         *trie   // piece to id
	unknown      int32
	unknownScore float64
}

func newUnigram(pieces []piece, unknown int) (*unigram, error) {
	if len(pieces) > maxPieces {
		return nil, fault.New(fault.TooLarge, "vocabulary", "has %d pieces; at most %d are supported", len(pieces), maxPieces)
	}
	if unknown < 0 || unknown >= len(pieces) {
		return nil, fault.New(fault.Invalid, "vocabulary", "has no unknown piece")
	}
	lowest := math.Inf(1)
	entries := make([]trieEntry, len(pieces))
	for id, p := range pieces {
		switch {
		case len(p.text) > maxPiece:
			return nil, fault.New(fault.TooLarge, "vocabulary", "piece %d has %d bytes; at most %d are supported", id, len(p.text), maxPiece)
		case p.text == "":
			return nil, fault.New(fault.Invalid, "vocabulary", "piece %d is empty", id)
		case !utf8.ValidString(p.text):
			return nil, fault.New(fault.Invalid, "vocabulary", "piece %d is not UTF-8", id)
		case math.IsNaN(p.score) || math.IsInf(p.score, 0):
			return nil, fault.New(fault.Invalid, "vocabulary", "piece %d has score %v", id, p.score)
		}
		lowest = min(lowest, p.score)
		entries[id] = trieEntry{p.text, int32(id)}
	}
	return &unigram{pieces, newTrie(entries), int32(unknown), lowest - unknownPenalty}, nil
}

// encode implements model.
func (m *unigram) encode(text string, _ bool, ids []int32) []int32 {
	var l lattice
	for word := range words(text) {
		ids = m.word(&l, word, ids)
	}
	return ids
}

// lattice is the best cut of each prefix of a word, by its end; scratch memory for unigram.word.
type lattice []cut

// cut is the last piece of the best way to reach a place.
type cut struct {
	score  float64 // of the whole way
	id     int32
	length int32 // in bytes; 0 where nothing has arrived
}

// word appends the ids of a word to ids, runs of unknown runes as one unknown.
func (m *unigram) word(l *lattice, word []byte, ids []int32) []int32 {
	best := slices.Grow((*l)[:0], len(word)+1)[:len(word)+1]
	*l = best
	clear(best)
	for at := 0; at < len(word); {
		_, width := utf8.DecodeRune(word[at:])
		if !m.extend(best[at:], word[at:], width) {
			best[at+width].offer(best[at].score+m.unknownScore, m.unknown, width)
		}
		at += width
	}
	start := len(ids)
	for end := len(word); end > 0; {
		c := best[end]
		end -= int(c.length)
		if c.id == m.unknown && len(ids) > start && ids[len(ids)-1] == m.unknown {
			continue
		}
		ids = append(ids, c.id)
	}
	slices.Reverse(ids[start:])
	return ids
}

// extend offers every piece that text starts with to the place where it ends; best[0] is where text starts. It reports
// whether one of them is the first rune alone, width bytes long: only without one may the rune be unknown.
func (m *unigram) extend(best lattice, text []byte, width int) (single bool) {
	here := best[0].score
	for node, i := m.trie.root[text[0]], 1; node >= 0; i++ {
		if id := m.trie.value[node]; id >= 0 {
			best[i].offer(here+m.pieces[id].score, id, i)
			single = single || i == width
		}
		if i == len(text) {
			break
		}
		node = m.trie.child(node, text[i])
	}
	return single
}

// offer takes a way into a place if it is the first or better; of equals the first stays.
func (c *cut) offer(score float64, id int32, length int) {
	if c.length == 0 || score > c.score {
		*c = cut{score, id, int32(length)}
	}
}
