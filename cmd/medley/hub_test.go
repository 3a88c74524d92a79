package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/medley-lora/medley/shared/compose"
	"github.com/medley-lora/medley/shared/hub/hubtest"
	"github.com/medley-lora/medley/shared/peft"
)

// onTestHub starts a Hub that has the zoo, and makes the environment name it and an empty cache.
func onTestHub(t *testing.T, p place) *hubtest.Server {
	t.Helper()
	s := hubtest.New(t)
	s.Commit("zoo/base", folderFiles(t, p.base()))
	for _, name := range []string{"add", "plural", "category", "antonym"} {
		s.Commit("zoo/"+name, folderFiles(t, p.module(name)))
	}
	for name, value := range map[string]string{"HF_ENDPOINT": s.URL, "HF_HOME": p.to("hf"), "HF_HUB_CACHE": "", "HUGGINGFACE_HUB_CACHE": "", "HF_TOKEN": "", "HF_HUB_OFFLINE": ""} {
		t.Setenv(name, value)
	}
	return s
}

func folderFiles(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	for path, content := range files(t, dir) {
		if content != "folder" {
			all[strings.TrimPrefix(path, dir+string(filepath.Separator))] = content
		}
	}
	return all
}

// TestHubNamesWhereFoldersAreTaken: every command gives the same for names on the Hub as for folders.
func TestHubNamesWhereFoldersAreTaken(t *testing.T) {
	p := newPlace(t)
	s := onTestHub(t, p)
	for name, args := range map[string][2][]string{
		"score": {
			{"--base", p.base(), "--modules", p.module("add"), "--modules", p.module("plural"), "--weights", "1,0.5", "--examples", p.few("several"), "--backend", "cpu"},
			{"--base", "zoo/base", "--modules", "zoo/add", "--modules", "zoo/plural", "--weights", "1,0.5", "--examples", p.few("several"), "--backend", "cpu"},
		},
		"generate": {
			{"--base", p.base(), "--adapter", p.module("plural"), "--prompt", "one berry , several", "--backend", "cpu"},
			{"--base", "hf://zoo/base@main", "--adapter", "zoo/plural", "--prompt", "one berry , several", "--backend", "cpu"},
		},
	} {
		local, remote := succeed(t, append([]string{name}, args[0]...)...), succeed(t, append([]string{name}, args[1]...)...)
		if strings.ReplaceAll(local.stdout, " ", "") != strings.ReplaceAll(strings.ReplaceAll(remote.stdout, "zoo/", ""), " ", "") {
			t.Errorf("%s: %q from the Hub, %q from folders", name, remote.stdout, local.stdout)
		}
	}
	succeed(t, "merge", "--modules", "zoo/add", "--modules", "zoo/plural", "--weights", "1,1", "--base", "zoo/base", "--into-base", "--out", p.to("merged"))
	if o := succeed(t, "inspect", "zoo/base", "zoo/add", "--base", "zoo/base"); !strings.Contains(o.stdout, "zoo/add") {
		t.Errorf("inspect: %s", o.stdout)
	}
	if n := len(s.Requests(func(r hubtest.Request) bool { return r.Storage })); n != 3 {
		t.Errorf("%d files of weights were fetched; there are three in use", n)
	}
}

// TestModulesFromAList: a list of names is drawn from before anything is fetched.
func TestModulesFromAList(t *testing.T) {
	p := newPlace(t)
	s := onTestHub(t, p)
	list := p.write(t, "names.txt", "# the zoo\nzoo/add\n\nzoo/plural\nzoo/category\n"+p.module("french")+"\nzoo/antonym\n")
	out := decode[compose.Output](t, succeed(t, "compose", "--base", p.base(), "--modules", list, "--sample", "2", "--sample-seed", "3", "--examples", p.few("several"),
		"--out", p.to("out"), "--budget", "5", "--backend", "cpu", "--json"))
	fetched := s.Requests(func(r hubtest.Request) bool { return r.Storage })
	remote := 0
	for _, name := range out.Modules {
		if strings.HasPrefix(name, "zoo/") {
			remote++
		}
	}
	if len(out.Modules) != 2 || len(fetched) != remote || remote == 0 {
		t.Errorf("composed %v, fetched %d", out.Modules, len(fetched))
	}
	wrong := p.write(t, "wrong.txt", "zoo/add\nzoo/nowhere\n")
	for args, part := range map[string]string{
		"--modules=" + wrong: "zoo/nowhere: the Hub has no such repository", "--modules=zoo/base": "holds no adapter", "--modules=hf://x": "not a name on the Hub",
	} {
		o := medley(t, "compose", "--base", p.base(), args, "--examples", p.few("several"), "--out", p.to("out2"))
		if o.code != exitUsage || !strings.Contains(o.stderr, part) || !strings.Contains(o.stderr, "--modules") {
			t.Errorf("%s: exit code %d, %s", args, o.code, o.stderr)
		}
	}
}

func TestPullCommand(t *testing.T) {
	p := newPlace(t)
	s := onTestHub(t, p)
	o := succeed(t, "pull", "zoo/base", "zoo/add@main", "--json")
	got := decode[struct{ Pulled []pulledSnapshot }](t, o).Pulled
	if len(got) != 2 || got[0].Name != "zoo/base" || got[0].Downloaded != got[0].Bytes || got[1].Downloaded != got[1].Bytes || !isAdapter(got[1].Path) {
		t.Errorf("pulled %+v", got)
	}
	if !strings.HasPrefix(got[0].Path, filepath.Join(p.to("hf"), "hub", "models--zoo--base", "snapshots")) {
		t.Errorf("the cache is at %s", got[0].Path)
	}
	s.Repo("zoo/add").Gated = true
	t.Setenv("HF_HUB_OFFLINE", "1")
	if o := succeed(t, "pull", "zoo/base", "zoo/add"); !strings.Contains(o.stdout, got[1].Commit[:12]) {
		t.Errorf("offline: %s", o.stdout)
	}
	t.Setenv("HF_HUB_OFFLINE", "")
	for name, c := range map[string]struct {
		args []string
		part string
	}{
		"gated":   {[]string{"zoo/add"}, "is gated: accept its terms"},
		"missing": {[]string{"zoo/none"}, "no such repository"},
		"no name": {[]string{"none"}, "not a name on the Hub"},
		"path":    {[]string{p.base()}, "not a name on the Hub"},
		"nothing": {[]string{p.write(t, "empty.txt", "\n")}, "nothing to pull"},
	} {
		if o := medley(t, append([]string{"pull"}, c.args...)...); o.code != exitUsage || !strings.Contains(o.stderr, c.part) {
			t.Errorf("%s: exit code %d: %s", name, o.code, o.stderr)
		}
	}
	// The token file that `hf auth login` writes.
	p.write(t, "hf/token", s.Token+"\n")
	succeed(t, "pull", "zoo/add")
}

func TestHubConfig(t *testing.T) {
	home, err := os.UserHomeDir()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		env     map[string]string
		cache   string
		offline bool
	}{
		"nothing set":  {nil, filepath.Join(home, ".cache", "huggingface", "hub"), false},
		"XDG":          {map[string]string{"XDG_CACHE_HOME": "/x"}, "/x/huggingface/hub", false},
		"HF_HOME":      {map[string]string{"HF_HOME": "~/hf", "XDG_CACHE_HOME": "/x"}, filepath.Join(home, "hf", "hub"), false},
		"HF_HUB_CACHE": {map[string]string{"HF_HOME": "/h", "HF_HUB_CACHE": "$DISK/c", "DISK": "/d", "HF_HUB_OFFLINE": "True"}, "/d/c", true},
		"legacy":       {map[string]string{"HUGGINGFACE_HUB_CACHE": "/old", "TRANSFORMERS_OFFLINE": "1"}, "/old", true},
		"off":          {map[string]string{"HF_HUB_CACHE": "/c", "HF_HUB_OFFLINE": "0"}, "/c", false},
	} {
		got := hubConfig(func(key string) string { return c.env[key] })
		if got.Cache != filepath.FromSlash(c.cache) || got.Offline != c.offline {
			t.Errorf("%s: %s, offline %v", name, got.Cache, got.Offline)
		}
	}
}

// TestPush publishes what compose wrote, and composes with it from the Hub.
func TestPush(t *testing.T) {
	p := newPlace(t)
	s := onTestHub(t, p)
	secret := "one berry , several"
	succeed(t, "compose", "--base", p.base(), "--modules", "zoo/plural", "--modules", p.module("add"), "--modules", p.module("french"), "--examples", p.few("several"),
		"--out", p.to("mine"), "--backend", "cpu", "--holdout", "1")
	if o := medley(t, "push", p.to("mine"), "--to", "me/mine"); o.code != exitUsage || !strings.Contains(o.stderr, "--base") {
		t.Errorf("a base that is a folder: exit code %d, %s", o.code, o.stderr)
	}
	push := []string{"push", p.to("mine"), "--to", "me/mine", "--base", "zoo/base", "--license", "apache-2.0"}
	dry := succeed(t, append(push, "--dry-run")...)
	if s.Repo("me/mine") != nil {
		t.Error("a dry run has made the repository")
	}
	if o := medley(t, push...); o.code != exitUsage || !strings.Contains(o.stderr, "HF_TOKEN") {
		t.Errorf("without a token: exit code %d, %s", o.code, o.stderr)
	}
	t.Setenv("HF_TOKEN", s.Token)
	out := decode[pushOutput](t, succeed(t, append(push, "--json")...))
	repo := s.Repo("me/mine")
	if !out.Created || out.Public || !repo.Private || len(out.Files) != 3 {
		t.Errorf("%+v, private %v", out, repo.Private)
	}
	pushed := repo.Files("main")
	card := string(pushed["README.md"])
	if card != dry.stdout {
		t.Error("the card is not what the dry run printed")
	}
	for _, part := range []string{
		"base_model: zoo/base", "license: apache-2.0", "| zoo/plural | ", "4 examples were searched with, 1 held out", "--examples several.few.jsonl", "medley compose", "| this adapter |", "seed 42",
	} {
		if !strings.Contains(card, part) {
			t.Errorf("the card does not say %q:\n%s", part, card)
		}
	}
	for name, data := range pushed {
		if name != "adapter_model.safetensors" && (strings.Contains(string(data), p.zoo) || strings.Contains(string(data), p.out) || strings.Contains(string(data), secret)) {
			t.Errorf("%s tells of this machine or of the examples:\n%s", name, data)
		}
	}
	var config struct {
		Base string `json:"base_model_name_or_path"`
	}
	if err := json.Unmarshal(pushed["adapter_config.json"], &config); err != nil || config.Base != "zoo/base" {
		t.Errorf("the base is %q, %v", config.Base, err)
	}
	again := decode[pushOutput](t, succeed(t, append(push, "--json")...))
	if again.Created || again.Unchanged != 3 || again.Commit != out.Commit {
		t.Errorf("again: %+v", again)
	}
	pulled := decode[struct{ Pulled []pulledSnapshot }](t, succeed(t, "pull", "me/mine", "--json")).Pulled
	if m, err := peft.Open(pulled[0].Path, peft.OpenOptions{}); err != nil || len(m.Layers) == 0 {
		t.Errorf("what was pushed: %v", err)
	}
	for name, args := range map[string][]string{"revision": {"--to", "me/mine@v2"}, "license": {"--to", "me/mine", "--license", "a b"}, "base": {"--to", "me/mine", "--base", "x"}} {
		if o := medley(t, append([]string{"push", p.to("mine"), "--base", "zoo/base"}, args...)...); o.code != exitUsage || !strings.Contains(o.stderr, args[len(args)-2]) {
			t.Errorf("%s: exit code %d, %s", name, o.code, o.stderr)
		}
	}
	if o := medley(t, "push", p.module("add"), "--to", "me/mine", "--base", "zoo/base"); o.code != exitUsage || !strings.Contains(o.stderr, "composition.json") {
		t.Errorf("an adapter that compose did not write: exit code %d, %s", o.code, o.stderr)
	}
}

func TestWithoutFolders(t *testing.T) {
	for command, want := range map[string]string{
		"medley compose --base /home/me/t5 --modules '/data/a b/*' --out=/x/y": "medley compose --base t5 --modules 'a b/*' --out=y",
		"medley compose --base google/flan-t5-large --examples ~/five.jsonl":   "medley compose --base google/flan-t5-large --examples five.jsonl",
		"medley compose --examples ../secret/five.jsonl --out out":             "medley compose --examples five.jsonl --out out",
	} {
		if got := withoutFolders(command); got != want {
			t.Errorf("%s\nbecame %s\nwant   %s", command, got, want)
		}
	}
}
