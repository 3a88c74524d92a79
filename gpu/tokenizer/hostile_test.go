package tokenizer

import (
	"encoding/base64"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/medley-lora/medley/shared/fault"
)

// TestRefusedJSON changes the zoo's tokenizer.json in one place.
func TestRefusedJSON(t *testing.T) {
	model := func(f map[string]any) map[string]any { return f["model"].(map[string]any) }
	set := func(name string, value any) func(map[string]any) {
		return func(f map[string]any) { f[name] = value }
	}
	kind := func(name string) map[string]any { return map[string]any{"type": name} }
	charsmap := func(data []byte) func(map[string]any) {
		return set("normalizer", map[string]any{"type": "Precompiled", "precompiled_charsmap": base64.StdEncoding.EncodeToString(data)})
	}
	long := binary.LittleEndian.AppendUint32(nil, 4)
	long = append(long, make([]byte, 4)...)
	long = append(long, strings.Repeat("x", maxReplacement+1)...)
	cases := []struct {
		name string
		edit func(map[string]any)
		code fault.Code
		want string // in the error
	}{
		{"other model", func(f map[string]any) { model(f)["type"] = "WordPiece" }, fault.Unsupported, `"WordPiece"`},
		{"byte fallback", func(f map[string]any) { model(f)["byte_fallback"] = true }, fault.Unsupported, "byte_fallback"},
		{"no unknown", func(f map[string]any) { model(f)["unk_id"] = nil }, fault.Invalid, "unk_id"},
		{"unknown outside", func(f map[string]any) { model(f)["unk_id"] = 695 }, fault.Invalid, "unknown piece"},
		{"vocabulary of words", func(f map[string]any) { model(f)["vocab"] = []any{[]any{"a"}} }, fault.Invalid, "entry 0"},
		{"empty piece", func(f map[string]any) { model(f)["vocab"].([]any)[3] = []any{"", 0} }, fault.Invalid, "piece 3"},
		{"long piece", func(f map[string]any) {
			model(f)["vocab"].([]any)[3] = []any{strings.Repeat("x", maxPiece+1), 0}
		}, fault.TooLarge, "piece 3"},
		{"no end token", func(f map[string]any) {
			model(f)["vocab"].([]any)[1] = []any{"<end>", 0}
			f["added_tokens"] = []any{}
		}, fault.Unsupported, "</s>"},
		{"lower case", set("normalizer", kind("Lowercase")), fault.Unsupported, `normalizer: "Lowercase"`},
		{"charsmap second", func(f map[string]any) {
			f["normalizer"] = map[string]any{"type": "Sequence", "normalizers": []any{kind("Strip"), f["normalizer"]}}
		}, fault.Unsupported, `"Precompiled"`},
		{"charsmap not base64", set("normalizer", map[string]any{"type": "Precompiled", "precompiled_charsmap": "*"}), fault.Invalid, "base64"},
		{"charsmap short", charsmap([]byte{1}), fault.Invalid, "precompiled_charsmap"},
		{"charsmap trie outside", charsmap([]byte{8, 0, 0, 0, 1, 2, 3, 4}), fault.Invalid, "does not fit"},
		{"charsmap without trie", charsmap([]byte{0, 0, 0, 0}), fault.Invalid, "does not fit"},
		{"charsmap not UTF-8", charsmap([]byte{4, 0, 0, 0, 0, 0, 0, 0, 0xff}), fault.Invalid, "UTF-8"},
		{"charsmap explodes", charsmap(long), fault.Invalid, "128"},
		{"no pre-tokenizer", set("pre_tokenizer", nil), fault.Unsupported, "pre_tokenizer"},
		{"byte level", set("pre_tokenizer", kind("ByteLevel")), fault.Unsupported, `"ByteLevel"`},
		{"metaspace of another sign", set("pre_tokenizer", map[string]any{"type": "Metaspace", "replacement": "_"}), fault.Unsupported, "replacement"},
		{"prepend first", set("pre_tokenizer", map[string]any{"type": "Metaspace", "replacement": metaspace, "prepend_scheme": "first"}),
			fault.Unsupported, "prepend_scheme"},
		{"no prefix", set("decoder", map[string]any{"type": "Metaspace", "replacement": metaspace, "add_prefix_space": false}),
			fault.Unsupported, "decoder: add_prefix_space"},
		{"no split", set("pre_tokenizer", map[string]any{"type": "Metaspace", "replacement": metaspace, "split": false}), fault.Unsupported, "split"},
		{"other decoder", set("decoder", kind("WordPiece")), fault.Unsupported, `"WordPiece"`},
		{"no post-processor", set("post_processor", nil), fault.Unsupported, "post_processor"},
		{"start token too", func(f map[string]any) {
			post := f["post_processor"].(map[string]any)
			post["single"] = append([]any{map[string]any{"SpecialToken": map[string]any{"id": "</s>"}}}, post["single"].([]any)...)
		}, fault.Unsupported, "post_processor: single"},
		{"added token renumbered", set("added_tokens", []any{map[string]any{"id": 4, "content": "<pad>"}}), fault.Invalid, "is expected"},
		{"added token far away", set("added_tokens", []any{map[string]any{"id": 1 << 30, "content": "new"}}), fault.Invalid, "is expected"},
		{"added token empty", set("added_tokens", []any{map[string]any{"id": 695, "content": ""}}), fault.Invalid, "token 695"},
	}
	for _, c := range cases {
		_, err := FromJSON(editJSON(t, c.edit))
		if fault.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %q (%v), want %q with %q", c.name, fault.CodeOf(err), err, c.code, c.want)
		}
	}
}

func TestRefusedSentencePiece(t *testing.T) {
	good := file(t, "spiece.model")
	trainer := func(field protowire.Number, value uint64) []byte {
		spec := protowire.AppendVarint(protowire.AppendTag(nil, field, protowire.VarintType), value)
		return protowire.AppendBytes(protowire.AppendTag(good[:len(good):len(good)], 2, protowire.BytesType), spec)
	}
	cases := []struct {
		name  string
		data  []byte
		extra int
		code  fault.Code
		want  string
	}{
		{"empty", nil, 100, fault.Invalid, "unknown piece"},
		{"text", []byte("not a model"), 100, fault.Invalid, "not a SentencePiece model"},
		{"cut off", good[:len(good)-1], 100, fault.Invalid, "not a SentencePiece model"},
		{"BPE", trainer(3, 2), 100, fault.Unsupported, "type 2"},
		{"suffix", trainer(24, 1), 100, fault.Unsupported, "treat_whitespace_as_suffix"},
		{"two unknowns", append(good[:len(good):len(good)], 0x0a, 5, 0x0a, 1, 'x', 0x18, 2), 100, fault.Invalid, "both"},
		{"negative extra ids", good, -1, fault.Invalid, "extra_ids"},
		{"many extra ids", good, 1 << 30, fault.Invalid, "extra_ids"},
		{"not UTF-8", append(good[:len(good):len(good)], 0x0a, 3, 0x0a, 1, 0xff), 100, fault.Invalid, "piece 595"},
		{"score not a number", append(good[:len(good):len(good)], 0x0a, 8, 0x0a, 1, 'x', 0x15, 0, 0, 0xc0, 0x7f), 100, fault.Invalid, "score NaN"},
	}
	for _, c := range cases {
		_, err := FromSentencePiece(c.data, c.extra)
		if fault.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %q (%v), want %q with %q", c.name, fault.CodeOf(err), err, c.code, c.want)
		}
	}
}

func TestOpen(t *testing.T) {
	write := func(dir, name string, data []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cases := []struct {
		name  string
		files map[string][]byte
		size  int
		code  fault.Code
	}{
		{"both", map[string][]byte{"tokenizer.json": file(t, "tokenizer.json"), "spiece.model": nil}, 695, ""},
		{"spiece", map[string][]byte{"spiece.model": file(t, "spiece.model")}, 695, ""},
		{"spiece, 3 extra", map[string][]byte{"spiece.model": file(t, "spiece.model"), "tokenizer_config.json": []byte(`{"extra_ids": 3}`)}, 598, ""},
		{"bad config", map[string][]byte{"spiece.model": file(t, "spiece.model"), "tokenizer_config.json": []byte(`{"extra_ids": "3"}`)}, 0, fault.Invalid},
		{"bad json", map[string][]byte{"tokenizer.json": []byte("{"), "spiece.model": file(t, "spiece.model")}, 0, fault.Invalid},
		{"nothing", nil, 0, fault.NotFound},
	}
	for _, c := range cases {
		dir := t.TempDir()
		for name, data := range c.files {
			write(dir, name, data)
		}
		tok, err := Open(dir)
		if fault.CodeOf(err) != c.code {
			t.Errorf("%s: %v", c.name, err)
		} else if err == nil && (tok.VocabSize() != c.size || tok.EOS() != 1 || tok.Pad() != 0) {
			t.Errorf("%s: size %d, end %d, padding %d", c.name, tok.VocabSize(), tok.EOS(), tok.Pad())
		}
		if err != nil && strings.Contains(err.Error(), dir) {
			t.Errorf("%s: %v contains a path", c.name, err)
		}
	}
	dir := t.TempDir()
	write(dir, "spiece.model", nil)
	if err := os.Truncate(filepath.Join(dir, "spiece.model"), maxFile+1); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir); fault.CodeOf(err) != fault.TooLarge {
		t.Errorf("a file over the limit: %v", err)
	}
}

func TestDecodeOutside(t *testing.T) {
	for name, tok := range sources(t) {
		if got := tok.Decode([]int32{-1, 81, 1 << 30, 695, 700}); got != "cat" {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func TestInvalidUTF8(t *testing.T) {
	tok := sources(t)["spiece.model"]
	for _, c := range [][2]string{{"a\xffb", "a\ufffdb"}, {"\xed\xa0\x80", "\ufffd"}, {"cat\xe2\x96", "cat\ufffd"}} {
		if got, want := tok.Decode(tok.Encode(c[0])), tok.Decode(tok.Encode(c[1])); got != want {
			t.Errorf("%+q: %q, want %q", c[0], got, want)
		}
	}
}

// TestLinear encodes long inputs of the shapes that make careless tokenizers quadratic. Ten times the input may cost ten times
// the time; a hundred times would not pass the limit.
func TestLinear(t *testing.T) {
	flagged, err := FromJSON(flaggedJSON(t))
	if err != nil {
		t.Fatal(err)
	}
	const size = 1 << 20
	for _, unit := range []string{"x", " ", "\u0301", "the ", "</s>", "<extra_id_", " gap ", "[RIGHT] ", "[LEFT]", " [BOTH]", "▁", "日", "👨\u200d", "\x00", "\xff"} {
		text := strings.Repeat(unit, size/len(unit))
		start := time.Now()
		if ids := flagged.Encode(text); len(ids) == 0 {
			t.Errorf("%q: no ids", unit)
		}
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("%d bytes of %q took %v", size, unit, took)
		}
	}
}
