package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/medley-lora/medley/wasm/check"
	"github.com/medley-lora/medley/wasm/guest"
	"github.com/medley-lora/medley/wasm/host"
	"github.com/medley-lora/medley/wasm/samples"
)

func TestPluginCheck(t *testing.T) {
	p := newPlace(t)
	good := p.write(t, "good.wasm", string(guest.Wasm()))
	o := succeed(t, "plugin", "check", good, "--optimizer-option", "optimizer=es")
	lines := strings.Split(strings.TrimSpace(o.stdout), "\n")
	if lines[len(lines)-1] != good+" passes" || strings.Contains(o.stdout, "FAILED") || o.stderr != "" {
		t.Errorf("%s%s", o.stdout, o.stderr)
	}
	for _, name := range check.Names() {
		if !slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, "passed  "+name+" ") }) {
			t.Errorf("%s is not shown as passed:\n%s", name, o.stdout)
		}
	}
}

func TestPluginCheckFails(t *testing.T) {
	p := newPlace(t)
	borders := bytes.Replace(bytes.Replace(guest.Wasm(), []byte("opt_tell"), []byte("opt_sell"), 1), []byte("random_get"), []byte("random_put"), 1)
	for name, c := range map[string]struct {
		wasm []byte
		says []string
	}{
		"borders": {borders, []string{
			"FAILED  imports ", "\n    \"wasi_snapshot_preview1\".\"random_put\"\n", "\n    → Build without", "FAILED  exports ", "\n    opt_tell(i32, ",
			"skipped start, ", "mine.wasm fails 2 of ",
		}},
		"traps": {bytes.Replace(tiny("tiny", unreachable...), patience, []byte{0x41, 0, 0x4a}, 1), []string{
			"FAILED  start ", "plugin: failed in opt_ask: unreachable", "→ Find the trap", "skipped refusals, ", "mine.wasm fails 1 of ",
		}},
		"breaks the contract": {tiny("tiny", unreachable...), []string{
			"FAILED  refusals ", "opt_ask wrote beyond the end of x", "→ Write candidate i", "FAILED  replay ", "mine.wasm fails ",
		}},
	} {
		file := p.write(t, "mine.wasm", string(c.wasm))
		o := medley(t, "plugin", "check", file)
		at := 0
		for _, say := range c.says {
			i := strings.Index(o.stdout[at:], say)
			if i < 0 {
				t.Errorf("%s: does not say %q after the others:\n%s", name, say, o.stdout)
				break
			}
			at += i
		}
		if o.code != exitFailed || !strings.Contains(o.stderr, "did not pass") {
			t.Errorf("%s: exit code %d: %s", name, o.code, o.stderr)
		}
		machine := medley(t, "plugin", "check", "--json", file)
		got := decode[pluginCheckOutput](t, machine)
		if machine.code != exitFailed || got.Passed || got.SHA256 != digestOfBytes(c.wasm) || got.File != file || len(got.Checks) != len(check.Names()) {
			t.Errorf("%s: exit code %d: %s", name, machine.code, machine.stdout)
		}
	}
}

// What a program reads of a report keeps its names.
func TestPluginCheckJSON(t *testing.T) {
	p := newPlace(t)
	o := succeed(t, "plugin", "check", "--json", p.write(t, "mine.wasm", string(guest.Wasm())), "--optimizer-option", "optimizer=random")
	var got struct {
		Plugin struct{ Name, Version string }
		Passed bool
		Checks []struct {
			Name, Status, Detail string
			Seconds              *float64
		}
	}
	if err := json.Unmarshal([]byte(o.stdout), &got); err != nil {
		t.Fatal(err)
	}
	if !got.Passed || got.Plugin.Name != "medley" || len(got.Checks) != len(check.Names()) {
		t.Errorf("%s", o.stdout)
	}
	for _, c := range got.Checks {
		if c.Name == "" || c.Status != "passed" || c.Detail == "" || c.Seconds == nil {
			t.Errorf("%+v", c)
		}
	}
}

func TestPluginCheckRefuses(t *testing.T) {
	p := newPlace(t)
	huge := p.write(t, "huge.wasm", "")
	if err := os.Truncate(huge, int64(host.DefaultLimits().ModuleBytes)+1); err != nil {
		t.Fatal(err)
	}
	for file, says := range map[string]string{
		p.to("nowhere.wasm"): "nowhere.wasm: cannot be read: no such file or directory",
		p.out:                "is not a file; expected a WebAssembly module",
		huge:                 "huge.wasm: has 16777217 bytes, at most 16777216 are allowed",
	} {
		if o := medley(t, "plugin", "check", file); o.code != exitUsage || o.stdout != "" || !strings.Contains(o.stderr, says) {
			t.Errorf("%s: exit code %d, %s%s", file, o.code, o.stdout, o.stderr)
		}
	}
	if o := medley(t, "plugin", "check"); o.code != exitUsage || !strings.Contains(o.stderr, "<file>") {
		t.Errorf("without a file: exit code %d: %s", o.code, o.stderr)
	}
	text := p.write(t, "text.wasm", "#!/bin/sh\n")
	if o := medley(t, "plugin", "check", text); o.code != exitFailed || !strings.Contains(o.stdout, "is not a WebAssembly module") {
		t.Errorf("text: exit code %d: %s", o.code, o.stdout)
	}
	if o := succeed(t, "plugin", "--help"); strings.Contains(o.stdout, "worker") {
		t.Error("the worker is not hidden")
	}
}

func TestPluginNew(t *testing.T) {
	p := newPlace(t)
	if err := os.Mkdir(p.to("empty"), 0o755); err != nil {
		t.Fatal(err)
	}
	if len(building) != len(samples.Languages()) {
		t.Errorf("%d languages can be built, there are %q", len(building), samples.Languages())
	}
	for _, language := range samples.Languages() {
		dir := p.to(language)
		if language == "go" {
			dir = p.to("empty")
		}
		o := succeed(t, "plugin", "new", "--lang", language, dir)
		readme := read(t, filepath.Join(dir, "README.md"))
		for _, command := range building[language].commands {
			if !strings.Contains(o.stdout, "\n    "+command+"\n") || !strings.Contains(readme, "\n"+command+"\n") {
				t.Errorf("%s: %q is not what both say:\n%s\n%s", language, command, o.stdout, readme)
			}
		}
		if plugin := building[language].plugin; !strings.HasSuffix(o.stdout, "\n    medley plugin check "+plugin+"\n") || !strings.Contains(readme, "`"+plugin+"`") {
			t.Errorf("%s: %q is not what both say:\n%s\n%s", language, plugin, o.stdout, readme)
		}
		if info, err := os.Stat(dir); err != nil || info.Mode().Perm()&0o055 != 0o055 {
			t.Errorf("%s: others cannot read the folder: %v, %v", language, info.Mode(), err)
		}
	}
	left, err := filepath.Glob(p.to(".new-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %q, %v", left, err)
	}
}

func TestPluginNewRefuses(t *testing.T) {
	p := newPlace(t)
	p.write(t, "full/mine", "precious")
	file := p.write(t, "file", "precious")
	before := files(t, p.out)
	for name, c := range map[string]struct {
		args []string
		says string
	}{
		"language":     {[]string{"--lang", "zig", p.to("new")}, `--lang: "zig" is not known; expected ` + strings.Join(samples.Languages(), ", ")},
		"no language":  {[]string{p.to("new")}, "--lang"},
		"full":         {[]string{"--lang", "c", p.to("full")}, "full: is not empty; expected a new or an empty folder"},
		"a file":       {[]string{"--lang", "c", file}, "file: cannot be used: not a directory"},
		"in a file":    {[]string{"--lang", "c", filepath.Join(file, "new")}, "cannot be used: not a directory"},
		"in a missing": {[]string{"--lang", "c", p.to("missing/new")}, "new: cannot be made: no such file or directory"},
	} {
		o := medley(t, append([]string{"plugin", "new"}, c.args...)...)
		if o.code != exitUsage || o.stdout != "" || !strings.Contains(o.stderr, c.says) {
			t.Errorf("%s: exit code %d, %s%s", name, o.code, o.stdout, o.stderr)
		}
	}
	if after := files(t, p.out); len(after) != len(before) || after[p.to("full/mine")] != "precious" {
		t.Errorf("what was there changed: %v", after)
	}
}

// A template that cannot be written whole is not written.
func TestWriteTemplateWhole(t *testing.T) {
	broken := fstest.MapFS{"a.txt": {Data: []byte("a")}, "b": {Mode: os.ModeNamedPipe}}
	for _, dir := range []string{filepath.Join(t.TempDir(), "new"), t.TempDir()} {
		if err := writeTemplate(broken, dir); err == nil || strings.Contains(err.Error(), dir) {
			t.Errorf("%s: error %v", dir, err)
		}
		if entries, err := os.ReadDir(dir); len(entries) > 0 {
			t.Errorf("%s holds %v, %v", dir, entries, err)
		}
		if left, _ := filepath.Glob(filepath.Join(filepath.Dir(dir), ".new-*")); len(left) > 0 {
			t.Errorf("left behind: %q", left)
		}
	}
}
