package service

import (
	"bytes"
	"os"
	"strconv"
)

// unknownMachine is the memory assumed of a machine that does not tell.
const unknownMachine = 8 << 30

// machineMemory is the bytes that this process can hope for: those of the machine, or of its control group if that has fewer.
func machineMemory() int64 {
	memory := int64(unknownMachine)
	if data, err := os.ReadFile("/proc/meminfo"); err == nil {
		memory = totalMemory(data, memory)
	}
	for _, file := range []string{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"} {
		if data, err := os.ReadFile(file); err == nil {
			if n, err := strconv.ParseInt(string(bytes.TrimSpace(data)), 10, 64); err == nil && n > 0 { // "max" is no limit
				memory = min(memory, n)
			}
		}
	}
	return memory
}

// totalMemory reads MemTotal of /proc/meminfo.
func totalMemory(meminfo []byte, otherwise int64) int64 {
	for line := range bytes.Lines(meminfo) {
		fields := bytes.Fields(line)
		if len(fields) == 3 && string(fields[0]) == "MemTotal:" {
			if kibibytes, err := strconv.ParseInt(string(fields[1]), 10, 64); err == nil && kibibytes > 0 {
				return kibibytes << 10
			}
		}
	}
	return otherwise
}
