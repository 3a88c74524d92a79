package hub

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/medley-lora/medley/shared/checkpoint"
	"github.com/medley-lora/medley/shared/fault"
)

// storage is the part of the cache that belongs to one repository.
type storage struct {
	repo  string
	cache string
	root  string // CACHE/models--ORG--NAME

	symlink func(target, path string) error
}

func (c *Client) storage(repo string) storage {
	return storage{repo: repo, cache: c.config.Cache, root: filepath.Join(c.config.Cache, folderName(repo)), symlink: c.symlink}
}

func folderName(repo string) string { return "models--" + strings.ReplaceAll(repo, "/", "--") }

func (s storage) blob(etag string) string       { return filepath.Join(s.root, "blobs", etag) }
func (s storage) partial(etag string) string    { return s.blob(etag) + ".incomplete" }
func (s storage) snapshot(commit string) string { return filepath.Join(s.root, "snapshots", commit) }
func (s storage) ref(revision string) string {
	return filepath.Join(s.root, "refs", filepath.FromSlash(revision))
}
func (s storage) tree(commit string) string { return filepath.Join(s.root, "trees", commit+".json") }

func (s storage) pointer(commit, file string) string {
	return filepath.Join(s.snapshot(commit), filepath.FromSlash(file))
}

func (s storage) lock(etag string) string {
	return filepath.Join(s.cache, ".locks", folderName(s.repo), etag+".lock")
}

// maxRef bounds a file that holds one commit.
const maxRef = 256

// commit is what a revision meant when it was last asked for; empty if that is not known.
func (s storage) commit(revision string) string {
	if commitPattern.MatchString(revision) {
		return revision
	}
	text, err := readSmall(s.ref(revision), maxRef)
	if commit := strings.TrimSpace(string(text)); err == nil && commitPattern.MatchString(commit) {
		return commit
	}
	return ""
}

// remember notes what a branch or tag means now.
func (s storage) remember(revision, commit string) error {
	if revision == commit || s.commit(revision) == commit {
		return nil
	}
	return writeFile(s.ref(revision), []byte(commit))
}

// has tells whether a snapshot has a file of the size announced; one of another size is damaged.
func (s storage) has(commit string, f File) bool {
	info, err := os.Stat(s.pointer(commit, f.Path))
	return err == nil && info.Mode().IsRegular() && info.Size() == f.Size
}

// link makes a snapshot's file out of a blob: a relative symbolic link, or, where there are none, the blob itself or a copy, as Python does.
func (s storage) link(commit string, f File, isNew bool) error {
	pointer, blob := s.pointer(commit, f.Path), s.blob(f.ETag)
	if err := os.MkdirAll(filepath.Dir(pointer), 0o777); err != nil {
		return err
	}
	target, err := filepath.Rel(filepath.Dir(pointer), blob)
	if err != nil {
		return err
	}
	if old, err := os.Readlink(pointer); err == nil && old == target {
		return nil
	}
	if err := os.Remove(pointer); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	err = s.symlink(target, pointer)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrExist): // another process was faster
		return nil
	case isNew:
		return os.Rename(blob, pointer)
	}
	return copyFile(pointer, blob)
}

func copyFile(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	return checkpoint.Replace(to, func(w io.Writer) error {
		_, err := io.Copy(w, in)
		return err
	})
}

// tagFolder marks the cache as one, for programs that make backups.
func (s storage) tagFolder() error {
	path := filepath.Join(s.cache, "CACHEDIR.TAG")
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	return writeFile(path, []byte("Signature: 8a477f597d28d172789f06886806bc55\n# This folder is a cache of the Hugging Face Hub's files.\n# See https://bford.info/cachedir/\n"))
}

// writeFile makes a file appear whole, and the folders that it is in.
func writeFile(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return err
	}
	return checkpoint.WriteFile(path, data)
}

// readSmall reads a regular file of at most limit bytes.
func readSmall(path string, limit int64) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > limit {
		return nil, fault.New(fault.TooLarge, "", "is no file of at most %d bytes", limit)
	}
	return os.ReadFile(path)
}

// diskFault says in words why the cache cannot be used.
func diskFault(place string, err error) error {
	if err == nil {
		return nil
	}
	known, ok := errors.AsType[*fault.Error](err)
	switch {
	case ok && known.Field != "", fault.CodeOf(err) == fault.Canceled:
		return err
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, errQuota):
		return fault.Wrap(err, fault.Internal, place, "the disk with the cache is full; what has come is kept, and the same command goes on from there")
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return fault.Wrap(err, fault.Invalid, place, "the cache (HF_HUB_CACHE, HF_HOME) cannot be written to: permission denied")
	case ok:
		return fault.In(place, err)
	}
	reason := err
	var pe *fs.PathError
	var le *os.LinkError
	if errors.As(err, &pe) {
		reason = pe.Err
	} else if errors.As(err, &le) {
		reason = le.Err
	}
	return fault.Wrap(err, fault.Internal, place, "the cache cannot be used: %v", reason)
}
