package auth

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"io/fs"
	"slices"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"

	"github.com/medley-lora/medley/shared/fault"
)

const (
	reread   = 10 * time.Second // a process sees what another did to the folder within this time
	patience = time.Minute      // a folder that cannot be read is done without for this long
	maxKeys  = 64               // in a folder
)

// KeySet is the platform's own key pairs: a folder with one PEM file each (PKCS #8, Ed25519), named by the second of its creation and
// readable by its owner alone. The newest key signs. An older one verifies until every token that it can have signed has expired; a key
// that must not be believed any more is deleted from the folder, and refused from then on. Processes that share the folder see its
// changes within ten seconds. A KeySet is safe for concurrent use.
type KeySet struct {
	folder string
	now    func() time.Time

	mu    sync.Mutex
	pairs []pair    // oldest first
	read  time.Time // when the folder was last read
	tried time.Time // when reading it was last tried
}

// pair is a key pair and since when it signs.
type pair struct {
	kid     string
	private ed25519.PrivateKey
	created time.Time
}

// verifyKey is a public key, with the one algorithm that it is for.
type verifyKey struct {
	algorithm string
	public    any // ed25519.PublicKey, *rsa.PublicKey or *ecdsa.PublicKey
}

// OpenKeySet opens the keys in folder, and creates both on the first start. now is the clock, nil for time.Now. The error is
// fault.Invalid about "keys" for files that are no keys or that others may read, else fault.Internal.
func OpenKeySet(folder string, now func() time.Time) (*KeySet, error) {
	if now == nil {
		now = time.Now
	}
	k := &KeySet{folder: folder, now: now}
	if err := makeFolder(folder); err != nil {
		return nil, err
	}
	pairs, err := readFolder(folder)
	if err != nil {
		return nil, err
	}
	if len(pairs) == 0 {
		if err := k.Rotate(); !errors.Is(err, fs.ErrExist) {
			return k, err
		}
		if pairs, err = readFolder(folder); err != nil { // another process started first, within this second
			return nil, err
		}
	}
	k.pairs, k.read, k.tried = pairs, now(), now()
	return k, nil
}

// Rotate makes a new key, which signs from now on, and deletes those whose last tokens have expired.
func (k *KeySet) Rotate() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	pairs, err := readFolder(k.folder) // another process may have been faster
	if err != nil {
		return err
	}
	pairs, err = k.drop(pairs)
	if err != nil {
		return err
	}
	if len(pairs) >= maxKeys {
		return fault.New(fault.TooLarge, "keys", "%d keys still verify; more would make none safer", len(pairs))
	}
	created := k.now().UTC().Truncate(time.Second)
	if n := len(pairs); n > 0 && !created.After(pairs[n-1].created) { // made within this second, or by a clock that is ahead
		created = pairs[n-1].created.Add(time.Second)
	}
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return fault.Wrap(err, fault.Internal, "keys", "a key cannot be made")
	}
	if err := writeKey(k.folder, created, private); err != nil {
		return err
	}
	fresh, err := newPair(private, created)
	if err != nil {
		return err
	}
	k.pairs, k.read, k.tried = append(pairs, fresh), k.now(), k.now()
	return nil
}

// Age is how long the key that signs has done so.
func (k *KeySet) Age() (time.Duration, error) {
	pairs, err := k.current()
	if err != nil {
		return 0, err
	}
	return k.now().Sub(pairs[len(pairs)-1].created), nil
}

// Public returns the public keys that verify now, the newest first, as JWKs (RFC 7517, RFC 8037) with kid, use and alg.
func (k *KeySet) Public() (jose.JSONWebKeySet, error) {
	var set jose.JSONWebKeySet
	pairs, err := k.current()
	if err != nil {
		return set, err
	}
	for i, p := range slices.Backward(pairs) {
		if k.verifies(pairs, i) {
			set.Keys = append(set.Keys, jose.JSONWebKey{Key: p.private.Public(), KeyID: p.kid, Algorithm: jwt.SigningMethodEdDSA.Alg(), Use: "sig"})
		}
	}
	return set, nil
}

// signer returns the newest key.
func (k *KeySet) signer() (pair, error) {
	pairs, err := k.current()
	if err != nil {
		return pair{}, err
	}
	return pairs[len(pairs)-1], nil
}

// verifier returns the key called kid, and false if there is none or it verifies no more.
func (k *KeySet) verifier(kid string) (verifyKey, bool, error) {
	pairs, err := k.current()
	if err != nil {
		return verifyKey{}, false, err
	}
	i := slices.IndexFunc(pairs, func(p pair) bool { return p.kid == kid })
	if i < 0 || !k.verifies(pairs, i) {
		return verifyKey{}, false, nil
	}
	return verifyKey{jwt.SigningMethodEdDSA.Alg(), pairs[i].private.Public()}, true, nil
}

// verifies says whether tokens of pairs[i] may be alive: of the newest always, of others until the last ones they signed are over. A
// process that has not seen the next key yet signs on for the time of reread.
func (k *KeySet) verifies(pairs []pair, i int) bool {
	return i == len(pairs)-1 || k.now().Before(pairs[i+1].created.Add(MaxTTL+Leeway+reread))
}

// drop deletes the keys that verify no more and returns the others.
func (k *KeySet) drop(pairs []pair) ([]pair, error) {
	for len(pairs) > 0 && !k.verifies(pairs, 0) {
		if err := removeKey(k.folder, pairs[0].created); err != nil {
			return nil, err
		}
		pairs = pairs[1:]
	}
	return pairs, nil
}

// current returns the pairs as the folder has them, at least one. Nobody changes what the slice holds.
func (k *KeySet) current() ([]pair, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.now()
	if since := now.Sub(k.tried); since >= reread || since < 0 { // or the clock went back
		k.tried = now
		pairs, err := readFolder(k.folder)
		if err == nil {
			k.pairs, k.read = pairs, now
		} else if now.Sub(k.read) >= patience {
			k.pairs = nil // a deleted key must not live on because the folder cannot be read
		}
	}
	if len(k.pairs) == 0 {
		return nil, fault.New(Unavailable, "", "the keys that sign tokens cannot be had")
	}
	return k.pairs, nil
}
