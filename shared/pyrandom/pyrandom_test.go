package pyrandom

import (
	"io/fs"
	"slices"
	"testing"

	"github.com/medley-lora/medley/shared/zoo"
	"github.com/medley-lora/medley/shared/zoo/zootest"
)

// drawn holds what Python 3.11.7 draws from a fresh random.Random(seed) for each field.
var drawn = []struct {
	seed   int64
	floats [3]float64 // random()
	late   float64    // the 2000th random(), several twists on
	bits   []uint64   // getrandbits of 1, 17, 32, 33, 53, 64
	below  []int      // randrange of 1, 2, 3, 1000, 2**40
	pool   []int      // sample(range(30), 8)
	set    []int      // sample(range(10**6), 8)
	order  []int      // list(range(10)), shuffled
}{
	{
		seed:   0,
		floats: [3]float64{0.8444218515250481, 0.7579544029403025, 0.420571580830845},
		late:   0.35278860284662805,
		bits:   []uint64{1, 50494, 3255389356, 3823568514, 2332111581032244, 9431353882395063546},
		below:  []int{0, 1, 0, 265, 891145273829},
		pool:   []int{27, 12, 24, 13, 1, 8, 16, 15},
		set:    []int{885440, 403958, 794772, 933488, 441001, 42450, 271493, 536110},
		order:  []int{7, 8, 1, 5, 3, 4, 2, 0, 9, 6},
	},
	{
		seed:   1,
		floats: [3]float64{0.13436424411240122, 0.8474337369372327, 0.763774618976614},
		late:   0.4499663746974547,
		bits:   []uint64{0, 74606, 3639700191, 7740669488, 2297455587083473, 9139164268605729673},
		below:  []int{0, 0, 1, 120, 1037017667747},
		pool:   []int{4, 18, 27, 25, 24, 2, 8, 3},
		set:    []int{140891, 596853, 888598, 841235, 800875, 66172, 267459, 123646},
		order:  []int{6, 8, 9, 7, 5, 3, 0, 4, 1, 2},
	},
	{
		seed:   42,
		floats: [3]float64{0.6394267984578837, 0.025010755222666936, 0.27502931836911926},
		late:   0.30176443514420326,
		bits:   []uint64{1, 14592, 107420369, 3184935163, 2010501012863888, 13585496030504862185},
		below:  []int{0, 0, 2, 281, 490678074256},
		pool:   []int{20, 3, 0, 23, 8, 7, 24, 4},
		set:    []int{670487, 116739, 26225, 777572, 288389, 256787, 234053, 146316},
		order:  []int{7, 3, 2, 8, 5, 6, 9, 4, 0, 1},
	},
	{
		seed:   1099511627776,
		floats: [3]float64{0.1036394562812375, 0.6705558677439764, 0.4266543913526999},
		late:   0.3412677982483787,
		bits:   []uint64{0, 46297, 2880015531, 282029048, 3492366966055560, 11556631241372354004},
		below:  []int{0, 1, 2, 67, 104911681769},
		pool:   []int{3, 11, 21, 2, 13, 1, 12, 23},
		set:    []int{108673, 370381, 703128, 68854, 447379, 50942, 406565, 418532},
		order:  []int{7, 8, 2, 4, 6, 0, 3, 9, 5, 1},
	},
	{
		seed:   -42,
		floats: [3]float64{0.6394267984578837, 0.025010755222666936, 0.27502931836911926},
		late:   0.30176443514420326,
		bits:   []uint64{1, 14592, 107420369, 3184935163, 2010501012863888, 13585496030504862185},
		below:  []int{0, 0, 2, 281, 490678074256},
		pool:   []int{20, 3, 0, 23, 8, 7, 24, 4},
		set:    []int{670487, 116739, 26225, 777572, 288389, 256787, 234053, 146316},
		order:  []int{7, 3, 2, 8, 5, 6, 9, 4, 0, 1},
	},
	{
		seed:   -9223372036854775808,
		floats: [3]float64{0.5534639983914199, 0.9406144709090462, 0.24199432111690833},
		late:   0.9499819697433665,
		bits:   []uint64{1, 51628, 4039908392, 899083848, 7667714787010171, 1563467281580459875},
		below:  []int{0, 0, 0, 992, 782048070965},
		pool:   []int{17, 12, 6, 7, 16, 2, 11, 10},
		set:    []int{580349, 413025, 986305, 219502, 253749, 892639, 526536, 88872},
		order:  []int{5, 7, 9, 2, 0, 4, 1, 3, 6, 8},
	},
	{
		seed:   4294967295,
		floats: [3]float64{0.6353574441341173, 0.20319993954407756, 0.6073666030347188},
		late:   0.8566943491910826,
		bits:   []uint64{1, 81208, 872737089, 5219860393, 2624115592388052, 6272406001566189819},
		below:  []int{0, 0, 2, 534, 778590199395},
		pool:   []int{20, 19, 6, 27, 28, 16, 9, 25},
		set:    []int{666220, 649664, 213070, 225803, 636870, 547773, 305487, 632344},
		order:  []int{0, 7, 1, 5, 2, 6, 4, 8, 3, 9},
	},
}

func TestDrawsWhatPythonDraws(t *testing.T) {
	for _, want := range drawn {
		r := New(want.seed)
		for i, v := range want.floats {
			if got := r.Random(); got != v {
				t.Errorf("seed %d: Random %d is %v, want %v", want.seed, i, got, v)
			}
		}
		for range 2000 - len(want.floats) - 1 {
			r.Random()
		}
		if got := r.Random(); got != want.late {
			t.Errorf("seed %d: Random 2000 is %v, want %v", want.seed, got, want.late)
		}
		r = New(want.seed)
		for i, k := range []int{1, 17, 32, 33, 53, 64} {
			if got := r.GetRandBits(k); got != want.bits[i] {
				t.Errorf("seed %d: GetRandBits(%d) is %d, want %d", want.seed, k, got, want.bits[i])
			}
		}
		r = New(want.seed)
		for i, n := range []int{1, 2, 3, 1000, 1 << 40} {
			if got := r.RandBelow(n); got != want.below[i] {
				t.Errorf("seed %d: RandBelow(%d) is %d, want %d", want.seed, n, got, want.below[i])
			}
		}
		if got := New(want.seed).Sample(30, 8); !slices.Equal(got, want.pool) {
			t.Errorf("seed %d: Sample(30, 8) is %v, want %v", want.seed, got, want.pool)
		}
		if got := New(want.seed).Sample(1e6, 8); !slices.Equal(got, want.set) {
			t.Errorf("seed %d: Sample(1e6, 8) is %v, want %v", want.seed, got, want.set)
		}
		order := []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}
		New(want.seed).Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		if !slices.Equal(order, want.order) {
			t.Errorf("seed %d: Shuffle gives %v, want %v", want.seed, order, want.order)
		}
	}
}

// edges holds random.Random(3).sample(range(n), k) of Python 3.11.7 on both sides of where the algorithm changes, and at
// the limits of k.
var edges = []struct {
	n, k int
	want []int
}{
	{21, 5, []int{7, 18, 17, 4, 11}},
	{22, 5, []int{7, 18, 17, 4, 11}},
	{85, 20, []int{30, 75, 69, 16, 47, 77, 60, 74, 8, 1, 78, 33, 70, 29, 24, 79, 82, 50, 19, 71}},
	{86, 20, []int{30, 75, 69, 16, 47, 77, 60, 80, 74, 8, 1, 33, 70, 29, 24, 50, 81, 19, 66, 49}},
	{5, 5, []int{1, 4, 3, 2, 0}},
	{3, 0, []int{}},
	{0, 0, []int{}},
}

func TestSampleAtTheEdges(t *testing.T) {
	for _, e := range edges {
		if got := New(3).Sample(e.n, e.k); !slices.Equal(got, e.want) {
			t.Errorf("Sample(%d, %d) is %v, want %v", e.n, e.k, got, e.want)
		}
	}
}

// The original LoraHub draws its candidate modules so; the recorded searches say which ones it drew.
func TestDrawsTheModulesOfTheRecordedSearches(t *testing.T) {
	entries, err := fs.ReadDir(zoo.Files(), "modules") // sorted by name
	if err != nil {
		t.Fatal(err)
	}
	for _, run := range zootest.LoadPeer(t) {
		var names []string
		for _, i := range New(int64(run.Draw)).Sample(len(entries), 20) {
			names = append(names, entries[i].Name())
		}
		if !slices.Equal(names, run.Modules) {
			t.Errorf("%s, draw %d: drew %v, want %v", run.Task, run.Draw, names, run.Modules)
		}
	}
}

func TestRefusesImpossibleDraws(t *testing.T) {
	for name, draw := range map[string]func(*Random){
		"sample larger than population": func(r *Random) { r.Sample(3, 4) },
		"negative sample":               func(r *Random) { r.Sample(3, -1) },
		"below zero":                    func(r *Random) { r.RandBelow(0) },
		"too many bits":                 func(r *Random) { r.GetRandBits(65) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("did not panic")
				}
			}()
			draw(New(1))
		})
	}
}
