package main

import (
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// /dev/full is a disk without room: writing to it fails as on one, and it stays what it is.
func TestFullDisk(t *testing.T) {
	p := newPlace(t)
	for _, flag := range []string{"--trace", "--report"} {
		o := medley(t, p.search("--budget", "3", "--out", p.to("out"), flag, "/dev/full")...)
		if o.code != exitFailed || !strings.Contains(o.stderr, flag+" /dev/full: cannot be written: no space left on device") {
			t.Errorf("%s: exit code %d: %s", flag, o.code, o.stderr)
		}
	}
	if info, err := os.Stat("/dev/full"); err != nil || info.Mode()&os.ModeCharDevice == 0 {
		t.Errorf("/dev/full was replaced: %v, %v", info, err)
	}
}

// A disk that fills in mid-search costs the trace and not what was found.
func TestTraceThatCannotGoOn(t *testing.T) {
	p := newPlace(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	args := p.search("--backend", "cpu", "--optimizer", "random", "--budget", "300", "--rank", "1", "--out", p.to("out"), "--trace", p.to("trace.jsonl"))
	program := exec.CommandContext(t.Context(), "sh", append([]string{"-c", `ulimit -f 128; exec "$0" "$@"`, self}, args...)...)
	program.Env = append(os.Environ(), asProgram+"=1")
	said, err := program.CombinedOutput()
	if program.ProcessState.ExitCode() != exitFailed || !strings.Contains(string(said), "cannot be written: file too large") ||
		!strings.Contains(string(said), "the search went on without its trace") {
		t.Fatalf("%v: %s", err, said)
	}
	succeed(t, "inspect", p.to("out"))
}

func TestStandardOutputThatCannotBeWritten(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	var stderr strings.Builder
	if code := run(t.Context(), []string{"inspect", newPlace(t).base()}, strings.NewReader(""), full, &stderr); code != exitFailed ||
		!strings.Contains(stderr.String(), "standard output: cannot be written: no space left on device") {
		t.Errorf("exit code %d: %s", code, stderr.String())
	}
	if code := run(t.Context(), []string{"inspect", newPlace(t).base()}, strings.NewReader(""), io.Discard, &stderr); code != 0 {
		t.Errorf("exit code %d: %s", code, stderr.String())
	}
}
