package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/medley-lora/medley/wasm/optimizer"
)

// waitForTrace returns true once a trace holds n evaluations, false when done is closed first.
func waitForTrace(path string, n int, done <-chan struct{}) bool {
	for {
		select {
		case <-done:
			return false
		case <-time.After(time.Millisecond):
		}
		if data, err := os.ReadFile(path); err == nil && bytes.Count(data, []byte("\n")) > n {
			return true
		}
	}
}

// unbroken runs a search to its end and returns its trace and what it found.
func unbroken(t *testing.T, p place, args ...string) (trace, found string) {
	t.Helper()
	o := succeed(t, append(args, "--out", p.to("whole"), "--trace", p.to("whole.jsonl"), "--json")...)
	return read(t, p.to("whole.jsonl")), essence(t, o.stdout)
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// essence is a result without what differs from run to run.
func essence(t *testing.T, stdout string) string {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal([]byte(stdout), &v); err != nil {
		t.Fatalf("%v: %.500s", err, stdout)
	}
	for _, name := range []string{"seconds", "search_seconds", "command", "adapter"} {
		if _, there := v[name]; !there {
			t.Errorf("the result has no %s", name)
		}
		delete(v, name)
	}
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// resume finishes the search whose trace is at path and compares it with an unbroken one.
func resume(t *testing.T, p place, path, wantTrace, wantFound string, args ...string) {
	t.Helper()
	o := succeed(t, append(args, "--out", p.to("resumed"), "--trace", path, "--json")...)
	if got := read(t, path); got != wantTrace {
		t.Errorf("the resumed trace of %d bytes is not the unbroken one of %d", len(got), len(wantTrace))
	}
	if got := essence(t, o.stdout); got != wantFound {
		t.Errorf("resumed:\n%s\nunbroken:\n%s", got, wantFound)
	}
	for _, name := range []string{"adapter_config.json", "adapter_model.safetensors"} {
		if read(t, filepath.Join(p.to("resumed"), name)) != read(t, filepath.Join(p.to("whole"), name)) {
			t.Errorf("%s differs from the unbroken search's", name)
		}
	}
}

func TestResume(t *testing.T) {
	p := newPlace(t)
	args := p.search("--budget", "16", "--holdout", "1")
	wantTrace, wantFound := unbroken(t, p, args...)
	lines := strings.SplitAfter(strings.TrimSuffix(wantTrace, "\n"), "\n")
	if len(lines) != 1+16 {
		t.Fatalf("the trace has %d lines, expected a header and 16 evaluations", len(lines))
	}
	t.Run("canceled", func(t *testing.T) {
		path := p.to("canceled.jsonl")
		if o := cancelAfter(t, path, 4, append(args, "--out", p.to("canceled"), "--trace", path)...); o.code != exitCanceled {
			t.Fatalf("exit code %d: %s", o.code, o.stderr)
		}
		if cut := read(t, path); !strings.HasPrefix(wantTrace, cut) || len(cut) == len(wantTrace) {
			t.Fatalf("the canceled trace of %d bytes is no beginning of the unbroken one of %d", len(cut), len(wantTrace))
		}
		resume(t, p, path, wantTrace, wantFound, args...)
	})
	for name, cut := range map[string]string{
		"finished":         wantTrace,
		"empty":            "",
		"header only":      lines[0],
		"whole rounds":     strings.Join(lines[:1+8], ""),
		"unfinished round": strings.Join(lines[:1+10], ""),
		"torn line":        strings.Join(lines[:1+9], "") + lines[10][:40],
		"torn newline":     strings.TrimSuffix(strings.Join(lines[:1+12], ""), "\n"),
	} {
		t.Run(name, func(t *testing.T) {
			path := p.write(t, strings.ReplaceAll(name, " ", "-")+".jsonl", cut)
			resume(t, p, path, wantTrace, wantFound, args...)
		})
	}
}

// A program killed in mid-search leaves a trace from which another goes on.
func TestResumeAfterKill(t *testing.T) {
	p := newPlace(t)
	args := p.search("--budget", "16")
	wantTrace, wantFound := unbroken(t, p, args...)
	path := p.to("killed.jsonl")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program := exec.CommandContext(t.Context(), self, append(args, "--out", p.to("killed"), "--trace", path)...)
	program.Env = append(os.Environ(), asProgram+"=1")
	if err := program.Start(); err != nil {
		t.Fatal(err)
	}
	over := make(chan struct{})
	go func() {
		time.Sleep(30 * time.Second)
		close(over)
	}()
	reached := waitForTrace(path, 4, over)
	if err := program.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := program.Wait(); err == nil || !reached {
		t.Fatalf("the program was not killed in mid-search: %v", err)
	}
	if _, err := os.Stat(p.to("killed")); !os.IsNotExist(err) {
		t.Error("a killed search left an adapter")
	}
	resume(t, p, path, wantTrace, wantFound, args...)
}

// A trace is of one search: whatever would change a score or a proposal is refused by name, and the file is left alone.
func TestTraceOfAnotherSearch(t *testing.T) {
	p := newPlace(t)
	path := p.to("trace.jsonl")
	succeed(t, p.search("--out", p.to("out"), "--trace", path)...)
	want := read(t, path)
	changed := p.to("changed/plural")
	if err := os.MkdirAll(filepath.Dir(changed), 0o755); err != nil {
		t.Fatal(err)
	}
	succeed(t, append([]string{"merge", "--out", changed, "--weights", "0.5"}, p.modules("plural")...)...)
	other := p.search()
	for i := range other {
		if other[i] == p.module("plural") {
			other[i] = changed
		}
	}
	for name, c := range map[string]struct {
		args []string
		says string
	}{
		"seed":               {p.search("--seed", "7"), "seed"},
		"budget":             {p.search("--budget", "13"), "budget"},
		"batch":              {p.search("--batch", "5"), "batch"},
		"optimizer":          {p.search("--optimizer", optimizerOtherThan(optimizer.Default)), "optimizer"},
		"examples":           {p.search("--examples", p.few("several")), "examples"},
		"method":             {p.search("--method", "product"), "method"},
		"objective":          {p.search("--objective", "mean"), "objective"},
		"backend":            {p.search("--backend", "cpu"), "backend"},
		"penalty":            {p.search("--penalty", "0.06"), "objective"},
		"holdout":            {p.search("--holdout", "1"), "holdout"},
		"more modules":       {p.search(p.modules("french")...), "modules"},
		"a module's content": {other, "modules"},
	} {
		t.Run(name, func(t *testing.T) {
			out := p.to("other")
			o := medley(t, append(c.args, "--out", out, "--trace", path)...)
			if o.code != exitUsage || !strings.Contains(o.stderr, "--trace") || !strings.Contains(o.stderr, c.says) {
				t.Errorf("exit code %d: %s", o.code, o.stderr)
			}
			if _, err := os.Stat(out); !os.IsNotExist(err) {
				t.Error("an adapter was written")
				os.RemoveAll(out)
			}
			if read(t, path) != want {
				t.Fatal("the trace was changed")
			}
		})
	}
	exact, low := p.to("f32.jsonl"), p.search("--backend", "cpu", "--precision", "bf16", "--budget", "3")
	succeed(t, p.search("--backend", "cpu", "--budget", "3", "--out", p.to("exact"), "--trace", exact)...)
	if o := medley(t, append(low, "--out", p.to("low"), "--trace", exact)...); o.code != exitUsage || !strings.Contains(o.stderr, "precision differs") {
		t.Errorf("a trace in f32 was continued in bf16: exit code %d: %s", o.code, o.stderr)
	}
	for name, content := range map[string]string{"text": "hello\n", "an adapter": read(t, filepath.Join(p.module("plural"), "adapter_model.safetensors"))} {
		t.Run(name, func(t *testing.T) {
			foreign := p.write(t, "foreign", content)
			o := medley(t, p.search("--out", p.to("other"), "--trace", foreign)...)
			if o.code != exitUsage || !strings.Contains(o.stderr, "--trace") || read(t, foreign) != content {
				t.Errorf("exit code %d, kept %v: %s", o.code, read(t, foreign) == content, o.stderr)
			}
		})
	}
}
