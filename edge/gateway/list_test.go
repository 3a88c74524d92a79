package gateway_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/medley-lora/medley/edge/record"
)

func TestPages(t *testing.T) {
	s := newServer(t, nil)
	for i := range 53 {
		s.m.modules.add(record.Module{Object: s.m.object("alice", "mod"), Name: fmt.Sprint("m", i), Visibility: record.Private, Digest: hashOf(nil)})
	}
	if all := s.want(http.StatusOK, "GET", "/v1/modules", ""); strings.Count(all.body, `"id"`) != 50 || all.field("next") == "" {
		t.Errorf("by default a page has %d, next %q", strings.Count(all.body, `"id"`), all.field("next"))
	}
	seen, pages := 0, 0
	for cursor := ""; pages == 0 || cursor != ""; pages++ {
		path := "/v1/modules?limit=20"
		if cursor != "" {
			path += "&cursor=" + cursor
		}
		page := s.want(http.StatusOK, "GET", path, "")
		if first := fmt.Sprintf(`"name":"m%d"`, 52-seen); !strings.Contains(page.body, first) {
			t.Errorf("page %d lacks %s", pages, first)
		}
		seen += strings.Count(page.body, `"id"`)
		cursor = page.field("next")
	}
	if seen != 53 || pages != 3 {
		t.Errorf("%d modules on %d pages", seen, pages)
	}
	if empty := s.want(http.StatusOK, "GET", "/v1/plugins", ""); empty.body != `{"items":[]}`+"\n" {
		t.Errorf("an empty list is %q", empty.body)
	}
}

func TestETags(t *testing.T) {
	s := newServer(t, nil)
	first := s.want(http.StatusOK, "GET", "/v1/modules", "")
	tag := first.header.Get("ETag")
	if !strings.HasPrefix(tag, `"`) || first.header.Get("Cache-Control") != "private, no-cache" {
		t.Errorf("headers %v", first.header)
	}
	for match, status := range map[string]int{
		tag: 304, "W/" + tag: 304, "*": 304, `"a", ` + tag + `, "b"`: 304, `"other"`: 200, "": 200, strings.Trim(tag, `"`): 200, `","`: 200,
	} {
		a := s.want(status, "GET", "/v1/modules", "", "If-None-Match", match)
		if a.header.Get("ETag") != tag || (status == 304) != (a.body == "") {
			t.Errorf("If-None-Match %s: %q, %v", match, a.body, a.header)
		}
	}
	s.want(http.StatusCreated, "POST", "/v1/modules?name=m", "PK", "Content-Type", "application/zip")
	if a := s.want(http.StatusOK, "GET", "/v1/modules", "", "If-None-Match", tag); a.header.Get("ETag") == tag {
		t.Error("another list has the same tag")
	}
	if a := s.want(http.StatusNotFound, "GET", "/v1/modules/mod_aaaaaaaaaaaaaaaaaaaaaaaaaa", "", "If-None-Match", "*"); a.header.Get("ETag") != "" {
		t.Errorf("a problem has a tag: %v", a.header)
	}
}
