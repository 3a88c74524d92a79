package archive

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/medley-lora/medley/edge/blob"
	"github.com/medley-lora/medley/shared/fault"
)

// Library unpacks archives into folders, once for all who need one, and removes those that have not been needed for longest when there
// are too many. It is safe for concurrent use. Its folder is its own: one process has it at a time.
type Library struct {
	blobs    *blob.Store
	dir      string
	maxBytes int64

	mu      sync.Mutex
	clock   int64 // counts uses
	shelves map[string]*shelf
}

// shelf is a folder of the library, or one that is being unpacked.
type shelf struct {
	size    int64 // bytes; guarded by the library, as users and used are
	users   int
	used    int64
	cancel  context.CancelFunc // ends the unpacking
	checked bool               // by this process; one that was there before may be damaged
	ready   chan struct{}
	err     error // why there is no folder, when ready
}

// unpacking starts the names of folders that are not whole.
const unpacking = "unpacking-"

// NewLibrary makes a library of the blobs in dir, which is made when it is missing, and takes over what is there. The folders have at most
// maxBytes together, but those in use stay.
func NewLibrary(blobs *blob.Store, dir string, maxBytes int64) (*Library, error) {
	l := &Library{blobs: blobs, dir: dir, maxBytes: maxBytes, shelves: map[string]*shelf{}}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, failed(err, "opening the library of modules")
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, failed(err, "opening the library of modules")
	}
	there := make(chan struct{})
	close(there)
	for _, entry := range entries {
		path := filepath.Join(dir, entry.Name())
		switch {
		case strings.HasPrefix(entry.Name(), unpacking):
			if err := os.RemoveAll(path); err != nil {
				return nil, failed(err, "clearing the library of modules")
			}
		case blob.IsDigest(entry.Name()):
			l.shelves[entry.Name()] = &shelf{size: sizeOf(path), ready: there, cancel: func() {}}
		}
	}
	return l, nil
}

// Folder returns the folder of the archive with that digest, which stays until release is called. The errors are fault.NotFound for an
// archive that there is not, those of reading it, and ctx's.
func (l *Library) Folder(ctx context.Context, digest string) (path string, release func(), err error) {
	if !blob.IsDigest(digest) {
		return "", nil, fault.New(fault.Invalid, "digest", "must be a SHA-256 of 64 hexadecimal digits in lower case")
	}
	s := l.take(ctx, digest)
	release = sync.OnceFunc(func() { l.leave(digest, s) })
	select {
	case <-s.ready:
		err = s.err
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		release()
		return "", nil, err
	}
	return filepath.Join(l.dir, digest), release, nil
}

// take counts a user of the shelf and begins to unpack where there is none.
func (l *Library) take(ctx context.Context, digest string) *shelf {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.clock++
	s := l.shelves[digest]
	if s != nil && (s.checked || s.users > 0) {
		s.users++
		s.used = l.clock
		return s
	}
	found := s != nil // since before this process
	working, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s = &shelf{users: 1, used: l.clock, cancel: cancel, ready: make(chan struct{})}
	l.shelves[digest] = s
	go func() {
		defer close(s.ready)
		s.err = l.fill(working, digest, s, found)
		l.mu.Lock()
		defer l.mu.Unlock()
		s.checked = s.err == nil
		if s.err != nil && l.shelves[digest] == s {
			delete(l.shelves, digest) // the next who asks tries again
		}
	}()
	return s
}

// leave takes a user off the shelf. An unpacking that nobody waits for any more ends.
func (l *Library) leave(digest string, s *shelf) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s.users--; s.users > 0 {
		return
	}
	select {
	case <-s.ready:
	default:
		s.cancel()
		if l.shelves[digest] == s {
			delete(l.shelves, digest)
		}
	}
	l.makeRoom(0)
}

// fill puts the folder of an archive into the library, or finds it there as a process before has left it.
func (l *Library) fill(ctx context.Context, digest string, s *shelf, found bool) error {
	path := filepath.Join(l.dir, digest)
	if found && digestOf(path) == digest {
		l.setSize(s, sizeOf(path))
		return nil
	}
	content, err := l.blobs.Open(ctx, digest)
	if err != nil {
		return err
	}
	defer content.Close()
	l.setSize(s, content.Size())
	working, err := os.MkdirTemp(l.dir, unpacking)
	if err != nil {
		return failed(err, "unpacking a module")
	}
	defer os.RemoveAll(working)
	limits := Limits{Config: content.Size(), Weights: content.Size()} // what is stored is not compressed
	if err := receiveArchive(working, content, limits); err != nil {
		return err
	}
	return l.settle(digest, s, working)
}

// settle gives an unpacked folder its name, unless nobody waits for it any more: then another may be there.
func (l *Library) settle(digest string, s *shelf, working string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.shelves[digest] != s {
		return fault.New(fault.Canceled, "", "nobody waits for the module any more")
	}
	path := filepath.Join(l.dir, digest)
	if err := os.RemoveAll(path); err != nil { // one that was damaged
		return failed(err, "unpacking a module")
	}
	if err := os.Rename(working, path); err != nil {
		return failed(err, "unpacking a module")
	}
	return nil
}

// setSize notes what a shelf takes and makes room for it.
func (l *Library) setSize(s *shelf, size int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.makeRoom(size)
	s.size = size
}

// makeRoom removes folders that nobody uses, the one not used for longest first, until there is room for more bytes.
func (l *Library) makeRoom(more int64) {
	for {
		total, oldest := more, ""
		for digest, s := range l.shelves {
			total += s.size
			if s.users == 0 && (oldest == "" || s.used < l.shelves[oldest].used) {
				oldest = digest
			}
		}
		if total <= l.maxBytes || oldest == "" {
			return
		}
		delete(l.shelves, oldest)
		gone := filepath.Join(l.dir, unpacking+oldest)
		if os.Rename(filepath.Join(l.dir, oldest), gone) == nil { // what cannot be removed now is removed at the next start
			os.RemoveAll(gone)
		}
	}
}

// digestOf is the digest of a folder's archive; "" if it is not whole.
func digestOf(folder string) string {
	sum := sha256.New()
	if Pack(sum, folder) != nil {
		return ""
	}
	return hex.EncodeToString(sum.Sum(nil))
}

func sizeOf(folder string) (size int64) {
	for _, name := range order {
		if info, err := os.Stat(filepath.Join(folder, name)); err == nil {
			size += info.Size()
		}
	}
	return size
}
