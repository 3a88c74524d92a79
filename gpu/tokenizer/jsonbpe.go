package tokenizer

import (
	"encoding/json"
	"reflect"
	"strings"
	"unicode/utf8"

	"github.com/medley-lora/medley/shared/fault"
)

// bpeJSON is the model of a tokenizer.json of byte pair encoding.
type bpeJSON struct {
	Vocab        map[string]int32 `json:"vocab"`
	Merges       []mergeJSON      `json:"merges"`
	Unknown      *string          `json:"unk_token"`
	JoinUnknowns bool             `json:"fuse_unk"`
	ByteFallback bool             `json:"byte_fallback"`
	IgnoreMerges bool             `json:"ignore_merges"`
	Dropout      *float64         `json:"dropout"`
	Prefix       string           `json:"continuing_subword_prefix"`
	Suffix       string           `json:"end_of_word_suffix"`
}

// mergeJSON is a pair, or both halves in one string with a space between them.
type mergeJSON [2]string

func (m *mergeJSON) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] == '[' {
		return json.Unmarshal(data, (*[2]string)(m))
	}
	var both string
	if err := json.Unmarshal(data, &both); err != nil {
		return err
	}
	var found bool
	if m[0], m[1], found = strings.Cut(both, " "); !found {
		return fault.New(fault.Invalid, "merges", "%.100q is not two tokens with a space between them", both)
	}
	return nil
}

// fromBPE reads the rest of a tokenizer.json whose model is of byte pair encoding.
func (f *tokenizerJSON) fromBPE() (*Tokenizer, error) {
	var m bpeJSON
	if err := json.Unmarshal(f.Model, &m); err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "model", "is not one of byte pair encoding: %v", err)
	}
	switch {
	case m.Dropout != nil && *m.Dropout != 0:
		return nil, fault.New(fault.Unsupported, "model: dropout", "is not supported")
	case m.Prefix != "":
		return nil, unsupported("model: continuing_subword_prefix", m.Prefix)
	case m.Suffix != "":
		return nil, unsupported("model: end_of_word_suffix", m.Suffix)
	}
	pairs := make([][2]string, len(m.Merges))
	for i, p := range m.Merges {
		pairs[i] = p
	}
	p := pipeline{
		ids: m.Vocab, merges: pairs, whole: m.IgnoreMerges, joinUnknowns: m.JoinUnknowns, fallback: m.ByteFallback, added: f.Added,
	}
	if m.Unknown != nil {
		p.unknown = *m.Unknown
	}
	if err := p.preTokenizer(f.Pre); err != nil {
		return nil, err
	}
	if err := p.normalizer(f.Normalizer); err != nil {
		return nil, err
	}
	if err := p.decoder(f.Decoder); err != nil {
		return nil, err
	}
	t, err := p.tokenizer()
	if err != nil {
		return nil, err
	}
	t.before, t.after, err = t.around(f.Post)
	return t, err
}

// preTokenizer reads what cuts text into words.
func (p *pipeline) preTokenizer(c *component) error {
	if c == nil {
		return nil
	}
	list := []component{*c}
	if c.Type == "Sequence" {
		list = c.Pretokenizers
	}
	for i, c := range list {
		if p.bytes {
			return unsupported("pre_tokenizer after ByteLevel", c.Type)
		}
		switch c.Type {
		case "ByteLevel":
			p.bytes = true
			if c.PrefixSpace == nil || *c.PrefixSpace { // the library's default
				p.cut = append(p.cut, prefixed)
			}
			if c.UseRegex == nil || *c.UseRegex {
				p.cut = append(p.cut, repeated(gpt2Word))
			}
		case "Digits":
			if c.Individual {
				p.cut = append(p.cut, digits)
			} else {
				p.cut = append(p.cut, digitRuns)
			}
		case "Split":
			cut, err := c.splitter()
			if err != nil {
				return err
			}
			p.cut = append(p.cut, cut)
		case "Metaspace":
			if i > 0 || len(list) > 1 || (c.Split == nil || *c.Split) || c.Replacement != metaspace {
				return fault.New(fault.Unsupported, "pre_tokenizer", "Metaspace must stand alone, with %q and without splitting", metaspace)
			}
			if p.spaces, p.metaspaces, p.prepend = true, true, c.Prepend; p.prepend == "" {
				p.prepend = "always" // the library's default
			}
		default:
			return unsupported("pre_tokenizer", c.Type)
		}
	}
	return nil
}

// splitter is the pattern of a Split, if it is known.
func (c *component) splitter() (splitter, error) {
	pattern, _ := c.Pattern.(map[string]any)
	text, _ := pattern["Regex"].(string)
	cut := patterns[text]
	isolated := c.Behavior == "Isolated" && !c.Invert
	inverted := c.Behavior == "Removed" && c.Invert // the same, as every pattern matches all of a text
	switch {
	case cut == nil:
		return nil, fault.New(fault.Unsupported, "pre_tokenizer: Split", "has a pattern that is not known: %.200q", text)
	case !isolated && !inverted:
		return nil, unsupported("pre_tokenizer: Split: behavior", c.Behavior)
	}
	return cut, nil
}

func (p *pipeline) normalizer(c *component) error {
	if c == nil {
		return nil
	}
	list := []component{*c}
	if c.Type == "Sequence" {
		list = c.Normalizers
	}
	var steps []func(string) string
	for _, c := range list {
		switch {
		case c.Type == "NFC":
			steps = append(steps, nfc)
		case c.Type == "Prepend" && c.Prefix == metaspace:
			steps = append(steps, func(text string) string {
				if text == "" {
					return ""
				}
				return metaspace + text
			})
		case c.Type == "Replace" && reflect.DeepEqual(c.Pattern, map[string]any{"String": " "}) && c.Content == metaspace:
			steps = append(steps, func(text string) string { return strings.ReplaceAll(text, " ", metaspace) })
			p.spaces = true
		default:
			return unsupported("normalizer", c.Type)
		}
	}
	p.normalize = func(text string) string {
		for _, step := range steps {
			text = step(text)
		}
		return text
	}
	return nil
}

// decoder holds the decoder to what the rest says: that of bytes, or that of metaspaces with bytes for rare characters.
func (p *pipeline) decoder(c *component) error {
	switch {
	case c == nil:
		return unsupported("decoder", "null")
	case c.Type == "ByteLevel" && p.bytes:
		return nil
	case p.bytes || !p.spaces:
		return unsupported("decoder", c.Type)
	case c.Type == "Metaspace" && c.Replacement == metaspace:
		p.strip = c.Prepend != "never"
		return nil
	case c.Type != "Sequence":
		return unsupported("decoder", c.Type)
	}
	var types []string
	for _, d := range c.Decoders {
		types = append(types, d.Type)
		switch {
		case d.Type == "Replace" && reflect.DeepEqual(d.Pattern, map[string]any{"String": metaspace}) && d.Content == " ":
		case d.Type == "ByteFallback", d.Type == "Fuse":
		case d.Type == "Strip" && d.Content == " " && d.Start == 1 && d.Stop == 0:
			p.strip = true
		default:
			return unsupported("decoder", d.Type)
		}
	}
	order := strings.Join(types, " ")
	if order != "Replace ByteFallback Fuse" && order != "Replace ByteFallback Fuse Strip" {
		return unsupported("decoder", order)
	}
	return nil
}

// around reads what the post-processor puts before and after a text.
func (t *Tokenizer) around(data json.RawMessage) (before, after []int32, err error) {
	var post struct {
		Type       string            `json:"type"`
		Processors []json.RawMessage `json:"processors"`
		Single     []struct {
			Sequence *struct{}
			Special  *struct {
				ID string `json:"id"`
			} `json:"SpecialToken"`
		} `json:"single"`
	}
	if len(data) == 0 || string(data) == "null" {
		return nil, nil, nil
	}
	if err := json.Unmarshal(data, &post); err != nil {
		return nil, nil, fault.Wrap(err, fault.Invalid, "post_processor", "is not valid")
	}
	switch post.Type {
	case "ByteLevel": // moves offsets alone
		return nil, nil, nil
	case "Sequence":
		for _, p := range post.Processors {
			b, a, err := t.around(p)
			if err != nil {
				return nil, nil, err
			}
			before, after = append(b, before...), append(after, a...)
		}
		return before, after, nil
	case "TemplateProcessing":
	default:
		return nil, nil, unsupported("post_processor", post.Type)
	}
	seen := false
	for _, part := range post.Single {
		switch {
		case part.Sequence != nil && !seen:
			seen = true
		case part.Special != nil:
			id := t.ID(part.Special.ID)
			if id < 0 {
				return nil, nil, fault.New(fault.Invalid, "post_processor", "names %.100q, which is no token", part.Special.ID)
			}
			if seen {
				after = append(after, id)
			} else {
				before = append(before, id)
			}
		default:
			return nil, nil, fault.New(fault.Unsupported, "post_processor: single", "must be the text once and tokens around it")
		}
	}
	if !seen {
		return nil, nil, fault.New(fault.Unsupported, "post_processor: single", "leaves the text out")
	}
	return before, after, nil
}

// pipeline is a tokenizer of byte pair encoding as a file describes it.
type pipeline struct {
	ids    map[string]int32
	merges [][2]string
	added  []addedToken
	cut    []splitter

	normalize    func(string) string
	bytes        bool   // tokens are bytes
	spaces       bool   // a space is a metaspace
	metaspaces   bool   // which the pre-tokenizer makes it
	prepend      string // where that puts one before a text without: "always", "first" (before the whole text) or not
	strip        bool   // the first space is left out of decoded text
	whole        bool
	fallback     bool
	unknown      string // "" for none
	joinUnknowns bool
}

// tokenizer checks the vocabulary and puts the parts together.
func (p *pipeline) tokenizer() (*Tokenizer, error) {
	if len(p.ids) == 0 || len(p.ids) > maxPieces {
		return nil, fault.New(fault.TooLarge, "vocab", "has %d tokens; between 1 and %d are supported", len(p.ids), maxPieces)
	}
	var texts []string
	for text, id := range p.ids {
		if id < 0 || id >= maxPieces || !utf8.ValidString(text) {
			return nil, fault.New(fault.Invalid, "vocab", "token %.100q with id %d; ids go from 0 to %d, and texts are UTF-8", text, id, maxPieces)
		}
		for int(id) >= len(texts) {
			texts = append(texts, "")
		}
		if texts[id] != "" {
			return nil, fault.New(fault.Invalid, "vocab", "%.100q and %.100q both have id %d", text, texts[id], id)
		}
		texts[id] = text
	}
	if err := checkAdded(p.added, p.ids, len(p.ids)); err != nil {
		return nil, err
	}
	model, err := p.model()
	if err != nil {
		return nil, err
	}
	t, err := newTokenizer(p.normalize, model, texts, p.added)
	if err != nil {
		return nil, err
	}
	t.newJoiner = func() joiner { return &fallbackJoiner{strip: p.strip} }
	if p.bytes {
		t.newJoiner = func() joiner { return &byteJoiner{} }
	}
	return t, nil
}

func (p *pipeline) model() (*bpe, error) {
	m := &bpe{ids: p.ids, cut: p.cut, whole: p.whole, unknown: -1, joinUnknowns: p.joinUnknowns}
	var err error
	if m.merges, err = newMerges(p.ids, p.merges); err != nil {
		return nil, err
	}
	if p.unknown != "" {
		id, ok := p.ids[p.unknown]
		if !ok {
			return nil, fault.New(fault.Invalid, "unk_token", "%.100q is no token", p.unknown)
		}
		m.unknown = id
	}
	if p.fallback {
		m.fallback = fallbackBytes(p.ids)
	}
	if p.metaspaces {
		m.spaces = p.metaspaced
	}
	if p.bytes {
		m.ids = make(map[string]int32, len(p.ids))
		for text, id := range p.ids {
			if raw, all := rawBytes(text); all {
				m.ids[raw] = id
			}
		}
		m.byByte = new([256]int32)
		for b := range m.byByte {
			id, ok := m.ids[string([]byte{byte(b)})]
			if m.byByte[b] = id; !ok {
				m.byByte[b] = -1
			}
		}
	}
	return m, nil
}

// metaspaced is what the pre-tokenizer Metaspace makes of a stretch.
func (p *pipeline) metaspaced(text string, begins bool) string {
	text = strings.ReplaceAll(text, " ", metaspace)
	if (p.prepend == "always" || (p.prepend == "first" && begins)) && !strings.HasPrefix(text, metaspace) {
		return metaspace + text
	}
	return text
}
