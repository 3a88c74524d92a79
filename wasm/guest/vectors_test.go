package guest

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"regexp"
	"testing"

	"github.com/medley-lora/medley/wasm/guest/guesttest"
	"github.com/medley-lora/medley/wasm/optimizer"
)

var update = flag.Bool("update", false, "write testdata/vectors.json anew")

// testdata/vectors.json holds a whole small search of each algorithm, for authors of hosts and of plugins who test without Go:
//
//	{"about": "...", "cases": [{
//	  "name": "random",
//	  "config": {"dim": 3, ..., "options": {"optimizer": "random"}},    what opt_create is told, as it is
//	  "rounds": [{
//	    "ask": 3,                       opt_ask is called with this k
//	    "candidates": [[0, 0, 0], ...], and has to return these, bit for bit; [] in the last round: the budget is spent
//	    "objectives": [1.5, null, ...], opt_tell is told these; null is NaN, a failed evaluation
//	    "aux": [[-0.5, -1.1, -2], ...]  and these, m = config.aux numbers in a row; a row that is null is told as m NaNs
//	  }, ...],
//	  "best": {"weights": [...], "objective": 1.5}                        opt_best has to return these, and 1
//	}]}
//
// A test of a plugin's own algorithm can use the same format: package guesttest, or a few lines of any language, records it.
// To write it anew, after a change of candidates that is meant: go test ./wasm/guest -run TestVectors -update
func TestVectors(t *testing.T) {
	m := module(t)
	if *update {
		v := guesttest.Vectors{About: "Searches with the built-in guest of Medley. The format is described in wasm/guest/vectors_test.go, which writes this file."}
		for _, a := range optimizer.Algorithms() {
			v.Cases = append(v.Cases, guesttest.Record(t, a.Name, a.Name, guesttest.Small(), start(t, m, a.Name, guesttest.Small())))
		}
		text, err := json.MarshalIndent(v, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		vector := regexp.MustCompile(`\[[^\[\]{}]*\]`) // on one line each
		text = vector.ReplaceAllFunc(text, func(b []byte) []byte { return bytes.Join(bytes.Fields(b), []byte(" ")) })
		if err := os.WriteFile("testdata/vectors.json", append(text, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var v guesttest.Vectors
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	if want := len(optimizer.Algorithms()); len(v.Cases) != want {
		t.Fatalf("%d cases for %d algorithms", len(v.Cases), want)
	}
	for _, c := range v.Cases {
		if want := guesttest.Small().Budget / guesttest.Small().Batch; len(c.Rounds) <= want && c.Name != "zero" { // which has converged after one
			t.Errorf("%s: %d rounds, want more than %d", c.Name, len(c.Rounds), want)
		}
		c.Replay(t, start(t, m, c.Config.Options["optimizer"], guesttest.Small()))
	}
}
