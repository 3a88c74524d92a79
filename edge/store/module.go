package store

import (
	"context"
	"database/sql"
	"errors"
	"strings"

	"github.com/medley-lora/medley/edge/record"
	"github.com/medley-lora/medley/shared/fault"
)

var modules = table[record.Module]{"modules", "module", record.ModuleID,
	"id, owner, created, name, visibility, digest, size, base, task, author, licence, rank, targets",
	func(row scanner) (m record.Module, err error) {
		return m, row.Scan(append(object(&m.Object), &m.Name, &m.Visibility, &m.Digest, &m.Size, &m.Base, &m.Task, &m.Author, &m.Licence,
			&m.Rank, fromJSON{&m.Targets})...)
	}, record.Module.Place}

// visible is the condition that the principal in $2, or in $1 of a list, may read a record.
const (
	visible       = "(owner = $2 OR visibility = 'shared')"
	visibleInList = "(owner = $1 OR visibility = 'shared')"
)

// CreateModule records a module. It fills in ID and Created.
func (s *Store) CreateModule(ctx context.Context, m record.Module, once Once) (record.Module, error) {
	err := short(text{"name", m.Name}, text{"owner", m.Owner}, text{"digest", m.Digest}, text{"base", m.Base}, text{"task", m.Task},
		text{"author", m.Author}, text{"licence", m.Licence})
	if err == nil {
		err = known(m.Visibility)
	}
	if err != nil {
		return record.Module{}, err
	}
	targets, err := toJSON(m.Targets)
	if err != nil {
		return record.Module{}, failure(ctx, err)
	}
	id := record.NewID(record.ModuleID)
	return create(ctx, s, modules, id, m.Owner, once, func(w tx) error {
		_, err := w.exec("INSERT INTO modules ("+modules.columns+", search) VALUES ($1, $2, "+w.now+", $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
			id, m.Owner, m.Name, string(m.Visibility), m.Digest, m.Size, m.Base, m.Task, m.Author, m.Licence, m.Rank, targets,
			strings.ToLower(m.Name+"\n"+m.Task+"\n"+m.Base))
		return err
	})
}

// Module reads a module of principal's, or one that others share.
func (s *Store) Module(ctx context.Context, principal, id string) (record.Module, error) {
	return modules.get(s.read(ctx), id, visible, principal)
}

// ModuleNamed reads the module that principal means by a name: of several their own newest, or else the oldest that others share, so that nobody
// can take a name over.
func (s *Store) ModuleNamed(ctx context.Context, principal, name string) (record.Module, error) {
	mine, err := one(s.read(ctx), modules.scan, "SELECT "+modules.columns+" FROM modules WHERE name = $1 AND owner = $2 ORDER BY created DESC, id DESC LIMIT 1", name, principal)
	if err == nil || !errors.Is(err, sql.ErrNoRows) {
		return mine, failure(ctx, err)
	}
	shared, err := one(s.read(ctx), modules.scan, "SELECT "+modules.columns+" FROM modules WHERE name = $1 AND visibility = 'shared' ORDER BY created, id LIMIT 1", name)
	return shared, found(ctx, modules.kind, err)
}

// Modules lists the modules that principal may read. With a search text it lists those whose name, task or base contains it, whatever
// the case.
func (s *Store) Modules(ctx context.Context, principal, search string, p Page) (List[record.Module], error) {
	if search == "" {
		return list(ctx, s, modules, newestFirst, p, visibleInList, principal)
	}
	if err := short(text{"search", search}); err != nil {
		return List[record.Module]{}, err
	}
	literal := strings.NewReplacer(`\`, `\\`, "%", `\%`, "_", `\_`).Replace(strings.ToLower(search))
	return list(ctx, s, modules, newestFirst, p, visibleInList+` AND search LIKE $2 ESCAPE '\'`, principal, "%"+literal+"%")
}

// DeleteModule forgets a module of owner's. Its blob stays until nothing refers to it.
func (s *Store) DeleteModule(ctx context.Context, owner, id string) error {
	return modules.remove(ctx, s, owner, id)
}

func known(v record.Visibility) error {
	if v != record.Private && v != record.Shared {
		return fault.New(fault.Invalid, "visibility", "must be %s or %s", record.Private, record.Shared)
	}
	return nil
}
