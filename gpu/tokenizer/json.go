package tokenizer

import (
	"encoding/base64"
	"encoding/json"
	"reflect"

	"github.com/medley-lora/medley/shared/fault"
)

// tokenizerJSON is what is used of tokenizer.json. Truncation and padding are the caller's business, as in Transformers.
type tokenizerJSON struct {
	Added      []addedToken    `json:"added_tokens"`
	Normalizer *component      `json:"normalizer"`
	Pre        *component      `json:"pre_tokenizer"`
	Post       json.RawMessage `json:"post_processor"`
	Decoder    *component      `json:"decoder"`
	Model      json.RawMessage `json:"model"`
}

// unigramJSON is the model of T5's tokenizer.json.
type unigramJSON struct {
	Unknown      *int    `json:"unk_id"`
	Vocab        [][]any `json:"vocab"` // pairs of text and score
	ByteFallback bool    `json:"byte_fallback"`
}

// component is a normalizer, pre-tokenizer or decoder.
type component struct {
	Type          string      `json:"type"`
	Normalizers   []component `json:"normalizers"`
	Pretokenizers []component `json:"pretokenizers"`
	Charsmap      string      `json:"precompiled_charsmap"`
	Pattern       any         `json:"pattern"`
	Replacement   string      `json:"replacement"`
	Prepend       string      `json:"prepend_scheme"`
	PrefixSpace   *bool       `json:"add_prefix_space"`
	Split         *bool       `json:"split"`
	Decoders      []component `json:"decoders"`
	Behavior      string      `json:"behavior"`
	Invert        bool        `json:"invert"`
	UseRegex      *bool       `json:"use_regex"`
	Individual    bool        `json:"individual_digits"`
	Content       string      `json:"content"`
	Prefix        string      `json:"prepend"`
	Start         int         `json:"start"`
	Stop          int         `json:"stop"`
}

// FromJSON reads a tokenizer.json of T5 or of a decoder-only model; a component that neither has is refused by name (Unsupported). As in
// Transformers, T5's text is always cut at white space whichever of the equivalent pipelines of its converters the file has. Other
// errors are Invalid or TooLarge.
func FromJSON(data []byte) (*Tokenizer, error) {
	var file tokenizerJSON
	if err := json.Unmarshal(data, &file); err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "", "is not a valid tokenizer.json")
	}
	var kind struct {
		Type   string          `json:"type"`
		Merges json.RawMessage `json:"merges"`
	}
	if err := json.Unmarshal(file.Model, &kind); err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "model", "is not valid")
	}
	switch {
	case kind.Type == "BPE" || (kind.Type == "" && len(kind.Merges) > 0): // old files do not say
		return file.fromBPE()
	case kind.Type == "Unigram":
		return file.fromUnigram()
	}
	return nil, unsupported("model", kind.Type)
}

// fromUnigram reads the rest of T5's tokenizer.json.
func (f *tokenizerJSON) fromUnigram() (*Tokenizer, error) {
	var m unigramJSON
	if err := json.Unmarshal(f.Model, &m); err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "model", "is not one of pieces and scores")
	}
	if m.ByteFallback {
		return nil, fault.New(fault.Unsupported, "model: byte_fallback", "is not supported")
	}
	if len(m.Vocab) > maxPieces {
		return nil, fault.New(fault.TooLarge, "vocab", "has %d pieces; at most %d are supported", len(m.Vocab), maxPieces)
	}
	if m.Unknown == nil {
		return nil, fault.New(fault.Invalid, "unk_id", "is missing")
	}
	pieces := make([]piece, len(m.Vocab))
	for id, pair := range m.Vocab {
		var isText, isScore bool
		if len(pair) == 2 {
			pieces[id].text, isText = pair[0].(string)
			pieces[id].score, isScore = pair[1].(float64)
		}
		if !isText || !isScore {
			return nil, fault.New(fault.Invalid, "vocab", "entry %d is not a pair of text and score", id)
		}
	}
	cm, err := f.charsmap()
	if err != nil {
		return nil, err
	}
	if err := checkMetaspace("pre_tokenizer", preTokenizer(f.Pre)); err != nil {
		return nil, err
	}
	if err := checkMetaspace("decoder", f.Decoder); err != nil {
		return nil, err
	}
	end, err := endOf(f.Post)
	if err != nil {
		return nil, err
	}
	return assemble(cm, pieces, *m.Unknown, f.Added, end)
}

// assemble checks and joins the parts that both kinds of file have.
func assemble(cm []byte, pieces []piece, unknown int, added []addedToken, end string) (*Tokenizer, error) {
	c, err := newCharsmap(cm)
	if err != nil {
		return nil, err
	}
	model, err := newUnigram(pieces, unknown)
	if err != nil {
		return nil, err
	}
	ids := make(map[string]int32, len(pieces))
	for id, p := range pieces {
		ids[p.text] = int32(id)
	}
	if err := checkAdded(added, ids, len(pieces)); err != nil {
		return nil, err
	}
	return newT5(c, model, added, end)
}

func unsupported(field, what string) error {
	return fault.New(fault.Unsupported, field, "%q is not supported", what)
}

// charsmap returns the precompiled charsmap of the normalizer, nil for none. Strip and the Replace of runs of spaces, which
// T5's converter adds, do nothing that cutting at white space does not.
func (f *tokenizerJSON) charsmap() ([]byte, error) {
	if f.Normalizer == nil {
		return nil, nil
	}
	list := []component{*f.Normalizer}
	if f.Normalizer.Type == "Sequence" {
		list = f.Normalizer.Normalizers
	}
	var data []byte
	for i, n := range list {
		switch {
		case n.Type == "Precompiled" && i == 0:
			var err error
			if data, err = base64.StdEncoding.DecodeString(n.Charsmap); err != nil {
				return nil, fault.Wrap(err, fault.Invalid, "precompiled_charsmap", "is not base64")
			}
		case n.Type == "Strip":
		case n.Type == "Replace" && reflect.DeepEqual(n.Pattern, map[string]any{"Regex": " {2,}"}):
		default:
			return nil, unsupported("normalizer", n.Type)
		}
	}
	return data, nil
}

// preTokenizer returns the Metaspace after WhitespaceSplit, or p itself.
func preTokenizer(p *component) *component {
	if p != nil && p.Type == "Sequence" && len(p.Pretokenizers) == 2 && p.Pretokenizers[0].Type == "WhitespaceSplit" {
		return &p.Pretokenizers[1]
	}
	return p
}

// checkMetaspace refuses all but the Metaspace that T5 uses.
func checkMetaspace(field string, c *component) error {
	switch {
	case c == nil:
		return unsupported(field, "null")
	case c.Type != "Metaspace":
		return unsupported(field, c.Type)
	case c.Replacement != metaspace:
		return unsupported(field+": replacement", c.Replacement)
	case c.Prepend != "" && c.Prepend != "always":
		return unsupported(field+": prepend_scheme", c.Prepend)
	case c.PrefixSpace != nil && !*c.PrefixSpace:
		return unsupported(field+": add_prefix_space", "false")
	case c.Split != nil && !*c.Split:
		return unsupported(field+": split", "false")
	}
	return nil
}

// endOf returns the end token of the post-processor, which must put it after the text and do nothing else.
func endOf(data json.RawMessage) (string, error) {
	var post struct {
		Type   string `json:"type"`
		Single []struct {
			Sequence *struct{}
			Special  *struct {
				ID string `json:"id"`
			} `json:"SpecialToken"`
		} `json:"single"`
	}
	if len(data) > 0 {
		if err := json.Unmarshal(data, &post); err != nil {
			return "", fault.Wrap(err, fault.Invalid, "post_processor", "is not valid")
		}
	}
	if post.Type != "TemplateProcessing" {
		return "", unsupported("post_processor", post.Type)
	}
	s := post.Single
	if len(s) != 2 || s[0].Sequence == nil || s[1].Special == nil {
		return "", fault.New(fault.Unsupported, "post_processor: single", "must be the text and one token after it")
	}
	return s[1].Special.ID, nil
}
