package host_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/medley-lora/medley/wasm/host"
)

// peak is the most memory that the process of a guest had, in bytes, when the guest did its work. The number that the system keeps for
// a process that has ended counts its parent's too, so the living one is watched.
func peak(t *testing.T, a *assembly) int64 {
	t.Helper()
	g, err := host.NewIsolated(t.Context(), host.NewPool(host.PoolOptions{Command: command, Limits: quick}), a.bytes(), one(), nil)
	if err != nil {
		t.Fatal(err)
	}
	most := highWater(g.Process().Process.Pid)
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-done:
				return
			case <-time.After(time.Millisecond):
				most = max(most, highWater(g.Process().Process.Pid))
			}
		}
	}()
	_ = search1(one(), g) // what it ends in is TestHostile's matter
	close(done)
	<-ended
	g.Close()
	if most == 0 {
		t.Fatal("no memory was seen")
	}
	return most
}

// highWater is VmHWM, or 0 when the process is gone.
func highWater(pid int) int64 {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	_, after, _ := strings.Cut(string(status), "VmHWM:")
	kib := int64(0)
	_, _ = fmt.Sscan(after, &kib)
	return kib << 10
}

func TestMemory(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector's own memory would count")
	}
	still := peak(t, still())
	fill := op{0xfc, 0x0b, 0x00}
	all := ops(op{0x03, 0x40}, i32(16), growMemory(), i32(-1), op{0x47, 0x0d, 0, 0x0b}, i32(0), i32(1), op{0x3f, 0}, i32(65536), op{0x6c}, fill, forever(), i32(1))
	for name, a := range map[string]*assembly{
		"memory":    but("opt_ask", all),
		"recursion": but("opt_ask", local(0), local(1), call(4)),
		"table": with(but("opt_ask", forever(op{0xd0, 0x70}, i32(1), growTable(), drop()), i32(1)), func(a *assembly) {
			a.table = []byte{1, 0x70, 0, 1}
		}),
	} {
		const limit = 256 << 16
		if grown := peak(t, a) - still; grown > limit+32<<20 {
			t.Errorf("%s: the process grew by %d MiB", name, grown>>20)
		} else {
			t.Logf("%s: %d MiB over %d MiB", name, grown>>20, still>>20)
		}
	}
}
