package engine

import "strings"

// stopper passes a text on piece by piece up to the first of some strings, and never a part of one: what may be the beginning of a stop is
// held back until more has come. The first is that which ends first, and of those that end together the longest, so that it does not
// matter how the text is cut into pieces.
type stopper struct {
	stops   []string // none is empty
	held    string
	stopped bool
}

// next takes a piece and returns what can be passed on.
func (s *stopper) next(piece string) string {
	if s.stopped {
		return ""
	}
	text := s.held + piece
	end, from := len(text)+1, 0
	for _, stop := range s.stops {
		if i := strings.Index(text, stop); i >= 0 && (i+len(stop) < end || i+len(stop) == end && i < from) {
			end, from = i+len(stop), i
		}
	}
	if end <= len(text) {
		s.stopped, s.held = true, ""
		return text[:from]
	}
	keep := 0
	for _, stop := range s.stops {
		keep = max(keep, overlap(text, stop))
	}
	s.held = text[len(text)-keep:]
	return text[:len(text)-keep]
}

// flush returns what was held back, when nothing comes any more.
func (s *stopper) flush() string {
	held := s.held
	s.held = ""
	return held
}

// overlap is the length of the longest end of text that stop begins with, shorter than stop.
func overlap(text, stop string) int {
	for n := min(len(text), len(stop)-1); n > 0; n-- {
		if strings.HasSuffix(text, stop[:n]) {
			return n
		}
	}
	return 0
}
