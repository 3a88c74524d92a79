package service

import (
	"testing"
	"time"
)

func TestAllowed(t *testing.T) {
	for _, c := range []struct {
		pace Pace
		want time.Duration
	}{
		{Pace{}, 5 * time.Minute},
		{Pace{Longest: 1}, 5 * time.Minute},
		{Pace{Longest: 60}, 20 * time.Minute},
		{Pace{Software: true}, time.Hour},
		{Pace{Software: true, Longest: 58}, time.Hour},
		{Pace{Software: true, Longest: 600}, 200 * time.Minute},
	} {
		if got := c.pace.allowed(5 * time.Minute); got != c.want {
			t.Errorf("%+v: %v, want %v", c.pace, got, c.want)
		}
	}
}

// TestPaceOfConcurrentCalls: one that is under way is quiet only while no other moves.
func TestPaceOfConcurrentCalls(t *testing.T) {
	var p pace
	if now := p.now(); now != (Pace{Software: true}) {
		t.Errorf("at rest %+v", now)
	}
	stuck := p.call()
	time.Sleep(20 * time.Millisecond)
	long := p.now().Quiet
	p.call()()
	if short := p.now().Quiet; long < 0.02 || short >= long {
		t.Errorf("quiet for %g s, and %g s after another call", long, short)
	}
	stuck()
	if now := p.now(); now.Quiet != 0 || now.Longest < 0.02 {
		t.Errorf("after all %+v", now)
	}
}
