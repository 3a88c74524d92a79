package check

import (
	"fmt"
	"os"
	"syscall"
)

// confine bounds the memory of the process, for good. A plugin's own memory is bounded by the host's limits, but what its compilation
// takes is not, nor a table that grows in a call that no host would make.
func confine() error {
	const (
		rlimitData = 2       // RLIMIT_DATA: writable memory of the process's own, as far as it is mapped
		more       = 3 << 30 // than what the process has, which is much with the race detector
	)
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return err
	}
	var skipped, data uint64 // the sixth number is the pages of data and stack (proc_pid_statm(5))
	if _, err := fmt.Sscan(string(statm), &skipped, &skipped, &skipped, &skipped, &skipped, &data); err != nil {
		return err
	}
	most := data*uint64(os.Getpagesize()) + more
	return syscall.Setrlimit(rlimitData, &syscall.Rlimit{Cur: most, Max: most})
}
