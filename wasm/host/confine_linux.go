package host

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	rlimitData = 2 // RLIMIT_DATA: writable memory of the process's own, as far as it is mapped

	// What the process may take beyond what it has: to compile and start a guest, and once that runs, with its memory taken already.
	compileMemory = 1 << 30
	runMemory     = 32 << 20
	niceness      = 5 // of guests, beside the user's own work
)

// confine takes away from the process what a guest has no use for. Open files stay open.
func confine(l Limits) error {
	time.NewTimer(0).Stop() // opens what the runtime's timers need
	statm, err := os.Open("/proc/self/statm")
	if err != nil {
		return err
	}
	memoryStatus = statm // stays open: nothing can be opened later
	data, err := dataBytes()
	if err != nil {
		return err
	}
	cpu := uint64(l.CPU/time.Second) + 1
	for _, r := range []struct {
		resource int
		most     uint64
	}{
		{syscall.RLIMIT_CORE, 0}, {syscall.RLIMIT_FSIZE, 0}, {syscall.RLIMIT_NOFILE, 0}, {syscall.RLIMIT_CPU, cpu},
		{rlimitData, data + compileMemory + uint64(l.MemoryPages)<<16},
	} {
		if err := limit(r.resource, r.most); err != nil {
			return err
		}
	}
	return nil
}

// tighten leaves a running guest's process what it has, and a little.
func tighten() error {
	data, err := dataBytes()
	if err != nil {
		return err
	}
	return limit(rlimitData, data+runMemory)
}

func limit(resource int, most uint64) error {
	return syscall.Setrlimit(resource, &syscall.Rlimit{Cur: most, Max: most})
}

var memoryStatus *os.File

// dataBytes is what RLIMIT_DATA counts.
func dataBytes() (uint64, error) {
	status := make([]byte, 256)
	n, err := memoryStatus.ReadAt(status, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, err
	}
	fields := strings.Fields(string(status[:n])) // size resident shared text lib data dirty, in pages
	if len(fields) < 6 {
		return 0, syscall.EINVAL
	}
	pages, err := strconv.ParseUint(fields[5], 10, 64)
	return pages * uint64(os.Getpagesize()), err
}

// apart gives a command a group of its own, so that a key pressed in the terminal does not reach it and all its threads can be
// lowered at once.
func apart(c *exec.Cmd) { c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// lower makes a process that apart started give way to others.
func lower(pid int) { _ = syscall.Setpriority(syscall.PRIO_PGRP, pid, niceness) } // it may have ended
