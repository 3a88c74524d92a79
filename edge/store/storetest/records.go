package storetest

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/medley-lora/medley/edge/record"
	"github.com/medley-lora/medley/edge/store"
	"github.com/medley-lora/medley/shared/fault"
)

func testPlugins(t *testing.T, location string) {
	s, ctx := open(t, location), t.Context()
	want := record.Plugin{Object: record.Object{Owner: "ann"}, Name: "cma", Version: "1.0", Visibility: record.Private, Digest: digest("cma"), Size: 5}
	made := must(s.CreatePlugin(ctx, want, store.Once{}))(t)
	want.ID, want.Created = made.ID, made.Created
	same(t, "plugin", must(s.Plugin(ctx, "ann", made.ID))(t), want)
	_, err := s.Plugin(ctx, "bob", made.ID)
	refused(t, "another's private plugin", err, fault.NotFound)
	want.Visibility = record.Shared
	shared := must(s.CreatePlugin(ctx, want, store.Once{}))(t)
	same(t, "shared", must(s.Plugin(ctx, "bob", shared.ID))(t), shared)
	same(t, "bob's list", must(s.Plugins(ctx, "bob", store.Page{}))(t).Items, []record.Plugin{shared})
	refused(t, "delete of what another shares", s.DeletePlugin(ctx, "bob", shared.ID), fault.NotFound)
	refused(t, "delete by a module's ID", s.DeletePlugin(ctx, "ann", record.NewID(record.ModuleID)), fault.NotFound)
	check(t, s.DeletePlugin(ctx, "ann", shared.ID))
	want.Visibility = ""
	_, err = s.CreatePlugin(ctx, want, store.Once{})
	refused(t, "no visibility", err, fault.Invalid)
}

func testBases(t *testing.T, location string) {
	s, ctx := open(t, location), t.Context()
	want := record.Base{Object: record.Object{Owner: "ann"}, Name: "flan-t5-large", Digest: digest("base"), Size: 1 << 40}
	made := must(s.CreateBase(ctx, want, store.Once{}))(t)
	want.ID, want.Created = made.ID, made.Created
	same(t, "by ID", must(s.Base(ctx, made.ID))(t), want)
	same(t, "by name", must(s.BaseNamed(ctx, "flan-t5-large"))(t), want)
	_, err := s.CreateBase(ctx, want, store.Once{})
	refused(t, "a name twice", err, fault.Invalid)
	_, err = s.BaseNamed(ctx, "flan")
	refused(t, "half a name", err, fault.NotFound)
	same(t, "list", must(s.Bases(ctx, store.Page{}))(t), store.List[record.Base]{Items: []record.Base{want}})
	refused(t, "another's", s.DeleteBase(ctx, "bob", made.ID), fault.NotFound)
	check(t, s.DeleteBase(ctx, "ann", made.ID))
	must(s.CreateBase(ctx, want, store.Once{}))(t)
}

// A name is one's own newest module, or else the oldest that others share: nobody takes a name over.
func testModuleNamed(t *testing.T, location string) {
	s, ctx := open(t, location), t.Context()
	create := func(owner, name string, v record.Visibility) record.Module {
		m := module(owner, name)
		m.Visibility = v
		time.Sleep(3 * time.Millisecond) // records of one instant have no age
		return must(s.CreateModule(ctx, m, store.Once{}))(t)
	}
	named := func(who string) record.Module { return must(s.ModuleNamed(ctx, who, "plural"))(t) }
	create("ann", "plural", record.Private)
	create("ann", "plurals", record.Shared)
	_, err := s.ModuleNamed(ctx, "bob", "plural")
	refused(t, "another's private one", err, fault.NotFound)
	first := create("ann", "plural", record.Shared)
	create("mallory", "plural", record.Shared)
	same(t, "the oldest shared one", named("bob"), first)
	create("bob", "plural", record.Private)
	newest := create("bob", "plural", record.Private)
	same(t, "one's own", named("bob"), newest)
	same(t, "the owner's newest", named("ann"), first)
	_, err = s.ModuleNamed(ctx, "bob", "Plural")
	refused(t, "another case", err, fault.NotFound)
	_, err = s.ModuleNamed(ctx, "bob", "a\x00")
	refused(t, "a NUL", err, fault.Invalid)
}

func testKeys(t *testing.T, location string) {
	s, ctx := open(t, location), t.Context()
	hash := sha256.Sum256([]byte("secret"))
	expires := time.Date(2031, 2, 3, 4, 5, 6, 789000, time.UTC)
	want := record.Key{Object: record.Object{Owner: "ann"}, Name: "laptop", Hash: hash[:], Scopes: []string{"compose:run", "modules:read"}, Expires: &expires}
	made := must(s.CreateKey(ctx, want, store.Once{}))(t)
	want.ID, want.Created = made.ID, made.Created
	same(t, "key", must(s.KeyByHash(ctx, hash[:]))(t), want)
	_, err := s.CreateKey(ctx, want, store.Once{})
	refused(t, "a secret twice", err, fault.Internal)
	_, err = s.KeyByHash(ctx, hash[:31])
	refused(t, "part of a hash", err, fault.NotFound)
	want.Hash = hash[:31]
	_, err = s.CreateKey(ctx, want, store.Once{})
	refused(t, "short hash", err, fault.Internal)

	_, err = s.RevokeKey(ctx, "bob", made.ID)
	refused(t, "another's key", err, fault.NotFound)
	first := must(s.RevokeKey(ctx, "ann", made.ID))(t)
	if first.Revoked == nil || first.Revoked.Before(first.Created) {
		t.Fatalf("revoked %v", first.Revoked)
	}
	time.Sleep(2 * time.Millisecond) // SQLite's clock has milliseconds
	same(t, "revoked again", must(s.RevokeKey(ctx, "ann", made.ID))(t), first)
	same(t, "list", must(s.Keys(ctx, "ann", store.Page{}))(t).Items, []record.Key{first})
	same(t, "another's list", must(s.Keys(ctx, "bob", store.Page{}))(t), store.List[record.Key]{})
}

func testAudit(t *testing.T, location string) {
	s, ctx := open(t, location), t.Context()
	first := must(s.Audit(ctx, record.Audit{Principal: "ann", Action: "login", Detail: "refused", Address: "::1"}))(t)
	time.Sleep(2 * time.Millisecond)
	second := must(s.Audit(ctx, record.Audit{Action: "token \xff\x00", Detail: strings.Repeat("é", 2000)}))(t)
	if second.Action != "token \uFFFD\uFFFD" || len(second.Detail) != 1024 {
		t.Errorf("mended to %q and %d bytes", second.Action, len(second.Detail))
	}
	same(t, "all", must(s.Audits(ctx, "", store.Page{}))(t).Items, []record.Audit{second, first})
	same(t, "ann's", must(s.Audits(ctx, "ann", store.Page{}))(t).Items, []record.Audit{first})
	again := first
	again.Detail = "changed"
	same(t, "sent again", must(s.Audit(ctx, again))(t), first)
}

func testPages(t *testing.T, location string) {
	s, ctx := open(t, location), t.Context()
	want := map[string]bool{}
	for i := range 23 {
		want[must(s.CreateModule(ctx, module("ann", fmt.Sprint(i)), store.Once{}))(t).ID] = true
		must(s.CreateModule(ctx, module("bob", fmt.Sprint(i)), store.Once{}))(t)
	}
	for _, limit := range []int{1, 5, 22, 23, 24, 0} {
		seen := map[string]bool{}
		page, pages, last := store.Page{Limit: limit}, 0, record.Module{}
		for {
			l := must(s.Modules(ctx, "ann", "", page))(t)
			pages++
			for _, m := range l.Items {
				if seen[m.ID] || !want[m.ID] || last.ID != "" && m.Created.After(last.Created) {
					t.Fatalf("limit %d: %v after %v", limit, m.Object, last.Object)
				}
				seen[m.ID], last = true, m
			}
			if page.After = l.Next; l.Next == "" {
				break
			}
		}
		if wantPages := (len(want) + max(limit, 1) - 1) / max(limit, 1); len(seen) != len(want) || limit > 0 && pages != wantPages {
			t.Errorf("limit %d: %d modules in %d pages", limit, len(seen), pages)
		}
	}
	for what, p := range map[string]store.Page{
		"negative limit": {Limit: -1}, "large limit": {Limit: store.MaxLimit + 1}, "word": {After: "next"}, "dot": {After: "."}, "number": {After: "zz"},
		"overflow": {After: "zzzzzzzzzzzzzzzz." + record.NewID(record.ModuleID)}, "not canonical": {After: "+1.x"}, "long": {After: "1." + strings.Repeat("x", 100)},
		"NUL": {After: "1.\x00"},
	} {
		_, err := s.Modules(ctx, "ann", "", p)
		refused(t, what, err, fault.Invalid)
	}
}

// What is made while somebody turns pages neither repeats nor hides what was there.
func testPagesWhileCreating(t *testing.T, location string) {
	s, ctx := open(t, location), t.Context()
	for i := range 6 {
		must(s.CreateModule(ctx, module("ann", fmt.Sprint("old", i)), store.Once{}))(t)
	}
	time.Sleep(2 * time.Millisecond)
	var seen []string
	page := store.Page{Limit: 2}
	for i := range 3 {
		l := must(s.Modules(ctx, "ann", "", page))(t)
		seen, page.After = append(seen, names(l)...), l.Next
		must(s.CreateModule(ctx, module("ann", fmt.Sprint("new", i)), store.Once{}))(t)
	}
	if strings.Contains(strings.Join(seen, " "), "new") || len(seen) != 6 || page.After != "" {
		t.Errorf("saw %q and %q", seen, page.After)
	}
}

func testOnce(t *testing.T, location string) {
	s, ctx := open(t, location), t.Context()
	once := store.Once{Key: "k", Request: []byte("french")}
	made := must(s.CreateModule(ctx, module("ann", "french"), once))(t)
	same(t, "sent again", must(s.CreateModule(ctx, module("ann", "french"), once))(t), made)
	once.Request = []byte("german")
	_, err := s.CreateModule(ctx, module("ann", "german"), once)
	if refused(t, "another request", err, fault.Invalid); !errors.Is(err, store.ErrReused) {
		t.Errorf("%v is not ErrReused", err)
	}
	once.Request = []byte("french")
	_, err = s.CreatePlugin(ctx, record.Plugin{Object: record.Object{Owner: "ann"}, Visibility: record.Shared}, once)
	refused(t, "another kind", err, fault.Invalid)
	if bobs := must(s.CreateModule(ctx, module("bob", "french"), once))(t); bobs.ID == made.ID {
		t.Error("two principals share a key")
	}
	_, err = s.CreateModule(ctx, module("ann", "x"), store.Once{Key: strings.Repeat("k", store.MaxKey+1)})
	refused(t, "long key", err, fault.TooLarge)

	check(t, s.DeleteModule(ctx, "ann", made.ID))
	_, err = s.CreateModule(ctx, module("ann", "french"), once)
	refused(t, "sent again after a delete", err, fault.NotFound)
	same(t, "young keys forgotten", must(s.Forget(ctx, time.Hour))(t), int64(0))
	time.Sleep(2 * time.Millisecond)
	same(t, "keys forgotten", must(s.Forget(ctx, 0))(t), int64(2))
	must(s.CreateModule(ctx, module("ann", "french"), once))(t)

	c := must(s.CreateComposition(ctx, composition("ann"), store.Once{Key: "c"}))(t)
	same(t, "composition", must(s.CreateComposition(ctx, composition("ann"), store.Once{Key: "c"}))(t), c)
	other := composition("ann")
	other.Request = json.RawMessage(`{}`)
	_, err = s.CreateComposition(ctx, other, store.Once{Key: "c"})
	refused(t, "another composition", err, fault.Invalid)

	// A create that fails leaves the key free.
	base := record.Base{Object: record.Object{Owner: "ann"}, Name: "taken"}
	must(s.CreateBase(ctx, base, store.Once{}))(t)
	_, err = s.CreateBase(ctx, base, store.Once{Key: "b"})
	refused(t, "taken name", err, fault.Invalid)
	base.Name = "free"
	must(s.CreateBase(ctx, base, store.Once{Key: "b", Request: []byte("other")}))(t)
}

func testOnceAtOnce(t *testing.T, location string) {
	const n = 8
	ids := make(chan string, n)
	for range n {
		s := open(t, location)
		go func() {
			c, err := s.CreateComposition(t.Context(), composition("ann"), store.Once{Key: "same"})
			if err != nil {
				t.Error(err)
			}
			ids <- c.ID
		}()
	}
	first := <-ids
	for range n - 1 {
		if id := <-ids; id != first {
			t.Errorf("made %s and %s", first, id)
		}
	}
	same(t, "compositions", len(must(open(t, location).Compositions(t.Context(), "ann", "", store.Page{}))(t).Items), 1)
}

// Both databases refuse what one of them cannot hold, and a refusal is never a failure of the database.
func testBadText(t *testing.T, location string) {
	s, ctx := open(t, location), t.Context()
	for what, bad := range map[string]string{"NUL": "a\x00b", "not UTF-8": "a\xffb", "half a surrogate": "\xed\xa0\x80"} {
		_, err := s.CreateModule(ctx, module("ann", bad), store.Once{})
		refused(t, what+" in a name", err, fault.Invalid)
		_, err = s.CreateModule(ctx, module(bad, "x"), store.Once{})
		refused(t, what+" in an owner", err, fault.Invalid)
		_, err = s.CreateModule(ctx, module("ann", "x"), store.Once{Key: bad})
		refused(t, what+" in a key", err, fault.Invalid)
		_, err = s.BaseNamed(ctx, bad)
		refused(t, what+" in a base", err, fault.Invalid)
		_, err = s.Referenced(ctx, bad)
		refused(t, what+" in a digest", err, fault.Invalid)
		_, err = s.Compositions(ctx, bad, "", store.Page{})
		refused(t, what+" in a principal", err, fault.Invalid)
		c := composition("ann")
		c.Request = json.RawMessage(`"` + bad + `"`)
		_, err = s.CreateComposition(ctx, c, store.Once{})
		refused(t, what+" in a request", err, fault.Invalid)
	}
	_, err := s.CreateModule(ctx, module("ann", strings.Repeat("é", 513)), store.Once{})
	refused(t, "long name", err, fault.TooLarge)
	must(s.CreateModule(ctx, module("ann", strings.Repeat("é", 512)), store.Once{}))(t)
	must(s.CreateBase(ctx, record.Base{Object: record.Object{Owner: "ann"}, Name: strings.Repeat("𝕏", 256)}, store.Once{}))(t)
	escaped := composition("ann")
	escaped.Request = json.RawMessage("{\"a\":\"\\u0000 \\ud800 '\\\"; DROP TABLE modules\"}\n")
	same(t, "escapes are kept", must(s.CreateComposition(ctx, escaped, store.Once{}))(t).Request, escaped.Request)
}

func testBlobs(t *testing.T, location string) {
	s, ctx := open(t, location), t.Context()
	m := must(s.CreateModule(ctx, module("ann", "french"), store.Once{}))(t)
	must(s.CreateModule(ctx, module("bob", "french"), store.Once{}))(t)
	must(s.CreatePlugin(ctx, record.Plugin{Object: record.Object{Owner: "ann"}, Visibility: record.Private, Digest: digest("plugin")}, store.Once{}))(t)
	must(s.CreateComposition(ctx, composition("ann"), store.Once{}))(t) // without an adapter as yet
	c, _, err := s.Lease(ctx, "w", time.Hour, "")
	check(t, err)
	check(t, s.Finish(ctx, c.ID, c.Fence, store.Outcome{State: record.Succeeded, Adapter: digest("adapter"), Report: digest("report")}))
	want := []string{digest("french"), digest("plugin"), digest("adapter"), digest("report")}
	found := must(s.Digests(ctx, ""))(t)
	if len(found) != 4 || !slices.IsSorted(found) {
		t.Fatalf("digests %q", found)
	}
	for _, d := range want {
		same(t, "referenced "+d, must(s.Referenced(ctx, d))(t), true)
	}
	same(t, "after the first", must(s.Digests(ctx, found[0]))(t), found[1:])
	same(t, "unknown", must(s.Referenced(ctx, digest("unknown")))(t), false)
	same(t, "empty", must(s.Referenced(ctx, digest("unknown")))(t), false)
	check(t, s.DeleteModule(ctx, "ann", m.ID))
	same(t, "one of two deleted", must(s.Referenced(ctx, m.Digest))(t), true)
}
