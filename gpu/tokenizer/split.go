package tokenizer

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// splitter cuts text, which is not empty, into words that make it up.
type splitter func(text string, yield func(string))

// The patterns of published models need lookahead, which Go's regexp lacks, so they are written out. Each alternative of a pattern is a
// step below, in its order; together they match any text, so that a word begins where the one before ends.

// The patterns that are known, by what tokenizer.json calls them.
var patterns = map[string]splitter{
	`'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`:    repeated(gpt2Word),
	`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`: repeated(gpt2Word),
	llama3Pattern: repeated(func(s string) int { return llamaWord(s, 3) }),
	qwenPattern:   repeated(func(s string) int { return llamaWord(s, 1) }),
}

const (
	llama3Pattern = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	qwenPattern   = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
)

// repeated makes a splitter of a function that measures the first word.
func repeated(word func(string) int) splitter {
	return func(text string, yield func(string)) {
		for len(text) > 0 {
			n := word(text)
			yield(text[:n])
			text = text[n:]
		}
	}
}

// gpt2Word is '(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
func gpt2Word(s string) int {
	if n := contraction(s, false); n > 0 {
		return n
	}
	skip := 0
	if s[0] == ' ' {
		skip = 1
	}
	for _, class := range []func(rune) bool{isLetter, isNumber, isSymbol} {
		if n := run(s[skip:], class); n > 0 {
			return skip + n
		}
	}
	return spaces(s)
}

// llamaWord is llama3Pattern, and for one digit qwenPattern.
func llamaWord(s string, digits int) int {
	if n := contraction(s, true); n > 0 {
		return n
	}
	first, size := utf8.DecodeRuneInString(s)
	switch {
	case isLetter(first):
		return run(s, isLetter)
	case isNumber(first):
		n := size
		for range digits - 1 {
			r, more := utf8.DecodeRuneInString(s[n:])
			if !isNumber(r) {
				break
			}
			n += more
		}
		return n
	case first != '\r' && first != '\n':
		if n := run(s[size:], isLetter); n > 0 {
			return size + n
		}
	}
	skip := 0
	if first == ' ' {
		skip = 1
	}
	if n := run(s[skip:], isSymbol); n > 0 {
		n += skip
		return n + run(s[n:], func(r rune) bool { return r == '\r' || r == '\n' })
	}
	if n := strings.LastIndexAny(s[:run(s, unicode.IsSpace)], "\r\n"); n >= 0 {
		return n + 1
	}
	return spaces(s)
}

// contraction is the length of 's, 't, 're, 've, 'm, 'll or 'd, in any case if folded: the long s is an s then.
func contraction(s string, folded bool) int {
	if s[0] != '\'' {
		return 0
	}
	rest := s[1:min(len(s), 3)]
	if folded {
		if strings.HasPrefix(s[1:], "ſ") {
			return 1 + len("ſ")
		}
		rest = strings.ToLower(rest)
	}
	for _, end := range []string{"s", "t", "m", "d", "re", "ve", "ll"} {
		if strings.HasPrefix(rest, end) {
			return 1 + len(end)
		}
	}
	return 0
}

// spaces is \s+(?!\S)|\s+: white space, but for the last of several if something follows.
func spaces(s string) int {
	n := run(s, unicode.IsSpace)
	if n == len(s) {
		return n
	}
	if _, last := utf8.DecodeLastRuneInString(s[:n]); last < n {
		return n - last
	}
	return n
}

// run is the length of the longest prefix of runes that are of a class.
func run(s string, class func(rune) bool) int {
	for i, r := range s {
		if !class(r) {
			return i
		}
	}
	return len(s)
}

// digits takes every digit for a word of its own.
func digits(text string, yield func(string)) {
	start := 0
	for i, r := range text {
		if !isDigit(r) {
			continue
		}
		if start < i {
			yield(text[start:i])
		}
		start = i + utf8.RuneLen(r)
		yield(text[i:start])
	}
	if start < len(text) {
		yield(text[start:])
	}
}

// digitRuns takes every run of digits for a word of its own.
func digitRuns(text string, yield func(string)) {
	for len(text) > 0 {
		n := run(text, isDigit)
		if n == 0 {
			n = run(text, func(r rune) bool { return !isDigit(r) })
		}
		yield(text[:n])
		text = text[n:]
	}
}

// prefixed puts a space before a stretch that does not begin with one.
func prefixed(text string, yield func(string)) {
	if text[0] != ' ' {
		text = " " + text
	}
	yield(text)
}
