// Package record holds what the platform remembers: the rows of its database, and nothing of how they are kept or shown.
package record

import (
	"encoding/json"
	"time"

	"github.com/medley-lora/medley/shared/fault"
)

// Visibility says who may see a module, a base or a plugin besides its owner.
type Visibility string

const (
	Private Visibility = "private"
	Shared  Visibility = "shared" // everyone with a token; only the owner may change or delete it
)

// Object is what every record has. IDs are random (128 bits, base32, with a prefix that names the kind: "mod_…"), so that nobody can
// count or guess them.
type Object struct {
	ID      string
	Owner   string // the principal that made it
	Created time.Time
}

// Base is a base model that evaluators can load: a folder on their machines, by name.
type Base struct {
	Object
	Name   string // as modules and requests call it
	Digest string // SHA-256 of its files' names and contents
	Size   int64  // bytes
}

// Module is an adapter in PEFT's layout, stored as one archive.
type Module struct {
	Object
	Name       string
	Visibility Visibility
	Digest     string // of the archive: the blob's name
	Size       int64  // of the archive, bytes
	Base       string // the base that its author names
	Task       string
	Author     string
	Licence    string
	Rank       int      // the largest of its layers
	Targets    []string // the maps that it updates
}

// Plugin is an optimizer as a WebAssembly module.
type Plugin struct {
	Object
	Name       string
	Version    string
	Visibility Visibility
	Digest     string // of the file: the blob's name
	Size       int64
}

// State is where a composition stands.
type State string

const (
	Queued    State = "queued"
	Running   State = "running"
	Succeeded State = "succeeded"
	Failed    State = "failed"
	Canceled  State = "canceled"
)

// Ended says whether nothing more can happen.
func (s State) Ended() bool { return s == Succeeded || s == Failed || s == Canceled }

// Composition is a search job. Its request never changes; a worker that holds its lease writes the rest.
type Composition struct {
	Object
	Request  json.RawMessage // as the API took it, defaults filled in
	State    State
	Canceled bool       // somebody asked for the end; the worker that runs it looks
	Fence    int64      // counts the leases: a write with an older number is refused
	Worker   string     // holds the lease, or held the last one
	Lease    *time.Time // when the lease runs out; nil when nobody holds one
	Started  *time.Time
	Ended    *time.Time
	Done     int // evaluations journaled
	Budget   int
	Result   json.RawMessage // when it has succeeded
	Adapter  string          // digest of the archive of the composed adapter
	Report   string          // digest of the page that tells of the result
	Fault    *fault.Error    // when it has failed
}

// Evaluation is one line of a composition's journal: the nth candidate and its score, enough to replay the search to where it was.
type Evaluation struct {
	Composition string
	Number      int // from 0, without gaps
	Line        json.RawMessage
}

// Session is an evaluation that is open: a client's optimizer scores weights on it until it expires.
type Session struct {
	Object
	Request json.RawMessage // as the API took it, defaults filled in
	Facts   json.RawMessage // what was found out when it was opened
	Expires time.Time
}

// Key is an API key: a long-lived secret, exchanged for short-lived tokens. Only its hash is kept.
type Key struct {
	Object
	Name    string
	Hash    []byte // SHA-256 of the secret, which has 256 random bits
	Scopes  []string
	Expires *time.Time
	Revoked *time.Time
}

// Revocation is a token that is refused although it has not expired.
type Revocation struct {
	ID    string    // what the token is known by
	Until time.Time // when it expires, and the revocation may be forgotten
}

// Audit is an event that security looks for later: a failed login, a refused scope, a revocation.
type Audit struct {
	ID        string
	Time      time.Time
	Principal string // empty if unknown
	Action    string
	Detail    string
	Address   string // of the client
}

// Place returns what lists are ordered by.
func (o Object) Place() (created time.Time, id string) { return o.Created, o.ID }

// Place returns what lists are ordered by.
func (a Audit) Place() (created time.Time, id string) { return a.Time, a.ID }
