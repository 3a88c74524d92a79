package peft

import (
	"regexp"
	"regexp/syntax"
	"strings"

	"github.com/medley-lora/medley/shared/fault"
)

// Bounds on regular expressions from strangers. Go's take linear time, but linear in their expanded size as well.
const (
	maxPattern = 4096    // bytes
	maxSize    = 10_000  // nodes after counted repetitions are written out
	maxWork    = 4 << 20 // nodes of all expressions of a table, times layers
)

// compile compiles a Python regular expression as far as Go's syntax (RE2) expresses it.
func compile(pattern string) (*regexp.Regexp, int, bool) {
	if len(pattern) > maxPattern || strings.Contains(pattern, "{,") { // {,n} is a count in Python and a text in Go
		return nil, 0, false
	}
	parsed, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return nil, 0, false
	}
	size := expandedSize(parsed)
	if size > maxSize {
		return nil, 0, false
	}
	re, err := regexp.Compile(pattern)
	return re, size, err == nil
}

// expandedSize counts the nodes of an expression after counted repetitions are written out, up to a little over maxSize.
func expandedSize(re *syntax.Regexp) int {
	size := 1 + len(re.Rune)
	for _, sub := range re.Sub {
		size += expandedSize(sub)
	}
	if re.Op == syntax.OpRepeat {
		size *= max(1, re.Min, re.Max)
	}
	return min(size, maxSize+1)
}

// covers returns whether an adapter with these targets adapts the named map. Where the pattern cannot be expressed here the
// answer is yes: the tensors are evidence enough.
func (t Targets) covers() func(target string) bool {
	switch {
	case t.Pattern != "":
		re, _, ok := compile("^(?:" + t.Pattern + ")$")
		if !ok {
			return func(string) bool { return true }
		}
		return re.MatchString
	case len(t.Names) == 0:
		return func(string) bool { return true }
	}
	names := make(map[string]bool, len(t.Names))
	for _, n := range t.Names {
		names[n] = true
	}
	return func(target string) bool {
		for suffix, more := target, true; more; _, suffix, more = strings.Cut(suffix, ".") {
			if names[suffix] {
				return true
			}
		}
		return false
	}
}

// overrides is a table of patterns ready for matching.
type overrides []struct {
	plain string         // a name, in which a dot stands for any character as in every regular expression; or
	re    *regexp.Regexp // where it is more than that
	value float64
}

// compileOverrides prepares a table for the given number of layers.
func compileOverrides(field string, table []Override, layers int) (overrides, error) {
	compiled := make(overrides, len(table))
	work := 0
	for i, o := range table {
		compiled[i].value = o.Value
		if isPlain(o.Pattern) {
			compiled[i].plain = o.Pattern
			continue
		}
		re, size, ok := compile(`^(?:(.*\.)?(` + o.Pattern + `)$)`)
		if !ok {
			return nil, fault.New(fault.Unsupported, field,
				"the pattern %s is not a regular expression that can be matched here", shortened(o.Pattern))
		}
		compiled[i].re = re
		if work += size * layers; work > maxWork {
			return nil, fault.New(fault.TooLarge, field, "there are too many patterns for %d layers", layers)
		}
	}
	return compiled, nil
}

// value is the value of the first pattern that matches, else otherwise.
func (o overrides) value(target string, otherwise float64) float64 {
	for i := range o {
		if (o[i].re == nil && matchPlain(o[i].plain, target)) || (o[i].re != nil && o[i].re.MatchString(target)) {
			return o[i].value
		}
	}
	return otherwise
}

// isPlain tells whether a pattern is only a name. Tables often name every layer, and matching names as such keeps them fast.
func isPlain(pattern string) bool {
	for _, c := range []byte(pattern) {
		if !(c == '_' || c == '.' || c == '-' || '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z') {
			return false
		}
	}
	return pattern != ""
}

// matchPlain is ^(.*\.)?(pattern)$ for a plain pattern and a target of ASCII.
func matchPlain(pattern, target string) bool {
	before := len(target) - len(pattern)
	if before < 0 || (before > 0 && target[before-1] != '.') {
		return false
	}
	for i := range len(pattern) {
		if pattern[i] != '.' && pattern[i] != target[before+i] {
			return false
		}
	}
	return true
}
