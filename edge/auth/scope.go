package auth

import (
	"slices"
	"strings"

	"github.com/medley-lora/medley/shared/fault"
)

// Scope names something that a token allows (RFC 6749, section 3.3).
type Scope string

// The scopes. Seeing one's own and the shared objects is read, changing one's own is write; no scope opens another's private objects.
const (
	ComposeRun   Scope = "compose:run"
	ComposeRead  Scope = "compose:read"
	ModulesRead  Scope = "modules:read"
	ModulesWrite Scope = "modules:write"
	EvaluateRun  Scope = "evaluate:run"
	GenerateRun  Scope = "generate:run"
	PluginsRead  Scope = "plugins:read"
	PluginsWrite Scope = "plugins:write"
	TokensWrite  Scope = "tokens:write"
	Admin        Scope = "admin"
)

// Allowance is a scope and what it allows.
type Allowance struct {
	Scope  Scope
	Allows string
}

var table = []Allowance{
	{ComposeRun, "start and cancel compositions"},
	{ComposeRead, "see compositions, their progress and results"},
	{ModulesRead, "list, inspect and download modules and bases"},
	{ModulesWrite, "upload, change and delete modules"},
	{EvaluateRun, "open evaluations and score candidates"},
	{GenerateRun, "generate text"},
	{PluginsRead, "list and download optimizer plugins"},
	{PluginsWrite, "upload, validate and delete optimizer plugins"},
	{TokensWrite, "make and revoke tokens and API keys, with scopes that one has"},
	{Admin, "everything above, and the platform's own metrics"},
}

// Table returns all scopes with what they allow.
func Table() []Allowance { return slices.Clone(table) }

// ParseScopes reads the names of scopes, each once. The error is fault.Invalid about "scopes".
func ParseScopes(names []string) ([]Scope, error) {
	seen := map[Scope]bool{}
	for _, name := range names {
		if !known(Scope(name)) {
			return nil, fault.New(fault.Invalid, "scopes", "there is no scope %.40q", name)
		}
		seen[Scope(name)] = true
	}
	return inOrder(seen), nil
}

func known(s Scope) bool {
	return slices.ContainsFunc(table, func(a Allowance) bool { return a.Scope == s })
}

// inOrder lists a set of scopes as the table has them.
func inOrder(set map[Scope]bool) []Scope {
	var scopes []Scope
	for _, a := range table {
		if set[a.Scope] {
			scopes = append(scopes, a.Scope)
		}
	}
	return scopes
}

// narrow returns the scopes called names if maker has them all: nobody gives what they have not.
func narrow(maker Principal, names []string) ([]Scope, error) {
	scopes, err := ParseScopes(names)
	if err != nil {
		return nil, err
	}
	if len(scopes) == 0 {
		return nil, fault.New(fault.Invalid, "scopes", "names no scope")
	}
	for _, s := range scopes {
		if !maker.Allows(s) {
			return nil, fault.New(Forbidden, "scopes", "%s cannot be given by one who has it not", s)
		}
	}
	return scopes, nil
}

// joined writes scopes as a "scope" claim.
func joined(scopes []Scope) string {
	names := make([]string, len(scopes))
	for i, s := range scopes {
		names[i] = string(s)
	}
	return strings.Join(names, " ")
}

// split reads a "scope" claim. Scopes that this version does not know allow nothing, so they are left out.
func split(claim string) []Scope {
	set := map[Scope]bool{}
	for _, name := range strings.Fields(claim) {
		set[Scope(name)] = true
	}
	return inOrder(set)
}
