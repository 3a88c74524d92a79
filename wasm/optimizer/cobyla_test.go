package optimizer

import (
	_ "embed"
	"encoding/json"
	"math"
	"testing"

	"github.com/medley-lora/medley/shared/search"
	"github.com/medley-lora/medley/shared/zoo/zootest"
)

//go:embed testdata/cobyla.json
var cobylaTraces []byte

// problem returns that of n weights within ±half.
func problem(n, budget int, half float64) search.Problem {
	lower, upper := search.Box(n, half)
	return search.Problem{Dim: n, Lower: lower, Upper: upper, Budget: budget, Batch: 1, Seed: 1}
}

// follow feeds recorded objectives and returns how many proposals come within tolerance of the recorded ones before one does
// not, and how far that one is.
func follow(t *testing.T, p search.Problem, trace []zootest.PeerEvaluation, tolerance float64) (followed int, off float64) {
	t.Helper()
	o, err := New("cobyla", p)
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range trace {
		x, err := o.Ask(8)
		if err != nil || len(x) != 1 {
			t.Fatalf("proposal %d: %d candidates, error %v", i+1, len(x), err)
		}
		if d := maxDistance(x[0], e.Weights); d > tolerance {
			return i, d
		}
		if err := o.Tell(x, []search.Score{{Objective: e.Objective}}); err != nil {
			t.Fatal(err)
		}
	}
	return len(trace), 0
}

// Where a run is left before its end, two vertices are equally far from the pole but for the last bit, and the sums of NumPy
// and ours round differently: both go on rightly.
func TestCOBYLAFollowsNevergrad(t *testing.T) {
	proposals := map[string]int{
		"bowl 2": 5, "bowl 5": 36, "bowl 20": 100, "outside 3": 51, "outside 20": 60, "rough 4": 7, "rough 20": 29, "flat 3": 13,
	}
	var golden struct {
		Runs []struct {
			Name  string
			Half  float64
			Trace []zootest.PeerEvaluation
		}
	}
	if err := json.Unmarshal(cobylaTraces, &golden); err != nil || len(golden.Runs) != len(proposals) {
		t.Fatalf("testdata/cobyla.json: %d runs, %v", len(golden.Runs), err)
	}
	for _, run := range golden.Runs {
		t.Run(run.Name, func(t *testing.T) {
			p := problem(len(run.Trace[0].Weights), len(run.Trace), run.Half)
			if n, off := follow(t, p, run.Trace, 1e-6); n < proposals[run.Name] {
				t.Errorf("leaves the recorded search after %d proposals (by %.2g), want %d", n, off, proposals[run.Name])
			}
		})
	}
}

// The recorded objectives are rounded to six digits, so the later proposals can agree only in about as many.
func TestCOBYLAFollowsLoraHub(t *testing.T) {
	whole := 0
	for _, run := range zootest.LoadPeer(t) {
		n := len(run.Modules)
		p := problem(n, len(run.Trace), 1.5)
		if n != 20 || len(run.Trace) != 40 {
			t.Fatalf("%s, draw %d: %d modules and %d evaluations", run.Task, run.Draw, n, len(run.Trace))
		}
		if first, off := follow(t, p, run.Trace[:n+1], 1e-9); first < n+1 {
			t.Errorf("%s, draw %d: proposal %d is %.2g off", run.Task, run.Draw, first+1, off)
		}
		if first, _ := follow(t, p, run.Trace, 0.01); first == len(run.Trace) {
			whole++
		}
	}
	if whole < 26 {
		t.Errorf("only %d of 27 runs are followed to the end, want 26", whole)
	}
}

// A failed evaluation must not throw the search off: it counts as the worst vertex.
func TestCOBYLASurvivesFailures(t *testing.T) {
	target := []float64{0.8, -0.4, 0.3}
	for name, fails := range map[string]func(i int, x []float64) bool{
		"now and then": func(i int, _ []float64) bool { return i%10 == 7 },
		"first vertex": func(i int, _ []float64) bool { return i == 1 },
		"a region":     func(_ int, x []float64) bool { return x[0]+x[2] > 1.2 },
		"the start":    func(i int, _ []float64) bool { return i < 3 },
	} {
		t.Run(name, func(t *testing.T) {
			o, err := New("cobyla", problem(3, 60, 1.5))
			if err != nil {
				t.Fatal(err)
			}
			for i := range 60 {
				x, err := o.Ask(1)
				if err != nil {
					t.Fatal(err)
				}
				f := squaredDistance(x[0], target)
				if fails(i, x[0]) {
					f = math.NaN()
				}
				if err := o.Tell(x, []search.Score{{Objective: f}}); err != nil {
					t.Fatal(err)
				}
			}
			if d := maxDistance(o.Best(), target); d > 0.05 {
				t.Errorf("best is %.3g from the minimum", d)
			}
		})
	}
}
