package tokenizer

import (
	"slices"
	"testing"
	"unicode/utf8"
)

// checkRoundTrip encodes and decodes text with a tokenizer that loaded: ids lie in the vocabulary, no text breaks a rune.
func checkRoundTrip(t *testing.T, tok *Tokenizer, text string) []int32 {
	ids := tok.Encode(text)
	for _, id := range ids {
		if id < 0 || int(id) >= tok.VocabSize() {
			t.Fatalf("id %d of %d in %v", id, tok.VocabSize(), ids)
		}
	}
	if after := tok.after; !slices.Equal(ids[len(ids)-len(after):], after) {
		t.Fatalf("%v does not end with %v", ids, after)
	}
	d := tok.NewDecoder()
	for _, id := range ids {
		if part := d.Next(id); !utf8.ValidString(part) {
			t.Fatalf("id %d breaks a rune: %q", id, part)
		}
	}
	tok.Decode(ids)
	return ids
}

func FuzzEncode(f *testing.F) {
	for _, text := range slices.Concat(hardTexts, flagTexts) {
		f.Add(text)
	}
	all := sources(f)
	flagged, err := FromJSON(flaggedJSON(f))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		a := checkRoundTrip(t, all["tokenizer.json"], text)
		b := checkRoundTrip(t, all["spiece.model"], text)
		if !slices.Equal(a, b) {
			t.Fatalf("%q: %v from tokenizer.json, %v from spiece.model", text, a, b)
		}
		checkRoundTrip(t, flagged, text)
	})
}

func FuzzSentencePiece(f *testing.F) {
	// Four pieces, <pad>, </s>, an unknown and "▁a", and a charsmap that maps nothing.
	seed := []byte("\n\t\n\x05<pad>\x18\x03\n\x08\n\x04</s>\x18\x03\n\x05\n\x01?\x18\x02\n\x0b\n\x04▁a\x15\x00\x00\x80\xbf" +
		"\x1a\x10\x12\x0e\x08\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00a\x00")
	if _, err := FromSentencePiece(seed, 2); err != nil {
		f.Fatal(err)
	}
	f.Add(seed, "a b ½\u0301 <extra_id_1>")
	f.Fuzz(func(t *testing.T, data []byte, text string) {
		if tok, err := FromSentencePiece(data, 2); err == nil {
			checkRoundTrip(t, tok, text)
		}
	})
}

func FuzzJSON(f *testing.F) {
	if _, err := FromJSON([]byte(smallJSON)); err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(smallJSON), "a gap [X] b")
	f.Fuzz(func(t *testing.T, data []byte, text string) {
		if tok, err := FromJSON(data); err == nil {
			checkRoundTrip(t, tok, text)
		}
	})
}

// smallJSON is a tokenizer.json small enough to mutate; its charsmap maps nothing.
const smallJSON = `{"added_tokens": [{"id": 0, "content": "<pad>", "special": true}, {"id": 4, "content": "[X]", "lstrip": true, "rstrip": true,
"single_word": true, "normalized": true}], "normalizer": {"type": "Precompiled", "precompiled_charsmap": "CAAAAAAAAAAAAAAAYQBiAA=="},
"pre_tokenizer": {"type": "Metaspace", "replacement": "▁"}, "decoder": {"type": "Metaspace", "replacement": "▁"},
"post_processor": {"type": "TemplateProcessing", "single": [{"Sequence": {}}, {"SpecialToken": {"id": "</s>"}}]},
"model": {"type": "Unigram", "unk_id": 2, "vocab": [["<pad>", 0], ["</s>", 0], ["<unk>", 0], ["▁a", -1]]}}`

func FuzzCharsmap(f *testing.F) {
	f.Add([]byte{8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 'a', 0}, "a\u0301")
	f.Fuzz(func(t *testing.T, data []byte, text string) {
		if c, err := newCharsmap(data); err == nil {
			c.normalize(text)
		}
	})
}
