package tokenizer

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/medley-lora/medley/shared/fault"
)

// ggufValues says of the tokenizer testdata/bpe/llama2 what a GGUF file says of a SentencePiece model: pieces with scores, the first merges
// with the highest.
func ggufValues(t *testing.T) map[string]any {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "bpe", "llama2", "tokenizer.json"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Model bpeJSON
		Added []addedToken `json:"added_tokens"`
	}
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	texts := make([]string, len(file.Model.Vocab))
	types, scores := make([]int64, len(texts)), make([]float64, len(texts))
	for text, id := range file.Model.Vocab {
		texts[id], types[id], scores[id] = text, ggufNormal, -1e6
		if _, ok := fallbackByte(text); ok {
			types[id] = 6
		}
	}
	for _, a := range file.Added {
		if types[a.ID] = ggufUser; a.Special {
			types[a.ID] = ggufControl
		}
	}
	for rank, m := range file.Model.Merges {
		scores[file.Model.Vocab[m[0]+m[1]]] = -float64(rank)
	}
	types[0] = ggufUnknown
	return map[string]any{
		ggufPrefix + "model": "llama", ggufPrefix + "tokens": texts, ggufPrefix + "token_type": types, ggufPrefix + "scores": scores,
		ggufPrefix + "bos_token_id": uint64(1), ggufPrefix + "eos_token_id": uint64(2),
	}
}

// TestGGUFPieces: pieces with scores are the tokenizer that they were made from.
func TestGGUFPieces(t *testing.T) {
	values := ggufValues(t)
	tok, err := FromGGUF(values)
	if err != nil {
		t.Fatal(err)
	}
	same := openBPE(t, "llama2")
	for _, text := range slices.Concat(causalTexts, mixedTexts(300)) {
		// Added tokens that take the white space around them, which a file does not say, and a byte's token that is merged, which is no piece.
		if strings.Contains(text, "[") || strings.Contains(text, "<0x") {
			continue
		}
		got, want := tok.Encode(text), same.Encode(text)
		if !slices.Equal(got, want) {
			t.Errorf("%+q is %v, want %v", text, got, want)
		}
		if back, want := tok.Decode(got), same.Decode(want); back != want {
			t.Errorf("%+q came back as %+q, want %+q", text, back, want)
		}
	}
	if tok.BOS() != 1 || tok.EOS() != 2 {
		t.Errorf("begins with %d, ends with %d", tok.BOS(), tok.EOS())
	}
	values[ggufPrefix+"add_space_prefix"], values[ggufPrefix+"add_bos_token"] = false, false
	bare, err := FromGGUF(values)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := bare.Encode(" the"), tok.EncodeBare("the"); !slices.Equal(got, want) || bare.Decode(got) != " the" {
		t.Errorf("without a space in front: %v, %q; want %v", got, bare.Decode(got), want)
	}
}

func TestGGUFPiecesRefused(t *testing.T) {
	good := ggufValues(t)
	for name, change := range map[string]func(map[string]any){
		"scores":     func(v map[string]any) { delete(v, ggufPrefix+"scores") },
		"token_type": func(v map[string]any) { v[ggufPrefix+"token_type"] = []int64{1} },
		"model":      func(v map[string]any) { v[ggufPrefix+"model"] = "bert" },
		"tokens": func(v map[string]any) {
			texts := slices.Clone(v[ggufPrefix+"tokens"].([]string))
			texts[300] = strings.Repeat("a", longestPiece+1)
			v[ggufPrefix+"tokens"] = texts
		},
		"bos_token_id": func(v map[string]any) { v[ggufPrefix+"bos_token_id"] = uint64(1 << 40) },
	} {
		bad := maps.Clone(good)
		change(bad)
		if _, err := FromGGUF(bad); err == nil || !strings.Contains(err.Error(), name) || fault.CodeOf(err) == fault.Internal {
			t.Errorf("%s: %v", name, err)
		}
	}
}
