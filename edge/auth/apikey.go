package auth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"strings"
	"time"

	"github.com/medley-lora/medley/edge/record"
	"github.com/medley-lora/medley/shared/fault"
)

// An API key is "mdl_" and 56 digits of lower-case base32 (RFC 4648, section 6): 256 random bits and the first 24 of their SHA-256. The
// prefix and the checksum let scanners find a key that was published, and tell a slip of the pen without a look-up. The regular
// expression is mdl_[a-z2-7]{56}.
const (
	keyPrefix   = "mdl_"
	secretBytes = 32
	checkBytes  = 3
	keyLength   = len(keyPrefix) + (secretBytes+checkBytes)*8/5
)

var base32Lower = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// APIKeys finds API keys.
type APIKeys interface {
	// KeyByHash returns the key whose secret has this SHA-256, revoked and expired ones too; fault.NotFound if there is none.
	KeyByHash(ctx context.Context, hash []byte) (record.Key, error)
}

// KeyRequest says what is wanted of an API key.
type KeyRequest struct {
	Name    string     // for its owner; the API bounds it
	Scopes  []string   // by name
	Expires *time.Time // nil for never
}

// NewKey makes an API key of the maker's, with some of the maker's scopes. The secret is shown once and kept by nobody; the record, with
// its hash, is to be stored. The key is good until it expires or is revoked, also when the maker's token is no more. The error is
// fault.Invalid about "scopes" or "expires", or Forbidden for scopes that the maker has not.
func (a *Authority) NewKey(maker Principal, r KeyRequest) (key record.Key, secret string, err error) {
	scopes, err := narrow(maker, r.Scopes)
	if err != nil {
		return record.Key{}, "", err
	}
	now := a.o.Now().UTC()
	if r.Expires != nil && !r.Expires.After(now) {
		return record.Key{}, "", fault.New(fault.Invalid, "expires", "must be in the future")
	}
	secret = newSecret()
	return record.Key{
		Object: record.Object{ID: record.NewID(record.KeyID), Owner: maker.ID, Created: now},
		Name:   r.Name, Hash: hashOf(secret), Scopes: strings.Fields(joined(scopes)), Expires: r.Expires,
	}, secret, nil
}

// Exchange makes a token of an API key: for its owner, with some of its scopes, ending no later than it, and revoked with it. The error
// is Unauthenticated for a secret that is no key's, or a revoked or expired one's, which looks the same; those of Issue; Forbidden for
// scopes that the key has not; and Unavailable.
func (a *Authority) Exchange(ctx context.Context, secret string, r Request) (Token, error) {
	key, how, err := a.keyOf(ctx, secret)
	if err != nil {
		return Token{}, err
	}
	if how != "" {
		a.audit(ctx, key.Owner, LoginFailed, "API key "+strings.TrimSpace(key.ID+" "+how))
		return Token{}, fault.New(Unauthenticated, "key", "is not an API key that is good")
	}
	maker := Principal{ID: key.Owner, Scopes: split(strings.Join(key.Scopes, " ")), Expires: a.o.Now().Add(MaxTTL), Via: []string{key.ID}}
	if key.Expires != nil {
		maker.Expires = *key.Expires
	}
	if len(r.Scopes) == 0 {
		r.Scopes = strings.Fields(joined(maker.Scopes))
	}
	token, err := a.issue(maker, r)
	if fault.CodeOf(err) == Forbidden {
		a.audit(ctx, key.Owner, ScopeDenied, "API key "+key.ID+" was asked for "+strings.Join(r.Scopes, " "))
	}
	return token, err
}

// keyOf finds the key of a secret. how says why it is not good, "" if it is.
func (a *Authority) keyOf(ctx context.Context, secret string) (key record.Key, how string, err error) {
	if !isSecret(secret) {
		return key, "has not the form of one", nil
	}
	if a.o.APIKeys == nil {
		return key, "is not known", nil
	}
	hash := hashOf(secret)
	key, err = a.o.APIKeys.KeyByHash(ctx, hash)
	switch now := a.o.Now(); {
	case fault.CodeOf(err) == fault.NotFound:
		return record.Key{}, "is not known", nil
	case err != nil:
		return record.Key{}, "", unavailable(err, "API keys cannot be looked up")
	case subtle.ConstantTimeCompare(key.Hash, hash) != 1: // whatever the store compares
		return record.Key{}, "is not known", nil
	case key.Revoked != nil:
		return key, "was revoked", nil
	case key.Expires != nil && !key.Expires.After(now):
		return key, "has expired", nil
	}
	return key, "", nil
}

func newSecret() string {
	b := make([]byte, secretBytes, secretBytes+checkBytes)
	rand.Read(b) // never fails
	check := sha256.Sum256(b)
	return keyPrefix + base32Lower.EncodeToString(append(b, check[:checkBytes]...))
}

// isSecret says whether s has the form of an API key.
func isSecret(s string) bool {
	digits, ok := strings.CutPrefix(s, keyPrefix)
	if !ok || len(s) != keyLength {
		return false
	}
	b, err := base32Lower.DecodeString(digits)
	if err != nil || len(b) != secretBytes+checkBytes { // fewer with line breaks, which decoding skips
		return false
	}
	check := sha256.Sum256(b[:secretBytes])
	return subtle.ConstantTimeCompare(check[:checkBytes], b[secretBytes:]) == 1
}

// hashOf is what is kept of a secret. One round will do, because nobody guesses 256 random bits.
func hashOf(secret string) []byte {
	hash := sha256.Sum256([]byte(secret))
	return hash[:]
}
