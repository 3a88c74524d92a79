// Package blobtest holds every place that package blob writes to to one contract.
package blobtest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/medley-lora/medley/edge/blob"
	"github.com/medley-lora/medley/shared/fault"
)

// Run holds a kind of place to the contract. A call of location makes an empty one and returns its URL.
func Run(t *testing.T, location func(*testing.T) string) {
	for _, c := range []struct {
		name string
		run  func(*testing.T, *blob.Store)
	}{
		{"Put", testPut}, {"Limit", testLimit}, {"Broken", testBroken}, {"Names", testNames}, {"Delete", testDelete}, {"AtOnce", testAtOnce},
		{"Collect", testCollect},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := blob.Open(t.Context(), location(t))
			check(t, err)
			defer s.Close()
			check(t, s.Ping(t.Context()))
			c.run(t, s)
		})
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%v (%v)", err, errors.Unwrap(err))
	}
}

func refused(t *testing.T, what string, err error, code fault.Code) {
	t.Helper()
	if fault.CodeOf(err) != code {
		t.Errorf("%s: %v (%v), want %s", what, err, errors.Unwrap(err), code)
	}
}

func digest(content string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(content))) }

func put(t *testing.T, s *blob.Store, content string) string {
	t.Helper()
	name, size, err := s.Put(t.Context(), strings.NewReader(content), 1<<30)
	check(t, err)
	if name != digest(content) || size != int64(len(content)) {
		t.Fatalf("put %d bytes as %q, want %d as %q", size, name, len(content), digest(content))
	}
	return name
}

// holds compares what the store lists with the contents that it should have.
func holds(t *testing.T, s *blob.Store, contents ...string) {
	t.Helper()
	found := map[string]int64{}
	for info, err := range s.List(t.Context(), -time.Hour) {
		check(t, err)
		found[info.Digest] = info.Size
	}
	for _, content := range contents {
		if size, ok := found[digest(content)]; !ok || size != int64(len(content)) {
			t.Errorf("%d bytes of %q, want %d", size, digest(content), len(content))
		}
	}
	if len(found) != len(contents) {
		t.Errorf("lists %d blobs, want %d", len(found), len(contents))
	}
}

func testPut(t *testing.T, s *blob.Store) {
	contents := []string{"", "x", strings.Repeat("content ", 1<<18)}
	for _, content := range contents {
		put(t, s, content)
		name := put(t, s, content) // the same again
		r, err := s.Open(t.Context(), name)
		check(t, err)
		got, err := io.ReadAll(r)
		check(t, err)
		if string(got) != content || r.Size() != int64(len(content)) {
			t.Errorf("%d bytes come back as %d, said to be %d", len(content), len(got), r.Size())
		}
		check(t, r.Close())
		if ok, err := s.Has(t.Context(), name); !ok || err != nil {
			t.Errorf("has: %v, %v", ok, err)
		}
	}
	holds(t, s, contents...)
}

func testLimit(t *testing.T, s *blob.Store) {
	content := strings.Repeat("x", 1000)
	for _, c := range []struct {
		limit int64
		code  fault.Code
	}{{-1, fault.TooLarge}, {0, fault.TooLarge}, {999, fault.TooLarge}, {1000, ""}, {1001, ""}, {math.MaxInt64, ""}} {
		read := &counting{r: iotest.OneByteReader(strings.NewReader(content))}
		_, _, err := s.Put(t.Context(), read, c.limit)
		refused(t, fmt.Sprint("limit ", c.limit), err, c.code)
		if want := min(max(c.limit, 0), 1000) + 1; read.n > want {
			t.Errorf("limit %d: read %d bytes", c.limit, read.n)
		}
		if c.code != "" {
			holds(t, s)
		}
	}
	holds(t, s, content)
}

type counting struct {
	r io.Reader
	n int64
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// An upload that breaks off leaves nothing, and says why.
func testBroken(t *testing.T, s *blob.Store) {
	started := func() io.Reader { return strings.NewReader(strings.Repeat("x", 1<<20)) }
	_, _, err := s.Put(t.Context(), io.MultiReader(started(), iotest.ErrReader(io.ErrUnexpectedEOF)), 1<<30)
	if refused(t, "client gone", err, fault.Canceled); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%v does not say why", err)
	}
	_, _, err = s.Put(t.Context(), io.MultiReader(started(), iotest.ErrReader(fault.New(fault.Invalid, "archive", "is damaged"))), 1<<30)
	refused(t, "refused on the way", err, fault.Invalid)
	ctx, cancel := context.WithCancel(t.Context())
	_, _, err = s.Put(ctx, io.MultiReader(started(), last(cancel)), 1<<30)
	refused(t, "canceled", err, fault.Canceled)
	holds(t, s)
}

// last does something when everything has been read.
func last(do func()) io.Reader {
	return readerFunc(func([]byte) (int, error) { do(); return 0, io.EOF })
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func testNames(t *testing.T, s *blob.Store) {
	good := put(t, s, "x")
	for what, name := range map[string]string{
		"empty": "", "short": good[1:], "long": good + "0", "upper case": strings.ToUpper(good), "path": "../" + good[3:], "folder": good[:2] + "/" + good[3:],
		"NUL": good[:63] + "\x00", "line break": good[:63] + "\n", "not a digit": good[:63] + "g", "wide digit": good[:61] + "０", "absolute": "/" + good[1:],
	} {
		_, err := s.Open(t.Context(), name)
		refused(t, "open "+what, err, fault.Invalid)
		_, err = s.Has(t.Context(), name)
		refused(t, "has "+what, err, fault.Invalid)
		refused(t, "delete "+what, s.Delete(t.Context(), name), fault.Invalid)
	}
	_, err := s.Open(t.Context(), digest("y"))
	refused(t, "unknown", err, fault.NotFound)
	if ok, err := s.Has(t.Context(), digest("y")); ok || err != nil {
		t.Errorf("has unknown: %v, %v", ok, err)
	}
	holds(t, s, "x")
}

func testDelete(t *testing.T, s *blob.Store) {
	put(t, s, "x")
	put(t, s, "y")
	check(t, s.Delete(t.Context(), digest("x")))
	check(t, s.Delete(t.Context(), digest("x"))) // again
	_, err := s.Open(t.Context(), digest("x"))
	refused(t, "deleted", err, fault.NotFound)
	holds(t, s, "y")
}

func testAtOnce(t *testing.T, s *blob.Store) {
	content := bytes.Repeat([]byte("same"), 1<<16)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if name, _, err := s.Put(context.Background(), bytes.NewReader(content), 1<<20); err != nil || name != digest(string(content)) {
				t.Errorf("%q: %v", name, err)
			}
		})
	}
	wg.Wait()
	holds(t, s, string(content))
}

func testCollect(t *testing.T, s *blob.Store) {
	for _, content := range []string{"wanted", "garbage", "again"} {
		put(t, s, content)
	}
	never := func(context.Context, string) (bool, error) { return false, nil }
	if n, err := s.Collect(t.Context(), time.Hour, never); n != 0 || err != nil {
		t.Fatalf("collects %d young ones: %v", n, err)
	}
	time.Sleep(1100 * time.Millisecond) // S3 knows seconds
	n, err := s.Collect(t.Context(), 0, func(_ context.Context, name string) (bool, error) {
		if name == digest("again") { // a client brings it while the collector looks
			put(t, s, "again")
		}
		return name == digest("wanted"), nil
	})
	if n != 1 || err != nil {
		t.Errorf("collects %d: %v", n, err)
	}
	holds(t, s, "wanted", "again")
	boom := fault.New(fault.Internal, "", "the database failed")
	time.Sleep(1100 * time.Millisecond)
	if n, err := s.Collect(t.Context(), 0, func(context.Context, string) (bool, error) { return false, boom }); n != 0 || !errors.Is(err, boom) {
		t.Errorf("collects %d without knowing: %v", n, err)
	}
	holds(t, s, "wanted", "again")
}
