package hub

import (
	"context"
	"crypto/sha1" //nolint:gosec // git names its blobs so
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/medley-lora/medley/shared/fault"
)

// fetch puts one file into a snapshot, from the blobs if they have it, else from the Hub.
func (c *Client) fetch(ctx context.Context, s storage, n Name, commit string, f File, t *tally) error {
	place := n.Repo + ": " + f.Path
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	case <-ctx.Done():
		return canceled(ctx)
	}
	if err := os.MkdirAll(filepath.Join(s.root, "blobs"), 0o777); err != nil {
		return diskFault(place, err)
	}
	unlock, err := lockFile(ctx, s.lock(f.ETag))
	if err != nil {
		return diskFault(place, err)
	}
	defer unlock()
	if s.has(commit, f) { // another process was faster
		t.add(f, f.Size)
		return nil
	}
	isNew := false
	if info, err := os.Stat(s.blob(f.ETag)); err != nil || info.Size() != f.Size {
		if err := c.download(ctx, s, place, commit, f, t); err != nil {
			return err
		}
		isNew = true
	} else {
		t.add(f, f.Size)
	}
	return diskFault(place, s.link(commit, f, isNew))
}

// download is one file on its way into its blob. It is written to ETAG.incomplete, which stays when the download ends early, and gets its
// name once all of it has come and has the hash that the Hub announced.
type download struct {
	client  *Client
	place   string
	url     *url.URL
	file    File
	out     *os.File
	hash    hash.Hash
	at      int64  // bytes there, which hash has seen
	tag     string // of the last answer: a server's own name for what it sends
	resumed bool   // some of it came in another answer than the last
	tally   *tally
}

// restarts of one file are few: content that changes between answers is not what was listed.
const restarts = 2

var errChanged = errors.New("the content changed between two answers")

func (c *Client) download(ctx context.Context, s storage, place, commit string, f File, t *tally) error {
	out, err := os.OpenFile(s.partial(f.ETag), os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return diskFault(place, err)
	}
	defer out.Close()
	d := &download{client: c, place: place, url: c.at("/"+s.repo+"/resolve/"+commit+"/"+escapePath(f.Path), ""), file: f, out: out, tally: t}
	if err := d.takeUp(); err != nil {
		return diskFault(place, err)
	}
	if err := d.run(ctx); err != nil {
		if d.at == 0 {
			os.Remove(s.partial(f.ETag))
		}
		return err
	}
	if err := out.Sync(); err != nil {
		return diskFault(place, err)
	}
	return diskFault(place, os.Rename(s.partial(f.ETag), s.blob(f.ETag)))
}

func escapePath(p string) string {
	parts := strings.Split(p, "/")
	for i := range parts {
		parts[i] = url.PathEscape(parts[i])
	}
	return strings.Join(parts, "/")
}

// takeUp hashes what an earlier download left.
func (d *download) takeUp() error {
	d.hash = newHash(d.file)
	n, err := io.Copy(d.hash, io.LimitReader(d.out, d.file.Size+1))
	if err != nil {
		return err
	}
	if n > d.file.Size {
		return d.restart()
	}
	d.at, d.resumed = n, n > 0
	d.tally.add(d.file, n)
	return nil
}

func newHash(f File) hash.Hash {
	if f.isLFS() {
		return sha256.New()
	}
	h := sha1.New() //nolint:gosec // git's
	fmt.Fprintf(h, "blob %d\x00", f.Size)
	return h
}

// restart forgets what has come.
func (d *download) restart() error {
	d.tally.add(d.file, -d.at)
	d.hash, d.at, d.tag, d.resumed = newHash(d.file), 0, "", false
	if _, err := d.out.Seek(0, io.SeekStart); err != nil {
		return err
	}
	return d.out.Truncate(0)
}

// run asks until all of the file has come and is what was announced.
func (d *download) run(ctx context.Context) error {
	limits := d.client.limits
	failures, again, mark := 0, 0, d.at
	for {
		var err error
		if d.at < d.file.Size {
			err = d.attempt(ctx)
		}
		if err == nil {
			if sum := hex.EncodeToString(d.hash.Sum(nil)); sum == d.file.ETag {
				return nil
			}
			err = errChanged
			if !d.resumed {
				again = restarts
			}
		}
		switch {
		case ctx.Err() != nil:
			return canceled(ctx)
		case errors.Is(err, errChanged):
			if restarting := d.restart(); restarting != nil {
				return diskFault(d.place, restarting)
			}
			if again++; again > restarts {
				return fault.Wrap(err, fault.Invalid, d.place, "what came does not have the hash that the Hub announced (%s); nothing of it is kept", d.file.algorithm())
			}
			mark = 0
			continue
		case !errors.Is(err, ErrUnreachable):
			return err
		}
		if d.at-mark >= limits.progress {
			failures, mark = 0, d.at
		}
		if failures++; failures >= limits.attempts {
			return err
		}
		if err := sleep(ctx, limits.backoff<<(failures-1)); err != nil {
			return err
		}
	}
}

func (f File) algorithm() string {
	if f.isLFS() {
		return "SHA-256"
	}
	return "SHA-1 of git"
}

// attempt asks for what is missing and appends what comes of it.
func (d *download) attempt(ctx context.Context) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	r := request{place: d.place, method: http.MethodGet, url: d.url, header: http.Header{"Accept-Encoding": {"identity"}}}
	if d.at > 0 {
		r.header.Set("Range", fmt.Sprintf("bytes=%d-", d.at))
		if strings.HasPrefix(d.tag, `"`) { // weak tags do not name bytes
			r.header.Set("If-Range", d.tag)
		}
	}
	answer, err := d.client.ask(ctx, r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if err := d.accept(answer); err != nil {
		return err
	}
	limits := d.client.limits
	watch := time.AfterFunc(limits.window, func() { stop(errSlow) })
	defer watch.Stop()
	body := &paced{r: answer.Body, watch: watch, window: limits.window, pace: limits.pace}
	missing := d.file.Size - d.at
	n, err := io.Copy(d, io.LimitReader(body, missing))
	switch {
	case err != nil && d.failed(err):
		return diskFault(d.place, err)
	case errors.Is(context.Cause(ctx), errSlow):
		return fault.Wrap(fmt.Errorf("%w: %w", ErrUnreachable, errSlow), fault.Internal, d.place, "the server sends less than %d bytes in %s", limits.pace, inWords(limits.window))
	case err != nil:
		return d.client.unreachable(d.place, err)
	case n < missing:
		return d.client.unreachable(d.place, io.ErrUnexpectedEOF)
	}
	if extra, _ := body.Read(make([]byte, 1)); extra > 0 {
		return fault.New(fault.Invalid, d.place, "the server sends more than the %d bytes that the Hub listed", d.file.Size)
	}
	return nil
}

// accept decides whether an answer goes on where the file ends.
func (d *download) accept(answer *response) error {
	if tag := answer.etag; (sha256Pattern.MatchString(tag) || commitPattern.MatchString(tag)) && tag != d.file.ETag {
		return fault.New(fault.Invalid, d.place, "the Hub now gives it another hash than in the listing of the same commit")
	}
	if e := answer.Header.Get("Content-Encoding"); e != "" && e != "identity" {
		return fault.New(fault.Invalid, d.place, "the server sends it encoded, which it was asked not to")
	}
	tag := answer.Header.Get("ETag")
	switch answer.StatusCode {
	case http.StatusOK:
		if d.at > 0 { // the server does not resume, or what it has now is something else
			if err := d.restart(); err != nil {
				return diskFault(d.place, err)
			}
		}
	case http.StatusPartialContent:
		if d.tag != "" && tag != d.tag {
			return errChanged
		}
		if want := fmt.Sprintf("bytes %d-%d/%d", d.at, d.file.Size-1, d.file.Size); answer.Header.Get("Content-Range") != want {
			return errChanged
		}
		d.resumed = true
	case http.StatusRequestedRangeNotSatisfiable:
		return errChanged
	default:
		return d.client.refusal(answer, d.place)
	}
	d.tag = tag
	if missing := d.file.Size - d.at; answer.ContentLength >= 0 && answer.ContentLength != missing {
		return fault.New(fault.Invalid, d.place, "the server announces %d bytes where the Hub listed %d", answer.ContentLength, missing)
	}
	return nil
}

// writeError tells a disk that fails from a connection that does.
type writeError struct{ error }

func (e writeError) Unwrap() error { return e.error }

func (d *download) failed(err error) bool {
	_, ok := errors.AsType[writeError](err)
	return ok
}

// Write appends to the file.
func (d *download) Write(p []byte) (int, error) {
	n, err := d.out.Write(p)
	d.hash.Write(p[:n])
	d.at += int64(n)
	d.tally.add(d.file, int64(n))
	if err != nil {
		err = writeError{err}
	}
	return n, err
}

var errSlow = errors.New("too slow")

// paced puts off a deadline as long as enough comes.
type paced struct {
	r      io.Reader
	watch  *time.Timer
	window time.Duration
	pace   int64
	since  int64
}

func (p *paced) Read(b []byte) (int, error) {
	n, err := p.r.Read(b)
	if p.since += int64(n); p.since >= p.pace {
		p.since = 0
		p.watch.Reset(p.window)
	}
	return n, err
}
