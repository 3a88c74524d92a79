// Package auth is the door of the platform: it issues access tokens, verifies them, exchanges API keys for them, and tells who is asking
// and what they may do.
//
// An access token is a JWT (RFC 7519) in the profile of RFC 9068, signed with Ed25519 by a key that only the platform has, and good for a
// day at most. RFC 8725 is followed throughout: the key names the algorithm and not the token, keys are looked up among those that are
// known and never fetched from where a token points to, and every claim that narrows a token must be there and fit. Tokens of other
// issuers are good if their keys and the meaning of their claims are configured (External).
package auth

import (
	"context"
	"slices"
	"time"

	"github.com/medley-lora/medley/shared/fault"
)

// Codes of errors at the door, besides those of fault.
const (
	Unauthenticated fault.Code = "unauthenticated" // no token, or none that is good: 401
	Forbidden       fault.Code = "forbidden"       // a good token that does not allow this: 403
	Unavailable     fault.Code = "unavailable"     // what must be asked does not answer, so nobody gets in; trying again may help: 503
)

// Principal is who makes a request, as its token says.
type Principal struct {
	ID      string    // of a person or program: the token's subject; of another issuer's, "name:subject"
	Scopes  []Scope   // in the order of the table
	TokenID string    // for Revoke
	Expires time.Time // when the token ends, and with it whatever goes on in its name
	Via     []string  // the API key and the tokens that this one was made of: it ends with any of them
}

// Allows says whether the principal may do what scope names. Admin may do everything.
func (p Principal) Allows(scope Scope) bool {
	return slices.Contains(p.Scopes, scope) || slices.Contains(p.Scopes, Admin)
}

// Revocations remembers tokens that are refused although they have not expired. Implementations are safe for concurrent use and held to
// authtest.TestRevocations.
type Revocations interface {
	// Revoked says whether the token called id was revoked. With an error the token is refused.
	Revoked(ctx context.Context, id string) (bool, error)
	// Revoke refuses the token called id from now on. After until it may be forgotten. It is idempotent.
	Revoke(ctx context.Context, id string, until time.Time) error
}

// NoRevocations is for those who only issue tokens: it knows of no revoked one, and revokes none.
type NoRevocations struct{}

// Revoked is false.
func (NoRevocations) Revoked(context.Context, string) (bool, error) { return false, nil }

// Revoke fails.
func (NoRevocations) Revoke(context.Context, string, time.Time) error {
	return fault.New(Unavailable, "", "revocations are not kept here")
}

type principalKey struct{}

// WithPrincipal puts p into a context.
func WithPrincipal(ctx context.Context, p Principal) context.Context {
	return context.WithValue(ctx, principalKey{}, p)
}

// FromContext returns who makes the request that ctx belongs to, and false if nobody was let in.
func FromContext(ctx context.Context) (Principal, bool) {
	p, ok := ctx.Value(principalKey{}).(Principal)
	return p, ok
}
