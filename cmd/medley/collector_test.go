package main

import "testing"

func TestCollectorPercent(t *testing.T) {
	for live, want := range map[uint64]int{
		0: 600, 1 << 20: 600, 4 << 20: 600, 8 << 20: 300, 24 << 20: 100, 30 << 20: 50, 48 << 20: 50, 1 << 30: 50, 1 << 62: 50,
	} {
		if got := collectorPercent(live); got != want {
			t.Errorf("%d bytes in use: %d, want %d", live, got, want)
		}
	}
}
