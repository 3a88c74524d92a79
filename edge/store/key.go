package store

import (
	"context"
	"encoding/hex"

	"github.com/medley-lora/medley/edge/record"
	"github.com/medley-lora/medley/shared/fault"
)

var keys = table[record.Key]{"keys", "key", record.KeyID, "id, owner, created, name, hash, scopes, expires, revoked",
	func(row scanner) (k record.Key, err error) {
		var hash string
		err = row.Scan(append(object(&k.Object), &k.Name, &hash, fromJSON{&k.Scopes}, maybeInstant{&k.Expires}, maybeInstant{&k.Revoked})...)
		if err == nil {
			k.Hash, err = hex.DecodeString(hash)
		}
		return k, err
	}, record.Key.Place}

// CreateKey records an API key. It fills in ID and Created. When once has made it before, the record that comes back has the hash of the
// first secret, not of this one: the secret cannot be shown again.
func (s *Store) CreateKey(ctx context.Context, k record.Key, once Once) (record.Key, error) {
	if err := short(text{"name", k.Name}, text{"owner", k.Owner}); err != nil {
		return record.Key{}, err
	}
	if len(k.Hash) != hashSize {
		return record.Key{}, fault.New(fault.Internal, "", "the hash of a key has %d bytes", len(k.Hash))
	}
	scopes, err := toJSON(k.Scopes)
	if err != nil {
		return record.Key{}, failure(ctx, err)
	}
	id := record.NewID(record.KeyID)
	return create(ctx, s, keys, id, k.Owner, once, func(w tx) error {
		_, err := w.exec("INSERT INTO keys ("+keys.columns+") VALUES ($1, $2, "+w.now+", $3, $4, $5, $6, NULL)",
			id, k.Owner, k.Name, hex.EncodeToString(k.Hash), scopes, maybeMicros(k.Expires))
		return err
	})
}

const hashSize = 32 // bytes, of SHA-256

// KeyByHash reads the key whose secret has that hash, though it may have expired or been revoked: the caller looks.
func (s *Store) KeyByHash(ctx context.Context, hash []byte) (record.Key, error) {
	k, err := one(s.read(ctx), keys.scan, "SELECT "+keys.columns+" FROM keys WHERE hash = $1", hex.EncodeToString(hash))
	return k, found(ctx, keys.kind, err)
}

// Keys lists owner's keys, revoked ones too.
func (s *Store) Keys(ctx context.Context, owner string, p Page) (List[record.Key], error) {
	return list(ctx, s, keys, newestFirst, p, "owner = $1", owner)
}

// RevokeKey ends a key of owner's. A key that has been revoked before keeps its time.
func (s *Store) RevokeKey(ctx context.Context, owner, id string) (k record.Key, err error) {
	err = s.write(ctx, func(w tx) error {
		if _, err := w.exec("UPDATE keys SET revoked = "+w.now+" WHERE id = $1 AND owner = $2 AND revoked IS NULL", id, owner); err != nil {
			return err
		}
		k, err = keys.get(w.querier, id, "owner = $2", owner)
		return err
	})
	return k, err
}
