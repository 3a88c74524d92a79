package tokenizer

import (
	"iter"
	"strings"
	"unicode"
)

// metaspace stands for a space at the start of a word (U+2581, "lower one eighth block").
const metaspace = "▁"

// words yields what the model sees: text cut at white space, which is dropped, and before each metaspace, every word
// starting with exactly one. The slices are valid until the next step.
func words(text string) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		var word []byte
		for field := range strings.FieldsFuncSeq(text, unicode.IsSpace) {
			field = strings.TrimPrefix(field, metaspace)
			for more := true; more; {
				var part string
				part, field, more = strings.Cut(field, metaspace)
				word = append(append(word[:0], metaspace...), part...)
				if !yield(word) {
					return
				}
			}
		}
	}
}

// spaced is the inverse for one token: each metaspace is a space, and in the first token nothing.
func spaced(token string, first bool) string {
	if first {
		return strings.ReplaceAll(token, metaspace, "")
	}
	return strings.ReplaceAll(token, metaspace, " ")
}
