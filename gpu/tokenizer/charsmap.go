package tokenizer

import (
	"bytes"
	"encoding/binary"
	"strings"
	"unicode/utf8"

	"github.com/medley-lora/medley/shared/fault"
)

// maxReplacement bounds the bytes that one rune can become, and with it the growth of hostile text; nmt_nfkc needs 33 (U+FDFA).
const maxReplacement = 128

// wholeCluster is the length in bytes from which a grapheme cluster is normalised rune by rune.
const wholeCluster = 6

// charsmap is SentencePiece's precompiled_charsmap: a double-array trie (Darts) from text to an offset into replacements that
// end with a zero byte. It is applied as Hugging Face's Precompiled normaliser does, which differs from SentencePiece: a
// grapheme cluster of fewer than 6 bytes is replaced as a whole by what the shortest rule for its beginning says; longer
// clusters, and those without a rule, are taken rune by rune.
type charsmap struct {
	units        []uint32
	replacements string
	ascii        [utf8.RuneSelf]bool // may have a rule
}

// newCharsmap reads the little-endian layout: u32 bytes of trie, the trie's u32 units, replacements. No data means no map.
func newCharsmap(data []byte) (*charsmap, error) {
	if len(data) == 0 {
		return nil, nil
	}
	invalid := func(reason string) error { return fault.New(fault.Invalid, "precompiled_charsmap", "%s", reason) }
	if len(data) < 4 {
		return nil, invalid("is too short")
	}
	size := binary.LittleEndian.Uint32(data)
	data = data[4:]
	if size == 0 || size%4 != 0 || uint64(size) > uint64(len(data)) {
		return nil, invalid("states a trie that does not fit")
	}
	c := &charsmap{units: make([]uint32, size/4), replacements: string(data[size:])}
	for i := range c.units {
		c.units[i] = binary.LittleEndian.Uint32(data[4*i:])
	}
	if !utf8.ValidString(c.replacements) {
		return nil, invalid("has a replacement that is not UTF-8")
	}
	for r := range bytes.SplitSeq(data[size:], []byte{0}) {
		if len(r) > maxReplacement {
			return nil, invalid("has a replacement of more than 128 bytes")
		}
	}
	for b := range c.ascii {
		_, ok := c.replace(string(rune(b)))
		c.ascii[b] = ok || b == '\r' // CR LF is one cluster
	}
	return c, nil
}

// normalize returns text with every rule applied.
func (c *charsmap) normalize(text string) string {
	if c == nil {
		return text
	}
	var out strings.Builder
	out.Grow(len(text) + len(text)/8)
	for len(text) > 0 {
		n := c.plain(text)
		out.WriteString(text[:n])
		if text = text[n:]; text == "" {
			break
		}
		n = clusterLen(text)
		c.normalizeCluster(&out, text[:n])
		text = text[n:]
	}
	return out.String()
}

// plain returns how many bytes at the start of text are ASCII without a rule, each a cluster of its own.
func (c *charsmap) plain(text string) int {
	n := 0
	for n < len(text) && text[n] < utf8.RuneSelf && !c.ascii[text[n]] {
		n++
	}
	if n > 0 && n < len(text) && text[n] >= utf8.RuneSelf {
		n-- // what follows may belong to it
	}
	return n
}

func (c *charsmap) normalizeCluster(out *strings.Builder, cluster string) {
	if len(cluster) < wholeCluster {
		if r, ok := c.replace(cluster); ok {
			out.WriteString(r)
			return
		}
	}
	for len(cluster) > 0 {
		_, n := utf8.DecodeRuneInString(cluster)
		r, ok := c.replace(cluster[:n])
		if !ok {
			r = cluster[:n]
		}
		out.WriteString(r)
		cluster = cluster[n:]
	}
}

// replace returns the replacement of the shortest key that text starts with.
func (c *charsmap) replace(text string) (string, bool) {
	// A unit holds its label in bits 0 to 7, whether its child for byte 0 is a leaf in bit 8, and the distance to its children
	// from bit 9 on (bit 9 set: the rest counts in steps of 256). A leaf's lower 31 bits are its value; bit 31 marks it.
	const leaf = 1 << 31
	offset := func(unit uint32) uint32 { return unit >> 10 << (unit & (1 << 9) >> 6) }
	at := offset(c.units[0])
	for i := 0; i < len(text) && text[i] != 0; i++ {
		at ^= uint32(text[i])
		if int64(at) >= int64(len(c.units)) {
			return "", false
		}
		unit := c.units[at]
		if unit&(leaf|0xff) != uint32(text[i]) {
			return "", false
		}
		at ^= offset(unit)
		if unit>>8&1 == 1 {
			if int64(at) >= int64(len(c.units)) {
				return "", false
			}
			return c.replacement(int(c.units[at] &^ leaf))
		}
	}
	return "", false
}

// replacement returns the text at start, up to the zero byte; a start outside counts as no rule.
func (c *charsmap) replacement(start int) (string, bool) {
	if start >= len(c.replacements) {
		return "", false
	}
	r, _, _ := strings.Cut(c.replacements[start:], "\x00")
	return r, true
}
