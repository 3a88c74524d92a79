package engine

import (
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"
)

// before is the text before the stop that ends first, the longest of several, found by looking at every end.
func before(text string, stops []string) (string, bool) {
	for end := range len(text) + 1 {
		longest := -1
		for _, stop := range stops {
			if strings.HasSuffix(text[:end], stop) {
				longest = max(longest, len(stop))
			}
		}
		if longest >= 0 {
			return text[:end-longest], true
		}
	}
	return text, false
}

// pass sends text through a stopper in pieces of whole runes, and checks that none gives away what may be a stop.
func pass(t *testing.T, text string, stops []string, draw *rand.Rand) {
	t.Helper()
	want, stopped := before(text, stops)
	s := stopper{stops: stops}
	got := ""
	for rest := text; rest != "" && !s.stopped; {
		n := 0
		for range 1 + draw.IntN(4) {
			_, size := utf8.DecodeRuneInString(rest[n:])
			n += size
		}
		got += s.next(rest[:n])
		rest = rest[n:]
		if !strings.HasPrefix(want, got) {
			t.Fatalf("%q with stops %q gave %q, which is no beginning of %q", text, stops, got, want)
		}
	}
	if s.stopped != stopped {
		t.Fatalf("%q with stops %q: stopped is %v", text, stops, s.stopped)
	}
	if got += s.flush(); got != want || s.next("x"+stops[0]) != "" && stopped {
		t.Fatalf("%q with stops %q gave %q, want %q", text, stops, got, want)
	}
	if utf8.ValidString(text) && !utf8.ValidString(got) {
		t.Fatalf("%q with stops %q gave half a rune: %q", text, stops, got)
	}
}

func TestStopper(t *testing.T) {
	draw := rand.New(rand.NewPCG(1, 2))
	for _, c := range []struct {
		text, want string
		stops      []string
	}{
		{"one two three", "one ", []string{"two"}},
		{"one two three", "one two three", []string{"twos"}},
		{"aaab", "a", []string{"aab"}},
		{"ababac", "ab", []string{"abac"}},
		{"abcd", "a", []string{"abcd", "bc"}},    // which ends first
		{"abcd", "", []string{"bc", "abc", "d"}}, // the longest of those that end together
		{"日本語", "日", []string{"本"}},
		{"é\u0301x", "é", []string{"\u0301"}},
		{"end\n\nUser:", "end", []string{"\n\nUser:", "</s>"}},
		{"", "", []string{"x"}},
		{"x", "", []string{"x"}},
	} {
		if got, _ := before(c.text, c.stops); got != c.want {
			t.Errorf("%q with stops %q: %q, want %q", c.text, c.stops, got, c.want)
		}
		for range 20 {
			pass(t, c.text, c.stops, draw)
		}
	}
	for range 5000 { // few letters make many overlaps
		word := func(most int) string {
			var b strings.Builder
			for range 1 + draw.IntN(most) {
				b.WriteRune([]rune("abé日")[draw.IntN(4)])
			}
			return b.String()
		}
		stops := make([]string, 1+draw.IntN(3))
		for i := range stops {
			stops[i] = word(4)
		}
		pass(t, word(20), stops, draw)
	}
}

func FuzzStopper(f *testing.F) {
	f.Add("one two three", "two|three", uint64(1))
	f.Add("日本語 日本", "本語|語 ", uint64(2))
	f.Add("aaaaab", "aab|ab", uint64(3))
	f.Fuzz(func(t *testing.T, text, joined string, seed uint64) {
		var stops []string
		for _, stop := range strings.Split(strings.ToValidUTF8(joined, ""), "|") {
			if stop != "" {
				stops = append(stops, stop)
			}
		}
		if len(stops) > 0 && len(stops) <= maxStops {
			pass(t, strings.ToValidUTF8(text, "\uFFFD"), stops, rand.New(rand.NewPCG(seed, 0)))
		}
	})
}
