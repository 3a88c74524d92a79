//go:build peers

package hub

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/medley-lora/medley/shared/hub/hubtest"
)

// peerFound is what tools/peers/hub_cache.py prints.
type peerFound struct {
	Version  string
	Folder   string
	Files    map[string]string // SHA-256 by name
	Warnings []string
	Repos    map[string]map[string]struct {
		Refs  []string
		Files map[string]int64
	}
	Card map[string]any
}

// python lets huggingface_hub work on a client's cache and Hub.
func python(t *testing.T, c *Client, offline bool, args ...string) peerFound {
	t.Helper()
	program := os.Getenv("MEDLEY_PEERS_PYTHON")
	if program == "" {
		t.Fatal("set MEDLEY_PEERS_PYTHON to a Python with tools/peers/requirements.txt installed, or run: task test:peers")
	}
	peer := exec.CommandContext(t.Context(), program, append([]string{filepath.Join("..", "..", "tools", "peers", "hub_cache.py")}, args...)...)
	peer.Env = append(os.Environ(), "HF_ENDPOINT="+c.config.Endpoint, "HF_HUB_CACHE="+c.config.Cache, "HF_HOME="+t.TempDir(), "HF_TOKEN="+c.config.Token,
		"HF_HUB_DISABLE_PROGRESS_BARS=1", "HF_HUB_DISABLE_TELEMETRY=1", "HF_HUB_OFFLINE="+map[bool]string{true: "1", false: "0"}[offline])
	peer.Stderr = os.Stderr
	out, err := peer.Output()
	if err != nil {
		t.Fatal(err)
	}
	var found peerFound
	if err := json.Unmarshal(out, &found); err != nil {
		t.Fatal(err)
	}
	return found
}

// sameFiles compares files that Python has digested with what the repository has.
func sameFiles(t *testing.T, found peerFound, files map[string]string, names ...string) {
	t.Helper()
	if len(found.Files) != len(names) {
		t.Errorf("Python sees %d files, want %v", len(found.Files), names)
	}
	for _, name := range names {
		if found.Files[name] != sha256Of(files[name]) {
			t.Errorf("Python sees another %s", name)
		}
	}
}

// nothingMoved fails if a file of a large size was asked of the storage.
func nothingMoved(t *testing.T, s *hubtest.Server, who string) {
	t.Helper()
	if moved := s.Requests(func(r hubtest.Request) bool { return r.Storage }); len(moved) != 0 {
		t.Errorf("%s fetched again: %v", who, moved)
	}
	s.Forget()
}

var read = []string{"config.json", "tokenizer.json", "model.safetensors.index.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"}

func TestPeersPythonSeesWhatWePulled(t *testing.T) {
	s := hubtest.New(t)
	files := model()
	commit := s.Commit("google/flan", files)
	c := newClient(t, s, func(c *Config) { c.Token = s.Token })
	ours := mustPull(t, c, "google/flan", Want{Kind: Base})
	s.Forget()

	offline := python(t, c, true, "snapshot", "google/flan", "--allow", "*.json", "--allow", "*.safetensors")
	sameFiles(t, offline, files, read...)
	if same, err := filepath.EvalSymlinks(ours.Folder); err != nil || offline.Folder != same && offline.Folder != ours.Folder {
		t.Errorf("Python's folder is %s, ours %s", offline.Folder, ours.Folder)
	}
	online := python(t, c, false, "snapshot", "google/flan", "--allow", "*.json", "--allow", "*.safetensors")
	sameFiles(t, online, files, read...)
	python(t, c, false, "file", "google/flan", "model-00001-of-00002.safetensors")
	nothingMoved(t, s, "Python "+online.Version)

	scan := python(t, c, true, "scan")
	revision := scan.Repos["google/flan"][commit]
	if len(scan.Warnings) != 0 || len(revision.Files) != len(read) || fmt.Sprint(revision.Refs) != "[main]" {
		t.Errorf("the scan of the cache: %+v", scan)
	}
}

func TestPeersWeUseWhatPythonDownloaded(t *testing.T) {
	s := hubtest.New(t)
	files := model()
	commit := s.Commit("google/flan", files)
	c := newClient(t, s, nil)
	python(t, c, false, "snapshot", "google/flan")
	s.Forget()
	got := mustPull(t, c, "google/flan", Want{Kind: Base})
	holds(t, got, files, read...)
	nothingMoved(t, s, "we")
	offline := newClient(t, s, func(o *Config) { o.Cache, o.Offline = c.config.Cache, true })
	if got := mustPull(t, offline, "google/flan", Want{Kind: Base}); got.Commit != commit {
		t.Errorf("offline: %s", got.Commit)
	}

	// File by file, by the hash of the commit, in another repository.
	adapted := adapter(3)
	commit = s.Commit("o/m", adapted)
	for _, name := range []string{"adapter_config.json", "adapter_model.safetensors"} {
		python(t, c, false, "file", "o/m", name, "--revision", commit)
	}
	s.Forget()
	holds(t, mustPull(t, c, "o/m@"+commit, Want{Kind: Adapter}), adapted, "adapter_config.json", "adapter_model.safetensors")
	nothingMoved(t, s, "we")
}

// Both take turns on one repository that changes.
func TestPeersTakeTurns(t *testing.T) {
	s := hubtest.New(t)
	files := adapter(1)
	s.Commit("o/m", files)
	c := newClient(t, s, nil)
	mustPull(t, c, "o/m", Want{})
	files["adapter_config.json"] = `{"r": 2}`
	s.Commit("o/m", files)
	s.Forget()
	sameFiles(t, python(t, c, false, "snapshot", "o/m", "--allow", "adapter*"), files, "adapter_config.json", "adapter_model.safetensors")
	nothingMoved(t, s, "Python")
	files["adapter_model.safetensors"] = randomText(9, 5000)
	s.Commit("o/m", files)
	holds(t, mustPull(t, c, "o/m", Want{}), files, "adapter_config.json", "adapter_model.safetensors")
	s.Forget()
	sameFiles(t, python(t, c, true, "snapshot", "o/m", "--allow", "adapter*"), files, "adapter_config.json", "adapter_model.safetensors")
	nothingMoved(t, s, "Python")
}

// A lock that Python holds is waited for, and the other way round.
func TestPeersLocks(t *testing.T) {
	s := hubtest.New(t)
	s.Commit("o/m", adapter(1))
	c := newClient(t, s, nil)
	path := c.storage("o/m").lock("x")
	unlock, err := lockFile(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	try := "import sys, filelock\ntry:\n filelock.FileLock(sys.argv[1], timeout=0.2).acquire()\n print('free')\nexcept filelock.Timeout:\n print('held')"
	for _, want := range []string{"held", "free"} {
		out, err := exec.CommandContext(t.Context(), os.Getenv("MEDLEY_PEERS_PYTHON"), "-c", try, path).Output()
		if err != nil || strings.TrimSpace(string(out)) != want {
			t.Errorf("Python finds the lock %q, %v; want %s", out, err, want)
		}
		if want == "held" {
			unlock()
		}
	}
}

func TestPeersPythonReadsWhatWePushed(t *testing.T) {
	s := hubtest.New(t)
	c := newClient(t, s, func(c *Config) { c.Token = s.Token })
	weights := randomText(5, 20_000)
	files := uploads(t, weights)[:3]
	if _, err := c.Push(t.Context(), Name{Repo: "me/m"}, files, PushOptions{Message: "m"}, nil); err != nil {
		t.Fatal(err)
	}
	got := python(t, c, false, "snapshot", "me/m")
	sameFiles(t, got, map[string]string{
		"adapter_model.safetensors": weights, "adapter_config.json": string(files[1].Data), "README.md": string(files[2].Data), ".gitattributes": string(s.Repo("me/m").Files("main")[".gitattributes"]),
	}, "adapter_model.safetensors", "adapter_config.json", "README.md", ".gitattributes")
}
