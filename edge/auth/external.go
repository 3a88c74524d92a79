package auth

import (
	"crypto/sha256"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/medley-lora/medley/shared/fault"
)

// External is an issuer of tokens besides the platform: an OpenID Connect provider or an authorization server, by the address of its
// keys. Its tokens must have exp, sub and kid, end within MaxTTL, and be signed with EdDSA, RS256 or ES256.
type External struct {
	Name     string // starts the IDs of its principals, "name:subject": 1 to 32 of a-z, 0-9 and "-"
	Issuer   string // "iss", to the letter
	Audience string // "aud" that tokens for this platform have
	JWKS     string // address of its key set: https, or http on the loopback interface

	// Claim is the path to the claim that says what a token allows, such as scope, or realm_access and roles: a string of words
	// separated by spaces, or a list of strings.
	Claim []string
	// Scopes are what each word allows. Other words allow nothing.
	Scopes map[string][]Scope

	Transport http.RoundTripper // asks for the keys; nil for the default
}

var externalName = regexp.MustCompile(`^[a-z0-9-]{1,32}$`)

func newExternal(e External, now func() time.Time) (*trust, error) {
	switch {
	case !externalName.MatchString(e.Name):
		return nil, fault.New(fault.Invalid, "name", "must be 1 to 32 of a-z, 0-9 and -")
	case e.Issuer == "":
		return nil, fault.New(fault.Invalid, "issuer", "must not be empty")
	case e.Audience == "":
		return nil, fault.New(fault.Invalid, "audience", "must not be empty: the issuer's tokens for others would be good here")
	case len(e.Claim) == 0:
		return nil, fault.New(fault.Invalid, "claim", "must not be empty")
	case !isKeyAddress(e.JWKS):
		return nil, fault.New(fault.Invalid, "jwks", "must be an https address, or http on the loopback interface, without a password")
	}
	for _, scopes := range e.Scopes {
		for _, s := range scopes {
			if !known(s) {
				return nil, fault.New(fault.Invalid, "scopes", "there is no scope %.40q", s)
			}
		}
	}
	return &trust{
		key:       newRemote(e.JWKS, e.Transport, now).key,
		types:     []string{"at+jwt", "application/at+jwt", "jwt"}, // few providers write RFC 9068's; the audience tells their tokens apart
		validator: newValidator(e.Issuer, e.Audience, now),
		principal: e.principal,
	}, nil
}

// isKeyAddress says whether keys may be asked for at address: nobody on the way must be able to change them.
func isKeyAddress(address string) bool {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return u.Scheme == "https" || u.Scheme == "http" && (ip.IsLoopback() || u.Hostname() == "localhost")
}

func (e External) principal(claims jwt.MapClaims, signed string) (Principal, error) {
	subject, _ := claims["sub"].(string)
	id := e.Name + ":" + subject
	if subject == "" || !isSubject(id) {
		return Principal{}, refused("has a subject that cannot be used")
	}
	// Another issuer's jti may be anything, or missing: its tokens are called by a hash, which is no other token's.
	jti, ok := claims["jti"].(string)
	if !ok || jti == "" {
		jti = signed
	}
	hash := sha256.Sum256([]byte(jti))
	return Principal{ID: id, Scopes: e.mapped(claims), TokenID: tokenID + "_" + base32Lower.EncodeToString(hash[:16])}, nil
}

// mapped returns the scopes that the configured claim gives.
func (e External) mapped(claims jwt.MapClaims) []Scope {
	var value any = map[string]any(claims)
	for _, name := range e.Claim {
		object, _ := value.(map[string]any)
		value = object[name]
	}
	var words []string
	switch v := value.(type) {
	case string:
		words = strings.Fields(v)
	case []any:
		for _, one := range v {
			if word, ok := one.(string); ok {
				words = append(words, word)
			}
		}
	}
	set := map[Scope]bool{}
	for _, word := range words {
		for _, s := range e.Scopes[word] {
			set[s] = true
		}
	}
	return inOrder(set)
}
