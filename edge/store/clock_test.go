package store

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/medley-lora/medley/edge/record"
)

// A clock that jumps may have work done twice. It neither keeps a composition from everyone nor lets two write to it.
func TestClockJumps(t *testing.T) {
	for name, jump := range map[string]time.Duration{"forward": 10 * time.Hour, "back": -10 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			s, err := Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "records.db"))
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			made, err := s.CreateComposition(t.Context(), record.Composition{Object: record.Object{Owner: "ann"}, Request: []byte("1")}, Once{})
			if err != nil {
				t.Fatal(err)
			}
			before, ok, err := s.Lease(t.Context(), "one", time.Minute, made.ID)
			if !ok || err != nil {
				t.Fatal(ok, err)
			}
			if _, ok, err := s.Lease(t.Context(), "two", time.Minute, made.ID); ok || err != nil {
				t.Fatalf("leased twice: %v, %v", ok, err)
			}
			// To the clock it is all the same whether it jumps or what was written down does.
			if _, err := s.writer.Exec("UPDATE compositions SET lease = lease - $1", jump.Microseconds()); err != nil {
				t.Fatal(err)
			}
			after, ok, err := s.Lease(t.Context(), "two", time.Minute, made.ID)
			if !ok || err != nil || after.Fence != before.Fence+1 {
				t.Fatalf("not leased anew: %v, %v", ok, err)
			}
			if err := s.Append(t.Context(), made.ID, before.Fence, 0, []byte("1")); !errors.Is(err, ErrLost) {
				t.Errorf("the first worker still writes: %v", err)
			}
			if err := s.Append(t.Context(), made.ID, after.Fence, 0, []byte("1")); err != nil {
				t.Errorf("the second one does not: %v", err)
			}
		})
	}
}
