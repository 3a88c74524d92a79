//go:build linux && cgo

package service_test

import (
	"bytes"
	"context"
	"math"
	"os"
	"runtime/debug"
	"strconv"
	"testing"

	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/gpu/cpu"
	"github.com/medley-lora/medley/gpu/service"
	"github.com/medley-lora/medley/shared/lora"
	"github.com/medley-lora/medley/shared/task"
)

// resident is this process's memory in bytes, with the garbage given back.
func resident(t *testing.T) int {
	t.Helper()
	debug.FreeOSMemory()
	data, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.Atoi(string(bytes.Fields(data)[1]))
	if err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize()
}

// Sessions that are opened, scored and closed, each loading the base anew, leave nothing behind.
func TestMemoryStaysFlat(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector keeps a history that grows")
	}
	const sessions, warmUp = 2000, 1000 // allocators take about a thousand to settle
	z := newZoo(t)
	server := serverOf(func(context.Context) (backend.Backend, string, error) {
		b, err := cpu.New(cpu.Options{})
		return b, "", err
	}, service.HostOptions{})
	defer server.Close()
	c, _ := clientOf(t, server)
	few := []task.Example{{Input: "one berry , several", Output: "berries"}}
	before, after := math.MaxInt, math.MaxInt // the least of several readings, which are up to 1 % apart
	for i := range sessions {
		switch {
		case i >= warmUp && i < warmUp+200 && i%50 == 0:
			before = min(before, resident(t))
		case i >= sessions-200 && i%50 == 0:
			after = min(after, resident(t))
		}
		s := openSession(t, c, z.request(lora.Delta, "plural", "french"))
		if _, err := s.Score(t.Context(), few, [][]float64{{1, 0}, {0, 1}, {0.5, 0.5}}); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("resident after %d sessions: %d bytes, after %d: %d", warmUp, before, sessions, after)
	if growth := float64(after-before) / float64(before); growth > 0.02 {
		t.Errorf("grew by %.1f %%, want at most 2 %%", 100*growth)
	}
}

// Bases that take each other's place leave nothing behind.
func TestEvictedMemoryComesBack(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector keeps a history that grows")
	}
	const rounds, warmUp = 600, 300
	z := newZoo(t)
	c, _ := residents(t, 1<<30)
	s, _ := scoreAll(t, c, known(z.request(lora.Delta, "plural"), "0a"))
	shut(t, s)
	c, u := residents(t, stats(t, c).Resident*3/2)
	before, after := math.MaxInt, math.MaxInt
	for i := range rounds {
		switch {
		case i >= warmUp && i < warmUp+100 && i%25 == 0:
			before = min(before, resident(t))
		case i >= rounds-100 && i%25 == 0:
			after = min(after, resident(t))
		}
		s, _ := scoreAll(t, c, known(z.request(lora.Delta, "plural"), string("01"[i%2])+"a"))
		shut(t, s)
	}
	if bases, _ := u.told(); bases != rounds {
		t.Errorf("%d bases were loaded, want %d", bases, rounds)
	}
	t.Logf("resident after %d bases: %d bytes, after %d: %d", warmUp, before, rounds, after)
	if growth := float64(after-before) / float64(before); growth > 0.02 {
		t.Errorf("grew by %.1f %%, want at most 2 %%", 100*growth)
	}
}
