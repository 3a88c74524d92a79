package blob

import (
	"context"
	"errors"
	"io"
	"iter"
	"path"
	"strings"
	"time"

	"gocloud.dev/blob"
	"gocloud.dev/gcerrors"
)

// Info describes a blob.
type Info struct {
	Digest   string
	Size     int64
	Modified time.Time // of the last Put
}

// List goes through the blobs that are older than age.
func (s *Store) List(ctx context.Context, age time.Duration) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		for object, err := range s.objects(ctx, blobs, age) {
			if err != nil {
				yield(Info{}, err)
				return
			}
			digest := path.Base(object.Key)
			if name, err := key(digest); err != nil || name != object.Key {
				continue // not a blob's name
			}
			if !yield(Info{digest, object.Size, object.ModTime}, nil) {
				return
			}
		}
	}
}

// objects goes through everything below a prefix that is older than age.
func (s *Store) objects(ctx context.Context, prefix string, age time.Duration) iter.Seq2[*blob.ListObject, error] {
	return func(yield func(*blob.ListObject, error) bool) {
		before := time.Now().Add(-age)
		for objects := s.bucket.List(&blob.ListOptions{Prefix: prefix}); ; {
			object, err := objects.Next(ctx)
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				yield(nil, failure(ctx, err))
				return
			}
			if object.ModTime.Before(before) && !yield(object, nil) {
				return
			}
		}
	}
}

// Collect removes the blobs that are older than grace and that keep does not want, and what uploads that broke off have left. It returns
// how many blobs it removed. The grace is the time that a client may take between Put and the record that refers to the blob: hours.
func (s *Store) Collect(ctx context.Context, grace time.Duration, keep func(ctx context.Context, digest string) (bool, error)) (n int, err error) {
	for info, err := range s.List(ctx, grace) {
		if err != nil {
			return n, err
		}
		if wanted, err := keep(ctx, info.Digest); wanted || err != nil {
			if err != nil {
				return n, err
			}
			continue
		}
		// Has it been put again meanwhile?
		name, err := key(info.Digest)
		if err != nil {
			return n, err
		}
		now, err := s.bucket.Attributes(ctx, name)
		if gcerrors.Code(err) == gcerrors.NotFound || err == nil && now.ModTime.After(info.Modified) {
			continue
		}
		if err != nil {
			return n, failure(ctx, err)
		}
		if err := s.remove(ctx, name); err != nil {
			return n, err
		}
		n++
	}
	return n, s.sweep(ctx, grace)
}

// sweep removes what a process that was killed has left: uploads, and files that did not get their names.
func (s *Store) sweep(ctx context.Context, age time.Duration) error {
	for _, prefix := range []string{uploads, blobs} {
		for object, err := range s.objects(ctx, prefix, age) {
			if err != nil {
				return err
			}
			if prefix == uploads || strings.HasSuffix(object.Key, ".tmp") {
				if err := s.remove(ctx, object.Key); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
