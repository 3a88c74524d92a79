//go:build !linux && !darwin

package hub

import (
	"context"
	"errors"
)

var errQuota = errors.New("quota exceeded") // not told apart here

// freeSpace is not known here; a full disk is met when it is written to.
func freeSpace(string) (uint64, bool) { return 0, false }

// lockFile does without a lock: each blob appears whole and checked, so that only work is done twice.
func lockFile(context.Context, string) (unlock func(), err error) { return func() {}, nil }
