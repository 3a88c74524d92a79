package host

import (
	"strconv"
	"strings"
	"unicode"
)

// ring keeps the last bytes written to it.
type ring struct {
	b    []byte
	at   int // of the oldest byte, once it is full
	size int
}

func (r *ring) write(b []byte) {
	b = b[max(0, len(b)-r.size):]
	if room := min(r.size-len(r.b), len(b)); room > 0 {
		r.b = append(r.b, b[:room]...)
		b = b[room:]
	}
	for len(b) > 0 {
		n := copy(r.b[r.at:], b)
		r.at, b = (r.at+n)%r.size, b[n:]
	}
}

// quotedLines is how many of a guest's last lines an error holds.
const quotedLines = 4

// said is what errors append: the last lines, or nothing.
func (r *ring) said() string {
	text := string(r.b[r.at:]) + string(r.b[:r.at])
	var lines []string
	for line := range strings.Lines(text) {
		if line = plain(line); line != "" {
			lines = append(lines, line)
		}
	}
	if len(lines) == 0 {
		return ""
	}
	return "; it wrote: " + strings.Join(lines[max(0, len(lines)-quotedLines):], " | ")
}

// plain makes a guest's text safe to print on one line, and short: it could hold what steers a terminal.
func plain(text string) string {
	const width = 200
	text = printable(text)
	if runes := []rune(text); len(runes) > width {
		return string(runes[:width]) + "…"
	}
	return text
}

func printable(text string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || r == unicode.ReplacementChar {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, " ")))
}

func quote(name string) string { return strconv.Quote(plain(name)) }
