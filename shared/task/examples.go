// Package task is what a user brings to a search and how it is judged: examples, the objective over them, and exact-match
// accuracy.
package task

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/medley-lora/medley/shared/fault"
)

// Example is one input and the output that is wanted for it.
type Example struct {
	Input  string `json:"input"`
	Output string `json:"output"`
}

// Limits bound what ReadExamples takes. A field that is zero has the default that is named beside it.
type Limits struct {
	Lines     int   // lines, blank ones included; 10,000
	LineBytes int   // bytes of one line without its end; 1 MiB
	Bytes     int64 // bytes in all; 64 MiB
}

func (l Limits) orDefaults() Limits {
	if l.Lines == 0 {
		l.Lines = 10_000
	}
	if l.LineBytes == 0 {
		l.LineBytes = 1 << 20
	}
	if l.Bytes == 0 {
		l.Bytes = 64 << 20
	}
	return l
}

// ReadExamples reads JSON lines: one object a line with the strings "input" and "output". Blank lines, a byte order mark, CRLF
// and fields of other names are allowed. At least one example must be there, and no output may be blank: there would be
// nothing to score. It reads no further than the first error and no further than limits, so its memory is bounded by
// limits.Bytes. Errors are faults (Invalid or TooLarge) whose field names the line and the field ("line 3: output").
func ReadExamples(r io.Reader, limits Limits) ([]Example, error) {
	limits = limits.orDefaults()
	// One byte more than is allowed tells a file that is too large from one that just fits.
	bounded := &io.LimitedReader{R: r, N: limits.Bytes + 1}
	scanner := bufio.NewScanner(bounded)
	scanner.Buffer(nil, limits.LineBytes+len("\r\n"))
	var examples []Example
	line := 0
	for scanner.Scan() {
		line++
		if line > limits.Lines {
			return nil, fault.New(fault.TooLarge, place(line), "more than %d lines", limits.Lines)
		}
		if bounded.N == 0 {
			return nil, fault.New(fault.TooLarge, "", "more than %d bytes", limits.Bytes)
		}
		text := scanner.Bytes()
		if line == 1 {
			text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))
		}
		if len(text) > limits.LineBytes {
			return nil, tooLong(line, limits)
		}
		if len(bytes.TrimSpace(text)) == 0 {
			continue
		}
		example, err := parseExample(text)
		if err != nil {
			return nil, fault.In(place(line), err)
		}
		examples = append(examples, example)
	}
	if err := scanner.Err(); errors.Is(err, bufio.ErrTooLong) {
		return nil, tooLong(line+1, limits)
	} else if err != nil {
		return nil, fault.Wrap(err, fault.Internal, place(line+1), "cannot be read")
	}
	if len(examples) == 0 {
		return nil, fault.New(fault.Invalid, "", `holds no example; write one JSON object a line: {"input": "…", "output": "…"}`)
	}
	return examples, nil
}

func place(line int) string { return fmt.Sprintf("line %d", line) }

func tooLong(line int, limits Limits) error {
	return fault.New(fault.TooLarge, place(line), "longer than %d bytes", limits.LineBytes)
}

// parseExample reads one line. encoding/json alone would let the last of two equal fields win, ignore case in names and replace
// what is not Unicode, each of them silently, so names and raw values are looked at here.
func parseExample(text []byte) (Example, error) {
	switch {
	case bytes.HasPrefix(text, []byte("\xff\xfe")), bytes.HasPrefix(text, []byte("\xfe\xff")):
		return Example{}, fault.New(fault.Invalid, "", "is UTF-16; save the file as UTF-8")
	case !utf8.Valid(text):
		return Example{}, fault.New(fault.Invalid, "", "is not UTF-8")
	case bytes.TrimSpace(text)[0] != '{':
		return Example{}, fault.New(fault.Invalid, "", `is not a JSON object; write one a line: {"input": "…", "output": "…"}`)
	case !json.Valid(text):
		return Example{}, notJSON(text)
	}
	raw, err := fields(text)
	if err != nil {
		return Example{}, err
	}
	var example Example
	for _, f := range []struct {
		name string
		into *string
	}{{"input", &example.Input}, {"output", &example.Output}} {
		if *f.into, err = stringField(raw, f.name); err != nil {
			return Example{}, err
		}
	}
	if strings.TrimSpace(example.Output) == "" {
		return Example{}, fault.New(fault.Invalid, "output", "is blank: there is nothing to score")
	}
	return example, nil
}

// notJSON says what is wrong with an object that json.Valid refused.
func notJSON(text []byte) error {
	var v json.RawMessage
	err := json.Unmarshal(text, &v)
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		return fault.Wrap(err, fault.Invalid, "", "is not JSON at byte %d: %s", syntax.Offset, syntax.Error())
	}
	return fault.Wrap(err, fault.Invalid, "", "is not JSON")
}

type field struct {
	name  string
	value json.RawMessage
}

// fields splits a valid JSON object into its members, in order, and refuses a name that occurs twice.
func fields(object []byte) ([]field, error) {
	decoder := json.NewDecoder(bytes.NewReader(object))
	if _, err := decoder.Token(); err != nil { // the opening brace
		return nil, fault.Wrap(err, fault.Invalid, "", "is not JSON")
	}
	var all []field
	seen := map[string]bool{}
	for decoder.More() {
		token, err := decoder.Token()
		if err != nil {
			return nil, fault.Wrap(err, fault.Invalid, "", "is not JSON")
		}
		name, _ := token.(string) // a member's name is a string in valid JSON
		if seen[name] {
			return nil, fault.New(fault.Invalid, shorten(name), "occurs twice")
		}
		seen[name] = true
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			return nil, fault.Wrap(err, fault.Invalid, shorten(name), "is not JSON")
		}
		all = append(all, field{name, value})
	}
	return all, nil
}

// stringField returns the member called name, which must be a string of whole characters.
func stringField(all []field, name string) (string, error) {
	i := slices.IndexFunc(all, func(f field) bool { return f.name == name })
	if i < 0 {
		names := make([]string, 0, 8)
		for _, f := range all[:min(len(all), cap(names))] {
			names = append(names, fmt.Sprintf("%q", shorten(f.name)))
		}
		if len(names) == 0 {
			return "", fault.New(fault.Invalid, name, "is missing; the object is empty")
		}
		return "", fault.New(fault.Invalid, name, "is missing; the fields here are %s", strings.Join(names, ", "))
	}
	value := all[i].value
	if value[0] != '"' {
		return "", fault.New(fault.Invalid, name, "is not a string")
	}
	if hasLoneSurrogate(value) {
		return "", fault.New(fault.Invalid, name, `holds half of a surrogate pair (\ud800 to \udfff alone), which is no character`)
	}
	var s string
	if err := json.Unmarshal(value, &s); err != nil {
		return "", fault.Wrap(err, fault.Invalid, name, "is not a string")
	}
	return s, nil
}

// hasLoneSurrogate reports whether a JSON string literal escapes one half of a surrogate pair without the other;
// json.Unmarshal would put U+FFFD in its place.
func hasLoneSurrogate(literal []byte) bool {
	half := func(i int) (high, low bool) { // of the escape that starts at i
		if i+6 > len(literal) || literal[i] != '\\' || literal[i+1] != 'u' || literal[i+2]|0x20 != 'd' {
			return false, false
		}
		switch c := literal[i+3] | 0x20; {
		case c == '8' || c == '9' || c == 'a' || c == 'b':
			return true, false
		case c >= 'c' && c <= 'f':
			return false, true
		}
		return false, false
	}
	for i := 0; i < len(literal); i++ {
		if literal[i] != '\\' {
			continue
		}
		high, low := half(i)
		if low {
			return true
		}
		if high {
			if _, low = half(i + 6); !low {
				return true
			}
			i += 6
		}
		i++ // the escaped character, which may be a backslash
	}
	return false
}

// shorten keeps names of unknown length out of messages.
func shorten(name string) string {
	const most = 40
	if utf8.RuneCountInString(name) <= most {
		return name
	}
	return string([]rune(name)[:most]) + "…"
}

// Split holds the last k examples out of a search: those at the end of the file, so that a user sees and chooses which (a file
// that is sorted by answer should be shuffled first). At least one must remain to search with.
func Split(examples []Example, k int) (search, held []Example, err error) {
	if k < 0 || k > 0 && k >= len(examples) {
		return nil, nil, fault.New(fault.Invalid, "holdout", "is %d, but of %d examples at least one must remain", k, len(examples))
	}
	cut := len(examples) - k
	return examples[:cut:cut], examples[cut:], nil
}
