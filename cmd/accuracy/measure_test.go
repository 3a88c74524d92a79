package main

import (
	"math"
	"testing"

	"github.com/medley-lora/medley/shared/lora"
	"github.com/medley-lora/medley/shared/task"
	"github.com/medley-lora/medley/shared/zoo/zootest"
)

// TestDefaultSearch holds the default to its promises on the zoo's unseen tasks and the three recorded draws of modules: the mean accuracy,
// a budget that is not exceeded, and never a worse objective than the best single module.
func TestDefaultSearch(t *testing.T) {
	z, err := openBench(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer z.close()
	all, err := z.measure(t.Context(), setting{lora.Delta, "gntr", task.Sparse, 40, 64, 42}, []int64{1, 2, 3}, false)
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 27 {
		t.Fatalf("%d searches", len(all))
	}
	for _, o := range all {
		if o.evaluations > 40 || o.objective > o.singleObjective {
			t.Errorf("%s, draw %d: %d evaluations, objective %.4f, best single module %.4f", o.task, o.draw, o.evaluations, o.objective, o.singleObjective)
		}
	}
	mean, low, high := interval(column(all, func(o outcome) float64 { return o.composed }))
	t.Logf("accuracy %.1f, 95 %% interval %.1f to %.1f", mean, low, high)
	if mean < 80 {
		t.Errorf("mean accuracy %.1f, expected at least 80", mean)
	}
}

// TestOriginalSearch runs LoraHub's own search in its own composition, and ends no more than 5e-3 above what was recorded of the original
// code in any of its 27 runs, and no more than 1e-3 in all but one: the order of a kernel's sums, in the last bits, can send a late
// step of COBYLA elsewhere.
func TestOriginalSearch(t *testing.T) {
	z, err := openBench(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer z.close()
	above := 0
	for _, peer := range zootest.LoadPeer(t) {
		o, err := z.run(t.Context(), setting{lora.Product, "cobyla", task.LoraHub, 40, 64, 42}, peer.Task, int64(peer.Draw))
		if err != nil {
			t.Fatal(err)
		}
		if o.objective > peer.ObjectiveBest+1e-3 {
			above++
		}
		if above > 1 || o.objective > peer.ObjectiveBest+5e-3 {
			t.Errorf("%s, draw %d: objective %.5f, the original's %.5f", peer.Task, peer.Draw, o.objective, peer.ObjectiveBest)
		}
	}
}

func TestDrawsAreTheRecordedOnes(t *testing.T) {
	z, err := openBench(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer z.close()
	for _, peer := range zootest.LoadPeer(t) {
		for i, name := range z.draw(int64(peer.Draw)) {
			if name != peer.Modules[i] {
				t.Fatalf("draw %d, module %d: %s, recorded %s", peer.Draw, i, name, peer.Modules[i])
			}
		}
	}
}

func TestDifference(t *testing.T) {
	base := []outcome{{task: "a", draw: 1, composed: 10}, {task: "a", draw: 2, composed: 20}, {task: "b", draw: 1}, {task: "b", draw: 2}}
	all := []outcome{{task: "a", draw: 1, composed: 11}, {task: "a", draw: 2, composed: 23}, {task: "b", draw: 1, composed: 5}, {task: "b", draw: 2, composed: 7}}
	mean, standardError := difference(all, base, outcome.accuracy) // 2 in task a, 6 in task b
	if mean != 4 || standardError != 2 {
		t.Errorf("%v ± %v, expected 4 ± 2", mean, standardError)
	}
}

func TestInterval(t *testing.T) {
	values := make([]float64, 400) // half 0, half 100: the standard error of the mean is 2.5
	for i := range values {
		values[i] = float64(i%2) * 100
	}
	mean, low, high := interval(values)
	if mean != 50 || math.Abs(low-45.1) > 0.7 || math.Abs(high-54.9) > 0.7 {
		t.Errorf("%.1f, from %.1f to %.1f", mean, low, high)
	}
}
