package check

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/wasm/guest"
)

// The built-in guest passes with algorithms of different kinds, and the samples do, in whatever language they are.
func TestGood(t *testing.T) {
	for name, plugin := range map[string]string{
		"coord": "../guest/guest.wasm", "zero": "../guest/guest.wasm",
		"c": "../samples/testdata/c.wasm", "assemblyscript": "../samples/testdata/assemblyscript.wasm", "rust": "../samples/testdata/rust.wasm",
	} {
		t.Run(name, func(t *testing.T) {
			if raceDetector && name == "coord" {
				t.Skip("takes a minute with the race detector, which sees the same goroutines in the others")
			}
			wasm := file(t, plugin)
			o := options()
			if name == "coord" || name == "zero" { // gntr, which auto takes, needs more than a call of a stranger may where the machine is busy
				o.Plugin = map[string]string{"optimizer": name}
			}
			var observed []Result
			o.Observe = func(r Result) { observed = append(observed, r) }
			report, err := Run(t.Context(), wasm, o)
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, c := range report.Checks {
				names = append(names, c.Name)
				if c.Status != Passed || c.Detail == "" || c.Change != "" {
					t.Errorf("%+v", c)
				}
			}
			if !report.Passed || report.Plugin == nil || report.Plugin.Name == "" || !slices.Equal(names, Names()) {
				t.Errorf("passed %v, plugin %+v, checks %q", report.Passed, report.Plugin, names)
			}
			if !slices.Equal(observed, report.Checks) {
				t.Errorf("observed %v", observed)
			}
		})
	}
}

// A plugin for few weights is not asked for more.
func TestSmall(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector takes ten seconds to compile the plugin, and sees the same goroutines in the others")
	}
	o := options()
	o.Plugin = map[string]string{"optimizer": "es"}
	report, err := Run(t.Context(), flawed(t, "small"), o)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range report.Checks {
		if c.Status != Passed {
			t.Errorf("%+v", c)
		}
	}
	if bounds := report.find(t, "bounds"); !strings.Contains(bounds.Detail, "up to 2 weights, which is its max_dim") {
		t.Errorf("%+v", bounds)
	}
}

func file(t *testing.T, name string) []byte {
	t.Helper()
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// renamed is the built-in guest with other names for what it imports or exports.
func renamed(names ...string) []byte {
	wasm := bytes.Clone(guest.Wasm())
	for i := 0; i < len(names); i += 2 {
		wasm = bytes.Replace(wasm, []byte(names[i]), []byte(names[i+1]), 1)
	}
	return wasm
}

// What does not start fails one check or several, and the rest is not run.
func TestBeforeTheContract(t *testing.T) {
	huge := make([]byte, 500<<20) // pages that nobody touches
	for name, c := range map[string]struct {
		wasm                  func() []byte
		check, detail, change string
	}{
		"empty":     {func() []byte { return nil }, checkFile, "is not a WebAssembly module (version 1)", "core module"},
		"text":      {func() []byte { return []byte("#!/bin/sh\n") }, checkFile, "is not a WebAssembly module (version 1)", "core module"},
		"component": {func() []byte { return []byte("\x00asm\x0d\x00\x01\x00") }, checkFile, "is not a WebAssembly module (version 1)", "no component"},
		"huge":      {func() []byte { return huge }, checkFile, "has 524288000 bytes, at most 16777216 are allowed", "at most 16 MiB"},
		"cut off":   {func() []byte { return guest.Wasm()[:1000] }, checkFile, "is cut off", "the compiler wrote"},
		"imports":   {func() []byte { return renamed("random_get", "random_put", "sched_yield", "sched_field") }, checkImports, "\n\"wasi_snapshot_preview1\".\"sched_field\"", "Build without"},
		"both":      {func() []byte { return renamed("random_get", "random_put", "sched_yield", "sched_field") }, checkImports, "\n\"wasi_snapshot_preview1\".\"random_put\"", "Build without"},
		"exports":   {func() []byte { return renamed("opt_tell", "opt_sell", "opt_best", "opt_west") }, checkExports, "\nopt_tell(i32, i32, i32, i32, i32) -> i32\nopt_best(i32, i32) -> i32", "exactly these types"},
		"types":     {func() []byte { return renamed("opt_free", "opt_ffff", "opt_best", "opt_free", "opt_ffff", "opt_best") }, checkExports, "\nopt_free(i32, i32); there is one of type (i32, i32) -> i32", "exactly these types"},
		"hidden":    {func() []byte { return renamed("\x06memory\x02", "\x06memo\x1bx\x02") }, checkExports, `its one memory, as "memory"`, "exactly these types"},
		"version 2": {func() []byte { return flawed(t, "version 2") }, checkStart, "speaks version 2 of the guest interface", "65536"},
		"no JSON":   {func() []byte { return flawed(t, "no JSON") }, checkStart, "describes itself with something that is not the JSON of opt_info", "pointer<<32 | length"},
		"crooked":   {func() []byte { return flawed(t, "crooked") }, checkStart, "which is not divisible by 8", "divisible by 8"},
		"traps":     {func() []byte { return flawed(t, "traps") }, checkStart, "failed in opt_ask", "Find the trap"},
		"exits":     {func() []byte { return flawed(t, "exits") }, checkStart, "ended itself in opt_ask with exit code 3", "Do not exit"},
		"picky":     {func() []byte { return flawed(t, "picky") }, checkStart, "refuses opt_create (-2)", "--optimizer-option"},
		"endless":   {func() []byte { return flawed(t, "endless") }, checkStart, "opt_ask took longer than 2s", "does not end"},
		"NaN":       {func() []byte { return flawed(t, "NaN") }, checkStart, "not a finite number", "Write finite numbers"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if raceDetector && c.check == checkStart {
				t.Skip("the race detector takes ten seconds to compile the plugin, and sees the same goroutines in the others")
			}
			report, err := Run(t.Context(), c.wasm(), options())
			if err != nil {
				t.Fatal(err)
			}
			got := report.find(t, c.check)
			if got.Status != Failed || !strings.Contains(got.Detail, c.detail) || !strings.Contains(got.Change, c.change) {
				t.Errorf("%+v", got)
			}
			if last := report.Checks[len(report.Checks)-1]; report.Passed || len(report.Checks) != len(Names()) ||
				last.Status != Skipped || !strings.HasPrefix(last.Detail, "not run: ") {
				t.Errorf("passed %v, %d checks, the last is %+v", report.Passed, len(report.Checks), last)
			}
			for _, r := range report.Checks {
				if strings.Contains(r.Detail+r.Change, "\x1b") {
					t.Errorf("what steers a terminal gets through: %q", r.Detail)
				}
			}
		})
	}
}

// A plugin that recurses without a loop is stopped by nothing but a kill, and fails the check that it hung in.
func TestHangs(t *testing.T) {
	// Once it was created: if n < 2 return n; opt_ask(n-1, k) + opt_ask(n-2, k)
	created := []byte{0x41, 0, 0x41, 1, 0x36, 2, 0, 0x41, 0} // memory[0] = 1; 0
	fibonacci := slices.Concat([]byte{0x20, 0, 0x41, 2, 0x48, 0x04, 0x7f, 0x20, 0, 0x05}, []byte{0x20, 0, 0x41, 1, 0x6b, 0x20, 1, 0x10, askIndex},
		[]byte{0x20, 0, 0x41, 2, 0x6b, 0x20, 1, 0x10, askIndex, 0x6a, 0x0b})
	early := slices.Concat([]byte{0x41, 0, 0x28, 2, 0, 0x04, 0x7f}, []byte{0x20, 0, 0x44}, make([]byte, 8), []byte{0x39, 3, 0, 0x41, 1, 0x05}, fibonacci, []byte{0x0b})
	o := options()
	o.Each = 2 * time.Second
	begin := time.Now()
	report, err := Run(t.Context(), assemble("", map[string][]byte{"opt_create": created, "opt_ask": early}), o)
	if err != nil {
		t.Fatal(err)
	}
	got, next := report.find(t, "refusals"), report.find(t, "configuration")
	if got.Status != Failed || !strings.Contains(got.Detail, "nothing but the end of its process stopped it") || got.Change == "" || next.Status != Skipped {
		t.Errorf("%+v, then %+v", got, next)
	}
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("took %v", took)
	}
}

// Whatever becomes of the other process or of the time, there is a report.
func TestWorkerFails(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Options)
		check  string
		detail string
	}{
		"it exits": {func(o *Options) {
			o.Worker = func() *exec.Cmd { return exec.Command("sh", "-c", "echo sorry >&2; exit 3") }
		}, "refusals", "its process ended: exit status 3: sorry"},
		"it says stupid": {func(o *Options) { o.Worker = func() *exec.Cmd { return exec.Command("sh", "-c", "echo sorry") } }, "refusals", "its process ended"},
		"late": {func(o *Options) {
			o.Worker, o.Whole = func() *exec.Cmd { return exec.Command("sleep", "60") }, 2*time.Second
		}, "refusals", "the 2s that all checks may take were over"},
	} {
		t.Run(name, func(t *testing.T) {
			o := options()
			c.change(&o)
			report, err := Run(t.Context(), file(t, "../samples/testdata/c.wasm"), o)
			if err != nil {
				t.Fatal(err)
			}
			if got := report.find(t, c.check); report.Passed || got.Status != Failed || !strings.Contains(got.Detail, c.detail) || len(report.Checks) != len(Names()) {
				t.Errorf("%+v", got)
			}
		})
	}
	o := options()
	o.Worker = func() *exec.Cmd { return exec.Command("/nowhere") }
	if _, err := Run(t.Context(), file(t, "../samples/testdata/c.wasm"), o); fault.CodeOf(err) != fault.Internal || strings.Contains(err.Error(), "/nowhere") {
		t.Errorf("a worker that cannot be started: %v", err)
	}
}

// Whatever was under way when the caller went away is no fault of the plugin's.
func TestCanceled(t *testing.T) {
	for _, after := range []string{checkFile, checkMemory, checkStart, "refusals", "cost"} {
		ctx, cancel := context.WithCancel(t.Context())
		o, last := options(), Result{}
		o.Observe = func(r Result) {
			if last = r; r.Name == after {
				cancel()
			}
		}
		if _, err := Run(ctx, file(t, "../samples/testdata/c.wasm"), o); fault.CodeOf(err) != fault.Canceled || !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
		if last.Name != after || last.Status != Passed {
			t.Errorf("after %s there was %+v", after, last)
		}
	}
}
