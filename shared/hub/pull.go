package hub

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/medley-lora/medley/shared/fault"
)

// Snapshot is what of a repository is on this machine.
type Snapshot struct {
	Name       Name
	Commit     string
	Folder     string   // with the files under their own names
	Path       string   // what to open: Folder, or the GGUF file in it
	Files      []File   // that were asked for, all there
	Downloaded int64    // bytes that were not there before
	Notes      []string // remarks for people, about the repository
}

// Progress is how far a pull is.
type Progress struct {
	Files, Done  int
	Bytes, Total int64 // of what is missing; grows as repositories are listed
	File         string
}

// tally counts the progress of many transfers.
type tally struct {
	mu      sync.Mutex
	p       Progress
	observe func(Progress)
}

func (t *tally) expect(files int, bytes int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.p.Files += files
	t.p.Total += bytes
}

func (t *tally) add(f File, bytes int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.p.Bytes += bytes
	t.p.File = f.Path
	if t.observe != nil {
		t.observe(t.p)
	}
}

func (t *tally) done(f File) {
	t.mu.Lock()
	t.p.Done++
	t.mu.Unlock()
	t.add(f, 0)
}

// PullAll brings repositories into the cache, several at once, and returns their snapshots in the order of names. observe is told of
// progress, by one goroutine at a time; it may be nil. The first error ends all; what has come until then stays, and is not asked for again.
// A Hub that cannot be reached is no error where the cache has what is wanted.
func (c *Client) PullAll(ctx context.Context, names []Name, want Want, observe func(Progress)) ([]*Snapshot, error) {
	t := &tally{observe: observe}
	all := make([]*Snapshot, len(names))
	err := c.together(ctx, len(names), c.config.Workers, func(ctx context.Context, i int) error {
		var err error
		all[i], err = c.pull(ctx, names[i], want, t)
		return err
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

// together calls f for 0 to n-1, some at once, and returns the first error, which ends the rest.
func (c *Client) together(ctx context.Context, n, atOnce int, f func(ctx context.Context, i int) error) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	turns := make(chan struct{}, max(1, atOnce))
	var group sync.WaitGroup
	var once sync.Once
	var first error
	for i := range n {
		group.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			err := ctx.Err()
			if err == nil {
				err = f(ctx, i)
			}
			if err != nil {
				once.Do(func() { first = err; stop(err) })
			}
		})
	}
	group.Wait()
	if first != nil && errors.Is(first, context.Canceled) && fault.CodeOf(first) != fault.Canceled {
		return fault.Wrap(first, fault.Canceled, "", "canceled")
	}
	return first
}

func (c *Client) pull(ctx context.Context, n Name, want Want, t *tally) (*Snapshot, error) {
	s := c.storage(n.Repo)
	commit, all, err := c.look(ctx, s, n)
	if err != nil {
		return c.fallBack(ctx, s, n, want, err)
	}
	chosen, err := choose(all, n, want)
	if err != nil {
		return nil, fault.In(n.String(), err)
	}
	snapshot := &Snapshot{Name: n, Commit: commit, Folder: s.snapshot(commit), Notes: chosen.notes}
	if err := c.fetchAll(ctx, s, snapshot, chosen.files, t); err != nil {
		return nil, err
	}
	if chosen.index != "" {
		index, err := readSmall(s.pointer(commit, chosen.index), c.limits.json)
		if err != nil {
			return nil, diskFault(n.String(), err)
		}
		more, err := shards(index, chosen.index, all)
		if err != nil {
			return nil, fault.In(n.String(), err)
		}
		if err := c.fetchAll(ctx, s, snapshot, more, t); err != nil {
			return nil, err
		}
	}
	// Last, so that offline a revision never means a snapshot with less in it than the one before.
	if err := s.remember(n.revision(), commit); err != nil && snapshot.Downloaded > 0 {
		return nil, diskFault(n.String(), err)
	}
	return snapshot.open(), nil
}

// open decides what of the snapshot is opened.
func (s *Snapshot) open() *Snapshot {
	s.Path = s.Folder
	if s.Name.File != "" || len(s.Files) == 1 && filepath.Ext(s.Files[0].Path) == ".gguf" {
		s.Path = filepath.Join(s.Folder, filepath.FromSlash(s.Files[0].Path))
	}
	return s
}

// look finds out what a revision is now and what is in it.
func (c *Client) look(ctx context.Context, s storage, n Name) (string, []File, error) {
	if c.config.Offline {
		return "", nil, fault.Wrap(ErrUnreachable, fault.NotFound, n.String(), "the Hub is set to offline (HF_HUB_OFFLINE)")
	}
	commit, err := c.resolve(ctx, n)
	if err != nil {
		return "", nil, err
	}
	if all := s.listing(commit); all != nil {
		return commit, all, nil
	}
	all, err := c.list(ctx, n, commit)
	if err == nil {
		_ = s.keep(commit, all) // a cache that cannot be written to may still have all that is wanted
	}
	return commit, all, err
}

// fetchAll fetches those files that the snapshot does not have.
func (c *Client) fetchAll(ctx context.Context, s storage, to *Snapshot, files []File, t *tally) error {
	var missing []File
	var bytes int64
	for _, f := range files {
		if !s.has(to.Commit, f) {
			missing = append(missing, f)
			bytes += f.Size
		}
	}
	to.Files = append(to.Files, files...)
	if len(missing) == 0 {
		return nil
	}
	t.expect(len(missing), bytes)
	if err := s.tagFolder(); err != nil {
		return diskFault(to.Name.String(), err)
	}
	if err := c.checkSpace(s, to.Name, missing); err != nil {
		return err
	}
	to.Downloaded += bytes
	return c.together(ctx, len(missing), c.config.Workers, func(ctx context.Context, i int) error {
		err := c.fetch(ctx, s, to.Name, to.Commit, missing[i], t)
		if err == nil {
			t.done(missing[i])
		}
		return err
	})
}

// checkSpace refuses a download that the disk has no room for, before it fills it.
func (c *Client) checkSpace(s storage, n Name, missing []File) error {
	var need uint64
	for _, f := range missing {
		if _, err := os.Stat(s.blob(f.ETag)); err == nil {
			continue
		}
		size := f.Size
		if info, err := os.Stat(s.partial(f.ETag)); err == nil {
			size = max(0, size-info.Size())
		}
		need += uint64(size)
	}
	if free, known := c.free(s.cache); known && free < need {
		return fault.New(fault.Internal, n.String(), "%.1f GB are missing, and the disk with the cache (HF_HUB_CACHE, HF_HOME) has %.1f GB left", float64(need)/1e9, float64(free)/1e9)
	}
	return nil
}

// fallBack takes what the cache has, if the Hub gave no answer. err is why it did not.
func (c *Client) fallBack(ctx context.Context, s storage, n Name, want Want, err error) (*Snapshot, error) {
	if !errors.Is(err, ErrUnreachable) || ctx.Err() != nil {
		return nil, err
	}
	commit := s.commit(n.revision())
	if commit == "" {
		return nil, withoutCache(err, "and the cache does not have it")
	}
	all := s.listing(commit)
	if all == nil {
		if all = s.found(commit); all == nil {
			return nil, withoutCache(err, "and the cache does not have it")
		}
	}
	chosen, wrong := choose(all, n, want)
	if wrong != nil {
		return nil, fault.In(n.String(), wrong)
	}
	files := chosen.files
	if chosen.index != "" {
		if index, reading := readSmall(s.pointer(commit, chosen.index), c.limits.json); reading == nil {
			more, wrong := shards(index, chosen.index, all)
			if wrong != nil {
				return nil, fault.In(n.String(), wrong)
			}
			files = append(files, more...)
		}
	}
	for _, f := range files {
		if !s.has(commit, f) {
			return nil, withoutCache(err, "and the cache has it in part only: "+f.Path+" is missing")
		}
	}
	snapshot := &Snapshot{Name: n, Commit: commit, Folder: s.snapshot(commit), Files: files, Notes: chosen.notes}
	if !c.config.Offline {
		snapshot.Notes = append(snapshot.Notes, "is taken from the cache: "+sentence(err))
	}
	return snapshot.open(), nil
}

func sentence(err error) string {
	if f, ok := errors.AsType[*fault.Error](err); ok {
		return f.Message
	}
	return "the Hub cannot be reached"
}

func withoutCache(err error, what string) error {
	f, ok := errors.AsType[*fault.Error](err)
	if !ok {
		return err
	}
	return &fault.Error{Code: f.Code, Field: f.Field, Message: f.Message + ", " + what, Cause: err}
}

// found lists what a snapshot holds, where no listing was kept: what Python's hf_hub_download has put there file by file.
func (s storage) found(commit string) []File {
	root := s.snapshot(commit)
	var files []File
	_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error { // what cannot be read is not there
		if err != nil || d.IsDir() || len(files) == maxFiles {
			return nil
		}
		info, err := os.Stat(path)
		relative, outside := filepath.Rel(root, path)
		if err == nil && outside == nil && info.Mode().IsRegular() {
			files = append(files, File{Path: filepath.ToSlash(relative), Size: info.Size()})
		}
		return nil
	})
	return files
}
