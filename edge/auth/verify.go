package auth

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/medley-lora/medley/edge/record"
	"github.com/medley-lora/medley/shared/fault"
)

// trust is an issuer whose tokens are good.
type trust struct {
	key       func(ctx context.Context, kid string) (verifyKey, error)
	types     []string // that the header's typ may be, in lower case
	validator *jwt.Validator
	principal func(claims jwt.MapClaims, signed string) (Principal, error) // signed is what the signature covers
}

func (a *Authority) ourselves() *trust {
	return &trust{
		key: func(_ context.Context, kid string) (verifyKey, error) {
			key, ok, err := a.o.Keys.verifier(kid)
			if err == nil && !ok {
				err = refused("is signed with a key that is not known")
			}
			return key, err
		},
		types:     []string{ourType, "application/" + ourType},
		validator: newValidator(a.o.Issuer, a.o.Audience, a.o.Now, jwt.WithNotBeforeRequired()),
		principal: ourPrincipal,
	}
}

func newValidator(issuer, audience string, now func() time.Time, more ...jwt.ParserOption) *jwt.Validator {
	return jwt.NewValidator(append(more, jwt.WithIssuer(issuer), jwt.WithAudience(audience), jwt.WithExpirationRequired(),
		jwt.WithIssuedAt(), jwt.WithLeeway(Leeway), jwt.WithTimeFunc(now))...)
}

// Verify says whose token text is. The error is Unauthenticated with the reason as a sentence for one that is not good, Unavailable when
// the keys or the revocations cannot be looked up, and fault.Canceled.
func (a *Authority) Verify(ctx context.Context, text string) (Principal, error) {
	p, err := a.read(ctx, text)
	if err != nil {
		return Principal{}, err
	}
	for _, id := range append([]string{p.TokenID}, p.Via...) {
		revoked, err := a.o.Revocations.Revoked(ctx, revocation(p.ID, id))
		if err != nil {
			return Principal{}, unavailable(err, "whether the token was revoked cannot be looked up")
		}
		if revoked {
			return Principal{}, refused("was revoked")
		}
	}
	return p, nil
}

// read verifies a token but for its revocation.
func (a *Authority) read(ctx context.Context, text string) (Principal, error) {
	if len(text) > MaxToken {
		return Principal{}, refused("is longer than 8 KiB")
	}
	s, err := a.signed(ctx, text)
	if err != nil {
		return Principal{}, err
	}
	if err := validDates(s.claims); err != nil {
		return Principal{}, err
	}
	if err := s.by.validator.Validate(s.claims); err != nil {
		return Principal{}, reason(err)
	}
	if s.whose == nil {
		p, err := s.by.principal(s.claims, text[:strings.LastIndexByte(text, '.')])
		if err != nil {
			return Principal{}, err
		}
		p.Expires = time.Unix(int64(s.claims["exp"].(float64)), 0)
		s.whose = &p
		a.seen.put(text, s)
	}
	p := *s.whose
	if p.Expires.After(a.o.Now().Add(MaxTTL + Leeway)) { // its revocation would be forgotten before
		return Principal{}, refused("is good for longer than a token may be")
	}
	return p, nil
}

// signed verifies the signature of a token, by a key that is believed now.
func (a *Authority) signed(ctx context.Context, text string) (signed, error) {
	if s, ok := a.seen.get(text); ok {
		key, err := s.by.key(ctx, s.kid)
		if err != nil || key.is(s.key) {
			return s, err
		}
	}
	if !isCompact(text) {
		return signed{}, refused("is no signed JWT")
	}
	s := signed{claims: jwt.MapClaims{}}
	_, err := a.parser.ParseWithClaims(text, s.claims, func(t *jwt.Token) (_ any, err error) {
		issuer, _ := s.claims["iss"].(string)
		if s.by = a.trusts[issuer]; s.by == nil {
			return nil, refused("is of an issuer that is not trusted")
		}
		s.kid, s.key, err = s.by.keyOf(ctx, t)
		return s.key.public, err
	})
	if err != nil {
		return signed{}, reason(err)
	}
	a.seen.put(text, s)
	return s, nil
}

// isCompact says whether text looks like three parts of base64url with dots in between (RFC 7515, section 3.1).
func isCompact(text string) bool {
	return strings.Count(text, ".") == 2 && strings.IndexFunc(text, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_' && r != '.'
	}) < 0
}

// pointers are the header's ways to bring a key along, and of asking for what we do not understand (RFC 7515, section 4.1). A token that
// uses one comes from nobody that we trust.
var pointers = []string{"jku", "jwk", "x5u", "x5c", "crit"}

// keyOf finds the key that must have signed t: by its name, among the issuer's, and for the algorithm that the key is for.
func (by *trust) keyOf(ctx context.Context, t *jwt.Token) (kid string, key verifyKey, err error) {
	for _, name := range pointers {
		if _, has := t.Header[name]; has {
			return "", verifyKey{}, refused("has a header that is not allowed: " + name)
		}
	}
	if typ, _ := t.Header["typ"].(string); !slices.Contains(by.types, strings.ToLower(typ)) {
		return "", verifyKey{}, refused("is not of the type of access tokens")
	}
	if kid, _ = t.Header["kid"].(string); kid == "" {
		return "", verifyKey{}, refused("does not name its key")
	}
	if key, err = by.key(ctx, kid); err != nil {
		return "", verifyKey{}, err
	}
	if t.Method.Alg() != key.algorithm {
		return "", verifyKey{}, refused("is signed with another algorithm than its key is for")
	}
	return kid, key, nil
}

// validDates wants dates to be numbers of seconds that are years of four digits, because the library converts others to any date.
func validDates(claims jwt.MapClaims) error {
	const end = 253402300800 // the year 10000
	for _, name := range []string{"exp", "iat", "nbf"} {
		v, has := claims[name]
		if seconds, ok := v.(float64); has && (!ok || seconds < 0 || seconds >= end) {
			return refused("has a date that is none: " + name)
		}
	}
	return nil
}

// ourPrincipal reads what our own tokens always have.
func ourPrincipal(claims jwt.MapClaims, _ string) (Principal, error) {
	subject, _ := claims["sub"].(string)
	id, _ := claims["jti"].(string)
	scope, hasScope := claims["scope"].(string)
	via, hasVia := claims["via"].(string)
	if !isSubject(subject) || !record.IsID(tokenID, id) || !hasScope || claims["iat"] == nil || claims["via"] != nil && !hasVia {
		return Principal{}, refused("lacks a claim that access tokens have")
	}
	return Principal{ID: subject, Scopes: split(scope), TokenID: id, Via: strings.Fields(via)}, nil
}

// refused makes the error for a token that is not good; how ends a sentence that begins with "the token".
func refused(how string) error { return fault.New(Unauthenticated, "", "the token %s", how) }

// reason makes an error of the library into ours. Its own sentences may repeat what the token says.
func reason(err error) error {
	if f, ok := errors.AsType[*fault.Error](err); ok {
		return f
	}
	how := "is no signed JWT"
	for _, r := range []struct {
		err error
		how string
	}{
		{jwt.ErrTokenSignatureInvalid, "is not signed by its key"},
		{jwt.ErrTokenRequiredClaimMissing, "lacks a claim that access tokens have"},
		{jwt.ErrTokenInvalidAudience, "is for another audience"},
		{jwt.ErrTokenInvalidIssuer, "is of an issuer that is not trusted"},
		{jwt.ErrTokenNotValidYet, "is not good yet"},
		{jwt.ErrTokenUsedBeforeIssued, "is not good yet"},
		{jwt.ErrTokenExpired, "has expired"},
	} {
		if errors.Is(err, r.err) {
			how = r.how
			break
		}
	}
	return fault.Wrap(err, Unauthenticated, "", "the token %s", how)
}
