// Package authtest is for tests of what stands behind the door: an authority with everything in memory, tokens that are good, and one of
// each kind that is not.
package authtest

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/medley-lora/medley/edge/auth"
	"github.com/medley-lora/medley/edge/record"
	"github.com/medley-lora/medley/shared/fault"
)

// Names of the World.
const (
	Issuer   = "https://medley.test"
	Audience = "https://medley.test/v1"
)

// World is an authority and what it asks. Its key folder holds the key that signs and, since two days, one that verifies no more.
type World struct {
	Authority   *auth.Authority
	Options     auth.Options // that the authority was made of
	Keys        *auth.KeySet
	Folder      string // of the keys
	Clock       *Clock
	Revocations *Revocations
	APIKeys     *APIKeys
	Audits      *Audits

	signs, retired ed25519.PrivateKey
}

// New makes a World in a temporary folder.
func New(t testing.TB) *World {
	t.Helper()
	w := &World{
		Folder: t.TempDir(), Clock: &Clock{now: time.Now().Truncate(time.Second)},
		Revocations: &Revocations{}, APIKeys: &APIKeys{}, Audits: &Audits{},
	}
	w.retired = WriteKey(t, w.Folder, w.Clock.Now().Add(-72*time.Hour))
	w.signs = WriteKey(t, w.Folder, w.Clock.Now().Add(-48*time.Hour))
	var err error
	if w.Keys, err = auth.OpenKeySet(w.Folder, w.Clock.Now); err != nil {
		t.Fatal(err)
	}
	w.Options = auth.Options{
		Issuer: Issuer, Audience: Audience, Keys: w.Keys, Revocations: w.Revocations, APIKeys: w.APIKeys, Auditor: w.Audits, Now: w.Clock.Now,
	}
	if w.Authority, err = auth.New(w.Options); err != nil {
		t.Fatal(err)
	}
	return w
}

// Token makes a token that is good for an hour.
func (w *World) Token(t testing.TB, subject string, scopes ...auth.Scope) auth.Token {
	t.Helper()
	token, err := w.Authority.Issue(subject, auth.Request{Scopes: Names(scopes)})
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// Names returns the names of scopes.
func Names(scopes []auth.Scope) []string {
	names := make([]string, len(scopes))
	for i, s := range scopes {
		names[i] = string(s)
	}
	return names
}

// Claims are those of a good token, with changes: a value of nil leaves the claim out.
func (w *World) Claims(subject string, scopes string, changes map[string]any) map[string]any {
	now := w.Clock.Now()
	claims := map[string]any{
		"iss": Issuer, "aud": Audience, "sub": subject, "jti": record.NewID("tok"), "scope": scopes,
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(time.Hour).Unix(),
	}
	maps.Copy(claims, changes)
	maps.DeleteFunc(claims, func(_ string, v any) bool { return v == nil })
	return claims
}

// Sign makes a token of claims as the authority does, with the key that signs, and changes to its header: nil leaves a parameter out.
func (w *World) Sign(t testing.TB, claims, header map[string]any) string {
	t.Helper()
	all := map[string]any{"typ": "at+jwt", "kid": w.KeyID(t)}
	maps.Copy(all, header)
	return Sign(t, jwt.SigningMethodEdDSA, w.signs, claims, all)
}

// KeyID is the name of the key that signs.
func (w *World) KeyID(t testing.TB) string {
	t.Helper()
	set, err := w.Keys.Public()
	if err != nil {
		t.Fatal(err)
	}
	return set.Keys[0].KeyID
}

// Sign makes a token with any method, key, claims and header.
func Sign(t testing.TB, method jwt.SigningMethod, key any, claims, header map[string]any) string {
	t.Helper()
	token := jwt.NewWithClaims(method, jwt.MapClaims(claims))
	maps.Copy(token.Header, header)
	maps.DeleteFunc(token.Header, func(_ string, v any) bool { return v == nil })
	text, err := token.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// WriteKey puts a new key into the folder of a KeySet, as if it had been made at created.
func WriteKey(t testing.TB, folder string, created time.Time) ed25519.PrivateKey {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	name := created.UTC().Format("20060102T150405Z.pem")
	if err := os.WriteFile(filepath.Join(folder, name), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return private
}

// Clock stands still until it is moved.
type Clock struct {
	mu  sync.Mutex
	now time.Time
}

// Now is the time it shows.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Move moves it, back too.
func (c *Clock) Move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// APIKeys keeps API keys in memory.
type APIKeys struct {
	Err error // every look-up fails with it, unless nil

	mu   sync.Mutex
	keys map[string]record.Key
}

// Put keeps a key, in place of the one with its hash.
func (k *APIKeys) Put(key record.Key) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.keys == nil {
		k.keys = map[string]record.Key{}
	}
	k.keys[string(key.Hash)] = key
}

// KeyByHash implements auth.APIKeys.
func (k *APIKeys) KeyByHash(_ context.Context, hash []byte) (record.Key, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	key, ok := k.keys[string(hash)]
	switch {
	case k.Err != nil:
		return record.Key{}, k.Err
	case !ok:
		return record.Key{}, fault.New(fault.NotFound, "key", "there is no such key")
	}
	return key, nil
}

// Audits is an auth.Auditor that keeps what it is told.
type Audits struct {
	mu     sync.Mutex
	events []record.Audit
}

// Audit implements auth.Auditor.
func (a *Audits) Audit(_ context.Context, event record.Audit) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.events = append(a.events, event)
}

// Take returns what was told since the last call.
func (a *Audits) Take() []record.Audit {
	a.mu.Lock()
	defer a.mu.Unlock()
	events := a.events
	a.events = nil
	return events
}
