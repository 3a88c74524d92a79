package store

import (
	"context"

	"github.com/medley-lora/medley/edge/record"
	"github.com/medley-lora/medley/shared/fault"
)

var bases = table[record.Base]{"bases", "base", record.BaseID, "id, owner, created, name, digest, size",
	func(row scanner) (b record.Base, err error) {
		return b, row.Scan(append(object(&b.Object), &b.Name, &b.Digest, &b.Size)...)
	}, record.Base.Place}

// CreateBase records a base model under its name, which is fault.Invalid if another has it. It fills in ID and Created.
func (s *Store) CreateBase(ctx context.Context, b record.Base, once Once) (record.Base, error) {
	if err := short(text{"name", b.Name}, text{"owner", b.Owner}, text{"digest", b.Digest}); err != nil {
		return record.Base{}, err
	}
	id := record.NewID(record.BaseID)
	return create(ctx, s, bases, id, b.Owner, once, func(w tx) error {
		n, err := w.exec("INSERT INTO bases ("+bases.columns+") VALUES ($1, $2, "+w.now+", $3, $4, $5) ON CONFLICT (name) DO NOTHING",
			id, b.Owner, b.Name, b.Digest, b.Size)
		if err == nil && n == 0 {
			return fault.New(fault.Invalid, "name", "is taken by another base")
		}
		return err
	})
}

// Base reads the base called id, whoever registered it.
func (s *Store) Base(ctx context.Context, id string) (record.Base, error) {
	return bases.get(s.read(ctx), id, "TRUE")
}

// BaseNamed reads the base that modules and requests call name.
func (s *Store) BaseNamed(ctx context.Context, name string) (record.Base, error) {
	b, err := one(s.read(ctx), bases.scan, "SELECT "+bases.columns+" FROM bases WHERE name = $1", name)
	return b, found(ctx, bases.kind, err)
}

// Bases lists all bases.
func (s *Store) Bases(ctx context.Context, p Page) (List[record.Base], error) {
	return list(ctx, s, bases, newestFirst, p, "TRUE")
}

// DeleteBase forgets a base of owner.
func (s *Store) DeleteBase(ctx context.Context, owner, id string) error {
	return bases.remove(ctx, s, owner, id)
}
