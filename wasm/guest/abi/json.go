package abi

import (
	"strconv"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/medley-lora/medley/shared/fault"
)

// reader reads JSON (RFC 8259) that has the members that are expected of it: encoding/json would make the guest larger by three
// quarters. It keeps its first error, after which everything it returns is zero.
type reader struct {
	rest []byte
	size int // of the whole text
	err  error
}

// maxDepth bounds the arrays and objects within each other in what is skipped.
const maxDepth = 64

func newReader(text []byte) *reader {
	r := &reader{rest: text, size: len(text)}
	if !utf8.Valid(text) {
		r.fail(fault.New(fault.Invalid, "", "the configuration is not UTF-8"))
	}
	return r
}

// fail keeps the first error and ends the text.
func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
	r.rest = nil
}

func (r *reader) wrong() {
	r.fail(fault.New(fault.Invalid, "", "the configuration is not JSON, from byte %d on", r.size-len(r.rest)))
}

func (r *reader) mistyped(name, expected string) {
	r.fail(fault.New(fault.Invalid, name, "is not %s", expected))
}

// next returns the next byte that is not white space without reading it, 0 at the end.
func (r *reader) next() byte {
	for len(r.rest) > 0 {
		switch c := r.rest[0]; c {
		case ' ', '\t', '\n', '\r':
			r.rest = r.rest[1:]
		default:
			return c
		}
	}
	return 0
}

// take reads c if it is next.
func (r *reader) take(c byte) bool {
	if r.next() != c || r.err != nil || len(r.rest) == 0 {
		return false
	}
	r.rest = r.rest[1:]
	return true
}

// want reads c.
func (r *reader) want(c byte) {
	if r.err == nil && !r.take(c) {
		r.wrong()
	}
}

// end expects no more text.
func (r *reader) end() {
	if r.next(); r.err == nil && len(r.rest) > 0 {
		r.wrong()
	}
}

// object calls member at the value of each member, which it has to read.
func (r *reader) object(member func(name string)) {
	seen := map[string]bool{}
	r.items('{', '}', func() {
		name := r.string()
		r.want(':')
		if r.err != nil {
			return
		}
		if seen[name] {
			r.fail(fault.New(fault.Invalid, name, "is given twice"))
			return
		}
		seen[name] = true
		member(name)
	})
}

// items reads what is between two brackets, separated by commas.
func (r *reader) items(first, last byte, item func()) {
	r.want(first)
	if r.take(last) {
		return
	}
	for r.err == nil {
		item()
		if r.take(last) {
			return
		}
		r.want(',')
	}
}

// list reads an array with the reader of its items.
func list[T any](r *reader, name string, item func(name string) T) []T {
	if r.next() != '[' {
		r.mistyped(name, "an array")
		return nil
	}
	var all []T
	r.items('[', ']', func() { all = append(all, item(name)) })
	return all
}

// number reads a finite number.
func (r *reader) number(name string) float64 {
	text, _ := r.numeral()
	if text == "" {
		r.mistyped(name, "a number")
		return 0
	}
	v, err := strconv.ParseFloat(text, 64)
	if err != nil {
		r.fail(fault.New(fault.Invalid, name, "has a number that is out of range"))
		return 0
	}
	return v
}

// integer reads a number without a fraction or an exponent.
func (r *reader) integer(name string) int {
	text, whole := r.numeral()
	if !whole {
		r.mistyped(name, "an integer")
		return 0
	}
	v, err := strconv.ParseInt(text, 10, 64)
	if err != nil || int64(int32(v)) != v {
		r.fail(fault.New(fault.Invalid, name, "has a number that is out of range"))
		return 0
	}
	return int(v)
}

// numeral reads a number as it is written; "" if there is none. whole is false for what has a fraction or an exponent.
func (r *reader) numeral() (text string, whole bool) {
	r.next()
	at := 0
	is := func(set string) bool {
		for i := range len(set) {
			if at < len(r.rest) && r.rest[at] == set[i] {
				at++
				return true
			}
		}
		return false
	}
	digits := func() bool {
		from := at
		for at < len(r.rest) && r.rest[at]-'0' <= 9 {
			at++
		}
		return at > from
	}
	whole = true
	is("-")
	if !is("0") && !digits() {
		return "", false
	}
	if is(".") {
		if whole = false; !digits() {
			return "", false
		}
	}
	if is("eE") {
		is("+-")
		if whole = false; !digits() {
			return "", false
		}
	}
	text = string(r.rest[:at])
	r.rest = r.rest[at:]
	return text, whole
}

// text reads a string.
func (r *reader) text(name string) string {
	if r.next() != '"' {
		r.mistyped(name, "text")
		return ""
	}
	return r.string()
}

func (r *reader) string() string {
	r.want('"')
	var b []byte
	for len(r.rest) > 0 {
		c := r.rest[0]
		r.rest = r.rest[1:]
		switch {
		case c == '"':
			return string(b)
		case c < ' ':
			r.wrong()
			return ""
		case c == '\\':
			b = r.escape(b)
		default:
			b = append(b, c)
		}
	}
	r.wrong()
	return ""
}

// escape appends the character that stands behind a backslash.
func (r *reader) escape(b []byte) []byte {
	if len(r.rest) == 0 {
		r.wrong()
		return b
	}
	c := r.rest[0]
	r.rest = r.rest[1:]
	const letters, meanings = `"\/bfnrt`, "\"\\/\b\f\n\r\t"
	for i := range len(letters) {
		if c == letters[i] {
			return append(b, meanings[i])
		}
	}
	if c != 'u' {
		r.wrong()
		return b
	}
	unit := r.unit()
	if utf16.IsSurrogate(unit) {
		rest := r.rest
		if len(rest) > 1 && rest[0] == '\\' && rest[1] == 'u' {
			r.rest = rest[2:]
			if pair := utf16.DecodeRune(unit, r.unit()); pair != utf8.RuneError || r.err != nil {
				return utf8.AppendRune(b, pair)
			}
			r.rest = rest // the other is a character of its own
		}
		unit = utf8.RuneError
	}
	return utf8.AppendRune(b, unit)
}

// unit reads four hexadecimal digits.
func (r *reader) unit() rune {
	if len(r.rest) < 4 {
		r.wrong()
		return 0
	}
	v, err := strconv.ParseUint(string(r.rest[:4]), 16, 16)
	if err != nil {
		r.wrong()
		return 0
	}
	r.rest = r.rest[4:]
	return rune(v)
}

// skip reads a value of any type.
func (r *reader) skip() { r.skipWithin(maxDepth) }

func (r *reader) skipWithin(depth int) {
	if depth == 0 {
		r.fail(fault.New(fault.Invalid, "", "the configuration has arrays or objects more than %d deep", maxDepth))
		return
	}
	switch r.next() {
	case '"':
		_ = r.string()
	case '[':
		r.items('[', ']', func() { r.skipWithin(depth - 1) })
	case '{':
		r.items('{', '}', func() {
			_ = r.string()
			r.want(':')
			r.skipWithin(depth - 1)
		})
	default:
		for _, word := range []string{"true", "false", "null"} {
			if len(r.rest) >= len(word) && string(r.rest[:len(word)]) == word {
				r.rest = r.rest[len(word):]
				return
			}
		}
		if text, _ := r.numeral(); text == "" {
			r.wrong()
		}
	}
}
