package tokenizer

import (
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"
)

// hardTexts are where tokenizers go wrong: white space of every kind, metaspaces in the text, special tokens glued to words or
// spelled in other letters, clusters that normalisation treats as a whole, unknown runs, control characters.
var hardTexts = []string{
	"", " ", "\t\r\n\v\f", "\u0085\u00a0\u1680\u2003\u2028\u2029\u202f\u205f\u3000", "a\u0085b\u00a0c\u1680d\u2003e\u2028f\u3000g",
	"\u180ea\u200bb\u200cc\u200dd\u2060e\ufefff", "line\r\nline\rline\nline", "\r\n", "a\r\u0301", "\x00a\x00b", "\x01\x1f\x7f\u0080\u009f",
	"▁", "▁▁", "▁▁a▁b▁", "a▁ ▁b", "▁cat", " ▁ cat", "the▁cat", "the ▁▁ cat",
	"</s>", "a</s>b", " </s> ", "</s></s>", "<pad> </s> <unk>", "<unk>", "x<unk>y", "<unk><unk>", "<extra_id_0><extra_id_1>",
	"<extra_id_10>0<extra_id_1>0>", "<extra_id_99> <extra_id_100>", "<extra_id_0", "<<extra_id_0>>", "<EXTRA_ID_0>", "< /s>",
	"＜/s＞", "＜pad＞the", "＜extra_id_5＞", "<ｐａｄ>", "<pad>\u0301the", "the\u0301</s>\u0301",
	"½\u0301", "½\u0301\u0301", "ｶﾞｷﾞ", "ﬁ\u0301ne", "ℹ\u0301", "©\u200dℹ\u0301", "™\u200dℹ\u0301", "é e\u0301 é\u0301 e\u0301\u0327", "Å Å Å",
	"\u0600½\u0301", "क्क़\u0301", "क\u0301्क़\u0301", "क्\u200dष नि", "각 각 한\u0301", "กำ ຳ", "\u1100\u1161\u11a8\u0301", "ᅡ\u0301",
	"👨\u200d👩\u200d👧\u200d👦 🇫🇷🇩🇪🇺 👍🏽", "🏳️\u200d🌈a", "ﷺ", "㍿㌀", "①②③", "１２３ＡＢＣａｂｃ", "ｔｈｅ　ｃａｔ", "ªº²³¹", "ſtart", "ǅ", "Ĳ",
	"zzzQQQzzz", "Q", "QQ QQ", "cat日本語cat", "日 本 語", "العربية", "עִבְרִית", "Ελληνικά", "Привет мир", "हिन्दी", "ไทย", "中文文本",
	"\ufffd", "\U0010ffff", "\ue000", "\U000e0041\U000e007f", "𝕳𝖊𝖑𝖑𝖔", "a\u034fb", "a\ufe0fb", "x\u20e3", "\u0301", "\u0301a", " \u0301", "\u200d",
	"pick the animal: cat dog fox", "plural: cat", "it's \"quoted\" — isn’t it…", "3.14 + 2 = 5.14", "thethethethe", "the-cat_the/cat",
}

// randomTexts makes n lines out of words of the model, special tokens, spaces of many kinds and runes of many scripts.
func randomTexts(n int) []string {
	rng := rand.New(rand.NewPCG(7, 11))
	glue := []string{
		" ", "  ", "\t", "\n", "\r\n", "\u00a0", "\u2003", "\u3000", "\u200b", "\u200d", "\u2060", "▁", "</s>", "<pad>", "<unk>", "<extra_id_0>",
		"<extra_id_42>", "<extra_id_", ">", "<", "the", "cat", "pick", " animal", ": ", "ing", "é", "e\u0301", "ﬁ", "½", "ｶﾞ", "ℹ️", "™", "👍🏽", "🇫🇷", "\x00",
	}
	blocks := [][2]rune{
		{0x20, 0x7e}, {0x20, 0x7e}, {0, 0x1f}, {0x7f, 0x24f}, {0x300, 0x36f}, {0x370, 0x5ff}, {0x600, 0x6ff}, {0x900, 0xd7f}, {0xe00, 0xfff},
		{0x1000, 0x11ff}, {0x1e00, 0x1fff}, {0x2000, 0x20ff}, {0x2100, 0x27bf}, {0x3000, 0x33ff}, {0x4e00, 0x9fff}, {0xa000, 0xabff},
		{0xac00, 0xd7a3}, {0xf900, 0xffff}, {0x10000, 0x1ffff}, {0x2f800, 0x2fa1d}, {0xe0000, 0xe01ef},
	}
	texts := make([]string, n)
	for i := range texts {
		var b strings.Builder
		block := blocks[rng.IntN(len(blocks))]
		for range rng.IntN(20) {
			switch k := rng.IntN(10); {
			case k < 4:
				b.WriteString(glue[rng.IntN(len(glue))])
			case k == 4:
				block = blocks[rng.IntN(len(blocks))]
				fallthrough
			default:
				b.WriteRune(block[0] + rng.Int32N(block[1]-block[0]+1))
			}
		}
		texts[i] = b.String()
	}
	return texts
}

// flagTokens are added tokens with every flag that tokenizer.json has.
var flagTokens = []addedToken{
	{Content: "[LEFT]", LStrip: true}, {Content: "[RIGHT]", RStrip: true, Special: true}, {Content: "[BOTH]", LStrip: true, RStrip: true},
	{Content: "word", SingleWord: true}, {Content: "ﬁg", Normalized: true}, {Content: "ﬁgure", Normalized: true, Special: true},
	{Content: "[L", Normalized: true}, {Content: " gap ", RStrip: true, LStrip: true}, {Content: "né"},
}

// flagTexts try them.
var flagTexts = []string{
	"a [LEFT] b", "a[LEFT]b", "  [LEFT]  [LEFT]  ", "a [RIGHT] b", "[RIGHT]  [LEFT]", "a [BOTH] [BOTH] b", "word sword words word's _word word", "word",
	"é word", "wordé", "word\u0301", "fig ﬁg figure ﬁgure configure", "[L [LEFT [LEFT]", "a gap b", "a gap gap b", "gap  gap  gap", "né née n\u00e9 ne\u0301",
	"[BOTH]word[BOTH]", "ｗord word", "▁word▁", "x [RIGHT]\u3000\u00a0y", "[LEFT]</s>[RIGHT]", "[L[L[LEFT][L", "figﬁg figures",
}

// flaggedJSON is the zoo's tokenizer.json with flagTokens at the end.
func flaggedJSON(t testing.TB) []byte {
	t.Helper()
	return editJSON(t, func(file map[string]any) {
		vocab := file["model"].(map[string]any)["vocab"].([]any)
		added := file["added_tokens"].([]any)
		for i, a := range flagTokens {
			a.ID = int32(len(vocab) + i)
			added = append(added, a)
		}
		file["added_tokens"] = added
	})
}

// editJSON returns the zoo's tokenizer.json after edit.
func editJSON(t testing.TB, edit func(map[string]any)) []byte {
	t.Helper()
	var f map[string]any
	if err := json.Unmarshal(file(t, "tokenizer.json"), &f); err != nil {
		t.Fatal(err)
	}
	edit(f)
	data, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// randomFlagged makes n lines out of flagTokens and what may stand beside them.
func randomFlagged(n int) []string {
	rng := rand.New(rand.NewPCG(3, 5))
	glue := []string{" ", "  ", "\u3000", "\n", "a", "the", "_", "é", "\u0301", "fi", "ﬁ", "gure", "</s>", "1", "[", "]", "'", " gap", "gap "}
	texts := make([]string, n)
	for i := range texts {
		var b strings.Builder
		for range rng.IntN(14) {
			if rng.IntN(3) == 0 {
				b.WriteString(flagTokens[rng.IntN(len(flagTokens))].Content)
			} else {
				b.WriteString(glue[rng.IntN(len(glue))])
			}
		}
		texts[i] = b.String()
	}
	return texts
}

// convertedPipeline gives a tokenizer.json the pipeline that Transformers' SentencePiece converter writes.
func convertedPipeline(file map[string]any) {
	file["normalizer"] = map[string]any{"type": "Sequence", "normalizers": []any{
		file["normalizer"],
		map[string]any{"type": "Strip", "strip_left": false, "strip_right": true},
		map[string]any{"type": "Replace", "pattern": map[string]any{"Regex": " {2,}"}, "content": metaspace},
	}}
	file["pre_tokenizer"] = map[string]any{"type": "Metaspace", "replacement": metaspace, "add_prefix_space": true}
	file["decoder"] = map[string]any{"type": "Metaspace", "replacement": metaspace, "add_prefix_space": true}
}
