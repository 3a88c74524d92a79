package kernel

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// made is what a text becomes with a few constants, or what it panics with.
func made(text string) (result, trouble string) {
	t := specialiser{constants: constants{"two": 2, "form": "tiled", "yes": true, "no": false}}
	defer func() {
		if v := recover(); v != nil {
			trouble = fmt.Sprint(v)
		}
	}()
	t.lines(slices.Collect(strings.Lines(text)))
	return t.out.String(), ""
}

func TestText(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"plain", "a\n\n  // #b\n", "a\n\n  // #b\n"},
		{"no last end of line", "a", "a"},
		{"constants", "${two}x${form}${yes}\n", "2xtiledtrue\n"},
		{"sums of products", "${two + 1} ${two * 3 + 4 * two * two}\n", "3 22\n"},
		{"if", "//#if yes\na\n//#end\n//#if no\nb\n//#end\nc\n", "a\nc\n"},
		{"if not", "//#if no == false\na\n//#end\n", "a\n"},
		{"else", "//#if no\na\n//#else\nb\n//#end\n", "b\n"},
		{"else if", "//#if form == block\na\n//#else if form == tiled\nb\n//#else\nc\n//#end\n", "b\n"},
		{"the first that holds", "//#if yes\na\n//#else if form == tiled\nb\n//#end\n", "a\n"},
		{"an else within", "//#if no\n//#if no\na\n//#else\nb\n//#end\n//#else\nc\n//#end\n", "c\n"},
		{"loops", "//#for i in two\n//#for j in 2\n${i}${j} ${i * two + j}\n//#end\n//#end\n", "00 0\n01 1\n10 2\n11 3\n"},
		{"no times", "//#for i in 0\na\n//#end\n", ""},
		{"words", "//#for x in q k\n${x}_at\n//#end\n", "q_at\nk_at\n"},
		{"what is left out is not looked at", "//#if no\n${three}\n//#end\n", ""},
	} {
		if got, trouble := made(c.text); got != c.want || trouble != "" {
			t.Errorf("%s: %q %s, want %q", c.name, got, trouble, c.want)
		}
	}
}

func TestWrongText(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"${three}\n", `no constant "three"`},
		{"${two + three}\n", `no constant "three"`},
		{"${two + form}\n", `"form" is no integer`},
		{"${two\n", "no closing brace"},
		{"//#if three\n//#end\n", `no constant "three"`},
		{"//#if yes\na\n", "no end"},
		{"a\n//#end\n", "begins nothing"},
		{"//#else\n", "begins nothing"},
		{"//#for i in form\n//#end\n", `"form" is no integer`},
		{"//#for i in 2\n//#end\n${i}\n", `no constant "i"`},
		{"//#include nothing\n", "file does not exist"},
	} {
		if got, trouble := made(c.text); !strings.Contains(trouble, c.want) {
			t.Errorf("%q: %q and panic %q, want %q", c.text, got, trouble, c.want)
		}
	}
}
