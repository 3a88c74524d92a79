package auth_test

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"

	"github.com/medley-lora/medley/edge/auth"
	"github.com/medley-lora/medley/edge/auth/authtest"
	"github.com/medley-lora/medley/shared/fault"
)

const okta = "https://okta.test/oauth2"

// provider is another issuer: an endpoint with keys, which a test can make misbehave.
type provider struct {
	*httptest.Server
	serve atomic.Pointer[http.HandlerFunc]
	asked atomic.Int32
}

var edKey = ed25519.NewKeyFromSeed([]byte("a seed of exactly 32 bytes' size"))

// keySet is what the provider answers unless a test says otherwise.
func keySet(t *testing.T) http.HandlerFunc {
	t.Helper()
	return answer(t, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{
		{Key: edKey.Public(), KeyID: "ed", Use: "sig", Algorithm: "EdDSA"},
		{Key: authtest.RSAKey().Public(), KeyID: "rsa", Use: "sig"},
		{Key: authtest.ECKey().Public(), KeyID: "ec"},
		{Key: authtest.RSAKey().Public(), KeyID: "rs512", Algorithm: "RS512"},
		{Key: authtest.RSAKey().Public(), KeyID: "enc", Use: "enc"},
		{Key: []byte("a shared secret, told to everybody"), KeyID: "oct"},
		{Key: authtest.ECKey(), KeyID: "private"},
	}})
}

func answer(t *testing.T, document any) http.HandlerFunc {
	t.Helper()
	data, err := json.Marshal(document)
	if err != nil {
		t.Fatal(err)
	}
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(data) }
}

// withProvider makes a World that trusts a provider.
func withProvider(t *testing.T) (*authtest.World, *provider) {
	t.Helper()
	p := &provider{}
	p.set(keySet(t))
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.asked.Add(1)
		(*p.serve.Load())(w, r)
	}))
	t.Cleanup(p.Close)
	w := authtest.New(t)
	w.Options.External = []auth.External{{
		Name: "okta", Issuer: okta, Audience: authtest.Audience, JWKS: p.URL + "/keys", Claim: []string{"realm", "groups"},
		Scopes: map[string][]auth.Scope{"staff": {auth.ModulesRead, auth.ComposeRun}, "ops": {auth.Admin}, "guest": nil},
	}}
	var err error
	if w.Authority, err = auth.New(w.Options); err != nil {
		t.Fatal(err)
	}
	return w, p
}

func (p *provider) set(serve http.HandlerFunc) { p.serve.Store(&serve) }

// theirs are the claims of a good token of the provider, with changes.
func theirs(w *authtest.World, changes map[string]any) map[string]any {
	claims := w.Claims("00u1", "", map[string]any{"iss": okta, "scope": nil, "nbf": nil, "jti": "1", "realm": map[string]any{"groups": []any{"staff", "unknown", 7}}})
	maps.Copy(claims, changes)
	maps.DeleteFunc(claims, func(_ string, v any) bool { return v == nil })
	return claims
}

func ed(t *testing.T, w *authtest.World, changes map[string]any) string {
	t.Helper()
	return authtest.Sign(t, jwt.SigningMethodEdDSA, edKey, theirs(w, changes), map[string]any{"kid": "ed"})
}

func TestExternal(t *testing.T) {
	w, p := withProvider(t)
	ctx := context.Background()
	verify := func(text string) (auth.Principal, error) { return w.Authority.Verify(ctx, text) }
	for name, text := range map[string]string{
		"EdDSA": ed(t, w, nil),
		"RS256": authtest.Sign(t, jwt.SigningMethodRS256, authtest.RSAKey(), theirs(w, nil), map[string]any{"kid": "rsa", "typ": "at+JWT"}),
		"ES256": authtest.Sign(t, jwt.SigningMethodES256, authtest.ECKey(), theirs(w, nil), map[string]any{"kid": "ec", "typ": "application/at+jwt"}),
	} {
		who, err := verify(text)
		if err != nil || who.ID != "okta:00u1" || fmt.Sprint(who.Scopes) != "[compose:run modules:read]" || !who.Expires.Equal(w.Clock.Now().Add(time.Hour)) || len(who.Via) != 0 {
			t.Errorf("%s: %+v, %v", name, who, err)
		}
	}
	if n := p.asked.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
	for name, c := range map[string]struct {
		claim any
		want  string
	}{
		"words": {"staff  guest", "[compose:run modules:read]"}, "admin": {[]any{"ops"}, "[admin]"}, "nothing": {"", "[]"},
		"unknown": {[]any{"root", "admin", "modules:read"}, "[]"}, "a number": {7, "[]"}, "an object": {map[string]any{"staff": true}, "[]"}, "guest": {"guest", "[]"},
	} {
		who, err := verify(ed(t, w, map[string]any{"realm": map[string]any{"groups": c.claim}}))
		if got := fmt.Sprint(who.Scopes); err != nil || got != c.want {
			t.Errorf("%s: %s, %v", name, got, err)
		}
	}
	for _, realm := range []any{nil, "staff", []any{"staff"}} {
		if who, err := verify(ed(t, w, map[string]any{"realm": realm})); err != nil || len(who.Scopes) != 0 {
			t.Errorf("%v: %+v, %v", realm, who, err)
		}
	}
}

func TestBadInput_51_External(t *testing.T) {
	w, _ := withProvider(t)
	sign := func(method jwt.SigningMethod, key any, kid string) string {
		return authtest.Sign(t, method, key, theirs(w, nil), map[string]any{"kid": kid})
	}
	change := func(name string, value any) string { return ed(t, w, map[string]any{name: value}) }
	now := w.Clock.Now()
	ours := w.Claims("ann", "admin", nil)
	for name, c := range map[string]struct{ text, why string }{
		"HS256 with the public key":   {sign(jwt.SigningMethodHS256, []byte(edKey.Public().(ed25519.PublicKey)), "ed"), "not signed by its key"},
		"HS256 with the shared key":   {sign(jwt.SigningMethodHS256, []byte("a shared secret, told to everybody"), "oct"), "not signed by its key"},
		"RS512":                       {sign(jwt.SigningMethodRS512, authtest.RSAKey(), "rsa"), "not signed by its key"},
		"PS256":                       {sign(jwt.SigningMethodPS256, authtest.RSAKey(), "rsa"), "not signed by its key"},
		"RS256 with the key of EdDSA": {sign(jwt.SigningMethodRS256, authtest.RSAKey(), "ed"), "another algorithm"},
		"key for another algorithm":   {sign(jwt.SigningMethodRS256, authtest.RSAKey(), "rs512"), "not known"},
		"key for encryption":          {sign(jwt.SigningMethodRS256, authtest.RSAKey(), "enc"), "not known"},
		"key that is no secret":       {sign(jwt.SigningMethodES256, authtest.ECKey(), "private"), "not known"},
		"our kid":                     {sign(jwt.SigningMethodEdDSA, edKey, w.KeyID(t)), "not known"},
		"our issuer with their key":   {authtest.Sign(t, jwt.SigningMethodEdDSA, edKey, ours, map[string]any{"kid": "ed", "typ": "at+jwt"}), "not known"},
		"their issuer with our key":   {w.Sign(t, theirs(w, nil), nil), "not known"},
		"jku":                         {authtest.Sign(t, jwt.SigningMethodEdDSA, edKey, theirs(w, nil), map[string]any{"kid": "ed", "jku": "https://okta.test/keys"}), "jku"},
		"no typ":                      {authtest.Sign(t, jwt.SigningMethodEdDSA, edKey, theirs(w, nil), map[string]any{"kid": "ed", "typ": nil}), "type"},
		"logout token":                {authtest.Sign(t, jwt.SigningMethodEdDSA, edKey, theirs(w, nil), map[string]any{"kid": "ed", "typ": "logout+jwt"}), "type"},
		"no exp":                      {change("exp", nil), "lacks"},
		"expired":                     {change("exp", now.Add(-time.Minute).Unix()), "expired"},
		"two days":                    {change("exp", now.Add(48*time.Hour).Unix()), "longer than"},
		"nbf in future":               {change("nbf", now.Add(time.Minute).Unix()), "not good yet"},
		"iat in future":               {change("iat", now.Add(time.Minute).Unix()), "not good yet"},
		"another audience":            {change("aud", "client"), "audience"},
		"no audience":                 {change("aud", nil), "lacks"},
		"no subject":                  {change("sub", nil), "subject"},
		"subject with a space":        {change("sub", "a tok_b"), "subject"},
		"long subject":                {change("sub", strings.Repeat("a", 251)), "subject"},
		"issuer with a slash":         {change("iss", okta+"/"), "not trusted"},
	} {
		if who, err := w.Authority.Verify(context.Background(), c.text); fault.CodeOf(err) != auth.Unauthenticated || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: %+v, %v", name, who, err)
		}
	}
}

// TestExternalRevocation is about token names that another issuer chooses.
func TestExternalRevocation(t *testing.T) {
	w, _ := withProvider(t)
	ctx := context.Background()
	ours := w.Token(t, "okta:00u1", auth.Admin) // as made of an API key of that principal
	names := map[string]string{}
	for name, text := range map[string]string{
		"one": ed(t, w, nil), "two": ed(t, w, map[string]any{"jti": "2"}), "none": ed(t, w, map[string]any{"jti": nil}), "other none": ed(t, w, map[string]any{"jti": nil, "x": 1}),
		"number": ed(t, w, map[string]any{"jti": 1}), "ours": ed(t, w, map[string]any{"jti": ours.ID}),
	} {
		who, err := w.Authority.Verify(ctx, text)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if other, has := names[who.TokenID]; has || who.TokenID == ours.ID || len(who.TokenID) != len(ours.ID) {
			t.Errorf("%s and %q are both called %s", name, other, who.TokenID)
		}
		names[who.TokenID] = name
		if err := w.Authority.Revoke(ctx, who.ID, who.TokenID); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Authority.Verify(ctx, text); fault.CodeOf(err) != auth.Unauthenticated {
			t.Errorf("%s was revoked: %v", name, err)
		}
	}
	if _, err := w.Authority.Verify(ctx, ours.Text); err != nil {
		t.Errorf("our token is revoked with one that took its name: %v", err)
	}
}

func TestBadExternals(t *testing.T) {
	w := authtest.New(t)
	good := auth.External{Name: "okta", Issuer: okta, Audience: "medley", JWKS: "https://okta.test/keys", Claim: []string{"scope"}}
	for want, change := range map[string]func(*auth.External){
		"":                                    func(*auth.External) {},
		"external issuer : name":              func(e *auth.External) { e.Name = "" },
		"external issuer a:b: name":           func(e *auth.External) { e.Name = "a:b" },
		"external issuer okta: there is":      func(e *auth.External) { e.Issuer = authtest.Issuer },
		"external issuer okta: issuer":        func(e *auth.External) { e.Issuer = "" },
		"external issuer okta: audience":      func(e *auth.External) { e.Audience = "" },
		"external issuer okta: claim":         func(e *auth.External) { e.Claim = nil },
		"external issuer okta: scopes: there": func(e *auth.External) { e.Scopes = map[string][]auth.Scope{"a": {"root"}} },
	} {
		e := good
		change(&e)
		w.Options.External = []auth.External{e}
		if _, err := auth.New(w.Options); (err == nil) != (want == "") || err != nil && (fault.CodeOf(err) != fault.Invalid || !strings.HasPrefix(err.Error(), want)) {
			t.Errorf("%s: %v", want, err)
		}
	}
	for _, twin := range []auth.External{{Name: "okta", Issuer: "https://b.test"}, {Name: "b", Issuer: okta}} {
		twin.Audience, twin.JWKS, twin.Claim = good.Audience, good.JWKS, good.Claim
		w.Options.External = []auth.External{good, twin}
		if _, err := auth.New(w.Options); fault.CodeOf(err) != fault.Invalid {
			t.Errorf("twin %s: %v", twin.Name, err)
		}
	}
	for address, ok := range map[string]bool{
		"https://okta.test/keys": true, "http://127.0.0.1:8080/keys": true, "http://[::1]/keys": true, "http://localhost/keys": true, "https://10.0.0.1/keys": true,
		"http://okta.test/keys": false, "http://169.254.169.254/": false, "http://127.0.0.1.evil.test/": false, "http://localhost.evil.test/": false, "file:///etc/passwd": false,
		"gopher://okta.test": false, "": false, "okta.test/keys": false, "https:///keys": false, "https://a:b@okta.test/": false, "http://127.0.0.1@evil.test/": false, "https://okta.test/#a": false, "http://0x7f.1/": false, "://": false,
	} {
		e := good
		e.JWKS = address
		w.Options.External = []auth.External{e}
		if _, err := auth.New(w.Options); (err == nil) != ok {
			t.Errorf("%q: %v", address, err)
		}
	}
}

// TestExternalRotation has the provider give a key's name to another key: a token that was good before is so no more.
func TestExternalRotation(t *testing.T) {
	w, p := withProvider(t)
	text := ed(t, w, nil)
	for range 2 {
		if _, err := w.Authority.Verify(context.Background(), text); err != nil {
			t.Fatal(err)
		}
	}
	other := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	p.set(answer(t, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: other.Public(), KeyID: "ed"}}}))
	w.Clock.Move(10 * time.Minute)
	unknown := authtest.Sign(t, jwt.SigningMethodEdDSA, edKey, theirs(w, nil), map[string]any{"kid": "new"})
	if _, err := w.Authority.Verify(context.Background(), unknown); fault.CodeOf(err) != auth.Unauthenticated { // has waited for the new keys
		t.Fatal(err)
	}
	if _, err := w.Authority.Verify(context.Background(), text); !strings.Contains(fmt.Sprint(err), "not signed by its key") {
		t.Errorf("a token of the key before: %v", err)
	}
}

// TestManyAskOnce has a hundred requests wait for one answer.
func TestManyAskOnce(t *testing.T) {
	w, p := withProvider(t)
	text := ed(t, w, nil)
	slow := keySet(t)
	p.set(func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(50 * time.Millisecond)
		slow(w, r)
	})
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			if _, err := w.Authority.Verify(context.Background(), text); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := p.asked.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
}
