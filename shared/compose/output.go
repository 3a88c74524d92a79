package compose

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/medley-lora/medley/shared/lora"
)

// Output is a result with how it came about, as programs read it: what the command line prints with --json, and what the platform keeps.
type Output struct {
	Result
	Method     string     `json:"method"`
	Optimizer  string     `json:"optimizer"`        // its name; a plugin's is its own word
	Mode       string     `json:"optimizer_mode"`   // native or sandboxed
	Plugin     *Plugin    `json:"plugin,omitempty"` // none if the optimizer is built in
	Seed       uint64     `json:"seed"`
	Backend    string     `json:"backend"`
	Difference Difference `json:"difference"`
	Adapter    string     `json:"adapter"` // folder, or the digest of an archive
	Rank       int        `json:"rank"`    // the largest of the adapter's layers
	Base       string     `json:"base"`
	Command    string     `json:"command,omitempty"` // to repeat the run
}

// Plugin says which plugin proposed the weights.
type Plugin struct {
	Version string            `json:"version"`
	SHA256  string            `json:"sha256"`
	Options map[string]string `json:"options"`
}

// OptionsInWords lists a plugin's options in one order.
func (p *Plugin) OptionsInWords() string {
	all := make([]string, 0, len(p.Options))
	for key, value := range p.Options {
		all = append(all, fmt.Sprintf("%q=%q", key, value))
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

// Difference says how far the update of the adapter, as read back from disk, is from its definition.
type Difference struct {
	MaxAbs   float64 `json:"max_abs"`
	Relative Finite  `json:"relative"` // in the Frobenius norm; with a truncation to a rank, its error
}

// NewDifference is a difference of package lora.
func NewDifference(d lora.Deviation) Difference {
	return Difference{MaxAbs: d.MaxAbs, Relative: Finite(d.Relative)}
}

// Finite is a number that JSON has as null where it is none.
type Finite float64

// MarshalJSON is json.Marshaler's.
func (f Finite) MarshalJSON() ([]byte, error) {
	if v := float64(f); math.IsNaN(v) || math.IsInf(v, 0) {
		return []byte("null"), nil
	}
	return json.Marshal(float64(f))
}
