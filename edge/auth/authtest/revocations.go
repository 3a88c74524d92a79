package authtest

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/medley-lora/medley/edge/auth"
)

// Revocations keeps revocations in memory, for ever.
type Revocations struct {
	Err error // every call fails with it, unless nil

	mu  sync.Mutex
	ids map[string]bool
}

// Revoked implements auth.Revocations.
func (r *Revocations) Revoked(_ context.Context, id string) (bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ids[id], r.Err
}

// Revoke implements auth.Revocations.
func (r *Revocations) Revoke(_ context.Context, id string, _ time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.Err != nil {
		return r.Err
	}
	if r.ids == nil {
		r.ids = map[string]bool{}
	}
	r.ids[id] = true
	return nil
}

// TestRevocations holds implementations of auth.Revocations to their contract. open makes one that is empty.
func TestRevocations(t *testing.T, open func(t *testing.T) auth.Revocations) {
	ctx := context.Background()
	soon := time.Now().Add(time.Hour)
	expect := func(t *testing.T, r auth.Revocations, id string, want bool) {
		t.Helper()
		if got, err := r.Revoked(ctx, id); err != nil || got != want {
			t.Errorf("%.40q revoked: %v, %v, want %v", id, got, err, want)
		}
	}
	revoke := func(t *testing.T, r auth.Revocations, id string, until time.Time) {
		t.Helper()
		if err := r.Revoke(ctx, id, until); err != nil {
			t.Errorf("%.40q: %v", id, err)
		}
	}
	t.Run("names", func(t *testing.T) {
		r := open(t)
		names := []string{"ann tok_a", "ann tok_b", "tok_a", "ann  tok_a", "ANN tok_a", "okta:ann key_a", "*", "ann\x00tok_a", strings.Repeat("a", 600)}
		for i, name := range names {
			for j, other := range names {
				expect(t, r, other, j < i)
			}
			revoke(t, r, name, soon)
		}
		expect(t, r, "", false)
	})
	t.Run("twice", func(t *testing.T) {
		r := open(t)
		revoke(t, r, "a", soon)
		revoke(t, r, "a", soon)
		revoke(t, r, "a", time.Now().Add(-time.Hour)) // the later end counts
		expect(t, r, "a", true)
	})
	t.Run("at once", func(t *testing.T) {
		r := open(t)
		var wg sync.WaitGroup
		for i := range 50 {
			wg.Go(func() {
				id := fmt.Sprint("ann tok_", i%10)
				revoke(t, r, id, soon)
				expect(t, r, id, true)
			})
		}
		wg.Wait()
	})
}
