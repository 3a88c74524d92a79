package tokenizer

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/zoo/zootest"
)

// testdata/bpe holds one small tokenizer per pipeline of published models, made by tools/peers/bpe.py, and in golden.json what Transformers
// makes of texts with them. To renew all: MEDLEY_PEERS_PYTHON=… go test -tags peers ./gpu/tokenizer -run TestPeersBPE -update

// bpeNames are the pipelines.
var bpeNames = []string{"gpt2", "gpt2_prefix", "smollm", "llama3", "qwen", "llama2", "mistral"}

func openBPE(t testing.TB, name string) *Tokenizer {
	t.Helper()
	tok, err := Open(filepath.Join("testdata", "bpe", name))
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// causalTexts are where the patterns and byte pairs go wrong.
var causalTexts = []string{
	"", " ", "  ", "   a", "a   ", "a\n", "a \n b", "a\n\n\nb", "\r\n\r\n", " \n \n x", "\t\tif x:\n\t\t\treturn 1\n", "x\u00a0\u2003y", "\u3000\n\u3000a", " \u0085 b",
	"it's I'll we've you're I'd I'm can't", "IT'S I'LL WE'VE YOU'RE I'D I'M CAN'T", "'s's'S'ſ'ſt 'T't", "' s", "''s", "'", "'r", "'rE'Re'vE'lL'l",
	"1", "12", "123", "1234567", "3.14159", "x1y22z333", "¼½¾ ²³ ٣٤٥ Ⅷ 〇", " 123 456", "1,234,567.89", "a1 b2",
	"func main() { fmt.Println(\"héllo\") }", "if (a && b) || c != d { return x->y; }", "#include <stdio.h>\r\n\r\nint main(void)\r\n{\r\n}", "!!!???...", "...\n\n...", "--\r\r\n",
	"<|begin|>", "a<|end|>b", "<|im_start|>user\nhi<|im_end|>\n", "<think> x </think>", "<|beg", "a[WORD]b [WORD] [WORD]", "a  [LEFT] b", "é[NFC]", "e\u0301[NFC]x", "xé[NFC]",
	"café cafe\u0301 Å Å", "日本語のテキスト", "中文，标点。", "한국어", "العربية ١٢٣", "हिन्दी", "ไทย", "Ελληνικά", "Привет, мир!", "𝕳𝖊𝖑𝖑𝖔 𐍈",
	"😀 😃👍🏽", "👨\u200d👩\u200d👧\u200d👦", "🏳️\u200d🌈🇫🇷", "\u200b\ufeff\u2060", "\x00\x01\x7f", "\ufffd", "unmerged theunmerged theunmerged", "▁", "▁a ▁ b", " ▁", "a▁b", "<0x41>", "<0xE4><0xBD>",
	"the quick brown fox jumps over the lazy dog", "The The THE", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "abababababababab",
}

// mixedTexts makes n lines of mixed scripts, code and emoji.
func mixedTexts(n int) []string {
	rng := rand.New(rand.NewPCG(13, 17))
	pieces := []string{
		" ", " ", "  ", "\n", "\r\n", "\t", "    ", "\u00a0", "\u3000", "'s", "'LL", "'ſ", "'", "\"", "the", " the", "return", "def ", "(x)", "[i]", "{", "}", "->", "==", "// ", "0x1F",
		"123", "7", "2024", "٣", "½", "é", "e\u0301", "ﬁ", "ñ", "日本", "中文", "，", "한국", "мир", "λ", "שלום", "مرحبا", "นี่", "हि", "😀", "👍🏽", "🇫🇷", "👩\u200d💻", "\u200d", "▁",
		"<|im_start|>", "<|end|>", "<think>", "[WORD]", "[LEFT]", "é[NFC]", "<0x0A>", "http://", "_name", "CamelCase", "…", "—", "\x00", "\U0010ffff", "unmerged",
	}
	texts := randomTexts(n / 3)
	for len(texts) < n {
		var b strings.Builder
		for range rng.IntN(24) {
			b.WriteString(pieces[rng.IntN(len(pieces))])
		}
		texts = append(texts, b.String())
	}
	return texts
}

func TestGoldenBPE(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("testdata", "bpe", "golden.json"))
	if err != nil {
		t.Fatal(err)
	}
	var golden map[string][]zootest.Token
	if err := json.Unmarshal(data, &golden); err != nil {
		t.Fatal(err)
	}
	for _, name := range bpeNames {
		if len(golden[name]) < len(causalTexts) {
			t.Fatalf("golden.json has %d cases of %s; renew it", len(golden[name]), name)
		}
		tok := openBPE(t, name)
		for _, c := range golden[name] {
			checkCase(t, name, tok, c)
		}
	}
}

// TestRoundTripBPE: bytes go in and come out, whatever they are, but for what normalisation changes.
func TestRoundTripBPE(t *testing.T) {
	tok := openBPE(t, "smollm")
	for _, text := range slices.Concat(causalTexts, mixedTexts(300)) {
		if got := tok.Decode(tok.EncodeBare(text)); got != strings.NewReplacer("<|im_start|>", "", "<|im_end|>", "", "<|begin|>", "", "<|end|>", "").Replace(text) &&
			!strings.Contains(text, "[LEFT]") && !strings.Contains(text, "[NFC]") {
			t.Errorf("%+q came back as %+q", text, got)
		}
	}
}

func TestTokensBPE(t *testing.T) {
	tok := openBPE(t, "llama3")
	if tok.BOS() != tok.ID("<|begin|>") || tok.EOS() != tok.ID("<|end|>") || tok.BOS() < 0 || tok.EOS() < 0 || tok.Pad() != -1 {
		t.Errorf("begins with %d, ends with %d, pads with %d", tok.BOS(), tok.EOS(), tok.Pad())
	}
	if with, bare := tok.Encode("a b"), tok.EncodeBare("a b"); !slices.Equal(with, append([]int32{tok.BOS()}, bare...)) {
		t.Errorf("%v around %v", with, bare)
	}
}

// TestBrokenRunes are the cases of section 3.9 of the Unicode standard, table 3-8 and its neighbours, cut at every place.
func TestBrokenRunes(t *testing.T) {
	for _, c := range [][2]string{
		{"\xc0\xaf\xe0\x80\xbf\xf0\x81\x82A", "\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd\ufffdA"}, {"\xed\xa0\x80\xed\xbf\xbf\xed\xafA", strings.Repeat("\ufffd", 8) + "A"},
		{"\xf4\x91\x92\x93\xffA\x80\xbfB", strings.Repeat("\ufffd", 5) + "A\ufffd\ufffdB"}, {"\xe1\x80\xe2\xf0\x91\x92\xf1\xbfA", "\ufffd\ufffd\ufffd\ufffdA"},
		{"\xe4\xbd\xa0", "你"}, {"\xf0\x9f\x98", "\ufffd"}, {"\xef\xbf\xbd", "\ufffd"},
	} {
		for cut := range len(c[0]) + 1 {
			var j byteJoiner
			got := ""
			for _, part := range []string{c[0][:cut], c[0][cut:]} {
				var token strings.Builder
				for _, b := range []byte(part) {
					token.WriteRune(byteChars[b])
				}
				text := j.next(token.String())
				if !utf8.ValidString(text) {
					t.Errorf("%+q breaks a rune", text)
				}
				got += text
			}
			if got += j.flush(); got != c[1] {
				t.Errorf("%+q cut at %d is %+q, want %+q", c[0], cut, got, c[1])
			}
		}
	}
}

// editBPE returns a tokenizer.json of testdata after edit.
func editBPE(t testing.TB, name string, edit func(map[string]any)) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "bpe", name, "tokenizer.json"))
	if err != nil {
		t.Fatal(err)
	}
	var f map[string]any
	if err := json.Unmarshal(data, &f); err != nil {
		t.Fatal(err)
	}
	edit(f)
	if data, err = json.Marshal(f); err != nil {
		t.Fatal(err)
	}
	return data
}

func TestRefusedBPE(t *testing.T) {
	model := func(field string, value any) func(map[string]any) {
		return func(f map[string]any) { f["model"].(map[string]any)[field] = value }
	}
	set := func(field string, value any) func(map[string]any) { return func(f map[string]any) { f[field] = value } }
	cases := []struct {
		name, base string
		edit       func(map[string]any)
		code       fault.Code
		want       string
	}{
		{"dropout", "gpt2", model("dropout", 0.1), fault.Unsupported, "dropout"},
		{"prefix", "gpt2", model("continuing_subword_prefix", "##"), fault.Unsupported, "continuing_subword_prefix"},
		{"suffix", "gpt2", model("end_of_word_suffix", "</w>"), fault.Unsupported, "end_of_word_suffix"},
		{"vocabulary of a list", "gpt2", model("vocab", []any{"a"}), fault.Invalid, "model"},
		{"no vocabulary", "gpt2", model("vocab", map[string]any{}), fault.TooLarge, "vocab"},
		{"negative id", "gpt2", model("vocab", map[string]any{"a": -1}), fault.Invalid, "vocab"},
		{"id too large", "gpt2", model("vocab", map[string]any{"a": 1 << 30}), fault.Invalid, "vocab"},
		{"two of one id", "gpt2", model("vocab", map[string]any{"a": 1, "b": 1}), fault.Invalid, "both have id"},
		{"merge of strangers", "gpt2", model("merges", []any{"x y"}), fault.Invalid, "merges"},
		{"merge without space", "gpt2", model("merges", []any{"xy"}), fault.Invalid, "space"},
		{"unknown token unknown", "llama2", model("unk_token", "nothing"), fault.Invalid, "unk_token"},
		{"other pattern", "llama3", func(f map[string]any) {
			list := f["pre_tokenizer"].(map[string]any)["pretokenizers"].([]any)
			list[0].(map[string]any)["pattern"] = map[string]any{"Regex": "a+"}
		}, fault.Unsupported, "not known"},
		{"other behaviour", "llama3", func(f map[string]any) {
			list := f["pre_tokenizer"].(map[string]any)["pretokenizers"].([]any)
			list[0].(map[string]any)["behavior"] = "MergedWithNext"
		}, fault.Unsupported, "behavior"},
		{"other pre-tokenizer", "gpt2", set("pre_tokenizer", map[string]any{"type": "Punctuation"}), fault.Unsupported, "Punctuation"},
		{"other normalizer", "gpt2", set("normalizer", map[string]any{"type": "NFKC"}), fault.Unsupported, "NFKC"},
		{"no decoder", "gpt2", set("decoder", nil), fault.Unsupported, "decoder"},
		{"decoder of others", "gpt2", set("decoder", map[string]any{"type": "WordPiece"}), fault.Unsupported, "WordPiece"},
		{"post-processor of others", "gpt2", set("post_processor", map[string]any{"type": "BertProcessing"}), fault.Unsupported, "BertProcessing"},
		{"template of a stranger", "llama3", set("post_processor", map[string]any{"type": "TemplateProcessing", "single": []any{
			map[string]any{"SpecialToken": map[string]any{"id": "<nobody>"}}, map[string]any{"Sequence": map[string]any{}}}}), fault.Invalid, "no token"},
		{"template without the text", "llama3", set("post_processor", map[string]any{"type": "TemplateProcessing", "single": []any{}}), fault.Unsupported, "leaves"},
		{"added token far away", "gpt2", set("added_tokens", []any{map[string]any{"id": 1 << 30, "content": "new"}}), fault.Invalid, "is expected"},
	}
	for _, c := range cases {
		_, err := FromJSON(editBPE(t, c.base, c.edit))
		if fault.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %q (%v), want %q with %q", c.name, fault.CodeOf(err), err, c.code, c.want)
		}
	}
}

// TestLinearBPE encodes long inputs of the shapes that make careless tokenizers quadratic.
func TestLinearBPE(t *testing.T) {
	const size = 1 << 19
	for _, name := range bpeNames {
		tok := openBPE(t, name)
		for _, unit := range []string{"x", "ab", " ", "\n", " \n", "\u0301", "the ", "'", "1", "!", "<|im_", "[LEFT] ", " [LEFT]", "日", "👨\u200d", "\x00", "\xff"} {
			text := strings.Repeat(unit, size/len(unit))
			start := time.Now()
			ids := tok.Encode(text)
			tok.Decode(ids)
			if took := time.Since(start); took > 5*time.Second || len(ids) == 0 {
				t.Errorf("%s: %d bytes of %q took %v and are %d tokens", name, size, unit, took, len(ids))
			}
		}
	}
}

func FuzzEncodeBPE(f *testing.F) {
	for _, text := range causalTexts {
		f.Add(text)
	}
	var all []*Tokenizer
	for _, name := range bpeNames {
		all = append(all, openBPE(f, name))
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, tok := range all {
			checkRoundTrip(t, tok, text)
		}
	})
}

// smallBPE is a tokenizer.json small enough to mutate.
const smallBPE = `{"added_tokens": [{"id": 4, "content": "<e>", "special": true}], "normalizer": {"type": "NFC"},
"pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": true}, {"type": "ByteLevel", "add_prefix_space": true}]},
"post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<e>"}}, {"Sequence": {}}]}, "decoder": {"type": "ByteLevel"},
"model": {"type": "BPE", "unk_token": "a", "fuse_unk": true, "vocab": {"a": 0, "b": 1, "ab": 2, "Ġ": 3}, "merges": [["a", "b"]]}}`

func FuzzJSONBPE(f *testing.F) {
	if _, err := FromJSON([]byte(smallBPE)); err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(smallBPE), "ab a1 <e> xb")
	f.Fuzz(func(t *testing.T, data []byte, text string) {
		if tok, err := FromJSON(data); err == nil {
			checkRoundTrip(t, tok, text)
		}
	})
}
