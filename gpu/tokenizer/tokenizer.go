// Package tokenizer turns text into token ids and back, exactly as Hugging Face Transformers does for T5: nmt_nfkc
// normalisation, whitespace and metaspace pre-tokenisation, a SentencePiece unigram model (arXiv 1808.06226, 1804.10959) and
// added tokens. It reads tokenizer.json or spiece.model; both give the same ids. Where SentencePiece and the Rust
// "tokenizers" library of Hugging Face disagree, the latter is followed.
package tokenizer

import (
	"strings"

	"github.com/medley-lora/medley/shared/fault"
)

// Names of the special tokens that T5 cannot do without.
const (
	endToken = "</s>"
	padToken = "<pad>"
)

// maxPiece bounds the bytes of a piece or added token, and with it the work per byte of text.
const maxPiece = 256

// Tokenizer is immutable and safe for concurrent use.
type Tokenizer struct {
	charsmap   *charsmap // nil leaves text as it is
	model      *unigram
	raw        addedTokens // matched before normalisation
	normalized addedTokens // matched after it
	decoded    []decoded   // by id
	eos, pad   int32
}

// decoded is what an id stands for in text.
type decoded struct {
	text    string
	special bool // left out of decoded text
}

// newTokenizer puts the parts together. The added tokens must have been checked against the model (checkAdded).
func newTokenizer(cm *charsmap, model *unigram, added []addedToken, end string) (*Tokenizer, error) {
	t := &Tokenizer{charsmap: cm, model: model, decoded: make([]decoded, len(model.pieces))}
	for id, p := range model.pieces {
		t.decoded[id].text = p.text
	}
	var raw, normalized []addedToken
	special := map[string]bool{}
	for _, a := range added {
		special[a.Content] = a.Special
		if a.Normalized {
			a.Content = cm.normalize(a.Content)
			normalized = append(normalized, a)
		} else {
			raw = append(raw, a)
		}
		for int(a.ID) >= len(t.decoded) {
			t.decoded = append(t.decoded, decoded{})
		}
		t.decoded[a.ID].text = a.Content
	}
	for id := range t.decoded {
		t.decoded[id].special = special[t.decoded[id].text]
	}
	var err error
	if t.raw, err = newAddedTokens(raw); err != nil {
		return nil, err
	}
	if t.normalized, err = newAddedTokens(normalized); err != nil {
		return nil, err
	}
	for name, id := range map[string]*int32{end: &t.eos, padToken: &t.pad} {
		if *id = t.id(name); *id < 0 {
			return nil, fault.New(fault.Unsupported, "vocabulary", "has no token %q, which T5 needs", name)
		}
	}
	return t, nil
}

// id returns the id of a token by its text, or -1.
func (t *Tokenizer) id(token string) int32 {
	for id, d := range t.decoded {
		if d.text == token {
			return int32(id)
		}
	}
	return -1
}

// VocabSize is one more than the largest id.
func (t *Tokenizer) VocabSize() int { return len(t.decoded) }

// EOS is the id of the end token.
func (t *Tokenizer) EOS() int32 { return t.eos }

// Pad is the id of the padding token, which T5 also starts decoding with.
func (t *Tokenizer) Pad() int32 { return t.pad }

// Encode returns the ids of text and the end token, all below VocabSize. Runs of bytes that are not UTF-8 count as U+FFFD.
func (t *Tokenizer) Encode(text string) []int32 {
	text = strings.ToValidUTF8(text, "\uFFFD")
	ids := make([]int32, 0, len(text)/3+2)
	var lattice lattice
	for part, id := range t.raw.split(text) {
		if id >= 0 {
			ids = append(ids, id)
			continue
		}
		for part, id := range t.normalized.split(t.charsmap.normalize(part)) {
			if id >= 0 {
				ids = append(ids, id)
				continue
			}
			for word := range words(part) {
				ids = t.model.encode(&lattice, word, ids)
			}
		}
	}
	return append(ids, t.eos)
}

// Decode returns the text of ids without special tokens. Ids outside the vocabulary stand for nothing.
func (t *Tokenizer) Decode(ids []int32) string {
	d := t.NewDecoder()
	var text strings.Builder
	for _, id := range ids {
		text.WriteString(d.Next(id))
	}
	return text.String()
}

// Decoder decodes a stream of ids. It is not safe for concurrent use.
type Decoder struct {
	t       *Tokenizer
	started bool
}

// NewDecoder starts a stream.
func (t *Tokenizer) NewDecoder() *Decoder { return &Decoder{t: t} }

// Next returns the text that id adds, which may be empty and never ends inside a rune. The texts of a stream, one after the
// other, are what Decode gives for all its ids.
func (d *Decoder) Next(id int32) string {
	if id < 0 || int(id) >= len(d.t.decoded) || d.t.decoded[id].special {
		return ""
	}
	first := !d.started
	d.started = true
	return spaced(d.t.decoded[id].text, first)
}
