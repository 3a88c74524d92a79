package tokenizer

import (
	"iter"
	"maps"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/medley-lora/medley/shared/fault"
)

// addedToken is a token that is found in text as it stands, before the model sees what is left. The fields are those of
// tokenizer.json.
type addedToken struct {
	ID         int32  `json:"id"`
	Content    string `json:"content"`
	SingleWord bool   `json:"single_word"` // not inside a word
	LStrip     bool   `json:"lstrip"`      // swallows white space on its left
	RStrip     bool   `json:"rstrip"`      // and on its right
	Normalized bool   `json:"normalized"`  // looked for in normalised text, as its own normalised form
	Special    bool   `json:"special"`     // left out of decoded text
}

// checkAdded refuses added tokens whose ids Hugging Face would number anew: an id must be that of the same piece in the model, or
// the next free one from next on.
func checkAdded(added []addedToken, known map[string]int32, next int) error {
	ids := maps.Clone(known)
	for _, a := range added {
		id, known := ids[a.Content]
		if !known {
			id = int32(next)
			next++
			ids[a.Content] = id
		}
		if a.ID != id {
			return fault.New(fault.Invalid, "added_tokens", "%q has id %d where %d is expected", a.Content, a.ID, id)
		}
	}
	return nil
}

// addedTokens finds tokens in text: leftmost first, of those that start together the longest.
type addedTokens struct {
	tokens []addedToken
	trie   *trie // content to index in tokens; nil without tokens
}

func newAddedTokens(tokens []addedToken) (addedTokens, error) {
	if len(tokens) == 0 {
		return addedTokens{}, nil
	}
	entries := make([]trieEntry, len(tokens))
	for i, a := range tokens {
		if a.Content == "" || len(a.Content) > maxPiece || !utf8.ValidString(a.Content) {
			return addedTokens{}, fault.New(fault.Invalid, "added_tokens", "token %d must be UTF-8 of 1 to %d bytes", a.ID, maxPiece)
		}
		entries[i] = trieEntry{a.Content, int32(i)}
	}
	return addedTokens{tokens, newTrie(entries)}, nil
}

// split yields the parts of text in order: added tokens with their id, and what lies between them with -1.
func (a addedTokens) split(text string) iter.Seq2[string, int32] {
	return func(yield func(string, int32) bool) {
		done := 0   // everything before it has been yielded
		spaces := 0 // the end of the last run of white space on a right side: no run is scanned twice
		for at := 0; at < len(text) && a.trie != nil; {
			index, length := a.match(text[at:])
			if length == 0 {
				at++
				continue
			}
			start, stop := at, at+length
			at = stop
			token := a.tokens[index]
			if token.SingleWord && !isolated(text, start, stop) {
				continue
			}
			if token.LStrip && done < start {
				start = done + len(strings.TrimRightFunc(text[done:start], unicode.IsSpace))
			}
			if token.RStrip {
				if stop >= spaces {
					spaces = len(text) - len(strings.TrimLeftFunc(text[stop:], unicode.IsSpace))
				}
				stop = spaces
			}
			if done < start && !yield(text[done:start], -1) {
				return
			}
			if !yield(text[start:stop], token.ID) {
				return
			}
			done = max(done, stop)
		}
		if done < len(text) {
			yield(text[done:], -1)
		}
	}
}

// match returns the longest token that text starts with; length 0 means none.
func (a addedTokens) match(text string) (index int32, length int) {
	for node, i := a.trie.root[text[0]], 1; node >= 0; i++ {
		if v := a.trie.value[node]; v >= 0 {
			index, length = v, i
		}
		if i == len(text) {
			break
		}
		node = a.trie.child(node, text[i])
	}
	return index, length
}

// isolated reports whether no word goes on across either end of text[start:stop].
func isolated(text string, start, stop int) bool {
	before, _ := utf8.DecodeLastRuneInString(text[:start])
	after, _ := utf8.DecodeRuneInString(text[stop:])
	return (start == 0 || !isWord(before)) && (stop == len(text) || !isWord(after))
}

// isWord is \w of Unicode Technical Standard 18, annex C.
func isWord(r rune) bool {
	return unicode.In(r, unicode.L, unicode.M, unicode.Nd, unicode.Nl, unicode.Pc, unicode.Other_Alphabetic, unicode.Join_Control)
}
