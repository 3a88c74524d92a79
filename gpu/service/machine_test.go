package service

import "testing"

func TestMachineMemory(t *testing.T) {
	for text, want := range map[string]int64{
		"MemTotal:       24689000 kB\nMemFree: 1 kB\n": 24689000 << 10,
		"MemFree: 1 kB\nMemTotal: 2 kB":                2 << 10,
		"MemTotal: many kB\n":                          7,
		"MemTotal: -1 kB\n":                            7,
		"":                                             7,
	} {
		if got := totalMemory([]byte(text), 7); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
	if n := machineMemory(); n < 64<<20 {
		t.Errorf("this machine has %d bytes", n)
	}
}
