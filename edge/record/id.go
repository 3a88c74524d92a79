package record

import (
	"crypto/rand"
	"encoding/base32"
	"strings"
)

// The prefixes of IDs.
const (
	BaseID        = "bas"
	ModuleID      = "mod"
	PluginID      = "plg"
	CompositionID = "cmp"
	SessionID     = "evl"
	KeyID         = "key"
	AuditID       = "aud"
)

// alphabet is that of RFC 4648, section 6, in lower case.
const alphabet = "abcdefghijklmnopqrstuvwxyz234567"

var encoding = base32.NewEncoding(alphabet).WithPadding(base32.NoPadding)

// idLength is that of 128 bits in base32.
const idLength = 26

// NewID makes the ID of a new record: prefix, an underscore and 128 random bits.
func NewID(prefix string) string {
	var b [16]byte
	rand.Read(b[:])
	return prefix + "_" + encoding.EncodeToString(b[:])
}

// IsID says whether id has the form of those that NewID makes with prefix. Whatever has not names no record.
func IsID(prefix, id string) bool {
	digits, ok := strings.CutPrefix(id, prefix+"_")
	// Not by decoding, which skips line breaks.
	return ok && len(digits) == idLength && strings.Trim(digits, alphabet) == ""
}
