package tokenizer

import (
	"cmp"
	"slices"
	"strings"

	"github.com/medley-lora/medley/shared/fault"
)

// The types of tokens that matter, as llama.cpp numbers them.
const (
	ggufNormal  = 1
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

const ggufPrefix = "tokenizer.ggml."

// FromGGUF makes the tokenizer that the values of a GGUF file describe: of bytes (tokenizer.ggml.model "gpt2"), or SentencePiece's of
// characters ("llama").
func FromGGUF(values map[string]any) (*Tokenizer, error) {
	var p pipeline
	var begins bool
	var err error
	switch model, _ := values[ggufPrefix+"model"].(string); model {
	case "gpt2":
		pre, _ := values[ggufPrefix+"pre"].(string)
		known := false
		if p, known = ggufSplits[pre]; !known {
			return nil, unsupported(ggufPrefix+"pre", pre)
		}
		p.bytes, begins = true, pre == "llama-bpe"
		if err = p.ggufTokens(values); err == nil {
			err = p.ggufMerges(values)
		}
	case "llama":
		begins = true
		if err = p.ggufTokens(values); err == nil {
			err = p.ggufScores(values)
		}
	default:
		return nil, unsupported(ggufPrefix+"model", model)
	}
	if err != nil {
		return nil, err
	}
	t, err := p.tokenizer()
	if err != nil {
		return nil, fault.In(ggufPrefix, err)
	}
	return t, t.nameGGUF(ggufPrefix, values, begins)
}

// ggufTokens reads the vocabulary.
func (p *pipeline) ggufTokens(values map[string]any) error {
	texts, _ := values[ggufPrefix+"tokens"].([]string)
	types, _ := values[ggufPrefix+"token_type"].([]int64)
	if len(types) != len(texts) || len(texts) > maxPieces {
		return fault.New(fault.Invalid, ggufPrefix+"token_type", "has %d entries for %d tokens; at most %d are supported", len(types), len(texts), maxPieces)
	}
	p.ids = make(map[string]int32, len(texts))
	for id, text := range texts {
		if _, twice := p.ids[text]; twice {
			return fault.New(fault.Invalid, ggufPrefix+"tokens", "%.100q is there twice", text)
		}
		p.ids[text] = int32(id)
		if t := types[id]; t == ggufControl || t == ggufUser || t == ggufUnknown {
			p.added = append(p.added, addedToken{ID: int32(id), Content: text, Special: t != ggufUser})
		}
	}
	return nil
}

// ggufMerges reads the pairs that become tokens.
func (p *pipeline) ggufMerges(values map[string]any) error {
	merges, _ := values[ggufPrefix+"merges"].([]string)
	for i, merge := range merges {
		a, b, found := strings.Cut(merge, " ")
		if !found {
			return fault.New(fault.Invalid, ggufPrefix+"merges", "entry %d is not two tokens with a space between them", i)
		}
		p.merges = append(p.merges, [2]string{a, b})
	}
	return nil
}

// longestPiece bounds the bytes of a token that is merged from others.
const longestPiece = 512

// ggufScores makes the pairs from what SentencePiece says of its pieces: any two that make one are merged, those with the highest score
// first. Of the same piece the pair with the longer left half comes first, as in Transformers. The rest is that of Llama 2.
func (p *pipeline) ggufScores(values map[string]any) error {
	texts, _ := values[ggufPrefix+"tokens"].([]string)
	types, _ := values[ggufPrefix+"token_type"].([]int64)
	scores, _ := values[ggufPrefix+"scores"].([]float64)
	if len(scores) != len(texts) {
		return fault.New(fault.Invalid, ggufPrefix+"scores", "has %d entries for %d tokens", len(scores), len(texts))
	}
	order := make([]int, 0, len(texts))
	for id, text := range texts {
		switch {
		case types[id] == ggufUnknown:
			p.unknown = text
		case types[id] != ggufNormal:
		case len(text) > longestPiece:
			return fault.New(fault.TooLarge, ggufPrefix+"tokens", "entry %d has %d bytes; at most %d are supported", id, len(text), longestPiece)
		default:
			order = append(order, id)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(scores[b], scores[a]) })
	for _, id := range order {
		text := texts[id]
		for at := len(text) - 1; at > 0; at-- {
			_, left := p.ids[text[:at]]
			_, right := p.ids[text[at:]]
			if left && right {
				p.merges = append(p.merges, [2]string{text[:at], text[at:]})
			}
		}
	}
	prefix, there := values[ggufPrefix+"add_space_prefix"].(bool)
	p.strip = prefix || !there
	p.spaces, p.fallback, p.joinUnknowns = true, true, true
	p.normalize = func(text string) string {
		if p.strip && text != "" {
			text = " " + text
		}
		return strings.ReplaceAll(text, " ", metaspace)
	}
	return nil
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
