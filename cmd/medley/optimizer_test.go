package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/medley-lora/medley/shared/adapters"
	"github.com/medley-lora/medley/wasm/guest"
	"github.com/medley-lora/medley/wasm/optimizer"
)

// evaluationsOf is a trace without its header.
func evaluationsOf(t *testing.T, path string) string {
	t.Helper()
	_, rest, _ := strings.Cut(read(t, path), "\n")
	return rest
}

// A search asks for the same in the sandbox and out of it, bit for bit.
func TestSandboxedAsNative(t *testing.T) {
	p := newPlace(t)
	for _, a := range optimizer.Algorithms() {
		args := func(trace string, more ...string) []string {
			args := []string{"compose", "--base", p.base(), "--examples", p.few("opinion"), "--modules", p.module("*"), "--backend", "cpu",
				"--batch", "8", "--optimizer", a.Name, "--out", p.to("out"), "--json", "--trace", p.to(trace)}
			return append(args, more...)
		}
		inside, outside := a.Name+".sandboxed", a.Name+".native"
		o := succeed(t, args(inside)...)
		if !strings.Contains(o.stdout, `"optimizer":"`+a.Name+`","optimizer_mode":"sandboxed","seed"`) {
			t.Errorf("the result does not say that %s was in the sandbox: %.3000s", a.Name, o.stdout)
		}
		succeed(t, args(outside, "--optimizer-native")...)
		if got, want := evaluationsOf(t, p.to(inside)), evaluationsOf(t, p.to(outside)); got != want || got == "" {
			t.Errorf("%s: %d evaluations in the sandbox differ from %d outside", a.Name, strings.Count(got, "\n"), strings.Count(want, "\n"))
		}
		if o := medley(t, args(inside, "--optimizer-native")...); o.code != exitUsage || !strings.Contains(o.stderr, "optimizer mode differs") {
			t.Errorf("a trace of the sandbox is continued outside: %d, %s", o.code, o.stderr)
		}
	}
}

// Without a cache the sandbox is compiled each time; nobody is bothered with that.
func TestSandboxWithoutCache(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux has the variable that says where the cache is")
	}
	p := newPlace(t)
	t.Setenv("XDG_CACHE_HOME", p.write(t, "file", ""))
	if o := succeed(t, p.search("--out", p.to("out"), "--json")...); strings.Contains(o.stderr, "cache") {
		t.Errorf("says %s", o.stderr)
	}
	cache := p.to("cache")
	t.Setenv("XDG_CACHE_HOME", cache)
	succeed(t, p.search("--out", p.to("out"), "--json")...)
	if found, err := filepath.Glob(filepath.Join(cache, "medley", "wasm", "*")); err != nil || len(found) != 1 {
		t.Errorf("the cache holds %v, %v", found, err)
	}
}

// plugin is a search with a plugin; the built-in guest as a file is a good one.
func (p place) plugin(t *testing.T, wasm []byte, more ...string) []string {
	return p.search(append([]string{"--optimizer", p.write(t, "given/mine.wasm", string(wasm)), "--out", p.to("out")}, more...)...)
}

func TestPlugin(t *testing.T) {
	p := newPlace(t)
	cobyla := []string{"--optimizer-option", "optimizer=cobyla"}
	args := p.plugin(t, guest.Wasm(), append(cobyla, "--trace", p.to("trace"), "--json")...)
	o := succeed(t, append(args, "--report", p.to("report.html"))...)
	digest := digestOfBytes(guest.Wasm())
	if want := `"optimizer":"medley","optimizer_mode":"sandboxed","plugin":{"version":"1","sha256":"` + digest + `","options":{"optimizer":"cobyla"}}`; !strings.Contains(o.stdout, want) {
		t.Errorf("the result does not say %s", want)
	}
	for _, want := range []string{"medley 1, a plugin, SHA-256 " + digest, "cobyla"} {
		if !strings.Contains(read(t, p.to("report.html")), want) {
			t.Errorf("the report does not say %s", want)
		}
	}
	whole := read(t, p.to("trace"))
	succeed(t, p.search("--optimizer", "cobyla", "--optimizer-native", "--out", p.to("out"), "--trace", p.to("native"))...)
	if evaluationsOf(t, p.to("trace")) != evaluationsOf(t, p.to("native")) {
		t.Error("the plugin asks for something else than the same algorithm outside")
	}
	lines := strings.SplitAfter(whole, "\n")
	p.write(t, "trace", strings.Join(lines[:5], ""))
	if succeed(t, args...); read(t, p.to("trace")) != whole {
		t.Error("the resumed trace is not the unbroken one")
	}
	for name, c := range map[string]struct {
		wasm []byte
		args []string
		says string
	}{
		"another option": {guest.Wasm(), []string{"--optimizer-option", "optimizer=random"}, "plugin options differs"},
		"built in":       {nil, []string{"--optimizer", "cobyla"}, "the optimizer differs"},
		"its namesake":   {namesake(), cobyla, "plugin differs"},
	} {
		o := medley(t, append(p.plugin(t, c.wasm, c.args...), "--trace", p.to("trace"))...)
		if o.code != exitUsage || !strings.Contains(o.stderr, c.says) {
			t.Errorf("%s: exit code %d, %s", name, o.code, o.stderr)
		}
	}
	if read(t, p.to("trace")) != whole {
		t.Error("a refused search changed the trace")
	}
}

// namesake is another plugin of the same name: the built-in guest and a custom section.
func namesake() []byte { return append(bytes.Clone(guest.Wasm()), 0, 2, 1, 'x') }

// What is wrong with a plugin is said before a model is looked at.
func TestPluginRefused(t *testing.T) {
	p := newPlace(t)
	unfinished := bytes.Replace(tiny("tiny"), []byte("opt_tell"), []byte("opt_sell"), 1)
	for name, c := range map[string]struct {
		wasm []byte
		args []string
		says string
	}{
		"nowhere":        {nil, []string{"--optimizer", p.to("nowhere.wasm")}, "nowhere.wasm: cannot be read: no such file or directory"},
		"a folder":       {nil, []string{"--optimizer", p.zoo + "/"}, "is not a file"},
		"text":           {[]byte("#!/bin/sh"), nil, "mine.wasm: plugin: is not a WebAssembly module (version 1)"},
		"no plugin":      {unfinished, nil, "mine.wasm: plugin: does not export the function opt_tell"},
		"unknown option": {guest.Wasm(), []string{"--optimizer-option", "speed=9"}, `"speed" is not an option of this plugin: it has optimizer`},
		"no value":       {guest.Wasm(), []string{"--optimizer-option", "speed"}, "--optimizer-option"},
		"native":         {guest.Wasm(), []string{"--optimizer-native"}, "--optimizer-native: a plugin runs in the sandbox only"},
		"built in":       {nil, []string{"--optimizer", "gntr", "--optimizer-option", "a=b"}, "--optimizer-option: gntr has no options"},
	} {
		args := append(p.plugin(t, c.wasm, c.args...), "--base", p.to("no base"))
		if o := medley(t, args...); o.code != exitUsage || !strings.Contains(o.stderr, c.says) {
			t.Errorf("%s: exit code %d, %s", name, o.code, o.stderr)
		}
	}
}

// A plugin that misbehaves in mid-search ends the search, and what was found is kept.
func TestPluginMisbehaves(t *testing.T) {
	for name, c := range map[string]struct {
		does []byte
		says string
	}{
		"traps":        {unreachable, "mine.wasm (tiny): plugin: failed in opt_ask: unreachable"},
		"never ends":   {forever, "mine.wasm (tiny): plugin: was stopped: opt_ask took longer than 2s"},
		"asks for NaN": {notANumber, "plugin: breaks the rules: opt_ask proposed a candidate whose weight 1 is not a finite number"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			args := p.plugin(t, tiny("tiny", c.does...), "--trace", p.to("trace"), "--json")
			for range 2 { // the second goes on from the trace, to the same end
				o := medley(t, args...)
				if o.code != exitFailed || !strings.Contains(o.stderr, c.says) || !strings.Contains(o.stderr, "the best of 2 evaluations was kept") {
					t.Fatalf("exit code %d: %s", o.code, o.stderr)
				}
				got := decode[composed](t, o)
				if got.Evaluations != 2 || got.Stopped != "failed" || got.Composed == nil || got.BestSingle == nil {
					t.Errorf("%+v", got)
				}
				if _, err := adapters.Load(p.to("out")); err != nil {
					t.Errorf("the adapter: %v", err)
				}
				if n := strings.Count(evaluationsOf(t, p.to("trace")), "\n"); n != 2 {
					t.Errorf("the trace holds %d evaluations", n)
				}
			}
		})
	}
}

// A plugin that never gets anywhere leaves nothing.
func TestPluginFailsAtOnce(t *testing.T) {
	p := newPlace(t)
	wasm := bytes.Replace(tiny("tiny", unreachable...), patience, []byte{0x41, 0, 0x4a}, 1)
	if o := medley(t, p.plugin(t, wasm)...); o.code == 0 || !strings.Contains(o.stderr, "failed in opt_ask") {
		t.Errorf("exit code %d: %s", o.code, o.stderr)
	}
	if _, err := os.Stat(p.to("out")); !os.IsNotExist(err) {
		t.Error("an adapter was written")
	}
}

// Ctrl-C reaches a plugin that computes.
func TestPluginCanceled(t *testing.T) {
	p := newPlace(t)
	begin := time.Now()
	o := cancelAfter(t, p.to("trace"), 2, p.plugin(t, tiny("tiny", forever...), "--trace", p.to("trace"), "--json")...)
	if got := decode[composed](t, o); o.code != exitCanceled || got.Stopped != "canceled" || got.Evaluations != 2 {
		t.Errorf("exit code %d after %v, %+v", o.code, time.Since(begin), got)
	}
}

// Demo has the flags too.
func TestDemoWithPlugin(t *testing.T) {
	p := newPlace(t)
	args := []string{"demo", "--task", "opinion", "--backend", "cpu", "--json", "--optimizer", p.write(t, "mine.wasm", string(guest.Wasm()))}
	succeed(t, args...)
	p.write(t, "mine.wasm", string(tiny("tiny", unreachable...)))
	if o := medley(t, args...); o.code == 0 || !strings.Contains(o.stderr, "failed in opt_ask") {
		t.Errorf("exit code %d: %s", o.code, o.stderr)
	}
}

// The program of a sandbox ends with its input, and is not listed.
func TestSandboxCommand(t *testing.T) {
	if o := medleyWith(context.Background(), "", "sandbox"); o.code != 0 || o.stdout != "" {
		t.Errorf("exit code %d: %s", o.code, o.stderr)
	}
	if help := succeed(t, "--help").stdout; slices.Contains(strings.Fields(help), "sandbox") {
		t.Error("the command is not hidden")
	}
}

// What a tiny plugin does in its third opt_ask, as instructions.
var (
	unreachable = []byte{0x00}
	forever     = []byte{0x03, 0x40, 0x0c, 0, 0x0b}
	notANumber  = append([]byte{0x20, 0, 0x44}, 0, 0, 0, 0, 0, 0, 0xf8, 0x7f, 0x39, 3, 0) // f64.store of NaN to the first weight

	patience = []byte{0x41, 2, 0x4a} // more than two
)

// tiny assembles a plugin that proposes zeros twice and then does something.
func tiny(name string, third ...byte) []byte {
	const i32, i64 = 0x7f, 0x7e
	vec := func(items ...[]byte) []byte {
		return append([]byte{byte(len(items))}, slices.Concat(items...)...)
	}
	sized := func(b []byte) []byte { return append(binary.AppendUvarint(nil, uint64(len(b))), b...) }
	section := func(id byte, body []byte) []byte { return append([]byte{id}, sized(body)...) }
	typ := func(params int, results ...byte) []byte {
		p := append([]byte{0x60, byte(params)}, bytes.Repeat([]byte{i32}, params)...)
		return append(append(p, byte(len(results))), results...)
	}
	info := []byte(`{"name":"` + name + `"}`)
	infoAt := []byte{0x42, 0xc0, 0, 0x42, 32, 0x86, 0x42, byte(len(info)), 0x84}      // 64<<32 | length, while that is below 64
	count := slices.Concat([]byte{0x20, 0, 0x41, 0, 0x41, 0x80, 0x20, 0xfc, 0x0b, 0}, // memory.fill of 4096 bytes with 0
		[]byte{0x41, 0, 0x41, 0, 0x28, 2, 0, 0x41, 1, 0x6a, 0x36, 2, 0},                         // memory[0]++
		[]byte{0x41, 0, 0x28, 2, 0}, patience, []byte{0x04, 0x40}, third, []byte{0x0b, 0x41, 1}) // if memory[0] > 2; then 1
	var types, functions, exports, code [][]byte
	for i, f := range []struct {
		name string
		typ  []byte
		body []byte
	}{
		{"opt_abi_version", typ(0, i32), []byte{0x41, 0x80, 0x80, 4}}, // 1<<16
		{"opt_alloc", typ(1, i32), []byte{0x41, 0x80, 8}},             // 1024
		{"opt_free", typ(2), nil},
		{"opt_create", typ(2, i32), []byte{0x41, 0}},
		{"opt_ask", typ(2, i32), count},
		{"opt_tell", typ(5, i32), []byte{0x41, 0}},
		{"opt_best", typ(2, i32), []byte{0x41, 0}},
		{"opt_info", typ(0, i64), infoAt},
		{"opt_last_error", typ(0, i64), []byte{0x42, 0}},
	} {
		types, functions = append(types, f.typ), append(functions, []byte{byte(i)})
		exports = append(exports, slices.Concat(sized([]byte(f.name)), []byte{0, byte(i)}))
		code = append(code, sized(slices.Concat([]byte{0}, f.body, []byte{0x0b})))
	}
	exports = append(exports, append(sized([]byte("memory")), 2, 0))
	data := slices.Concat([]byte{0, 0x41, 0xc0, 0, 0x0b}, sized(info)) // at 64
	return slices.Concat([]byte("\x00asm\x01\x00\x00\x00"), section(1, vec(types...)), section(3, vec(functions...)), section(5, []byte{1, 0, 1}),
		section(7, vec(exports...)), section(10, vec(code...)), section(11, vec(data)))
}
