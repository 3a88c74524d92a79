// Package blob keeps files under the SHA-256 of their content: adapters as archives, plugins, results. Folders, S3 and memory hold them
// alike.
package blob

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"math"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"gocloud.dev/blob"
	_ "gocloud.dev/blob/fileblob" // file://
	_ "gocloud.dev/blob/memblob"  // mem://
	_ "gocloud.dev/blob/s3blob"   // s3://
	"gocloud.dev/gcerrors"

	"github.com/medley-lora/medley/shared/fault"
)

// Store is a place for blobs. It is safe for concurrent use, by any number of processes. Whatever has a blob's name is whole: content
// gets a temporary name first, and its own when all of it has come.
type Store struct{ bucket *blob.Bucket }

// Where things lie in the bucket. The folders below blobs are there because some file systems are slow with long ones.
const (
	blobs   = "blobs/"
	uploads = "uploads/"
)

// Open opens the place that location names: "file:///folder", which is made when it is missing, "s3://bucket?region=…" with credentials
// from where the AWS tools have them, or "mem://" for tests. A store on S3 takes blobs of up to 5 GiB, what S3 renames at once.
func Open(ctx context.Context, location string) (*Store, error) {
	u, err := url.Parse(location)
	if err != nil || u.Scheme != "file" && u.Scheme != "s3" && u.Scheme != "mem" {
		return nil, fault.New(fault.Invalid, "blobs", "must be file:///FOLDER, s3://BUCKET or mem://")
	}
	if u.Scheme == "file" {
		q := u.Query()
		q.Set("create_dir", "true")
		q.Set("dir_file_mode", "0700")
		q.Set("no_tmp_dir", "true") // files can be renamed within one file system only
		q.Set("metadata", "skip")   // the name says everything
		u.RawQuery = q.Encode()
	}
	bucket, err := blob.OpenBucket(ctx, u.String())
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "blobs", "cannot be opened")
	}
	return &Store{bucket}, nil
}

// Close lets the place go.
func (s *Store) Close() error { return s.bucket.Close() }

// Ping says whether the place answers.
func (s *Store) Ping(ctx context.Context) error {
	ok, err := s.bucket.IsAccessible(ctx)
	if err == nil && !ok {
		err = errors.New("the bucket is not accessible")
	}
	return failure(ctx, err)
}

// IsDigest says whether text names a blob: 64 hexadecimal digits in lower case. Nothing else reaches the file system.
func IsDigest(text string) bool {
	return len(text) == 2*sha256.Size && strings.Trim(text, "0123456789abcdef") == ""
}

func key(digest string) (string, error) {
	if !IsDigest(digest) {
		return "", fault.New(fault.Invalid, "digest", "must be a SHA-256 of 64 hexadecimal digits in lower case")
	}
	return blobs + digest[:2] + "/" + digest, nil
}

// Put keeps what r holds and returns its digest and size. More than limit bytes are fault.TooLarge; when r fails, its error comes back if
// it is a fault and is the cause of fault.Canceled if not; nothing is kept then. Content that is there already gets a new age, so that a
// collector that has seen the old one lets it be. Memory does not grow with the content, but on "mem://".
func (s *Store) Put(ctx context.Context, r io.Reader, limit int64) (digest string, size int64, err error) {
	temporary := uploads + rand.Text()
	defer func() {
		// Also when the client has gone. What cannot be removed now is left to Collect.
		removed := s.bucket.Delete(context.WithoutCancel(ctx), temporary)
		if err == nil && gcerrors.Code(removed) != gcerrors.NotFound {
			err = failure(ctx, removed)
		}
	}()
	digest, size, err = s.receive(ctx, temporary, r, limit)
	if err != nil {
		return "", 0, err
	}
	final, err := key(digest)
	if err != nil {
		return "", 0, err
	}
	if err := s.bucket.Copy(ctx, final, temporary, nil); err != nil {
		return "", 0, failure(ctx, err)
	}
	if err := s.settle(ctx, final); err != nil {
		return "", 0, failure(ctx, err)
	}
	return digest, size, nil
}

// receive writes r under a temporary name.
func (s *Store) receive(ctx context.Context, name string, r io.Reader, limit int64) (digest string, size int64, err error) {
	writing, cancel := context.WithCancel(ctx)
	defer cancel()
	w, err := s.bucket.NewWriter(writing, name, &blob.WriterOptions{ContentType: "application/octet-stream"})
	if err != nil {
		return "", 0, failure(ctx, err)
	}
	sum := sha256.New()
	source := &source{r: io.LimitReader(r, min(limit, math.MaxInt64-1)+1)}
	size, err = io.Copy(io.MultiWriter(w, sum), source)
	switch {
	case source.failed != nil:
		err = broken(source.failed)
	case err == nil && size > limit:
		err = fault.New(fault.TooLarge, "", "is larger than %d bytes", limit)
	}
	if err != nil {
		cancel() // closing keeps nothing then
		w.Close()
		return "", 0, failure(ctx, err)
	}
	if err := w.Close(); err != nil {
		return "", 0, failure(ctx, err)
	}
	return hex.EncodeToString(sum.Sum(nil)), size, nil
}

// source remembers whether reading failed, which io.Copy does not tell from writing.
type source struct {
	r      io.Reader
	failed error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && err != io.EOF {
		s.failed = err
	}
	return n, err
}

func broken(err error) error {
	if _, ok := errors.AsType[*fault.Error](err); ok {
		return err
	}
	return fault.Wrap(err, fault.Canceled, "", "the upload broke off")
}

// settle waits until a file that has its name is on the disk, name and all: a record must not outlive its blob when the power fails.
// Places other than folders promise so by themselves.
func (s *Store) settle(ctx context.Context, name string) error {
	r, err := s.bucket.NewReader(ctx, name, nil)
	if err != nil {
		return err
	}
	defer r.Close()
	var inner io.Reader
	if !r.As(&inner) {
		return nil
	}
	file, ok := inner.(*os.File)
	if !ok {
		return nil
	}
	if err := file.Sync(); err != nil {
		return err
	}
	folder, err := os.Open(filepath.Dir(file.Name()))
	if err != nil {
		return err
	}
	defer folder.Close()
	return folder.Sync()
}

// Reader reads a blob. At its end it compares the content with the name: damage is fault.Internal in place of io.EOF, so whoever passes
// the content on must not call it complete before.
type Reader struct {
	r      *blob.Reader
	ctx    context.Context
	sum    hash.Hash
	digest string
}

// Open reads the blob of that name. The caller closes it.
func (s *Store) Open(ctx context.Context, digest string) (*Reader, error) {
	name, err := key(digest)
	if err != nil {
		return nil, err
	}
	r, err := s.bucket.NewReader(ctx, name, nil)
	if err != nil {
		return nil, failure(ctx, err)
	}
	return &Reader{r, ctx, sha256.New(), digest}, nil
}

// Size returns how many bytes the blob has.
func (r *Reader) Size() int64 { return r.r.Size() }

// Read reads as io.Reader says.
func (r *Reader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	r.sum.Write(p[:n])
	if errors.Is(err, io.EOF) && hex.EncodeToString(r.sum.Sum(nil)) != r.digest {
		return n, fault.New(fault.Internal, "", "the stored content is damaged")
	}
	if errors.Is(err, io.EOF) {
		return n, err
	}
	return n, failure(r.ctx, err)
}

// Close ends the reading.
func (r *Reader) Close() error { return r.r.Close() }

// Has says whether the blob of that name is there.
func (s *Store) Has(ctx context.Context, digest string) (bool, error) {
	name, err := key(digest)
	if err != nil {
		return false, err
	}
	ok, err := s.bucket.Exists(ctx, name)
	return ok, failure(ctx, err)
}

// Delete removes the blob of that name. One that is not there is no error.
func (s *Store) Delete(ctx context.Context, digest string) error {
	name, err := key(digest)
	if err != nil {
		return err
	}
	return s.remove(ctx, name)
}

func (s *Store) remove(ctx context.Context, name string) error {
	err := s.bucket.Delete(ctx, name)
	if gcerrors.Code(err) == gcerrors.NotFound {
		return nil
	}
	return failure(ctx, err)
}

// failure leaves our own errors as they are, and says little of the place's, which name files and hosts.
func failure(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*fault.Error](err); ok {
		return err
	}
	switch {
	case ctx.Err() != nil:
		return fault.Wrap(err, fault.Canceled, "", "the request ended before the content was there")
	case gcerrors.Code(err) == gcerrors.NotFound:
		return fault.Wrap(err, fault.NotFound, "", "there is no such content")
	}
	return fault.Wrap(err, fault.Internal, "", "the place for contents failed")
}
