package report

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// clean makes text of unknown origin fit to be shown in one line of at most most characters: line breaks become a sign, and
// what would act on the text around it (controls, direction overrides, invisible characters, towers of combining marks) becomes
// its code point. Escaping for HTML is the template's.
func clean(s string, most int) string {
	var b strings.Builder
	marks, shown := 0, 0
	for _, r := range s {
		if shown == most {
			fmt.Fprintf(&b, "… (%s characters)", thousands(utf8.RuneCountInString(s)))
			break
		}
		shown++
		if unicode.Is(unicode.M, r) {
			marks++
		} else {
			marks = 0
		}
		switch {
		case r == '\n':
			b.WriteString(" ⏎ ")
		case r == '\t':
			b.WriteByte(' ')
		case r == '\u200c' || r == '\u200d': // joiners that Persian and emoji are written with
			b.WriteRune(r)
		case !unicode.IsGraphic(r) || r == utf8.RuneError || marks > 4:
			fmt.Fprintf(&b, "⟨U+%04X⟩", r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// thousands writes 10000 as 10,000.
func thousands(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// num writes a loss, a dash if there is none.
func num(v *float64) string {
	switch {
	case v == nil:
		return "–"
	case *v != 0 && *v < 0.0005:
		return fmt.Sprintf("%.1e", *v)
	case *v < 100:
		return fmt.Sprintf("%.3f", *v)
	}
	return fmt.Sprintf("%.4g", *v)
}

// percent writes a share.
func percent(v float64) string { return fmt.Sprintf("%.1f%%", v) }

// count writes "1 example", "3 examples".
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return thousands(n) + " " + noun + "s"
}
