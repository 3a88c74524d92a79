package hub

import (
	"path"
	"regexp"
	"strings"

	"github.com/medley-lora/medley/shared/fault"
)

// Name is what is asked of a Hub: ORG/NAME[/FILE.gguf][@REVISION].
type Name struct {
	Repo     string // "ORG/NAME"
	File     string // a GGUF file in it, or empty
	Revision string // a branch, tag or commit; empty for main
}

// DefaultRevision is the branch that is meant when none is named.
const DefaultRevision = "main"

// Scheme may stand before a name, to tell it from a folder.
const Scheme = "hf://"

var (
	// As huggingface_hub's validate_repo_id has it, with the organisation.
	repoPattern   = regexp.MustCompile(`^[A-Za-z0-9_][\w.-]*/[A-Za-z0-9_][\w.-]*$`)
	commitPattern = regexp.MustCompile(`^[0-9a-f]{40}$`)
	sha256Pattern = regexp.MustCompile(`^[0-9a-f]{64}$`)
	// What git allows in the names of branches and tags, less what a file system would mind.
	revisionPattern = regexp.MustCompile(`^[\w][\w.+/-]*$`)
)

// The longest names that the Hub takes.
const (
	maxRepoPart = 96
	maxRevision = 200
	maxFilePath = 1024
)

// ParseName reads ORG/NAME[/FILE.gguf][@REVISION], with or without hf:// before it.
func ParseName(text string) (Name, error) {
	refuse := func(why string) (Name, error) {
		return Name{}, fault.New(fault.Invalid, "", "%.120q is not a name on the Hub, ORG/NAME or ORG/NAME@REVISION: %s", text, why)
	}
	rest := strings.TrimPrefix(text, Scheme)
	rest, revision, versioned := strings.Cut(rest, "@")
	if versioned && !validRevision(revision) {
		return refuse("the revision is not a branch, tag or commit")
	}
	parts := strings.SplitN(rest, "/", 3)
	if len(parts) < 2 {
		return refuse("there is no /")
	}
	n := Name{Repo: parts[0] + "/" + parts[1], Revision: revision}
	if !validRepo(n.Repo) {
		return refuse("the parts are letters, digits and . _ -, and do not hold -- or .. or end in .git")
	}
	if len(parts) == 3 {
		n.File = parts[2]
		if !strings.HasSuffix(n.File, ".gguf") || !validPath(n.File) {
			return refuse("only a .gguf file can be named after the repository")
		}
	}
	return n, nil
}

// LooksLikeName tells whether text could be a name, which a path with a leading dot or slash or of other characters cannot.
func LooksLikeName(text string) bool {
	_, err := ParseName(text)
	return err == nil
}

// String is the name as ParseName reads it.
func (n Name) String() string {
	s := n.Repo
	if n.File != "" {
		s += "/" + n.File
	}
	if n.Revision != "" {
		s += "@" + n.Revision
	}
	return s
}

func (n Name) revision() string {
	if n.Revision == "" {
		return DefaultRevision
	}
	return n.Revision
}

func validRepo(repo string) bool {
	if !repoPattern.MatchString(repo) || strings.Contains(repo, "--") || strings.Contains(repo, "..") || strings.HasSuffix(repo, ".git") {
		return false
	}
	for part := range strings.SplitSeq(repo, "/") {
		if len(part) > maxRepoPart || strings.HasSuffix(part, ".") || strings.HasSuffix(part, "-") {
			return false
		}
	}
	return true
}

func validRevision(revision string) bool {
	return len(revision) <= maxRevision && revisionPattern.MatchString(revision) && validPath(revision)
}

// validPath tells whether a slash-separated path stays in its folder on every system, whatever that takes for a separator, a drive or a device.
func validPath(p string) bool {
	if p == "" || len(p) > maxFilePath || path.Clean(p) != p || strings.HasPrefix(p, "/") || strings.ContainsAny(p, "\\:*?\"<>|") {
		return false
	}
	for part := range strings.SplitSeq(p, "/") {
		if part == ".." || part == "." || strings.HasSuffix(part, ".") || strings.HasSuffix(part, " ") || isDevice(part) {
			return false
		}
	}
	return !strings.ContainsFunc(p, func(r rune) bool { return r < ' ' || r == 0x7f })
}

// isDevice tells whether Windows opens a device under a file's name, whatever its suffix.
func isDevice(name string) bool {
	base, _, _ := strings.Cut(strings.ToUpper(name), ".")
	switch strings.TrimRight(base, " ") {
	case "CON", "PRN", "AUX", "NUL":
		return true
	}
	return len(base) == 4 && (strings.HasPrefix(base, "COM") || strings.HasPrefix(base, "LPT")) && base[3] >= '0' && base[3] <= '9'
}
