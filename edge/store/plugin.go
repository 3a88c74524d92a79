package store

import (
	"context"

	"github.com/medley-lora/medley/edge/record"
)

var plugins = table[record.Plugin]{"plugins", "plugin", record.PluginID, "id, owner, created, name, version, visibility, digest, size",
	func(row scanner) (p record.Plugin, err error) {
		return p, row.Scan(append(object(&p.Object), &p.Name, &p.Version, &p.Visibility, &p.Digest, &p.Size)...)
	}, record.Plugin.Place}

// CreatePlugin records a plugin. It fills in ID and Created.
func (s *Store) CreatePlugin(ctx context.Context, p record.Plugin, once Once) (record.Plugin, error) {
	err := short(text{"name", p.Name}, text{"owner", p.Owner}, text{"version", p.Version}, text{"digest", p.Digest})
	if err == nil {
		err = known(p.Visibility)
	}
	if err != nil {
		return record.Plugin{}, err
	}
	id := record.NewID(record.PluginID)
	return create(ctx, s, plugins, id, p.Owner, once, func(w tx) error {
		_, err := w.exec("INSERT INTO plugins ("+plugins.columns+") VALUES ($1, $2, "+w.now+", $3, $4, $5, $6, $7)",
			id, p.Owner, p.Name, p.Version, string(p.Visibility), p.Digest, p.Size)
		return err
	})
}

// Plugin reads a plugin of principal's, or one that others share.
func (s *Store) Plugin(ctx context.Context, principal, id string) (record.Plugin, error) {
	return plugins.get(s.read(ctx), id, visible, principal)
}

// Plugins lists the plugins that principal may read.
func (s *Store) Plugins(ctx context.Context, principal string, p Page) (List[record.Plugin], error) {
	return list(ctx, s, plugins, newestFirst, p, visibleInList, principal)
}

// DeletePlugin forgets a plugin of owner's. Its blob stays until nothing refers to it.
func (s *Store) DeletePlugin(ctx context.Context, owner, id string) error {
	return plugins.remove(ctx, s, owner, id)
}
