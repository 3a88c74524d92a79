//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/medley-lora/medley/shared/compose"
)

// evaluatorOf returns the process that a process has started as an evaluator, or 0.
func evaluatorOf(pid int) int {
	children, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, stat := range children {
		data, _ := os.ReadFile(stat)
		fields := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+1:]))
		if len(fields) < 2 || fields[1] != fmt.Sprint(pid) {
			continue
		}
		command, _ := os.ReadFile(filepath.Join(filepath.Dir(stat), "cmdline"))
		var child int
		if _, err := fmt.Sscan(filepath.Base(filepath.Dir(stat)), &child); err == nil && strings.Contains(string(command), "\x00evaluator\x00") {
			return child
		}
	}
	return 0
}

// TestComposeOnWebGPU: a search on the device gives what it gives on the processor, and goes on when its evaluator is killed.
func TestComposeOnWebGPU(t *testing.T) {
	p := newPlace(t)
	t.Setenv("TMPDIR", t.TempDir()) // of its own, to see what is left there
	args := p.search("--backend", "webgpu", "--budget", "24", "--batch", "4")
	trace := p.to("trace.jsonl")
	o := succeed(t, append(args, "--out", p.to("out"), "--trace", trace, "--json")...)
	if got := decode[compose.Output](t, o); got.Backend != "webgpu" {
		t.Errorf("ran on %q", got.Backend)
	}
	want := read(t, trace)

	again := p.to("again.jsonl")
	const mostKills = 2 // a third under one request would end the search
	stop := make(chan struct{})
	killed := make(chan int)
	go func() {
		kills, last, size := 0, 0, int64(0)
		defer func() { killed <- kills }()
		for {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
			}
			file, err := os.Stat(again)
			if err != nil || file.Size() == size || kills == mostKills {
				continue // nothing was scored since the last kill
			}
			if pid := evaluatorOf(os.Getpid()); pid != 0 && pid != last && syscall.Kill(pid, syscall.SIGKILL) == nil {
				kills, last, size = kills+1, pid, file.Size()
			}
		}
	}()
	o = succeed(t, append(args, "--out", p.to("again"), "--trace", again)...)
	close(stop)
	if kills := <-killed; kills == 0 || !strings.Contains(o.stderr, "signal: killed") {
		t.Errorf("%d evaluators were killed; stderr: %s", kills, o.stderr)
	}
	if read(t, again) != want {
		t.Error("the trace differs from the unbroken one")
	}
	left, _ := filepath.Glob(filepath.Join(os.TempDir(), "medley-*", "s"))
	if len(left) > 0 {
		t.Errorf("sockets are left behind: %v", left)
	}
}
