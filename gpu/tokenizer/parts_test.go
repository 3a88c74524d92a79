package tokenizer

import (
	"slices"
	"strings"
	"testing"
)

// TestClusters has a case for each rule of Unicode Standard Annex 29; bars mark where clusters end.
func TestClusters(t *testing.T) {
	cases := []struct{ rule, want string }{
		{"GB3", "\r\n|a"}, {"GB4", "\n|\u0301"}, {"GB4", "\r|\u0301"}, {"GB5", "a|\u200b|\u0301"}, {"GB5", "\u0600|\n"},
		{"GB6", "\u1100\u1100\u1161"}, {"GB6", "\u1100\uac00"}, {"GB7", "\uac00\u1161"}, {"GB7", "\uac00\u11a8\u11a8|\u1161"}, {"GB8", "\uac01\u11a8|\u1161"},
		{"GB9", "a\u0301\u200d|b"}, {"GB9", "a\u200c\u0301"}, {"GB9a", "क\u0903"}, {"GB9b", "\u0600\u0600a"},
		{"GB9c", "क\u094dक"}, {"GB9c", "क\u0301\u094d\u200dक"}, {"GB9c", "क\u0301|क"}, {"GB9c", "क\u200c\u094d|a"}, {"GB9c", "क\u094d\u200c|क"}, {"GB9c", "a\u094d|क"},
		{"GB9c", "क\u094d\u0301क\u094dक"},
		{"GB11", "👩\u200d👩"}, {"GB11", "©\u0301\u200d™"}, {"GB11", "a\u200d|👩"}, {"GB11", "👩\u200d\u200d|👩"}, {"GB11", "👩\u200d|a|👩"},
		{"GB12", "🇫🇷|🇩🇪|🇺"}, {"GB12", "🇫\u0301|🇷"}, {"GB999", "a|b"},
	}
	for _, c := range cases {
		text := strings.ReplaceAll(c.want, "|", "")
		var got []string
		for text != "" {
			n := clusterLen(text)
			got, text = append(got, text[:n]), text[n:]
		}
		if s := strings.Join(got, "|"); s != c.want {
			t.Errorf("%s: %+q, want %+q", c.rule, s, c.want)
		}
	}
}

func TestUnigram(t *testing.T) {
	m, err := newUnigram([]piece{{"?", 0}, {"a", -1}, {"ef", -6}, {"fgh", -1}, {"d", -1}, {"gh", -6}, {"aa", -2}, {"dd", -3}}, 0)
	if err != nil {
		t.Fatal(err)
	}
	cases := []struct {
		why, word string
		want      []int32
	}{
		{"-6-6 beats -(6+10)-1", "efgh", []int32{2, 5}},
		{"of equal ways the first stays", "aa", []int32{6}},
		{"the better way wins", "ddd", []int32{4, 4, 4}},
		{"unknown runes are fused", "xyzaéé", []int32{0, 1, 0}},
		{"a piece named as unknown is fused too", "x??", []int32{0}},
		{"nothing", "", nil},
	}
	var l lattice
	for _, c := range cases {
		if got := m.word(&l, []byte(c.word), nil); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q gives %v, want %v", c.why, c.word, got, c.want)
		}
	}
}

func TestSplit(t *testing.T) {
	a, err := newAddedTokens([]addedToken{
		{ID: 1, Content: "<l>", LStrip: true}, {ID: 2, Content: "<r>", RStrip: true}, {ID: 3, Content: "<r>>"}, {ID: 4, Content: "word", SingleWord: true},
		{ID: 5, Content: " <", RStrip: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	cases := []struct {
		text  string
		parts []string
		ids   []int32
	}{
		{"", nil, nil},
		{"a", []string{"a"}, []int32{-1}},
		{"a \u3000<l> b", []string{"a", " \u3000<l>", " b"}, []int32{-1, 1, -1}},
		{"a<r> \u3000b", []string{"a", "<r> \u3000", "b"}, []int32{-1, 2, -1}},
		{"<r>>", []string{"<r>>"}, []int32{3}},
		{"<r>  <l>", []string{"<r>  ", " <", "l>"}, []int32{2, 5, -1}}, // the second starts in what the first swallowed
		{"word.words word", []string{"word", ".words ", "word"}, []int32{4, -1, 4}},
	}
	for _, c := range cases {
		var parts []string
		var ids []int32
		for part, id := range a.split(c.text) {
			parts, ids = append(parts, part), append(ids, id)
		}
		if !slices.Equal(parts, c.parts) || !slices.Equal(ids, c.ids) {
			t.Errorf("%q: %q %v, want %q %v", c.text, parts, ids, c.parts, c.ids)
		}
	}
}
