package main

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/hub"
)

// hubConfig reads the environment as Python's huggingface_hub does, so that both have the same cache and the same token.
func hubConfig(getenv func(string) string) hub.Config {
	first := func(names ...string) string {
		for _, name := range names {
			if v := getenv(name); v != "" {
				return expandPath(v, getenv)
			}
		}
		return ""
	}
	home := first("HF_HOME")
	if home == "" {
		cache := first("XDG_CACHE_HOME")
		if cache == "" {
			cache = expandPath("~/.cache", getenv)
		}
		home = filepath.Join(cache, "huggingface")
	}
	c := hub.Config{
		Endpoint: getenv("HF_ENDPOINT"), Cache: first("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"), Proxy: http.ProxyFromEnvironment,
		Offline:   isTrue(getenv("HF_HUB_OFFLINE")) || isTrue(getenv("TRANSFORMERS_OFFLINE")),
		UserAgent: "medley/" + version() + "; " + runtime.Version() + "; " + runtime.GOOS,
	}
	if c.Cache == "" {
		c.Cache = filepath.Join(home, "hub")
	}
	for _, name := range []string{"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"} {
		if c.Token == "" {
			c.Token = strings.TrimSpace(getenv(name))
		}
	}
	if c.Token == "" && !isTrue(getenv("HF_HUB_DISABLE_IMPLICIT_TOKEN")) {
		file := first("HF_TOKEN_PATH")
		if file == "" {
			file = filepath.Join(home, "token")
		}
		if text, err := os.ReadFile(file); err == nil { // most people have none
			c.Token = strings.TrimSpace(string(text))
		}
	}
	return c
}

// expandPath replaces ~ and $NAME, as Python's expanduser and expandvars do.
func expandPath(path string, getenv func(string) string) string {
	if path == "~" || strings.HasPrefix(path, "~/") {
		if home, err := os.UserHomeDir(); err == nil {
			path = home + path[1:]
		}
	}
	return os.Expand(path, func(name string) string {
		if v := getenv(name); v != "" {
			return v
		}
		return "${" + name + "}"
	})
}

func isTrue(v string) bool {
	return slices.Contains([]string{"1", "ON", "YES", "TRUE"}, strings.ToUpper(v))
}

// hub is a client of the Hub that the environment names.
func (a *app) hub() (*hub.Client, error) {
	c, err := hub.New(hubConfig(os.Getenv))
	return c, fault.In("Hub", err)
}

// allowPickles: as in folders of one's own, PyTorch's format is read where there is nothing else; reading it runs nothing.
const allowPickles = true

// onHub tells whether text is a name on the Hub: hf://ORG/NAME, or ORG/NAME where there is no such file or folder.
func onHub(text string) bool {
	if strings.HasPrefix(text, hub.Scheme) {
		return true
	}
	_, err := os.Stat(text)
	return err != nil && hub.LooksLikeName(text)
}

// place is where what a flag names lies on this machine: the path itself, or what was pulled of a name on the Hub.
func (a *app) place(flag, text string, kind hub.Kind) (string, error) {
	if !onHub(text) {
		return text, nil
	}
	if a.pulled == nil {
		a.pulled = map[string]string{}
	}
	if path, ok := a.pulled[text]; ok {
		return path, nil
	}
	name, err := hub.ParseName(text)
	if err != nil {
		return "", fault.In(flag, err)
	}
	all, err := a.pull([]hub.Name{name}, kind)
	if f, ok := errors.AsType[*fault.Error](err); ok && f.Code == fault.NotFound && !strings.HasPrefix(text, hub.Scheme) {
		err = fault.Wrap(err, fault.NotFound, f.Field, "there is no such folder, and on the Hub: %s", f.Message)
	}
	if err != nil {
		return "", fault.In(flag, err)
	}
	a.pulled[text] = all[0].Path
	return all[0].Path, nil
}

// pull brings repositories into the cache, and says how far it is.
func (a *app) pull(names []hub.Name, kind hub.Kind) ([]*hub.Snapshot, error) {
	c, err := a.hub()
	if err != nil {
		return nil, err
	}
	defer c.Close()
	t := &transfer{app: a, title: "pulling"}
	all, err := c.PullAll(a.ctx, names, hub.Want{Kind: kind, Pickles: allowPickles}, t.observe)
	t.end()
	if err != nil {
		return nil, err
	}
	for _, s := range all {
		for _, note := range s.Notes {
			a.note("%s %s", s.Name, note)
		}
	}
	return all, nil
}

// transfer shows a transfer once there is something to transfer.
type transfer struct {
	app   *app
	title string
	shown *progress
}

func (t *transfer) observe(p hub.Progress) {
	if t.shown == nil {
		t.shown = t.app.startTransfer(t.title)
	}
	t.shown.grow(p.Total)
	t.shown.set(int(p.Bytes), printable(p.File))
}

func (t *transfer) end() {
	if t.shown != nil {
		t.shown.end()
	}
}
