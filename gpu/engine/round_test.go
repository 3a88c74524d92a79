package engine

import (
	"testing"
	"time"
)

// TestBusyRows: the slower the model, the fewer tokens of sources go beside sequences that wait; before anything is known it takes most.
func TestBusyRows(t *testing.T) {
	for perRow, want := range map[time.Duration]int{0: 128, time.Millisecond: 128, 2 * time.Millisecond: 100, 10 * time.Millisecond: 20, time.Second: 8} {
		if got := busyRows(perRow); got != want {
			t.Errorf("%v a token: %d tokens, want %d", perRow, got, want)
		}
	}
}
