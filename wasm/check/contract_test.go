package check

import (
	"strings"
	"testing"
	"time"
)

// A flaw fails the check that is about it, with words that an author can act on.
func TestFlaws(t *testing.T) {
	contracts := map[string]contractCheck{}
	for _, c := range contract() {
		contracts[c.name] = c
	}
	for _, c := range []struct{ flaw, check, detail, change string }{
		{"early", "refusals", "opt_ask before opt_create returned 0, expected -3 (wrong state)", "-3 for a call out of turn"},
		{"silent", "refusals", "opt_last_error says nothing after a refusal", "a sentence in UTF-8"},
		{"strict", "configuration", "with members that version 1 does not have returned -1, expected 0", "skip those that are not known"},
		{"overrun", "buffers", "opt_ask wrote beyond the end of x: 1 numbers after the 4×3 that it has", "for at most k of them"},
		{"overlapping", "buffers", "for 1000 bytes each, which overlap", "nobody else's"},
		{"makes it up", "choice", "with a candidate that it was never told", "return 2"},
		{"wrong objective", "choice", "opt_best wrote the objective", "and its objective"},
		{"forgetful", "choice", "opt_best returned 0 after 24 scores were told", "write a told candidate"},
		{"far", "bounds", "5 weights, budget 30, batch 4, uneven bounds: plugin: breaks the rules: opt_ask proposed a candidate whose weight 1 is outside its bounds", "Clip every weight"},
		{"greedy", "budget", "breaks the rules: opt_ask returned 22 candidates when asked for 21", "at most k"},
		{"no strangers", "warm start", "before the first candidate: plugin: refuses opt_tell (-1)", "any candidate"},
		{"afraid of NaN", "failed scores", "evaluations that are NaN: every third: plugin: failed in opt_tell", "Find the trap"},
		{"in order", "order of scores", "refuses opt_tell (-1)", "not by the order"},
		{"hungry", "progress", "opt_alloc", "Find the trap"},
	} {
		t.Run(c.flaw, func(t *testing.T) {
			t.Parallel()
			if raceDetector {
				t.Skip("a check runs in one goroutine, and compiling the plugin takes the race detector ten seconds")
			}
			s := &subject{task: task{Wasm: flawed(t, c.flaw), Each: time.Minute}}
			got := s.check(contracts[c.check])
			if got.Status != Failed || !strings.Contains(got.Detail, c.detail) || !strings.Contains(got.Change, c.change) {
				t.Errorf("%+v", got)
			}
		})
	}
}
