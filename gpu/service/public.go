package service

import (
	"regexp"
	"strings"

	"github.com/medley-lora/medley/shared/fault"
)

// pathLike is a path with its root, or an address, where a word can begin.
var pathLike = regexp.MustCompile(`(^|[\s"'` + "`" + `(\[{=,:;])(?:[A-Za-z]:[\\/]|[\\/])[^\s"'` + "`" + `)\]},;:]+`)

// hidePaths makes a problem fit for those who must not learn how the machine is laid out. Of an error that is nobody's mistake the first
// line is left: the others are the last words of a process.
func (p *problem) hidePaths() {
	if p.Code == fault.Internal {
		p.Detail, _, _ = strings.Cut(p.Detail, "\n")
	}
	p.Detail, p.Field = hidden(p.Detail), hidden(p.Field)
}

func hidden(text string) string { return pathLike.ReplaceAllString(text, "${1}(path)") }
