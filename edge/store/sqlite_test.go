package store_test

import (
	"bufio"
	"context"
	crand "crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/medley-lora/medley/edge/record"
	"github.com/medley-lora/medley/edge/store"
	"github.com/medley-lora/medley/shared/fault"
)

// writerVariable makes the test binary the writer that TestKill kills. Its value is the database's URL.
const writerVariable = "MEDLEY_TEST_STORE_WRITER"

func TestMain(m *testing.M) {
	if location := os.Getenv(writerVariable); location != "" {
		fmt.Fprintln(os.Stderr, writeForever(location))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// writeForever does what gateway and worker do, and prints each composition that was made and each that was finished, after it was.
func writeForever(location string) error {
	ctx := context.Background()
	s, err := store.Open(ctx, location)
	if err != nil {
		return err
	}
	for {
		c, err := s.CreateComposition(ctx, record.Composition{Object: record.Object{Owner: "ann"}, Request: line(1)}, store.Once{Key: crand.Text()})
		if err != nil {
			return err
		}
		fmt.Println(c.ID, c.State)
		c, ok, err := s.Lease(ctx, "w", time.Hour, c.ID)
		if err != nil || !ok {
			return fmt.Errorf("leased: %v, %w", ok, err)
		}
		for i := 0; i < 4; i += 2 {
			if err := s.Append(ctx, c.ID, c.Fence, i, line(i), line(i+1)); err != nil {
				return err
			}
		}
		if err := s.Finish(ctx, c.ID, c.Fence, store.Outcome{State: record.Succeeded, Result: line(1)}); err != nil {
			return err
		}
		fmt.Println(c.ID, record.Succeeded)
	}
}

// A writer that is killed anywhere leaves whole records, and everything that it was told is there.
func TestKill(t *testing.T) {
	const rounds = 25
	random := rand.New(rand.NewPCG(1, 2))
	location := "sqlite:" + filepath.Join(t.TempDir(), "records.db")
	finished, promised := 0, map[string]record.State{}
	for range rounds {
		for id, state := range killed(t, location, time.Duration(random.IntN(150))*time.Millisecond) {
			promised[id] = state
		}
	}
	s, err := store.Open(t.Context(), location)
	if err != nil {
		t.Fatalf("%v (%v)", err, errors.Unwrap(err))
	}
	defer s.Close()
	page := store.Page{Limit: store.MaxLimit}
	for {
		list, err := s.Compositions(t.Context(), "ann", "", page)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range list.Items {
			whole(t, s, c)
			if c.State == record.Succeeded {
				finished++
			}
			if promised[c.ID] == record.Succeeded && c.State != record.Succeeded {
				t.Errorf("%s was finished and is %s", c.ID, c.State)
			}
			delete(promised, c.ID)
		}
		if page.After = list.Next; list.Next == "" {
			break
		}
	}
	if len(promised) > 0 || finished < rounds {
		t.Errorf("%d compositions lost, %d finished", len(promised), finished)
	}
	t.Logf("%d finished in %d rounds", finished, rounds)
}

// whole checks that the composition agrees with itself and with its journal.
func whole(t *testing.T, s *store.Store, c record.Composition) {
	t.Helper()
	journal, err := s.Journal(t.Context(), c.Owner, c.ID, 0, store.MaxLimit)
	if err != nil {
		t.Fatal(err)
	}
	if len(journal) != c.Done || c.State.Ended() != (c.Ended != nil) || (c.State == record.Succeeded) != (c.Result != nil) ||
		(c.State == record.Running) != (c.Lease != nil) || c.State == record.Succeeded && c.Done != 4 || c.Done%2 != 0 {
		t.Errorf("%d lines of %+v", len(journal), c)
	}
	for i, e := range journal {
		if e.Number != i || string(e.Line) != fmt.Sprint(i) {
			t.Errorf("line %d is %+v", i, e)
		}
	}
}

// killed runs a writer for that long after its first word, kills it, and returns what it had been promised.
func killed(t *testing.T, location string, after time.Duration) map[string]record.State {
	t.Helper()
	writer := exec.Command(os.Args[0])
	writer.Env = append(os.Environ(), writerVariable+"="+location)
	writer.Stderr = os.Stderr
	out, err := writer.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := writer.Start(); err != nil {
		t.Fatal(err)
	}
	promised := map[string]record.State{}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if len(promised) == 0 {
			time.AfterFunc(after, func() { writer.Process.Kill() }) //nolint:errcheck // it may have died of an error, which the test sees
		}
		var id string
		var state record.State
		if n, _ := fmt.Sscan(lines.Text(), &id, &state); n == 2 { // the last line may be torn
			promised[id] = state
		}
	}
	writer.Wait() //nolint:errcheck // it was killed
	if len(promised) == 0 {
		t.Fatal("the writer wrote nothing")
	}
	return promised
}

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	for _, location := range []string{
		"", "sqlite", "sqlite:", "sqlite::memory:", "mysql://u:hunter2@h/d", "postgres://u:hunter2@%zz/d", "sqlite:" + filepath.Join(dir, "no", "file"), "sqlite:" + dir,
		"postgres://u:hunter2@/d?host=" + dir + "&connect_timeout=1",
	} {
		s, err := store.Open(t.Context(), location)
		if err == nil {
			s.Close()
		}
		if e, ok := errors.AsType[*fault.Error](err); !ok || e.Field != "database" {
			t.Errorf("%q: %v", location, err)
		} else if text := err.Error(); text != e.Error() {
			t.Errorf("%q tells %q", location, text)
		}
	}
}

func TestOpenOtherFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notes.txt")
	if err := os.WriteFile(path, []byte("this is not a database, it is a text of more than a few bytes"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := store.Open(t.Context(), "sqlite:"+path)
	if fault.CodeOf(err) != fault.Internal {
		t.Errorf("%v", err)
	}
}

func TestPrivateFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "records.db")
	s, err := store.Open(t.Context(), "sqlite:"+path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, name := range []string{path, path + "-wal", path + "-shm"} {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", filepath.Base(name), info, err)
		}
	}
}

func line(i int) json.RawMessage { return json.RawMessage(fmt.Sprint(i)) }
