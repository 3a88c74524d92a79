package storetest

import (
	"testing"
	"time"

	"github.com/medley-lora/medley/edge/record"
	"github.com/medley-lora/medley/shared/fault"
)

func testRevocations(t *testing.T, location string) {
	s, ctx := open(t, location), t.Context()
	now := time.Now().UTC().Truncate(time.Microsecond)
	soon, late := now.Add(time.Hour), now.Add(2*time.Hour)
	same(t, "none", len(must(s.Revocations(ctx))(t)), 0)
	check(t, s.Revoke(ctx, "ann tok_1", late))
	check(t, s.Revoke(ctx, "ann tok_1", soon)) // the later end counts
	check(t, s.Revoke(ctx, "bob tok_2", soon))
	check(t, s.Revoke(ctx, "bob tok_2", soon))
	check(t, s.Revoke(ctx, "ann tok_3", now.Add(-time.Hour)))
	check(t, s.Revoke(ctx, "ann tok_4", now.Add(-time.Minute)))
	check(t, s.Revoke(ctx, "ann tok_4", late)) // forgotten, and revoked anew
	want := []record.Revocation{{ID: "bob tok_2", Until: soon}, {ID: "ann tok_1", Until: late}, {ID: "ann tok_4", Until: late}}
	same(t, "live", must(open(t, location).Revocations(ctx))(t), want)
	refused(t, "NUL", s.Revoke(ctx, "a\x00", late), fault.Invalid)
}
