package platform_test

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// A plugin that is deleted or uploaded anew under its name while a composition runs with it changes nothing: the composition named its content.
func TestBadInput_50_PluginReplacedDuringAJob(t *testing.T) {
	w := newWorld(t, "embedded:", nil)
	w.models.Delay = 30 * time.Millisecond
	first := w.call("ann", 201, "POST", "/v1/plugins?name=p", plugin, "Content-Type", "application/wasm")
	task := taskOf(w.modules("ann", 1))
	task["optimizer"] = first.field("id")
	path := "/v1/compositions/" + w.call("ann", 202, "POST", "/v1/compositions", task).field("id")
	w.work()
	w.sse(path+"/events", "", func(kind, _, _ string) bool { return kind == "evaluation" })
	w.call("ann", 204, "DELETE", "/v1/plugins/"+first.field("id"), nil)
	second := w.call("ann", 201, "POST", "/v1/plugins?name=p", append(bytes.Clone(plugin), '!'), "Content-Type", "application/wasm")
	w.sse(path+"/events", "", nil)
	var c struct {
		State  string
		Result struct{ Plugin struct{ SHA256 string } }
	}
	if err := json.Unmarshal(w.call("ann", 200, "GET", path, nil).body, &c); err != nil {
		t.Fatal(err)
	}
	if c.State != "succeeded" || c.Result.Plugin.SHA256 != first.field("digest") || first.field("digest") == second.field("digest") {
		t.Errorf("%+v; the plugin was %s, then %s", c, first.field("digest"), second.field("digest"))
	}
	w.call("ann", 400, "POST", "/v1/compositions", task)
}

// The same create at once, many times, makes one composition, which runs once.
func TestBadInput_55_TheSameJobPostedAtOnce(t *testing.T) {
	w := newWorld(t, "embedded:", nil)
	task := taskOf(w.modules("ann", 2))
	w.work()
	ids := make([]string, 12)
	var all sync.WaitGroup
	for i := range ids {
		all.Go(func() {
			ids[i] = w.call("ann", 202, "POST", "/v1/compositions", task, "Idempotency-Key", "one").field("id")
		})
	}
	all.Wait()
	for _, id := range ids {
		if id == "" || id != ids[0] {
			t.Fatalf("made %v", ids)
		}
	}
	w.sse("/v1/compositions/"+ids[0]+"/events", "", nil)
	var page struct{ Items []struct{ State string } }
	if err := json.Unmarshal(w.call("ann", 200, "GET", "/v1/compositions", nil).body, &page); err != nil || len(page.Items) != 1 || page.Items[0].State != "succeeded" {
		t.Errorf("%v: %+v", err, page)
	}
}

// However a cancel and the end meet, a composition ends once, as one or the other, and stays so.
func TestBadInput_55_CancelRacesFinish(t *testing.T) {
	w := newWorld(t, "embedded:", nil)
	task := taskOf(w.modules("ann", 1))
	w.work()
	for i := range 8 {
		path := "/v1/compositions/" + w.call("ann", 202, "POST", "/v1/compositions", task).field("id")
		last := ""
		w.sse(path+"/events", "", func(kind, id, _ string) bool {
			last = id
			return kind == "end" || kind == "evaluation" && id == "12"
		})
		time.Sleep(time.Duration(i) * time.Millisecond)
		w.call("ann", 202, "POST", path+"/cancel", nil)
		kinds, _ := w.sse(path+"/events", last, nil)
		ends := 0
		for _, kind := range kinds {
			if kind == "end" {
				ends++
			}
		}
		state := w.call("ann", 200, "GET", path, nil).field("state")
		w.call("ann", 202, "POST", path+"/cancel", nil)
		again := w.call("ann", 200, "GET", path, nil).field("state")
		if ends != 1 || state != "succeeded" && state != "canceled" || again != state {
			t.Errorf("%v: %s, then %s", kinds, state, again)
		}
	}
}

// A server that cannot write uploads says that it broke, not where, keeps nothing, and goes on.
func TestBadInput_58_FolderOfUploadsIsGone(t *testing.T) {
	w := newWorld(t, "embedded:", nil)
	for name, spoil := range map[string]func() error{
		"gone":   func() error { return os.RemoveAll(w.Uploads) },
		"a file": func() error { return os.WriteFile(w.Uploads, nil, 0o600) },
	} {
		if err := os.RemoveAll(w.Uploads); err != nil {
			t.Fatal(err)
		}
		if err := spoil(); err != nil {
			t.Fatal(err)
		}
		a := w.call("ann", 500, "POST", "/v1/modules?name=m", archiveOf(t, 1), "Content-Type", "application/zip")
		if strings.Contains(string(a.body), w.dir) || a.field("code") != "internal" {
			t.Errorf("%s: %s", name, a.body)
		}
		if err := os.RemoveAll(w.Uploads); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(w.Uploads, 0o700); err != nil {
		t.Fatal(err)
	}
	if a := w.call("ann", 200, "GET", "/v1/modules", nil); !bytes.Contains(a.body, []byte(`"items":[]`)) {
		t.Errorf("%s", a.body)
	}
	w.upload("ann", 1)
}
