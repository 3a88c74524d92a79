package tokenizer

import (
	"strings"

	"github.com/medley-lora/medley/shared/fault"
)

// The types of tokens that matter, as llama.cpp numbers them.
const (
	ggufUnknown = 2
	ggufControl = 3
	ggufUser    = 4
)

// ggufSplits are the pre-tokenizers by the names that llama.cpp gives them.
var ggufSplits = map[string]pipeline{
	"gpt-2":     {cut: []splitter{repeated(gpt2Word)}},
	"smollm":    {cut: []splitter{digits, repeated(gpt2Word)}},
	"llama-bpe": {cut: []splitter{patterns[llama3Pattern]}, whole: true},
	"qwen2":     {cut: []splitter{patterns[qwenPattern]}, normalize: nfc},
}

// FromGGUF makes the tokenizer that the values of a GGUF file describe. Tokens must be bytes (tokenizer.ggml.model "gpt2").
func FromGGUF(values map[string]any) (*Tokenizer, error) {
	const prefix = "tokenizer.ggml."
	if model, _ := values[prefix+"model"].(string); model != "gpt2" {
		return nil, unsupported(prefix+"model", model)
	}
	pre, _ := values[prefix+"pre"].(string)
	p, known := ggufSplits[pre]
	if !known {
		return nil, unsupported(prefix+"pre", pre)
	}
	p.bytes = true
	texts, _ := values[prefix+"tokens"].([]string)
	types, _ := values[prefix+"token_type"].([]int64)
	if len(types) != len(texts) || len(texts) > maxPieces {
		return nil, fault.New(fault.Invalid, prefix+"token_type", "has %d entries for %d tokens; at most %d are supported", len(types), len(texts), maxPieces)
	}
	p.ids = make(map[string]int32, len(texts))
	for id, text := range texts {
		if _, twice := p.ids[text]; twice {
			return nil, fault.New(fault.Invalid, prefix+"tokens", "%.100q is there twice", text)
		}
		p.ids[text] = int32(id)
		if t := types[id]; t == ggufControl || t == ggufUser || t == ggufUnknown {
			p.added = append(p.added, addedToken{ID: int32(id), Content: text, Special: t != ggufUser})
		}
	}
	merges, _ := values[prefix+"merges"].([]string)
	for i, merge := range merges {
		a, b, found := strings.Cut(merge, " ")
		if !found {
			return nil, fault.New(fault.Invalid, prefix+"merges", "entry %d is not two tokens with a space between them", i)
		}
		p.merges = append(p.merges, [2]string{a, b})
	}
	t, err := p.tokenizer()
	if err != nil {
		return nil, fault.In(prefix, err)
	}
	return t, t.nameGGUF(prefix, values, pre == "llama-bpe")
}

// nameGGUF finds the special tokens; begins says whether the first begins every text if the file does not say.
func (t *Tokenizer) nameGGUF(prefix string, values map[string]any, begins bool) error {
	for _, role := range []struct {
		key string
		id  *int32
	}{{"bos_token_id", &t.bos}, {"eos_token_id", &t.eos}, {"padding_token_id", &t.pad}} {
		id, there := values[prefix+role.key].(uint64)
		if !there {
			continue
		}
		if id >= uint64(len(t.decoded)) {
			return fault.New(fault.Invalid, prefix+role.key, "%d is no token of %d", id, len(t.decoded))
		}
		*role.id = int32(id)
	}
	if add, there := values[prefix+"add_bos_token"].(bool); there {
		begins = add
	}
	if begins && t.bos >= 0 {
		t.before = []int32{t.bos}
	}
	if add, _ := values[prefix+"add_eos_token"].(bool); add && t.eos >= 0 {
		t.after = []int32{t.eos}
	}
	return nil
}
