package auth_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/medley-lora/medley/edge/auth"
	"github.com/medley-lora/medley/edge/auth/authtest"
	"github.com/medley-lora/medley/edge/record"
	"github.com/medley-lora/medley/shared/fault"
)

func TestMemoryRevocations(t *testing.T) {
	authtest.TestRevocations(t, func(*testing.T) auth.Revocations { return &authtest.Revocations{} })
}

func TestTable(t *testing.T) {
	for _, a := range auth.Table() {
		scopes, err := auth.ParseScopes([]string{string(a.Scope), string(a.Scope)})
		if err != nil || len(scopes) != 1 || scopes[0] != a.Scope || a.Allows == "" {
			t.Errorf("%+v: %v, %v", a, scopes, err)
		}
		for _, b := range auth.Table() {
			p := auth.Principal{Scopes: []auth.Scope{b.Scope}}
			if want := a.Scope == b.Scope || b.Scope == auth.Admin; p.Allows(a.Scope) != want {
				t.Errorf("%s allows %s: %v", b.Scope, a.Scope, !want)
			}
		}
		if (auth.Principal{}).Allows(a.Scope) {
			t.Errorf("nobody may do %s", a.Scope)
		}
	}
	for _, bad := range []string{"", "modules", "modules:read ", "Admin", "public", strings.Repeat("a", 1<<20)} {
		if _, err := auth.ParseScopes([]string{"admin", bad}); fault.CodeOf(err) != fault.Invalid || len(err.Error()) > 100 {
			t.Errorf("%.20q: %.200v", bad, err)
		}
	}
}

func TestOptions(t *testing.T) {
	w := authtest.New(t)
	for field, change := range map[string]func(*auth.Options){
		"issuer":      func(o *auth.Options) { o.Issuer = "" },
		"keys":        func(o *auth.Options) { o.Keys = nil },
		"revocations": func(o *auth.Options) { o.Revocations = nil },
	} {
		o := w.Options
		change(&o)
		if _, err := auth.New(o); fault.CodeOf(err) != fault.Invalid || !strings.HasPrefix(err.Error(), field) {
			t.Errorf("%s: %v", field, err)
		}
	}
	// The least that will do, with the real clock.
	a, err := auth.New(auth.Options{Issuer: "medley", Keys: w.Keys, Revocations: w.Revocations})
	if err != nil {
		t.Fatal(err)
	}
	token, err := a.Issue("ann", auth.Request{Scopes: []string{"admin"}})
	if err != nil {
		t.Fatal(err)
	}
	if p, err := a.Verify(context.Background(), token.Text); err != nil || p.ID != "ann" {
		t.Errorf("%+v, %v", p, err)
	}
	if _, err := w.Authority.Verify(context.Background(), token.Text); fault.CodeOf(err) != auth.Unauthenticated {
		t.Errorf("another platform with the same key: %v", err)
	}
	if err := a.Revoke(context.Background(), "ann", token.ID); err != nil { // without an auditor
		t.Error(err)
	}
}

func TestIssue(t *testing.T) {
	w := authtest.New(t)
	request := func(ttl time.Duration, scopes ...string) auth.Request { return auth.Request{Scopes: scopes, TTL: ttl} }
	for name, c := range map[string]struct {
		subject string
		request auth.Request
		ttl     time.Duration // of the token
		wrong   string        // the field at fault
	}{
		"default":              {"ann", request(0, "admin"), time.Hour, ""},
		"a second":             {"ann", request(time.Second, "admin"), time.Second, ""},
		"a fraction":           {"ann", request(1900*time.Millisecond, "admin"), time.Second, ""},
		"a day":                {"ann", request(24*time.Hour, "admin"), 24 * time.Hour, ""},
		"of another issuer":    {"okta:00u1", request(0, "admin"), time.Hour, ""},
		"longest subject":      {strings.Repeat("a", 255), request(0, "admin"), time.Hour, ""},
		"more than a day":      {"ann", request(24*time.Hour+1, "admin"), 0, "ttl"},
		"less than a second":   {"ann", request(999*time.Millisecond, "admin"), 0, "ttl"},
		"negative":             {"ann", request(-time.Hour, "admin"), 0, "ttl"},
		"no scopes":            {"ann", request(0), 0, "scopes"},
		"unknown scope":        {"ann", request(0, "admin", "root"), 0, "scopes"},
		"nobody":               {"", request(0, "admin"), 0, "subject"},
		"subject with a space": {"ann b", request(0, "admin"), 0, "subject"},
		"subject with a tab":   {"ann\tb", request(0, "admin"), 0, "subject"},
		"subject in Unicode":   {"änn", request(0, "admin"), 0, "subject"},
		"long subject":         {strings.Repeat("a", 256), request(0, "admin"), 0, "subject"},
	} {
		token, err := w.Authority.Issue(c.subject, c.request)
		if c.wrong != "" {
			if fault.CodeOf(err) != fault.Invalid || !strings.HasPrefix(err.Error(), c.wrong) || token.Text != "" {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		p, verr := w.Authority.Verify(context.Background(), token.Text)
		if err != nil || verr != nil || p.ID != c.subject || p.TokenID != token.ID || !p.Expires.Equal(w.Clock.Now().Add(c.ttl)) || len(p.Via) != 0 {
			t.Errorf("%s: %+v, %v, %v", name, p, err, verr)
		}
	}
}

// TestClaims reads a token with another eye than ours: the library's, without our checks.
func TestClaims(t *testing.T) {
	w := authtest.New(t)
	token := w.Token(t, "ann", auth.ModulesRead, auth.ComposeRun)
	set, err := w.Keys.Public()
	if err != nil {
		t.Fatal(err)
	}
	claims := jwt.MapClaims{}
	parsed, err := jwt.ParseWithClaims(token.Text, claims, func(*jwt.Token) (any, error) { return set.Keys[0].Key, nil })
	if err != nil {
		t.Fatal(err)
	}
	now := float64(w.Clock.Now().Unix())
	if h := parsed.Header; len(h) != 3 || h["alg"] != "EdDSA" || h["typ"] != "at+jwt" || h["kid"] != set.Keys[0].KeyID {
		t.Errorf("header %v", h)
	}
	for claim, want := range map[string]any{
		"iss": authtest.Issuer, "aud": authtest.Audience, "sub": "ann", "jti": token.ID, "scope": "compose:run modules:read",
		"iat": now, "nbf": now, "exp": now + 3600,
	} {
		if claims[claim] != want {
			t.Errorf("%s is %v, want %v", claim, claims[claim], want)
		}
	}
	if len(claims) != 8 || !record.IsID("tok", token.ID) {
		t.Errorf("claims %v", claims)
	}
}

func TestCreate(t *testing.T) {
	w := authtest.New(t)
	ctx := context.Background()
	verify := func(token auth.Token) auth.Principal {
		t.Helper()
		p, err := w.Authority.Verify(ctx, token.Text)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	maker := verify(w.Token(t, "ann", auth.TokensWrite, auth.ModulesRead))
	for name, scopes := range map[string][]string{"another": {"compose:run"}, "one more": {"modules:read", "modules:write"}, "admin": {"admin"}} {
		if _, err := w.Authority.Create(maker, auth.Request{Scopes: scopes}); fault.CodeOf(err) != auth.Forbidden {
			t.Errorf("%s: %v", name, err)
		}
	}

	w.Clock.Move(50 * time.Minute) // ten minutes are left
	child, err := w.Authority.Create(maker, auth.Request{Scopes: []string{"modules:read"}, TTL: auth.MaxTTL})
	if err != nil {
		t.Fatal(err)
	}
	if p := verify(child); p.ID != "ann" || !p.Expires.Equal(maker.Expires) || !slices.Equal(p.Via, []string{maker.TokenID}) || len(p.Scopes) != 1 {
		t.Errorf("%+v of %+v", p, maker)
	}
	w.Clock.Move(10 * time.Minute) // within the leeway, but nothing is left to give
	if _, err := w.Authority.Create(maker, auth.Request{Scopes: []string{"modules:read"}}); fault.CodeOf(err) != auth.Unauthenticated {
		t.Errorf("of one that has expired: %v", err)
	}

	p := verify(w.Token(t, "root", auth.Admin))
	family := []auth.Principal{p}
	for {
		token, err := w.Authority.Create(p, auth.Request{Scopes: []string{"admin"}})
		if err != nil {
			if fault.CodeOf(err) != auth.Forbidden || len(family) != 5 {
				t.Errorf("after %d: %v", len(family), err)
			}
			break
		}
		p = verify(token)
		family = append(family, p)
	}
	var siblings []auth.Token
	for range 2 { // that share a maker do not share their lines
		token, err := w.Authority.Create(family[2], auth.Request{Scopes: []string{"admin"}})
		if err != nil {
			t.Fatal(err)
		}
		siblings = append(siblings, token)
	}
	if err := w.Authority.Revoke(ctx, "root", siblings[0].ID); err != nil {
		t.Fatal(err)
	}
	verify(siblings[1])
}

func TestRevoke(t *testing.T) {
	w := authtest.New(t)
	ctx := context.Background()
	token := w.Token(t, "ann", auth.Admin)
	for name, c := range map[string]struct{ owner, id string }{
		"another's token": {"eve", token.ID}, "no token": {"ann", "tok_none"}, "a part": {"ann", token.ID[:10]}, "an owner that is none": {"ann.", token.ID},
	} {
		if err := w.Authority.Revoke(ctx, c.owner, c.id); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := w.Authority.Verify(ctx, token.Text); err != nil {
			t.Errorf("%s revokes it: %v", name, err)
		}
	}
	for _, c := range [][2]string{{"", token.ID}, {"ann", ""}, {"ann b", "c"}, {"ann", strings.Repeat("a", 256)}} {
		if err := w.Authority.Revoke(ctx, c[0], c[1]); fault.CodeOf(err) != fault.Invalid {
			t.Errorf("%.20q: %v", c, err)
		}
	}
	w.Audits.Take()
	canceled, cancel := context.WithCancel(auth.WithAddress(ctx, "192.0.2.7"))
	cancel()
	if err := w.Authority.Revoke(canceled, "ann", token.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Authority.Verify(ctx, token.Text); fault.CodeOf(err) != auth.Unauthenticated {
		t.Errorf("revoked: %v", err)
	}
	if e := w.Audits.Take(); len(e) != 1 || e[0].Action != auth.Revoked || e[0].Principal != "ann" || e[0].Detail != token.ID || e[0].Address != "192.0.2.7" || !e[0].Time.Equal(w.Clock.Now()) {
		t.Errorf("audited: %+v", e)
	}
}

// TestAPIKeys exchanges keys that are good and that are not.
func TestAPIKeys(t *testing.T) {
	w := authtest.New(t)
	ctx := auth.WithAddress(context.Background(), "192.0.2.7")
	maker := auth.Principal{ID: "ann", Scopes: []auth.Scope{auth.ModulesRead, auth.ComposeRun, auth.TokensWrite}}
	now := w.Clock.Now()
	at := func(d time.Duration) *time.Time { then := now.Add(d); return &then }
	create := func(change func(*record.Key)) (record.Key, string) {
		t.Helper()
		key, secret, err := w.Authority.NewKey(maker, auth.KeyRequest{Name: "laptop", Scopes: []string{"modules:read", "compose:run"}, Expires: at(90 * time.Minute)})
		if err != nil {
			t.Fatal(err)
		}
		if change != nil {
			change(&key)
		}
		w.APIKeys.Put(key)
		return key, secret
	}
	key, secret := create(nil)
	if !record.IsID(record.KeyID, key.ID) || key.Owner != "ann" || key.Name != "laptop" || len(key.Hash) != 32 || fmt.Sprint(key.Scopes) != "[compose:run modules:read]" || !key.Created.Equal(now) || strings.Contains(fmt.Sprint(key), secret[4:]) {
		t.Errorf("%+v", key)
	}
	token, err := w.Authority.Exchange(ctx, secret, auth.Request{})
	if err != nil {
		t.Fatal(err)
	}
	p, err := w.Authority.Verify(ctx, token.Text)
	if err != nil || p.ID != "ann" || fmt.Sprint(p.Scopes) != "[compose:run modules:read]" || !slices.Equal(p.Via, []string{key.ID}) || !p.Expires.Equal(now.Add(time.Hour)) {
		t.Errorf("%+v, %v", p, err)
	}
	if long, err := w.Authority.Exchange(ctx, secret, auth.Request{Scopes: []string{"modules:read"}, TTL: auth.MaxTTL}); err != nil || !long.Expires.Equal(*key.Expires) || len(long.Scopes) != 1 {
		t.Errorf("%+v, %v", long, err)
	}
	if e := w.Audits.Take(); len(e) != 0 {
		t.Errorf("audited: %+v", e)
	}
	if _, err := w.Authority.Exchange(ctx, secret, auth.Request{Scopes: []string{"tokens:write"}}); fault.CodeOf(err) != auth.Forbidden {
		t.Errorf("a scope that the key has not: %v", err)
	}
	if e := w.Audits.Take(); len(e) != 1 || e[0].Action != auth.ScopeDenied || e[0].Principal != "ann" {
		t.Errorf("audited: %+v", e)
	}

	_, revoked := create(func(k *record.Key) { k.Revoked = at(-time.Second) })
	_, expired := create(func(k *record.Key) { k.Expires = at(0) })
	_, strange := create(func(k *record.Key) { k.Hash = slices.Clone(k.Hash); k.Hash[31] ^= 1 })
	sentence := ""
	for name, secret := range map[string]string{
		"revoked": revoked, "expired": expired, "unknown": strange, "empty": "", "prefix": "mdl_", "garbage": "garbage",
		"upper case": strings.ToUpper(secret), "cut": secret[:len(secret)-1], "longer": secret + "a", "slip": flip(secret), "line break": secret[:30] + "\n" + secret[31:],
		"1 MB": strings.Repeat("a", 1<<20), "a token": token.Text,
	} {
		_, err := w.Authority.Exchange(ctx, secret, auth.Request{})
		if fault.CodeOf(err) != auth.Unauthenticated || sentence != "" && err.Error() != sentence {
			t.Errorf("%s: %v, and another is answered %s", name, err, sentence)
		}
		sentence = err.Error()
		if e := w.Audits.Take(); len(e) != 1 || e[0].Action != auth.LoginFailed || e[0].Address != "192.0.2.7" || len(e[0].Detail) > 100 || (e[0].Principal == "ann") != (name == "revoked" || name == "expired") {
			t.Errorf("%s is audited: %+v", name, e)
		}
	}

	w.APIKeys.Err = errors.New("database is locked")
	if _, err := w.Authority.Exchange(ctx, secret, auth.Request{}); fault.CodeOf(err) != auth.Unavailable || strings.Contains(err.Error(), "locked") {
		t.Error(err)
	}
	w.APIKeys.Err = nil
	if err := w.Authority.Revoke(ctx, "ann", key.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Authority.Verify(ctx, token.Text); fault.CodeOf(err) != auth.Unauthenticated {
		t.Errorf("a token of a key that was revoked: %v", err)
	}
}

// flip changes one digit of a secret.
func flip(secret string) string {
	digit := byte('a')
	if secret[20] == 'a' {
		digit = 'b'
	}
	return secret[:20] + string(digit) + secret[21:]
}

// wrongKeys answers with a key that was not asked for.
type wrongKeys struct{ key record.Key }

func (w wrongKeys) KeyByHash(context.Context, []byte) (record.Key, error) { return w.key, nil }

func TestNewKeyIsRefused(t *testing.T) {
	w := authtest.New(t)
	maker := auth.Principal{ID: "ann", Scopes: []auth.Scope{auth.TokensWrite}}
	past := w.Clock.Now()
	for name, c := range map[string]struct {
		request auth.KeyRequest
		code    fault.Code
	}{
		"a scope that the maker has not": {auth.KeyRequest{Scopes: []string{"admin"}}, auth.Forbidden},
		"unknown scope":                  {auth.KeyRequest{Scopes: []string{"root"}}, fault.Invalid},
		"no scope":                       {auth.KeyRequest{}, fault.Invalid},
		"expired":                        {auth.KeyRequest{Scopes: []string{"tokens:write"}, Expires: &past}, fault.Invalid},
	} {
		if key, secret, err := w.Authority.NewKey(maker, c.request); fault.CodeOf(err) != c.code || secret != "" || key.Hash != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	key, _, err := w.Authority.NewKey(maker, auth.KeyRequest{Scopes: []string{"tokens:write"}})
	if err != nil {
		t.Fatal(err)
	}
	_, secret, err := w.Authority.NewKey(maker, auth.KeyRequest{Scopes: []string{"tokens:write"}})
	if err != nil {
		t.Fatal(err)
	}
	for name, keys := range map[string]auth.APIKeys{"none": nil, "a careless store": wrongKeys{key}} {
		o := w.Options
		o.APIKeys = keys
		a, err := auth.New(o)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := a.Exchange(context.Background(), secret, auth.Request{}); fault.CodeOf(err) != auth.Unauthenticated {
			t.Errorf("%s: %v", name, err)
		}
	}
}
