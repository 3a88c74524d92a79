package auth

import (
	"context"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/medley-lora/medley/edge/record"
	"github.com/medley-lora/medley/shared/fault"
)

const (
	// DefaultTTL is how long a token is good for if nobody says.
	DefaultTTL = time.Hour
	// MaxTTL is the longest that a token may be good for. A longer secret is an API key.
	MaxTTL = 24 * time.Hour
	// Leeway is how far the clocks of those who sign and those who verify may be apart.
	Leeway = 30 * time.Second
	// MaxToken bounds a token, in bytes, before anything looks into it.
	MaxToken = 8 << 10

	tokenID    = "tok" // the prefix of a token's jti
	maxVia     = 4     // tokens made of tokens made of …
	maxSubject = 255   // bytes, as OpenID Connect Core has it (section 2)
	ourType    = "at+jwt"
)

// Options is what an Authority is made of.
type Options struct {
	Issuer      string  // "iss" of our tokens: the platform's address, or a name
	Audience    string  // "aud" of our tokens; "" for Issuer
	Keys        *KeySet // signs and verifies our tokens
	Revocations Revocations
	APIKeys     APIKeys          // for Exchange; nil if there are none
	External    []External       // other issuers whose tokens are good
	Auditor     Auditor          // is told of failures; nil for nobody
	Now         func() time.Time // the clock, nil for time.Now
}

// Authority issues, verifies and revokes tokens. It is safe for concurrent use.
type Authority struct {
	o      Options
	parser *jwt.Parser
	trusts map[string]*trust // by issuer
	seen   seen
	flood  flood
}

// New makes an Authority. The error is fault.Invalid about the option at fault.
func New(o Options) (*Authority, error) {
	switch {
	case o.Issuer == "":
		return nil, fault.New(fault.Invalid, "issuer", "must not be empty")
	case o.Keys == nil:
		return nil, fault.New(fault.Invalid, "keys", "are needed")
	case o.Revocations == nil:
		return nil, fault.New(fault.Invalid, "revocations", "are needed")
	}
	if o.Audience == "" {
		o.Audience = o.Issuer
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	a := &Authority{
		o: o,
		parser: jwt.NewParser(jwt.WithoutClaimsValidation(), jwt.WithStrictDecoding(), // claims are validated as their issuer's
			jwt.WithValidMethods([]string{jwt.SigningMethodEdDSA.Alg(), jwt.SigningMethodRS256.Alg(), jwt.SigningMethodES256.Alg()})),
		trusts: map[string]*trust{},
	}
	a.trusts[o.Issuer] = a.ourselves()
	names := map[string]bool{}
	for _, e := range o.External {
		if a.trusts[e.Issuer] != nil || names[e.Name] {
			return nil, fault.New(fault.Invalid, "external issuer "+e.Name, "there is another one with its name or address")
		}
		names[e.Name] = true
		t, err := newExternal(e, o.Now)
		if err != nil {
			return nil, fault.In("external issuer "+e.Name, err)
		}
		a.trusts[e.Issuer] = t
	}
	return a, nil
}

// Request says what is wanted of a token.
type Request struct {
	Scopes []string      // by name; empty for all of an API key's
	TTL    time.Duration // how long the token is good for, at most MaxTTL; 0 for DefaultTTL
}

// Token is a token that was just issued. Nobody keeps it.
type Token struct {
	ID      string // its jti
	Text    string // what the client sends; a secret
	Scopes  []Scope
	Expires time.Time
}

// Issue makes a token for subject with any scopes. It is for the operator, who holds the keys; the API makes tokens with Create and
// Exchange. The error is fault.Invalid about "scopes", "ttl" or "subject", or Unavailable.
func (a *Authority) Issue(subject string, r Request) (Token, error) {
	operator := Principal{ID: subject, Scopes: []Scope{Admin}, Expires: a.o.Now().Add(MaxTTL)}
	return a.issue(operator, r)
}

// Create makes a token of a token: for the same principal, with some of its scopes, ending no later than it, and revoked with it.
// The errors are those of Issue, and Forbidden for scopes that the maker has not.
func (a *Authority) Create(maker Principal, r Request) (Token, error) {
	if len(maker.Via) >= maxVia {
		return Token{}, fault.New(Forbidden, "", "a token that was made of a token of a token cannot make more")
	}
	maker.Via = append(maker.Via[:len(maker.Via):len(maker.Via)], maker.TokenID)
	return a.issue(maker, r)
}

// issue makes a token for maker itself.
func (a *Authority) issue(maker Principal, r Request) (Token, error) {
	if !isSubject(maker.ID) {
		return Token{}, fault.New(fault.Invalid, "subject", "must be 1 to %d printable ASCII characters without spaces", maxSubject)
	}
	scopes, err := narrow(maker, r.Scopes)
	if err != nil {
		return Token{}, err
	}
	if r.TTL == 0 {
		r.TTL = DefaultTTL
	}
	if r.TTL < time.Second || r.TTL > MaxTTL {
		return Token{}, fault.New(fault.Invalid, "ttl", "must be between a second and %d hours", MaxTTL/time.Hour)
	}
	now := a.o.Now().Truncate(time.Second)
	expires := now.Add(r.TTL).Truncate(time.Second)
	if last := maker.Expires.Truncate(time.Second); expires.After(last) {
		expires = last
	}
	if !expires.After(now) {
		return Token{}, fault.New(Unauthenticated, "", "what the token is made of has expired")
	}
	t := Token{ID: record.NewID(tokenID), Scopes: scopes, Expires: expires}
	t.Text, err = a.sign(jwt.MapClaims{
		"iss": a.o.Issuer, "aud": a.o.Audience, "sub": maker.ID, "jti": t.ID, "scope": joined(scopes),
		"iat": now.Unix(), "nbf": now.Unix(), "exp": expires.Unix(),
	}, maker.Via)
	return t, err
}

func (a *Authority) sign(claims jwt.MapClaims, via []string) (string, error) {
	if len(via) > 0 {
		claims["via"] = strings.Join(via, " ")
	}
	key, err := a.o.Keys.signer()
	if err != nil {
		return "", err
	}
	token := jwt.NewWithClaims(jwt.SigningMethodEdDSA, claims)
	token.Header["typ"], token.Header["kid"] = ourType, key.kid
	text, err := token.SignedString(key.private)
	if err != nil {
		return "", fault.Wrap(err, fault.Internal, "", "the token cannot be signed")
	}
	return text, nil
}

// Revoke refuses, from now on, the owner's token called id, or the tokens made of the owner's API key called id, and whatever was made
// of these. One who names another's id, or one that there is not, changes nothing and learns nothing.
func (a *Authority) Revoke(ctx context.Context, owner, id string) error {
	if !isSubject(owner) || id == "" || len(id) > maxSubject {
		return fault.New(fault.Invalid, "id", "names no token")
	}
	// Later than the end of every token that is good now, or that a clock which is behind takes for good.
	if err := a.o.Revocations.Revoke(ctx, revocation(owner, id), a.o.Now().Add(MaxTTL+2*Leeway)); err != nil {
		return unavailable(err, "revocations cannot be written")
	}
	a.audit(ctx, owner, Revoked, id)
	return nil
}

// revocation is what Revocations knows a token by. The owner is a part of it, so that nobody revokes another's.
func revocation(owner, id string) string { return owner + " " + id }

// isSubject says whether s can be a principal's ID: it appears in logs and lists, and is joined with others by spaces.
func isSubject(s string) bool {
	return s != "" && len(s) <= maxSubject && strings.IndexFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) < 0
}

// unavailable makes a failure to ask something into an error that lets nobody in. That the client has gone is no failure.
func unavailable(err error, sentence string) error {
	if fault.CodeOf(err) == fault.Canceled {
		return err
	}
	return fault.Wrap(err, Unavailable, "", "%s", sentence)
}
