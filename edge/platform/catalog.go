package platform

import (
	"context"
	"errors"
	"os"

	"github.com/medley-lora/medley/edge/archive"
	"github.com/medley-lora/medley/edge/gateway"
	"github.com/medley-lora/medley/edge/record"
	"github.com/medley-lora/medley/edge/redis"
	"github.com/medley-lora/medley/edge/store"
	"github.com/medley-lora/medley/shared/fault"
)

// System owns what belongs to the platform itself: bases, and the modules that it brings along.
const System = "medley"

// ListBases lists the bases.
func (p *Platform) ListBases(ctx context.Context, _ string, page gateway.Page) (gateway.List[record.Base], error) {
	return listOf(p.Store.Bases(ctx, pageOf(page)))
}

// Base reads a base.
func (p *Platform) Base(ctx context.Context, _, id string) (record.Base, error) {
	return p.Store.Base(ctx, id)
}

// SyncBases records what bases the evaluators have. One whose content has changed is another base under the old name.
func (p *Platform) SyncBases(ctx context.Context) error {
	bases, err := p.Models.Bases(ctx)
	if err != nil {
		return err
	}
	for _, b := range bases {
		known, err := p.Store.BaseNamed(ctx, b.Name)
		switch {
		case err == nil && known.Digest == b.Digest:
			continue
		case err == nil:
			if err := p.Store.DeleteBase(ctx, known.Owner, known.ID); err != nil && fault.CodeOf(err) != fault.NotFound {
				return err
			}
			p.Scores.digests.forget(b.Name)
		case fault.CodeOf(err) != fault.NotFound:
			return err
		}
		_, err = p.Store.CreateBase(ctx, record.Base{Object: record.Object{Owner: System}, Name: b.Name, Digest: b.Digest, Size: b.Size}, store.Once{})
		if err != nil && fault.CodeOf(err) != fault.Invalid { // Invalid: another gateway was faster
			return err
		}
	}
	return nil
}

// ListModules lists and searches modules.
func (p *Platform) ListModules(ctx context.Context, owner, search string, page gateway.Page) (gateway.List[record.Module], error) {
	return listOf(p.Store.Modules(ctx, owner, search, pageOf(page)))
}

// Module reads a module.
func (p *Platform) Module(ctx context.Context, owner, id string) (record.Module, error) {
	return p.Store.Module(ctx, owner, id)
}

// UploadModule receives a module into a folder, checks it, and keeps it as a canonical archive.
func (p *Platform) UploadModule(ctx context.Context, owner string, m gateway.NewModule, files gateway.Files, once string) (none record.Module, err error) {
	upload, err := archive.Receive(p.Uploads, files, p.Limits)
	if err != nil {
		return none, err
	}
	defer func() {
		if closed := upload.Close(); err == nil {
			err = closed
		}
	}()
	size, err := upload.Size()
	if err != nil {
		return none, err
	}
	giveBack, err := p.reserve(ctx, owner, once, redis.Quota{Name: "bytes", Limit: p.Quotas.Bytes}, size)
	if err != nil {
		return none, err
	}
	o, err := onceOf(once, m)
	if err != nil {
		return none, err
	}
	made, err := p.keepModule(ctx, owner, m, upload, o)
	if err != nil {
		giveBack()
	}
	return made, conflict(err)
}

// keepModule stores an upload and records it.
func (p *Platform) keepModule(ctx context.Context, owner string, m gateway.NewModule, upload *archive.Upload, once store.Once) (none record.Module, err error) {
	content := upload.Archive(ctx)
	defer content.Close()
	digest, size, err := p.Blobs.Put(ctx, content, p.Limits.Config+p.Limits.Weights+1<<20)
	if err != nil {
		return none, err
	}
	once.Request = append(once.Request, digest...)
	return p.Store.CreateModule(ctx, record.Module{
		Object: record.Object{Owner: owner}, Name: m.Name, Task: m.Task, Author: m.Author, Licence: m.Licence, Visibility: m.Visibility,
		Digest: digest, Size: size, Base: upload.Base, Rank: upload.Rank, Targets: upload.Targets,
	}, once)
}

// DeleteModule forgets a module. Its content goes when nothing else has it.
func (p *Platform) DeleteModule(ctx context.Context, owner, id string) error {
	return p.Store.DeleteModule(ctx, owner, id)
}

// OpenModule opens a module's archive.
func (p *Platform) OpenModule(ctx context.Context, owner, id string) (gateway.Content, error) {
	m, err := p.Store.Module(ctx, owner, id)
	if err != nil {
		return gateway.Content{}, err
	}
	return p.content(ctx, m.Digest)
}

func (p *Platform) content(ctx context.Context, digest string) (gateway.Content, error) {
	r, err := p.Blobs.Open(ctx, digest)
	if fault.CodeOf(err) == fault.NotFound { // its record is there
		return gateway.Content{}, fault.Wrap(err, fault.Internal, "", "a content is missing")
	}
	if err != nil {
		return gateway.Content{}, err
	}
	return gateway.Content{ReadCloser: r, Digest: digest, Size: r.Size()}, nil
}

func makeFolder(path string) error {
	if path == "" {
		return errors.New("platform: a folder for uploads is needed")
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return fault.Wrap(err, fault.Internal, "", "the folder for uploads cannot be made")
	}
	return nil
}
