package hub

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/hub/hubtest"
)

// uploads is an adapter to push: a large file on disk, small ones at hand.
func uploads(t *testing.T, weights string) []Upload {
	t.Helper()
	path := filepath.Join(t.TempDir(), "adapter_model.safetensors")
	if err := os.WriteFile(path, []byte(weights), 0o644); err != nil {
		t.Fatal(err)
	}
	return []Upload{
		{Path: "adapter_model.safetensors", Local: path}, {Path: "adapter_config.json", Data: []byte(`{"r": 4}`)}, {Path: "README.md", Data: []byte("# card")},
		{Path: "empty.safetensors", Data: nil},
	}
}

func TestPush(t *testing.T) {
	for _, part := range []int64{0, 7_000} {
		s := hubtest.New(t)
		s.PartSize = part
		c := newClient(t, s, func(c *Config) { c.Token = s.Token })
		n := Name{Repo: "me/composed"}
		weights := randomText(5, 20_000)
		var last Progress
		done, err := c.Push(t.Context(), n, uploads(t, weights), PushOptions{Message: "A composition"}, func(p Progress) { last = p })
		if err != nil {
			t.Fatal(err)
		}
		if !done.Created || done.Uploaded != 20_000 || done.Unchanged != 0 || !commitPattern.MatchString(done.Commit) {
			t.Errorf("parts of %d: %+v", part, done)
		}
		if last.Bytes != 20_000 || last.Total != 20_000 || last.Done != 1 {
			t.Errorf("progress ends at %+v", last)
		}
		repo := s.Repo(n.Repo)
		files := repo.Files("main")
		if !repo.Private || string(files["adapter_model.safetensors"]) != weights || string(files["README.md"]) != "# card" || len(files) != 5 || repo.Messages[0] != "A composition\n\n" {
			t.Errorf("private %v, messages %q, files %d", repo.Private, repo.Messages, len(files))
		}

		// Again: nothing to do. With another card: nothing to upload.
		again, err := c.Push(t.Context(), n, uploads(t, weights), PushOptions{Message: "A composition"}, nil)
		if err != nil || again.Created || again.Unchanged != 4 || again.Commit != done.Commit || len(repo.Messages) != 1 {
			t.Errorf("again: %+v, %v", again, err)
		}
		changed := uploads(t, weights)
		changed[2].Data = []byte("# another card")
		third, err := c.Push(t.Context(), n, changed, PushOptions{Message: "The card"}, nil)
		if err != nil || third.Unchanged != 3 || third.Uploaded != 0 || third.Commit == done.Commit || string(repo.Files("main")["README.md"]) != "# another card" {
			t.Errorf("another card: %+v, %v", third, err)
		}
		for _, r := range s.Requests(func(r hubtest.Request) bool { return r.Storage && r.Authorization != "" }) {
			t.Errorf("the token went to the storage: %s %s", r.Method, r.Path)
		}
		// What was pushed can be pulled.
		holds(t, mustPull(t, newClient(t, s, func(c *Config) { c.Token = s.Token }), n.Repo, Want{Kind: Adapter}),
			map[string]string{"adapter_model.safetensors": weights, "adapter_config.json": `{"r": 4}`}, "adapter_config.json", "adapter_model.safetensors")
	}
}

func TestPushPublic(t *testing.T) {
	s := hubtest.New(t)
	c := newClient(t, s, func(c *Config) { c.Token = s.Token })
	if _, err := c.Push(t.Context(), Name{Repo: "me/open"}, uploads(t, "x"), PushOptions{Message: "m", Public: true}, nil); err != nil || s.Repo("me/open").Private {
		t.Errorf("public: %v", err)
	}
}

func TestPushRefusals(t *testing.T) {
	s := hubtest.New(t)
	n := Name{Repo: "me/m"}
	push := func(c *Client, files []Upload) error {
		_, err := c.Push(t.Context(), n, files, PushOptions{Message: "m"}, nil)
		return err
	}
	with := func(token string) *Client { return newClient(t, s, func(c *Config) { c.Token = token }) }
	answers := func(part string, status int, body string) before {
		return func(w http.ResponseWriter, r *http.Request, _ bool) bool {
			if !strings.Contains(r.URL.Path, part) {
				return false
			}
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			fmt.Fprint(w, body)
			return true
		}
	}
	oid := sha256Of("weights")
	for name, c := range map[string]struct {
		client *Client
		files  []Upload
		before before
		code   fault.Code
		part   string
	}{
		"no token":     {with(""), uploads(t, "x"), nil, fault.Invalid, "needs a token that may write"},
		"wrong token":  {with("hf_x"), uploads(t, "x"), nil, fault.Invalid, "does not accept the token"},
		"forbidden":    {with(s.Token), uploads(t, "x"), answers("/create", 403, `{"error": "You don't have the rights\u001b[2J"}`), fault.Invalid, "does not allow this: You don't have the rights [2J"},
		"quota":        {with(s.Token), uploads(t, "x"), answers("/create", 507, `{}`), fault.Internal, "storage on the Hub is full"},
		"bad path":     {with(s.Token), []Upload{{Path: "../x"}}, nil, fault.Invalid, "no name for a file"},
		"no file":      {with(s.Token), []Upload{{Path: "x", Local: "/none"}}, nil, fault.Invalid, "cannot be read"},
		"ignored":      {with(s.Token), uploads(t, "x")[2:3], answers("/preupload", 200, `{"files": [{"path": "README.md", "uploadMode": "regular", "shouldIgnore": true}]}`), fault.Invalid, ".gitignore excludes it"},
		"unanswered":   {with(s.Token), uploads(t, "x")[2:3], answers("/preupload", 200, `{"files": []}`), fault.Invalid, "does not say where README.md goes"},
		"storage":      {with(s.Token), uploads(t, "weights")[:1], answers("/batch", 200, `{"objects": [{"oid": "`+oid+`", "size": 7, "error": {"code": 422, "message": "no"}}]}`), fault.Invalid, `refuses it (status 422): "no"`},
		"other object": {with(s.Token), uploads(t, "weights")[:1], answers("/batch", 200, `{"objects": [{"oid": "x", "size": 7}]}`), fault.Invalid, "a file that was not named"},
		"no object":    {with(s.Token), uploads(t, "weights")[:1], answers("/batch", 200, `{"objects": []}`), fault.Invalid, "does not answer for it"},
		"upload to a file": {with(s.Token), uploads(t, "weights")[:1], answers("/batch", 200,
			`{"objects": [{"oid": "`+oid+`", "size": 7, "actions": {"upload": {"href": "file:///etc/x"}}}]}`), fault.Invalid, "no http or https URL to upload to"},
		"no parts": {with(s.Token), uploads(t, "weights")[:1], answers("/batch", 200,
			`{"objects": [{"oid": "`+oid+`", "size": 7, "actions": {"upload": {"href": "http://127.0.0.1/", "header": {"chunk_size": "0"}}}}]}`), fault.Invalid, "in parts of 0 bytes"},
		"part without URL": {with(s.Token), uploads(t, "weights")[:1], answers("/batch", 200,
			`{"objects": [{"oid": "`+oid+`", "size": 7, "actions": {"upload": {"href": "http://127.0.0.1/", "header": {"chunk_size": 3}}}}]}`), fault.Invalid, "no http or https URL to upload to"},
		"redirected": {with(s.Token), uploads(t, "x"), func(w http.ResponseWriter, r *http.Request, storage bool) bool {
			if storage || !strings.Contains(r.URL.Path, "/create") {
				return false
			}
			http.Redirect(w, r, s.Storage+"/steal", http.StatusTemporaryRedirect)
			return true
		}, fault.Invalid, "redirects an upload to another host"},
	} {
		t.Run(name, func(t *testing.T) {
			s.Before = c.before
			if err := push(c.client, c.files); fault.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.part) {
				t.Errorf("got %v (%s); want %q (%s)", err, fault.CodeOf(err), c.part, c.code)
			}
		})
	}
	s.Before = nil
	if err := push(with(s.Token), uploads(t, "weights")); err != nil {
		t.Errorf("after all that: %v", err)
	}
}

func sha256Of(text string) string {
	p, err := prepare(Upload{Path: "x", Data: []byte(text)})
	if err != nil {
		panic(err)
	}
	return p.sha256
}
