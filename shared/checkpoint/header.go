package checkpoint

import (
	"math"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/medley-lora/medley/shared/fault"
)

// parseHeader reads the JSON of a safetensors header. The grammar is narrower than JSON's (nothing nests deeper than a
// shape), and a parser for it alone is what makes duplicate keys errors, integers exact and time linear.
//
//	header  = { "__metadata__": { string: string, … }, NAME: tensor, … }
//	tensor  = { "dtype": string, "shape": [n, …], "data_offsets": [begin, end] }
func parseHeader(text string) ([]headerTensor, map[string]string, error) {
	p := &scanner{text: text}
	var tensors []headerTensor
	var metadata map[string]string
	err := p.object(func(key string) error {
		if key == "__metadata__" {
			if metadata != nil {
				return fault.New(fault.Invalid, key, "is in the header twice")
			}
			var err error
			metadata, err = p.metadata()
			return fault.In(key, err)
		}
		if len(key) > maxName {
			return fault.New(fault.TooLarge, tensorField(key), "has a name of %d bytes; the limit is %d", len(key), maxName)
		}
		if len(tensors) == maxTensors {
			return fault.New(fault.TooLarge, "header", "there are more than %d tensors", maxTensors)
		}
		t, err := p.tensor(strings.Clone(key)) // a clone, so that a name does not keep the whole header in memory
		tensors = append(tensors, t)
		return fault.In(tensorField(key), err)
	})
	if err == nil {
		p.space()
		if p.at != len(p.text) {
			err = p.fault("there is something after the closing '}'")
		}
	}
	return tensors, metadata, err
}

// scanner reads a JSON text from left to right. Each method skips white space first.
type scanner struct {
	text string
	at   int
}

func (p *scanner) fault(format string, args ...any) error {
	return fault.New(fault.Invalid, "header", "byte %d: "+format, append([]any{p.at}, args...)...)
}

func (p *scanner) space() {
	at := p.at
	for at < len(p.text) && (p.text[at] == ' ' || p.text[at] == '\n' || p.text[at] == '\t' || p.text[at] == '\r') {
		at++
	}
	p.at = at
}

// skip moves over c if it is next.
func (p *scanner) skip(c byte) bool {
	p.space()
	if p.at < len(p.text) && p.text[p.at] == c {
		p.at++
		return true
	}
	return false
}

func (p *scanner) expect(c byte) error {
	if !p.skip(c) {
		return p.fault("expected '%c'", c)
	}
	return nil
}

// object calls value after each key; value must read the key's value.
func (p *scanner) object(value func(key string) error) error {
	if err := p.expect('{'); err != nil {
		return err
	}
	if p.skip('}') {
		return nil
	}
	for {
		key, err := p.string()
		if err != nil {
			return err
		}
		if err := p.expect(':'); err != nil {
			return err
		}
		if err := value(key); err != nil {
			return err
		}
		if p.skip('}') {
			return nil
		}
		if err := p.expect(','); err != nil {
			return err
		}
	}
}

func (p *scanner) metadata() (map[string]string, error) {
	metadata := map[string]string{}
	total := 0
	err := p.object(func(key string) error {
		value, err := p.string()
		if err != nil {
			return err
		}
		if _, ok := metadata[key]; ok {
			return p.fault("the key %.100q is there twice", key)
		}
		if total += len(key) + len(value); total > maxMetadata {
			return fault.New(fault.TooLarge, "", "has more than %d bytes", maxMetadata)
		}
		metadata[strings.Clone(key)] = strings.Clone(value)
		return nil
	})
	return metadata, err
}

func (p *scanner) tensor(name string) (headerTensor, error) {
	t := headerTensor{name: name}
	var offsets []int
	seen := map[string]bool{}
	err := p.object(func(key string) error {
		if seen[key] {
			return p.fault("%.100q is there twice", key)
		}
		seen[key] = true
		var err error
		switch key {
		case "dtype":
			var s string
			s, err = p.string()
			t.dtype = DType(strings.Clone(s))
		case "shape":
			t.shape, err = p.integers(maxRank)
		case "data_offsets":
			offsets, err = p.integers(2)
		default:
			err = p.fault("%.100q is not a field of a tensor", key)
		}
		return err
	})
	if err != nil {
		return t, err
	}
	if len(seen) != 3 || len(offsets) != 2 {
		return t, fault.New(fault.Invalid, "", "needs dtype, shape and two data_offsets")
	}
	t.begin, t.end = int64(offsets[0]), int64(offsets[1])
	return t, nil
}

// integers reads an array of at most limit non-negative integers.
func (p *scanner) integers(limit int) ([]int, error) {
	if err := p.expect('['); err != nil {
		return nil, err
	}
	list := []int{}
	if p.skip(']') {
		return list, nil
	}
	for {
		n, err := p.integer()
		if err != nil {
			return nil, err
		}
		if len(list) == limit {
			return nil, p.fault("there are more than %d numbers", limit)
		}
		list = append(list, n)
		if p.skip(']') {
			return list, nil
		}
		if err := p.expect(','); err != nil {
			return nil, err
		}
	}
}

// integer reads digits without sign, fraction, exponent or leading zero.
func (p *scanner) integer() (int, error) {
	p.space()
	start, n := p.at, 0
	for p.at < len(p.text) && '0' <= p.text[p.at] && p.text[p.at] <= '9' {
		digit := int(p.text[p.at] - '0')
		if n > (math.MaxInt-digit)/10 {
			return 0, p.fault("the number is too large")
		}
		n = 10*n + digit
		p.at++
	}
	if p.at == start || (p.text[start] == '0' && p.at > start+1) ||
		(p.at < len(p.text) && strings.IndexByte(".eE", p.text[p.at]) >= 0) {
		return 0, p.fault("expected a non-negative integer")
	}
	return n, nil
}

// string reads a JSON string. Without escapes, which is how all known writers name tensors, the result is a piece of the
// header and nothing is copied.
func (p *scanner) string() (string, error) {
	if err := p.expect('"'); err != nil {
		return "", err
	}
	start := p.at
	var unescaped []byte // nil until the first escape
	for p.at < len(p.text) {
		switch c := p.text[p.at]; {
		case c == '"':
			p.at++
			if unescaped == nil {
				return p.text[start : p.at-1], nil
			}
			return string(append(unescaped, p.text[start:p.at-1]...)), nil
		case c < 0x20:
			return "", p.fault("a string holds a control character")
		case c == '\\':
			unescaped = append(unescaped, p.text[start:p.at]...)
			r, err := p.escape()
			if err != nil {
				return "", err
			}
			unescaped = utf8.AppendRune(unescaped, r)
			start = p.at
		default:
			p.at++
		}
	}
	return "", p.fault("a string does not end")
}

// escape reads the escape sequence that begins at the backslash; a pair of surrogates is one.
func (p *scanner) escape() (rune, error) {
	const plain, meaning = `"\/bfnrt`, "\"\\/\b\f\n\r\t"
	if p.at+1 < len(p.text) {
		if i := strings.IndexByte(plain, p.text[p.at+1]); i >= 0 {
			p.at += 2
			return rune(meaning[i]), nil
		}
	}
	r, ok := p.unicodeEscape()
	if ok && utf16.IsSurrogate(r) {
		low, _ := p.unicodeEscape()
		r = utf16.DecodeRune(r, low)
		ok = r != utf8.RuneError
	}
	if !ok {
		return 0, p.fault("a string holds a bad escape")
	}
	return r, nil
}

// unicodeEscape reads \uXXXX.
func (p *scanner) unicodeEscape() (rune, bool) {
	if len(p.text)-p.at < 6 || p.text[p.at] != '\\' || p.text[p.at+1] != 'u' {
		return 0, false
	}
	var r rune
	for _, c := range []byte(p.text[p.at+2 : p.at+6]) {
		digit := strings.IndexByte("0123456789abcdef", c|0x20)
		if digit < 0 || (c < '0') {
			return 0, false
		}
		r = r<<4 | rune(digit)
	}
	p.at += 6
	return r, true
}
