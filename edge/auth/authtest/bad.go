package authtest

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/medley-lora/medley/edge/auth"
	"github.com/medley-lora/medley/shared/fault"
)

// Bad is a request that the door refuses.
type Bad struct {
	Name    string
	Headers []string // of the Authorization field
	Code    fault.Code
	Error   string // that WWW-Authenticate names (RFC 6750, section 3.1), "" for none
	Why     string // a part of the sentence
}

// Bad returns a request of each kind that is refused what scope allows. But for its one fault each is subject's, with that scope.
func (w *World) Bad(t testing.TB, subject string, scope auth.Scope) []Bad {
	t.Helper()
	good := w.Token(t, subject, scope).Text
	bad := []Bad{
		{"no token", nil, auth.Unauthenticated, "", "needed"},
		{"another scheme", []string{"Basic YW5uOnNlY3JldA=="}, auth.Unauthenticated, "", "needed"},
		{"no scheme", []string{good}, auth.Unauthenticated, "", "needed"},
		{"two headers", []string{"Bearer " + good, "Bearer " + good}, fault.Invalid, "invalid_request", "once"},
	}
	for name, c := range w.claims(subject, string(scope)) {
		bad = append(bad, invalid("claims: "+name, w.Sign(t, c.claims, nil), c.why))
	}
	for name, c := range map[string]struct {
		header map[string]any
		why    string
	}{
		"wrong typ":        {map[string]any{"typ": "JWT"}, "type"},
		"typ no string":    {map[string]any{"typ": 1}, "type"},
		"no typ":           {map[string]any{"typ": nil}, "type"},
		"no kid":           {map[string]any{"kid": nil}, "name its key"},
		"kid no string":    {map[string]any{"kid": []string{"a"}}, "name its key"},
		"unknown kid":      {map[string]any{"kid": strings.Repeat("A", 43)}, "not known"},
		"kid of traversal": {map[string]any{"kid": "../../../../etc/passwd"}, "not known"},
		"kid of SQL":       {map[string]any{"kid": "' UNION SELECT 'x"}, "not known"},
		"jku":              {map[string]any{"jku": "https://evil.test/jwks.json"}, "jku"},
		"x5u":              {map[string]any{"x5u": "https://evil.test/cert.pem"}, "x5u"},
		"x5c":              {map[string]any{"x5c": []string{"MII"}}, "x5c"},
		"jwk":              {map[string]any{"jwk": map[string]string{"kty": "oct", "k": "AA"}}, "jwk"},
		"crit":             {map[string]any{"crit": []string{"exp"}}, "crit"},
	} {
		bad = append(bad, invalid("header: "+name, w.Sign(t, w.Claims(subject, string(scope), nil), c.header), c.why))
	}
	bad = append(bad, w.malformed(t, good)...)
	bad = append(bad, w.missigned(t, subject, string(scope), good)...)
	bad = append(bad, w.revoked(t, subject, scope)...)

	var others []auth.Scope
	for _, a := range auth.Table() {
		if a.Scope != scope && a.Scope != auth.Admin {
			others = append(others, a.Scope)
		}
	}
	return append(bad,
		Bad{"scope missing", []string{"Bearer " + w.Token(t, subject, others...).Text}, auth.Forbidden, "insufficient_scope", "does not allow"},
		Bad{"scope of another case", []string{"Bearer " + w.Sign(t, w.Claims(subject, strings.ToUpper(string(scope)), nil), nil)}, auth.Forbidden, "insufficient_scope", "does not allow"})
}

// invalid is a token that is not good.
func invalid(name, token, why string) Bad {
	return Bad{name, []string{"Bearer " + token}, auth.Unauthenticated, "invalid_token", why}
}

type badClaims struct {
	claims map[string]any
	why    string
}

// claims are sets of claims with one fault each. They are signed as they should be.
func (w *World) claims(subject, scope string) map[string]badClaims {
	now := w.Clock.Now()
	all := map[string]badClaims{}
	for name, c := range map[string]struct {
		claim string
		value any
		why   string
	}{
		"expired":          {"exp", now.Add(-time.Minute).Unix(), "has expired"},
		"expired long ago": {"exp", 1, "has expired"},
		"nbf in future":    {"nbf", now.Add(time.Minute).Unix(), "not good yet"},
		"iat in future":    {"iat", now.Add(time.Minute).Unix(), "not good yet"},
		"wrong aud":        {"aud", "https://other.test", "audience"},
		"many wrong aud":   {"aud", []string{"https://other.test", Audience + "/"}, "audience"},
		"wrong iss":        {"iss", "https://evil.test", "issuer"},
		"iss no string":    {"iss", []string{Issuer}, "issuer"},
		"lives too long":   {"exp", now.Add(25 * time.Hour).Unix(), "longer than"},
		"huge exp":         {"exp", 1e300, "date"},
		"negative nbf":     {"nbf", -1, "date"},
		"exp as words":     {"exp", "tomorrow", "date"},
		"exp null":         {"exp", json.RawMessage("null"), "date"},
		"sub with a space": {"sub", "ann tok_a", "claim"},
		"long sub":         {"sub", strings.Repeat("a", 256), "claim"},
		"jti of another":   {"jti", "1", "claim"},
		"scope list":       {"scope", []string{scope}, "claim"},
		"via list":         {"via", []string{"key_a"}, "claim"},
	} {
		all[name] = badClaims{w.Claims(subject, scope, map[string]any{c.claim: c.value}), c.why}
	}
	for _, claim := range []string{"iss", "aud", "sub", "exp", "nbf", "iat", "jti", "scope"} {
		why := "claim"
		if claim == "iss" {
			why = "issuer"
		}
		all["missing "+claim] = badClaims{w.Claims(subject, scope, map[string]any{claim: nil}), why}
	}
	return all
}

// malformed are no tokens at all.
func (w *World) malformed(t testing.TB, good string) []Bad {
	parts := strings.Split(good, ".")
	huge := w.Sign(t, w.Claims("ann", strings.Repeat("admin ", 2000), nil), nil)
	const no = "no signed JWT"
	return []Bad{
		invalid("empty", "", no),
		invalid("garbage", "garbage", no),
		invalid("three parts of nothing", "..", no),
		invalid("binary", "\x00\xff.\x00.\x00", no),
		invalid("padding", parts[0]+"=."+parts[1]+"."+parts[2], no),
		invalid("two parts", parts[0]+"."+parts[1], no),
		invalid("four parts", good+"."+parts[2], no),
		invalid("two tokens", good+", Bearer "+good, no),
		invalid("1 MB of dots", strings.Repeat(".", 1<<20), "8 KiB"),
		invalid("good but too long", huge, "8 KiB"),
		invalid("header is no object", base64.RawURLEncoding.EncodeToString([]byte(`[1]`))+"."+parts[1]+"."+parts[2], no),
		invalid("deep header", base64.RawURLEncoding.EncodeToString([]byte(strings.Repeat("[", 4000)))+"."+parts[1]+"."+parts[2], no),
	}
}

// Keys of other issuers, made once in a process.
var (
	RSAKey = sync.OnceValue(func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, 2048)) })
	ECKey  = sync.OnceValue(func() *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)) })
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// missigned are tokens whose signature is none of ours, or not over what they say.
func (w *World) missigned(t testing.TB, subject, scope, good string) []Bad {
	t.Helper()
	claims := w.Claims(subject, scope, nil)
	kid := map[string]any{"typ": "at+jwt", "kid": w.KeyID(t)}
	public := w.signs.Public().(ed25519.PublicKey)
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	_, stranger, _ := ed25519.GenerateKey(rand.Reader)
	parts, others := strings.Split(good, "."), strings.Split(w.Token(t, "eve", auth.Admin).Text, ".")
	none := Sign(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, claims, kid)
	const unsigned = "not signed by its key"
	retired := Sign(t, jwt.SigningMethodEdDSA, w.retired, claims, map[string]any{"typ": "at+jwt", "kid": thumbprint(t, w.retired)})
	return []Bad{
		invalid("alg none", none, unsigned),
		invalid("alg none with a signature", none+parts[2], unsigned),
		invalid("alg NONE", recode(t, none, map[string]any{"alg": "NONE"}), "no signed JWT"),
		invalid("no alg", recode(t, none, map[string]any{"alg": nil}), "no signed JWT"),
		invalid("HS256 with the public key", Sign(t, jwt.SigningMethodHS256, []byte(public), claims, kid), unsigned),
		invalid("HS256 with the public key in PEM", Sign(t, jwt.SigningMethodHS256, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), claims, kid), unsigned),
		invalid("RS256 with our kid", Sign(t, jwt.SigningMethodRS256, RSAKey(), claims, kid), "another algorithm"),
		invalid("ES256 with our kid", Sign(t, jwt.SigningMethodES256, ECKey(), claims, kid), "another algorithm"),
		invalid("a stranger's key", Sign(t, jwt.SigningMethodEdDSA, stranger, claims, kid), unsigned),
		invalid("another's claims", parts[0]+"."+others[1]+"."+parts[2], unsigned),
		invalid("half a signature", parts[0]+"."+parts[1]+"."+parts[2][:40], unsigned),
		invalid("no signature", parts[0]+"."+parts[1]+".", unsigned),
		invalid("a key that was retired", retired, "not known"),
	}
}

// revoked are tokens that were good until they, or what they were made of, was revoked.
func (w *World) revoked(t testing.TB, subject string, scope auth.Scope) []Bad {
	t.Helper()
	ctx := context.Background()
	token, maker := w.Token(t, subject, scope), w.Token(t, subject, scope)
	p, err := w.Authority.Verify(ctx, maker.Text)
	if err != nil {
		t.Fatal(err)
	}
	child, err := w.Authority.Create(p, auth.Request{Scopes: Names([]auth.Scope{scope})})
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{token.ID, maker.ID} {
		if err := w.Authority.Revoke(ctx, subject, id); err != nil {
			t.Fatal(err)
		}
	}
	return []Bad{
		invalid("revoked", token.Text, "revoked"),
		invalid("made of one that was revoked", child.Text, "revoked"),
	}
}
