package main

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

const (
	minGarbage     = 24 << 20 // bytes that may gather before they are collected, however little is in use
	garbagePercent = 50       // of what is in use, if that is more
)

// tuneCollector has Go collect garbage seldom while little is in use, where it would otherwise do so fifty times a second under load, and
// often while much is: most of a gateway's memory is idle connections, in proportion to which Go lets garbage grow. It does so until ctx
// ends, unless GOGC has something else to say.
func tuneCollector(ctx context.Context) {
	if os.Getenv("GOGC") != "" {
		return
	}
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	percent := 0
	var afterEach func()
	afterEach = func() {
		if ctx.Err() != nil {
			return
		}
		metrics.Read(live)
		if p := collectorPercent(live[0].Value.Uint64()); p != percent {
			percent = p
			debug.SetGCPercent(p)
		}
		runtime.AddCleanup(new(cycle), func(struct{}) { afterEach() }, struct{}{})
	}
	afterEach()
}

// cycle is an object that is garbage at once: its end is that of a cycle of the collector. It is larger than what is allocated in groups.
type cycle [32]byte

// collectorPercent is GOGC for a heap of which live bytes are in use, in steps, because each change stops everything for a moment.
func collectorPercent(live uint64) int {
	const step = 50
	percent := minGarbage * 100 / max(live, 4<<20)     // less than 4 MiB count as so many with Go, too
	return max(garbagePercent, int(percent)/step*step) //nolint:gosec // at most 600
}
