// Package storetest holds every database that package store runs on to one contract.
package storetest

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/medley-lora/medley/edge/record"
	"github.com/medley-lora/medley/edge/store"
	"github.com/medley-lora/medley/shared/fault"
)

// Run holds a kind of database to the contract. A call of location makes an empty one and returns its URL.
func Run(t *testing.T, location func(*testing.T) string) {
	for _, c := range []struct {
		name string
		run  func(*testing.T, string)
	}{
		{"Reopen", testReopen}, {"OpenAtOnce", testOpenAtOnce},
		{"Modules", testModules}, {"ModuleNamed", testModuleNamed}, {"Search", testSearch}, {"Plugins", testPlugins}, {"Bases", testBases},
		{"Keys", testKeys}, {"Audit", testAudit}, {"Pages", testPages}, {"PagesWhileCreating", testPagesWhileCreating},
		{"Once", testOnce}, {"OnceAtOnce", testOnceAtOnce}, {"BadText", testBadText}, {"Blobs", testBlobs}, {"Revocations", testRevocations},
		{"Sessions", testSessions}, {"Compositions", testCompositions}, {"Cancel", testCancel}, {"Lease", testLease}, {"Append", testAppend}, {"Finish", testFinish},
		{"OldFence", testOldFence}, {"Recover", testRecover}, {"Workers", testWorkers}, {"CancelRacesFinish", testCancelRacesFinish},
		{"LeaseRacesAppend", testLeaseRacesAppend}, {"ContextEnds", testContextEnds},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, location(t)) })
	}
}

// open opens the database for the time of the test. Each call is another process as far as the database knows.
func open(t *testing.T, location string) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), location)
	if err != nil {
		t.Fatalf("open: %v (%v)", err, errors.Unwrap(err))
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// must fails the test on an error, and tells the cause.
func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		check(t, err)
		return v
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

func same(t *testing.T, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s: %+v, want %+v", what, got, want)
	}
}

func module(owner, name string) record.Module {
	return record.Module{Object: record.Object{Owner: owner}, Name: name, Visibility: record.Private, Digest: digest(name), Size: 12,
		Base: "flan-t5-large", Task: "Übersetzen", Author: "somebody", Licence: "MIT", Rank: 16, Targets: []string{"q", "v"}}
}

func digest(content string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(content))) }

func testReopen(t *testing.T, location string) {
	s := open(t, location)
	m := must(s.CreateModule(t.Context(), module("ann", "french"), store.Once{}))(t)
	c := must(s.CreateComposition(t.Context(), composition("ann"), store.Once{}))(t)
	check(t, s.Ping(t.Context()))
	check(t, s.Close())
	refused(t, "ping of a closed store", s.Ping(t.Context()), fault.Internal)
	again := open(t, location)
	same(t, "module", must(again.Module(t.Context(), "ann", m.ID))(t), m)
	same(t, "composition", must(again.Composition(t.Context(), "ann", c.ID))(t), c)
}

// Processes that start at once all find the tables made.
func testOpenAtOnce(t *testing.T, location string) {
	const n = 4
	failures := make(chan error, n)
	for range n {
		go func() {
			s, err := store.Open(t.Context(), location)
			if err == nil {
				_, err = s.Modules(t.Context(), "ann", "", store.Page{})
				err = errors.Join(err, s.Close())
			}
			failures <- err
		}()
	}
	for range n {
		check(t, <-failures)
	}
}

func testModules(t *testing.T, location string) {
	s, ctx := open(t, location), t.Context()
	made := must(s.CreateModule(ctx, module("ann", "french"), store.Once{}))(t)
	want := module("ann", "french")
	want.ID, want.Created = made.ID, made.Created
	if same(t, "module", made, want); !record.IsID(record.ModuleID, made.ID) || made.Created.Year() < 2026 {
		t.Errorf("made %q at %v", made.ID, made.Created)
	}
	open := module("bob", "german")
	open.Visibility, open.Targets = record.Shared, nil
	shared := must(s.CreateModule(ctx, open, store.Once{}))(t)
	same(t, "targets", shared.Targets, []string(nil))

	for _, c := range []struct {
		who, id string
		code    fault.Code
	}{
		{"ann", made.ID, ""}, {"bob", made.ID, fault.NotFound}, {"", made.ID, fault.NotFound}, {"ann", shared.ID, ""}, {"eve", shared.ID, ""},
		{"ann", "", fault.NotFound}, {"ann", record.NewID(record.ModuleID), fault.NotFound}, {"ann", made.ID + "\x00", fault.NotFound},
		{"ann", strings.ToUpper(made.ID), fault.NotFound}, {"ann", "mod_%", fault.NotFound}, {"ann", "\xff", fault.NotFound},
	} {
		_, err := s.Module(ctx, c.who, c.id)
		refused(t, fmt.Sprintf("%s reads %q", c.who, c.id), err, c.code)
	}
	same(t, "ann's list", names(must(s.Modules(ctx, "ann", "", store.Page{}))(t)), []string{"french", "german"})
	same(t, "eve's list", names(must(s.Modules(ctx, "eve", "", store.Page{}))(t)), []string{"german"})

	refused(t, "delete of what another shares", s.DeleteModule(ctx, "ann", shared.ID), fault.NotFound)
	check(t, s.DeleteModule(ctx, "bob", shared.ID))
	refused(t, "second delete", s.DeleteModule(ctx, "bob", shared.ID), fault.NotFound)
	same(t, "after the delete", names(must(s.Modules(ctx, "eve", "", store.Page{}))(t)), []string{})

	odd := module("ann", "x")
	odd.Visibility = "public"
	_, err := s.CreateModule(ctx, odd, store.Once{})
	refused(t, "unknown visibility", err, fault.Invalid)
}

// names lists the modules of a page in alphabetical order: within one instant their order in the page is that of random IDs.
func names(page store.List[record.Module]) []string {
	found := []string{}
	for _, m := range page.Items {
		found = append(found, m.Name)
	}
	slices.Sort(found)
	return found
}

func testSearch(t *testing.T, location string) {
	s, ctx := open(t, location), t.Context()
	for _, m := range []record.Module{
		{Name: "french", Task: "translation", Base: "flan-t5-large"}, {Name: "ÉCOLE", Task: "questions", Base: "flan-t5-xl"},
		{Name: "100%_sure", Task: `back\slash`, Base: "flan-t5-large"}, {Name: "sure", Task: "100 percent", Base: "llama"},
	} {
		m.Owner, m.Visibility = "ann", record.Private
		must(s.CreateModule(ctx, m, store.Once{}))(t)
		m.Owner = "bob"
		must(s.CreateModule(ctx, m, store.Once{}))(t)
	}
	for search, want := range map[string][]string{
		"fren": {"french"}, "FLAN": {"100%_sure", "french", "ÉCOLE"}, "t5-large": {"100%_sure", "french"}, "école": {"ÉCOLE"}, "%": {"100%_sure"},
		"_": {"100%_sure"}, `\`: {"100%_sure"}, "question": {"ÉCOLE"}, "' OR 1=1 --": {}, "frenchtranslation": {}, "sure": {"100%_sure", "sure"},
		"percent": {"sure"},
	} {
		same(t, search, names(must(s.Modules(ctx, "ann", search, store.Page{}))(t)), want)
	}
	_, err := s.Modules(ctx, "ann", strings.Repeat("%", 2000), store.Page{})
	refused(t, "long search", err, fault.TooLarge)
	_, err = s.Modules(ctx, "ann", "\x00", store.Page{})
	refused(t, "NUL", err, fault.Invalid)
}

func composition(owner string) record.Composition {
	return record.Composition{Object: record.Object{Owner: owner}, Budget: 40, Request: json.RawMessage(`{"task": "Übung",  "n":1.0}`)}
}
