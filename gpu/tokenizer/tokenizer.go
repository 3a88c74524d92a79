// Package tokenizer turns text into token ids and back, exactly as Hugging Face Transformers does: for T5, nmt_nfkc
// normalisation, whitespace and metaspace pre-tokenisation and a SentencePiece unigram model (arXiv 1808.06226, 1804.10959), from
// tokenizer.json or spiece.model, which give the same ids; for decoder-only models, byte pair encoding (arXiv 1508.07909) of bytes
// or of characters, from tokenizer.json. Where SentencePiece and the Rust "tokenizers" library of Hugging Face disagree, the latter
// is followed.
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

// maxPiece bounds the bytes of a piece of T5's or of an added token, and with it the work per byte of text.
const maxPiece = 256

// Tokenizer is immutable and safe for concurrent use.
type Tokenizer struct {
	normalize     func(string) string // nil leaves text as it is
	model         model
	raw           addedTokens // matched before normalisation
	normalized    addedTokens // matched after it
	decoded       []decoded   // by id
	newJoiner     func() joiner
	before, after []int32 // what stands around an encoded text
	bos, eos, pad int32   // -1 for none
}

// model turns a stretch of normalised text without added tokens into ids, which it appends. begins says that the text starts with it.
type model interface {
	encode(text string, begins bool, ids []int32) []int32
}

// decoded is what an id stands for in text.
type decoded struct {
	text    string
	special bool // left out of decoded text
}

// newTokenizer puts the parts together. texts are those of the model's ids; the added tokens must have been checked against them
// (checkAdded).
func newTokenizer(normalize func(string) string, m model, texts []string, added []addedToken) (*Tokenizer, error) {
	t := &Tokenizer{normalize: normalize, model: m, decoded: make([]decoded, len(texts)), bos: -1, eos: -1, pad: -1}
	for id, text := range texts {
		t.decoded[id].text = text
	}
	var raw, normalized []addedToken
	special := map[string]bool{}
	for _, a := range added {
		special[a.Content] = a.Special
		if a.Normalized {
			a.Content = t.normal(a.Content)
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
	return t, nil
}

// newT5 is newTokenizer with what T5 cannot do without.
func newT5(cm *charsmap, model *unigram, added []addedToken, end string) (*Tokenizer, error) {
	texts := make([]string, len(model.pieces))
	for id, p := range model.pieces {
		texts[id] = p.text
	}
	t, err := newTokenizer(cm.normalize, model, texts, added)
	if err != nil {
		return nil, err
	}
	for name, id := range map[string]*int32{end: &t.eos, padToken: &t.pad} {
		if *id = t.ID(name); *id < 0 {
			return nil, fault.New(fault.Unsupported, "vocabulary", "has no token %q, which T5 needs", name)
		}
	}
	t.after = []int32{t.eos}
	t.newJoiner = func() joiner { return &wordJoiner{} }
	return t, nil
}

func (t *Tokenizer) normal(text string) string {
	if t.normalize == nil {
		return text
	}
	return t.normalize(text)
}

// ID returns the id of a token by its text, or -1.
func (t *Tokenizer) ID(token string) int32 {
	for id, d := range t.decoded {
		if d.text == token {
			return int32(id)
		}
	}
	return -1
}

// Text is what a token is called, "" for an id outside the vocabulary.
func (t *Tokenizer) Text(id int32) string {
	if id < 0 || int(id) >= len(t.decoded) {
		return ""
	}
	return t.decoded[id].text
}

// VocabSize is one more than the largest id.
func (t *Tokenizer) VocabSize() int { return len(t.decoded) }

// BOS is the id of the token that begins a text, -1 if there is none.
func (t *Tokenizer) BOS() int32 { return t.bos }

// EOS is the id of the end token, -1 if there is none, which T5 always has.
func (t *Tokenizer) EOS() int32 { return t.eos }

// Pad is the id of the padding token, which T5 also starts decoding with; -1 if there is none.
func (t *Tokenizer) Pad() int32 { return t.pad }

// Encode returns the ids of text and those that stand around every text, such as T5's end token, all below VocabSize. Runs of bytes that
// are not UTF-8 count as U+FFFD.
func (t *Tokenizer) Encode(text string) []int32 {
	ids := append(make([]int32, 0, len(text)/3+2), t.before...)
	return append(t.encode(text, ids), t.after...)
}

// EncodeBare is Encode without the ids around the text.
func (t *Tokenizer) EncodeBare(text string) []int32 { return t.encode(text, nil) }

func (t *Tokenizer) encode(text string, ids []int32) []int32 {
	text = strings.ToValidUTF8(text, "\uFFFD")
	begins := true
	for part, id := range t.raw.split(text) {
		if id >= 0 {
			ids, begins = append(ids, id), false
			continue
		}
		for part, id := range t.normalized.split(t.normal(part)) {
			if id >= 0 {
				ids = append(ids, id)
			} else {
				ids = t.model.encode(part, begins, ids)
			}
			begins = false
		}
	}
	return ids
}

// Decode returns the text of ids without special tokens. Ids outside the vocabulary stand for nothing.
func (t *Tokenizer) Decode(ids []int32) string {
	d := t.NewDecoder()
	var text strings.Builder
	for _, id := range ids {
		text.WriteString(d.Next(id))
	}
	text.WriteString(d.Flush())
	return text.String()
}
