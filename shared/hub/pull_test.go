package hub

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/hub/hubtest"
)

// randomText is content that no two files share.
func randomText(seed uint64, n int) string {
	r := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return string(b)
}

// model is a sharded base model with what Medley does not read beside it.
func model() map[string]string {
	return map[string]string{
		"config.json": `{"model_type": "t5"}`, "tokenizer.json": "{}", "README.md": "# about", "flax_model.msgpack": "x", "onnx/model.onnx": "x",
		"model.safetensors.index.json":     `{"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}`,
		"model-00001-of-00002.safetensors": randomText(1, 300_000), "model-00002-of-00002.safetensors": randomText(2, 200_000),
		"pytorch_model.bin": randomText(3, 1000),
	}
}

func adapter(seed uint64) map[string]string {
	return map[string]string{"adapter_config.json": fmt.Sprintf(`{"r": %d}`, seed), "adapter_model.safetensors": randomText(seed, 20_000), "README.md": "# about"}
}

// newClient is a client of a test's Hub with an empty cache and little patience.
func newClient(t *testing.T, s *hubtest.Server, change func(*Config)) *Client {
	t.Helper()
	config := Config{Endpoint: s.URL, Cache: filepath.Join(t.TempDir(), "hub"), UserAgent: "medley/test"}
	if change != nil {
		change(&config)
	}
	c, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	c.limits.backoff, c.limits.wait, c.limits.window, c.limits.pace = time.Millisecond, 50*time.Millisecond, 10*time.Second, 1<<10
	return c
}

func pull(t *testing.T, c *Client, name string, want Want) (*Snapshot, error) {
	t.Helper()
	n, err := ParseName(name)
	if err != nil {
		t.Fatal(err)
	}
	all, err := c.PullAll(t.Context(), []Name{n}, want, nil)
	if err != nil {
		return nil, err
	}
	return all[0], nil
}

func mustPull(t *testing.T, c *Client, name string, want Want) *Snapshot {
	t.Helper()
	s, err := pull(t, c, name, want)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func paths(s *Snapshot) []string {
	var all []string
	for _, f := range s.Files {
		all = append(all, f.Path)
	}
	slices.Sort(all)
	return all
}

// holds compares the snapshot's folder with what the repository has, and the folder's files with those wanted.
func holds(t *testing.T, s *Snapshot, files map[string]string, want ...string) {
	t.Helper()
	slices.Sort(want)
	if got := paths(s); !slices.Equal(got, want) {
		t.Errorf("pulled %v, want %v", got, want)
	}
	for _, name := range want {
		data, err := os.ReadFile(filepath.Join(s.Folder, filepath.FromSlash(name)))
		if err != nil || string(data) != files[name] {
			t.Errorf("%s: %d bytes, %v; want %d", name, len(data), err, len(files[name]))
		}
	}
}

func TestPullModel(t *testing.T) {
	s := hubtest.New(t)
	s.PageSize = 2
	files := model()
	commit := s.Commit("google/flan", files)
	c := newClient(t, s, nil)
	got := mustPull(t, c, "google/flan", Want{Kind: Base, Pickles: true})
	holds(t, got, files, "config.json", "tokenizer.json", "model.safetensors.index.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
	if got.Commit != commit || got.Path != got.Folder || got.Downloaded < 500_000 {
		t.Errorf("commit %s, path %s, downloaded %d", got.Commit, got.Path, got.Downloaded)
	}

	// The layout, as huggingface_hub has it.
	root := filepath.Join(c.config.Cache, "models--google--flan")
	if ref, err := os.ReadFile(filepath.Join(root, "refs", "main")); err != nil || string(ref) != commit {
		t.Errorf("refs/main is %q, %v", ref, err)
	}
	link, err := os.Readlink(filepath.Join(root, "snapshots", commit, "config.json"))
	if err != nil || !strings.HasPrefix(link, filepath.Join("..", "..", "blobs")) {
		t.Errorf("a snapshot's file is %q, %v", link, err)
	}
	blobs, err := os.ReadDir(filepath.Join(root, "blobs"))
	if err != nil || len(blobs) != 5 {
		t.Errorf("%d blobs, %v", len(blobs), err)
	}
	for _, b := range blobs {
		if !sha256Pattern.MatchString(b.Name()) && !commitPattern.MatchString(b.Name()) {
			t.Errorf("a blob is called %s", b.Name())
		}
		if _, err := os.Stat(filepath.Join(c.config.Cache, ".locks", "models--google--flan", b.Name()+".lock")); err != nil {
			t.Error(err)
		}
	}

	// Again: nothing is asked for but what main is now.
	s.Forget()
	if again := mustPull(t, c, "google/flan", Want{Kind: Base}); again.Downloaded != 0 {
		t.Errorf("pulled %d bytes again", again.Downloaded)
	}
	if asked := s.Requests(func(hubtest.Request) bool { return true }); len(asked) != 1 {
		t.Errorf("asked %v", asked)
	}
}

func TestPullTakesWhatChangedOnly(t *testing.T) {
	s := hubtest.New(t)
	files := adapter(1)
	first := s.Commit("o/m", files)
	c := newClient(t, s, nil)
	mustPull(t, c, "o/m", Want{})
	files["adapter_config.json"] = `{"r": 99}`
	second := s.Commit("o/m", files)
	got := mustPull(t, c, "o/m", Want{})
	holds(t, got, files, "adapter_config.json", "adapter_model.safetensors")
	if blobs := s.Requests(func(r hubtest.Request) bool { return r.Storage }); len(blobs) != 1 || got.Commit != second {
		t.Errorf("the weights were fetched %d times", len(blobs))
	}
	if old := mustPull(t, c, "o/m@"+first, Want{}); old.Commit != first || old.Downloaded != 0 {
		t.Errorf("the first commit: %s, %d bytes", old.Commit, old.Downloaded)
	}
}

func TestPullRevision(t *testing.T) {
	s := hubtest.New(t)
	files := adapter(1)
	s.Repo("o/m")
	commit := s.Commit("o/m", files)
	s.Commit("o/m", adapter(2))
	s.Repo("o/m").Refs["refs/pr/1"] = commit
	got := mustPull(t, newClient(t, s, nil), "o/m@refs/pr/1", Want{})
	holds(t, got, files, "adapter_config.json", "adapter_model.safetensors")
}

func TestPullGGUF(t *testing.T) {
	s := hubtest.New(t)
	files := map[string]string{"small-q4.gguf": randomText(1, 1000), "small-q8.gguf": randomText(2, 2000), "README.md": "x"}
	s.Commit("o/small", files)
	c := newClient(t, s, nil)
	got := mustPull(t, c, "o/small/small-q8.gguf", Want{Kind: Base})
	holds(t, got, files, "small-q8.gguf")
	if got.Path != filepath.Join(got.Folder, "small-q8.gguf") {
		t.Errorf("opens %s", got.Path)
	}
	if _, err := pull(t, c, "o/small", Want{Kind: Base}); err == nil || !strings.Contains(err.Error(), "small-q4.gguf, small-q8.gguf") {
		t.Errorf("without a file's name: %v", err)
	}
	s.Commit("o/one", map[string]string{"x.gguf": "x"})
	if got := mustPull(t, c, "o/one", Want{}); filepath.Base(got.Path) != "x.gguf" {
		t.Errorf("opens %s", got.Path)
	}
}

func TestPullManyAtOnce(t *testing.T) {
	s := hubtest.New(t)
	var names []Name
	var size int64
	all := map[string]map[string]string{}
	for i := range 20 {
		repo := fmt.Sprintf("lorahub/module-%02d", i)
		all[repo] = adapter(uint64(i))
		s.Commit(repo, all[repo])
		names = append(names, Name{Repo: repo})
		size += int64(len(all[repo]["adapter_config.json"]) + len(all[repo]["adapter_model.safetensors"]))
	}
	c := newClient(t, s, nil)
	var last Progress
	got, err := c.PullAll(t.Context(), names, Want{Kind: Adapter}, func(p Progress) { last = p })
	if err != nil {
		t.Fatal(err)
	}
	for i, n := range names {
		if got[i].Name != n {
			t.Fatalf("snapshot %d is of %s", i, got[i].Name)
		}
		holds(t, got[i], all[n.Repo], "adapter_config.json", "adapter_model.safetensors")
	}
	if last.Bytes != size || last.Total != size || last.Done != 40 || last.Files != 40 {
		t.Errorf("progress ends at %+v; there are %d bytes", last, size)
	}
}

// Two processes share a cache; here two clients do, whose locks are as far apart.
func TestPullConcurrently(t *testing.T) {
	s := hubtest.New(t)
	files := model()
	s.Commit("o/m", files)
	first := newClient(t, s, nil)
	second := newClient(t, s, func(c *Config) { c.Cache = first.config.Cache })
	failed := make(chan error, 2)
	for _, c := range []*Client{first, second} {
		go func() {
			_, err := c.PullAll(t.Context(), []Name{{Repo: "o/m"}}, Want{}, nil)
			failed <- err
		}()
	}
	for range 2 {
		if err := <-failed; err != nil {
			t.Error(err)
		}
	}
	if n := len(s.Requests(func(r hubtest.Request) bool { return r.Storage })); n != 2 {
		t.Errorf("the two shards were fetched %d times", n)
	}
}

func TestPickles(t *testing.T) {
	s := hubtest.New(t)
	c := newClient(t, s, nil)
	s.Commit("o/old-adapter", map[string]string{"adapter_config.json": "{}", "adapter_model.bin": "x"})
	s.Commit("o/old-model", map[string]string{"config.json": "{}", "pytorch_model.bin": "x"})
	for _, name := range []string{"o/old-adapter", "o/old-model"} {
		got := mustPull(t, c, name, Want{Pickles: true})
		if len(got.Files) != 2 || len(got.Notes) != 1 || !strings.Contains(got.Notes[0], "pickle") {
			t.Errorf("%s: %v, notes %q", name, paths(got), got.Notes)
		}
		if _, err := pull(t, c, name, Want{}); fault.CodeOf(err) != fault.Unsupported || !strings.Contains(err.Error(), "pickles are not allowed") {
			t.Errorf("%s without pickles: %v", name, err)
		}
	}
}

func TestOffline(t *testing.T) {
	s := hubtest.New(t)
	files := model()
	s.Commit("o/m", files)
	c := newClient(t, s, nil)
	mustPull(t, c, "o/m", Want{})
	s.Forget()
	offline := newClient(t, s, func(o *Config) { o.Cache, o.Offline = c.config.Cache, true })
	got := mustPull(t, offline, "o/m", Want{})
	holds(t, got, files, "config.json", "tokenizer.json", "model.safetensors.index.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
	if asked := s.Requests(func(hubtest.Request) bool { return true }); len(asked) != 0 || len(got.Notes) != 0 {
		t.Errorf("offline it asked %v, notes %q", asked, got.Notes)
	}
	for name, part := range map[string]string{"o/other": "the cache does not have it", "o/m@v2": "the cache does not have it"} {
		if _, err := pull(t, offline, name, Want{}); fault.CodeOf(err) != fault.NotFound || !strings.Contains(err.Error(), part) || !strings.Contains(err.Error(), "offline") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := os.Remove(filepath.Join(got.Folder, "model-00002-of-00002.safetensors")); err != nil {
		t.Fatal(err)
	}
	if _, err := pull(t, offline, "o/m", Want{}); err == nil || !strings.Contains(err.Error(), "model-00002-of-00002.safetensors is missing") {
		t.Errorf("with a shard missing: %v", err)
	}
}

// A Hub that is down is no reason to stop where the cache has all.
func TestUnreachable(t *testing.T) {
	s := hubtest.New(t)
	s.Commit("o/m", adapter(1))
	c := newClient(t, s, nil)
	mustPull(t, c, "o/m", Want{})
	s.Before = func(w http.ResponseWriter, _ *http.Request, _ bool) bool {
		w.WriteHeader(http.StatusBadGateway)
		return true
	}
	got := mustPull(t, c, "o/m", Want{})
	if len(got.Notes) != 1 || !strings.Contains(got.Notes[0], "from the cache") {
		t.Errorf("notes %q", got.Notes)
	}
	if _, err := pull(t, c, "o/other", Want{}); fault.CodeOf(err) != fault.Internal || !strings.Contains(err.Error(), "status 502") || !strings.Contains(err.Error(), "cache does not have it") {
		t.Errorf("what the cache does not have: %v", err)
	}
	down := newClient(t, s, func(o *Config) { o.Endpoint = "http://127.0.0.1:1" })
	if _, err := pull(t, down, "o/m", Want{}); err == nil || !strings.Contains(err.Error(), "cannot be reached: connection refused") || strings.Contains(err.Error(), "127.0") {
		t.Errorf("nobody listens: %v", err)
	}
}

// TestSentences: what people read when they may not, or name what there is not.
func TestSentences(t *testing.T) {
	s := hubtest.New(t)
	s.Commit("o/gated", adapter(1))
	s.Commit("o/private", adapter(1))
	s.Commit("o/data", map[string]string{"train.csv": "x"})
	s.Commit("o/m", model())
	s.Repo("o/gated").Gated, s.Repo("o/private").Private = true, true
	anonymous := newClient(t, s, nil)
	signedIn := newClient(t, s, func(c *Config) { c.Token = s.Token })
	expired := newClient(t, s, func(c *Config) { c.Token = "hf_old" })
	for _, c := range []struct {
		client *Client
		name   string
		want   Want
		code   fault.Code
		part   string
	}{
		{anonymous, "o/gated", Want{}, fault.NotFound, "is gated: accept its terms"},
		{anonymous, "o/private", Want{}, fault.NotFound, "no such repository, or it is private"},
		{anonymous, "o/none", Want{}, fault.NotFound, "no such repository"},
		{signedIn, "o/none", Want{}, fault.NotFound, "your token may not see it"},
		{expired, "o/private", Want{}, fault.Invalid, "does not accept the token"},
		{anonymous, "o/m@v9", Want{}, fault.NotFound, "no such branch, tag or commit"},
		{anonymous, "o/m@" + strings.Repeat("0", 40), Want{}, fault.NotFound, "no such branch, tag or commit"},
		{anonymous, "o/m/none.gguf", Want{}, fault.NotFound, "no such file"},
		{anonymous, "o/m", Want{Kind: Adapter}, fault.Invalid, "holds no adapter: there is no adapter_config.json"},
		{anonymous, "o/data", Want{}, fault.Invalid, "neither a base model"},
	} {
		_, err := pull(t, c.client, c.name, c.want)
		if fault.CodeOf(err) != c.code || !strings.Contains(fmt.Sprint(err), c.part) || !strings.HasPrefix(fmt.Sprint(err), c.name[:3]) || strings.Contains(fmt.Sprint(err), "127.0.0.1") {
			t.Errorf("%s: %v (%s)", c.name, err, fault.CodeOf(err))
		}
	}
	for _, name := range []string{"o/gated", "o/private"} {
		mustPull(t, signedIn, name, Want{})
	}
}

// Files that hf_hub_download fetched one by one have no listing.
func TestSnapshotWithoutListing(t *testing.T) {
	s := hubtest.New(t)
	files := adapter(1)
	s.Commit("o/m", files)
	c := newClient(t, s, nil)
	got := mustPull(t, c, "o/m", Want{})
	if err := os.RemoveAll(filepath.Join(c.config.Cache, "models--o--m", "trees")); err != nil {
		t.Fatal(err)
	}
	offline := newClient(t, s, func(o *Config) { o.Cache, o.Offline = c.config.Cache, true })
	holds(t, mustPull(t, offline, "o/m", Want{}), files, paths(got)...)
}

func TestNames(t *testing.T) {
	for text, want := range map[string]Name{
		"google/flan-t5-large": {Repo: "google/flan-t5-large"}, "hf://o/m@main": {Repo: "o/m", Revision: "main"},
		"o/m@refs/pr/3": {Repo: "o/m", Revision: "refs/pr/3"}, "o/m/a.gguf@v1.0": {Repo: "o/m", File: "a.gguf", Revision: "v1.0"},
		"o/m/sub/a.gguf": {Repo: "o/m", File: "sub/a.gguf"},
	} {
		got, err := ParseName(text)
		if err != nil || got != want || got.String() != strings.TrimPrefix(text, Scheme) {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{
		"", "flan", "./o/m", "../m", "/o/m", "o//m", "o/m/", "o/m/config.json", "o/m@", "o/m@../x", "o/m@a b", "o/m@/x", "o/m@-x", "a--b/c", "o/x..y", "o/m.git", "o/-",
		"o/m/../x.gguf", "o/m/con.gguf", "o/*", "o\\m", "ö/m", "o/" + strings.Repeat("m", 97), "o/m@" + strings.Repeat("v", 201), "o/m@NUL", "C:/m",
	} {
		if n, err := ParseName(text); fault.CodeOf(err) != fault.Invalid {
			t.Errorf("%q: %+v, %v", text, n, err)
		}
	}
}

func TestFullDisk(t *testing.T) {
	s := hubtest.New(t)
	s.Commit("o/m", adapter(1))
	c := newClient(t, s, nil)
	c.free = func(string) (uint64, bool) { return 100, true }
	if _, err := pull(t, c, "o/m", Want{}); fault.CodeOf(err) != fault.Internal || !strings.Contains(err.Error(), "the disk with the cache") {
		t.Errorf("got %v", err)
	}
	if n := len(s.Requests(func(r hubtest.Request) bool { return r.Storage })); n != 0 {
		t.Errorf("%d downloads were begun", n)
	}
}

// Where there are no symbolic links, as on Windows without its developer mode, snapshots hold the files themselves, as Python has it.
func TestWithoutLinks(t *testing.T) {
	s := hubtest.New(t)
	files := adapter(1)
	files["config.json"], files["tokenizer.json"], files["model.safetensors"] = "{}", "{}", "weights" // two files of one content
	s.Commit("o/m", files)
	c := newClient(t, s, func(c *Config) { c.Workers = 1 })
	c.symlink = func(string, string) error { return errors.New("a required privilege is not held") }
	all := []string{"adapter_config.json", "adapter_model.safetensors", "config.json", "tokenizer.json", "model.safetensors"}
	got := mustPull(t, c, "o/m", Want{})
	holds(t, got, files, all...)
	if info, err := os.Lstat(filepath.Join(got.Folder, "config.json")); err != nil || !info.Mode().IsRegular() {
		t.Errorf("config.json: %v", err)
	}
	s.Forget()
	if again := mustPull(t, c, "o/m", Want{}); again.Downloaded != 0 {
		t.Errorf("%d bytes again", again.Downloaded)
	}
	// A blob that is there stays when a second snapshot needs it.
	st := c.storage("o/m")
	f := File{Path: "copy.json", Size: 2, ETag: strings.Repeat("b", 40)}
	if err := os.WriteFile(st.blob(f.ETag), []byte("{}"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := st.link(got.Commit, f, false); err != nil || !st.has(got.Commit, f) {
		t.Errorf("copied: %v", err)
	}
	if _, err := os.Stat(st.blob(f.ETag)); err != nil {
		t.Error(err)
	}
}

func TestCanceled(t *testing.T) {
	files := adapter(7)
	ctx, stop := context.WithCancel(t.Context())
	s, _ := hostile(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte(files["adapter_model.safetensors"][:9000]))
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	c := newClient(t, s, nil)
	_, err := c.PullAll(ctx, []Name{{Repo: "o/m"}}, Want{}, func(p Progress) {
		if p.Bytes >= 9000 {
			stop()
		}
	})
	if fault.CodeOf(err) != fault.Canceled {
		t.Errorf("got %v (%s)", err, fault.CodeOf(err))
	}
	left, _ := filepath.Glob(filepath.Join(c.config.Cache, "models--o--m", "blobs", "*.incomplete"))
	if len(left) != 1 {
		t.Fatalf("%d partial files are left", len(left))
	}
	s.Before = nil
	s.Forget()
	holds(t, mustPull(t, c, "o/m", Want{}), files, "adapter_config.json", "adapter_model.safetensors")
	if asked := s.Requests(func(r hubtest.Request) bool { return r.Storage }); len(asked) != 1 || asked[0].Range != "bytes=9000-" {
		t.Errorf("asked for %+v", asked)
	}
}

func TestEveryFileKeptHasItsPlace(t *testing.T) {
	s := hubtest.New(t)
	files := model()
	s.Commit("o/m", files)
	c := newClient(t, s, nil)
	mustPull(t, c, "o/m", Want{})
	st := c.storage("o/m")
	listed := st.listing(st.commit("main"))
	if len(listed) != len(files) {
		t.Fatalf("the listing has %d files of %d", len(listed), len(files))
	}
	for _, f := range listed {
		if !slices.Contains(slices.Collect(maps.Keys(files)), f.Path) || f.Size != int64(len(files[f.Path])) {
			t.Errorf("%+v", f)
		}
	}
}
