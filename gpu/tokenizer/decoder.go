package tokenizer

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// Decoder decodes a stream of ids. It is not safe for concurrent use.
type Decoder struct {
	t    *Tokenizer
	join joiner
}

// joiner puts the texts of tokens together.
type joiner interface {
	next(token string) string
	flush() string
}

// NewDecoder starts a stream.
func (t *Tokenizer) NewDecoder() *Decoder { return &Decoder{t: t, join: t.newJoiner()} }

// Next returns the text that id adds, which may be empty and never ends inside a rune. The texts of a stream, one after the
// other, and that of Flush are what Decode gives for all its ids.
func (d *Decoder) Next(id int32) string {
	if id < 0 || int(id) >= len(d.t.decoded) || d.t.decoded[id].special {
		return ""
	}
	return d.join.next(d.t.decoded[id].text)
}

// Flush ends the stream: it returns what Next has held back because a rune was not whole.
func (d *Decoder) Flush() string { return d.join.flush() }

// words joins the pieces of T5.
type wordJoiner struct{ started bool }

func (j *wordJoiner) next(token string) string {
	first := !j.started
	j.started = true
	return spaced(token, first)
}

func (*wordJoiner) flush() string { return "" }

// byteJoiner joins bytes. What is not UTF-8 becomes U+FFFD, once for the longest beginning of a rune that it is (as the Unicode
// standard recommends, section 3.9).
type byteJoiner struct{ held []byte }

func (j *byteJoiner) next(token string) string {
	raw, _ := rawBytes(token)
	j.held = append(j.held, raw...)
	return j.take(false)
}

func (j *byteJoiner) flush() string { return j.take(true) }

// take turns what is held into text, but for the beginning of a rune at the end unless all is asked for.
func (j *byteJoiner) take(all bool) string {
	var text strings.Builder
	for len(j.held) > 0 && (all || utf8.FullRune(j.held)) {
		r, size := utf8.DecodeRune(j.held)
		if r == utf8.RuneError && size <= 1 {
			size = brokenRune(j.held)
		}
		text.WriteRune(r)
		j.held = j.held[size:]
	}
	return text.String()
}

// brokenRune is the length of the longest beginning of a rune that b, which is not one, starts with; at least 1.
func brokenRune(b []byte) int {
	low, high := byte(0x80), byte(0xbf) // of the second byte
	more := 0                           // bytes after the first
	switch {
	case b[0] >= 0xc2 && b[0] <= 0xdf:
		more = 1
	case b[0] >= 0xe0 && b[0] <= 0xef:
		more = 2
	case b[0] >= 0xf0 && b[0] <= 0xf4:
		more = 3
	}
	switch b[0] {
	case 0xe0:
		low = 0xa0
	case 0xed:
		high = 0x9f
	case 0xf0:
		low = 0x90
	case 0xf4:
		high = 0x8f
	}
	n := 1
	for ; n <= more && n < len(b) && b[n] >= low && b[n] <= high; n++ {
		low, high = 0x80, 0xbf
	}
	return n
}

// fallbackJoiner joins words whose spaces are metaspaces and whose rare characters are tokens of single bytes. A run of these that is not
// UTF-8 becomes one U+FFFD a byte.
type fallbackJoiner struct {
	held    []byte
	started bool
	strip   bool // the first space of the text is left out
}

func (j *fallbackJoiner) next(token string) string {
	if b, ok := fallbackByte(token); ok {
		j.held = append(j.held, b)
		return ""
	}
	return j.text(j.bytes() + strings.ReplaceAll(token, metaspace, " "))
}

func (j *fallbackJoiner) flush() string { return j.text(j.bytes()) }

func (j *fallbackJoiner) bytes() string {
	held := string(j.held)
	j.held = j.held[:0]
	if !utf8.ValidString(held) {
		return strings.Repeat("\ufffd", len(held))
	}
	return held
}

func (j *fallbackJoiner) text(text string) string {
	if j.strip && !j.started {
		j.started = text != ""
		return strings.TrimPrefix(text, " ")
	}
	return text
}

// fallbackByte reads <0xNN>.
func fallbackByte(token string) (byte, bool) {
	if len(token) != len("<0x00>") || !strings.HasPrefix(token, "<0x") || token[5] != '>' {
		return 0, false
	}
	b, err := strconv.ParseUint(token[3:5], 16, 8)
	return byte(b), err == nil
}
