//go:build linux || darwin

package hub

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// errQuota is what a user's full quota gives.
var errQuota error = syscall.EDQUOT

// freeSpace is what the file system of a folder has left for us.
func freeSpace(folder string) (uint64, bool) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(folder, &s); err != nil {
		return 0, false
	}
	return s.Bavail * uint64(s.Bsize), true //nolint:unconvert // the type differs between systems
}

// lockEvery is between two tries to take a lock.
const lockEvery = 50 * time.Millisecond

// lockFile takes the lock that Python's filelock takes: flock(2) on a file that stays. Where a file system has no locks it does without:
// each blob appears whole and checked, so that only work is done twice.
func lockFile(ctx context.Context, path string) (unlock func(), err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o664)
	if err != nil {
		return nil, err
	}
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case err == nil, errors.Is(err, syscall.ENOSYS), errors.Is(err, syscall.ENOTSUP), errors.Is(err, syscall.ENOLCK):
			return func() { f.Close() }, nil
		case !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR):
			f.Close()
			return nil, err
		}
		if err := sleep(ctx, lockEvery); err != nil {
			f.Close()
			return nil, err
		}
	}
}
