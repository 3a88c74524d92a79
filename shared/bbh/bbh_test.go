package bbh

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/task"
)

// made is a task file of n items that can be told apart.
func made(n int) []byte {
	type item struct {
		Input  string `json:"input"`
		Target string `json:"target"`
	}
	items := make([]item, n)
	for i := range items {
		items[i] = item{fmt.Sprintf("question %d", i), fmt.Sprint(i)}
	}
	data, err := json.Marshal(map[string]any{"canary": "none", "examples": items})
	if err != nil {
		panic(err)
	}
	return data
}

// TestSplitsAsPython: the orders are Python 3.11's, of random.seed(42); random.shuffle(list(range(n))), as the SHA-256 of the numbers.
func TestSplitsAsPython(t *testing.T) {
	for n, want := range map[int]struct {
		few, asked []string // the first of them
		order      string
	}{
		103: {[]string{"41", "78", "82", "9", "67"}, []string{"3", "14", "81"}, "a09eff119836a8e4afe5d95430cd0f09a4368437aa30139d74d8bf6bcb616a07"},
		146: {[]string{"138", "18", "82", "51", "74"}, []string{"93", "5", "33"}, "5c34f0129fa6878390d96405928332e1d27d44ff8da71b039f2bad8b7587038b"},
		178: {[]string{"149", "36", "15", "60", "13"}, []string{"82", "146", "89"}, "3739330cdd9c08b3e47953839509969cbf4e119d7df82aade3a80346b8ae818f"},
		187: {[]string{"2", "66", "12", "61", "99"}, []string{"109", "115", "126"}, "7f3d182c8be659f5fce89c95ba7ae1f1a4f044164e5c69c4f3247b9e70c3d988"},
		250: {[]string{"44", "98", "184", "123", "121"}, []string{"119", "128", "216"}, "38e83d550f61fa388d895773c2515080073d50768034027bb91ffd0beaa8d21f"},
	} {
		task, err := Parse("made", made(n))
		if err != nil {
			t.Fatal(err)
		}
		few, test := task.Split()
		if got := targets(few); !slices.Equal(got, want.few) {
			t.Errorf("%d items: searched with %v, want %v", n, got, want.few)
		}
		if got := targets(test); len(got) != n-Pool || !slices.Equal(got[:3], want.asked) {
			t.Errorf("%d items: %d asked, the first %v", n, len(got), got[:3])
		}
		sum := sha256.Sum256([]byte(strings.Join(targets(task.shuffled()), " ")))
		if hex.EncodeToString(sum[:]) != want.order {
			t.Errorf("%d items: another order than Python's", n)
		}
	}
}

func targets(items []task.Example) []string {
	var all []string
	for _, e := range items {
		all = append(all, e.Output)
	}
	return all
}

// TestDrawsAsPython: random.seed(s); random.sample(range(n), 20) of Python 3.11, for LoraHub's 196 modules and the zoo's 22.
func TestDrawsAsPython(t *testing.T) {
	for n, all := range map[int][Draws][]int{
		196: {
			{34, 145, 195, 16, 65, 30, 126, 194, 115, 120, 166, 97, 53, 24, 124, 7, 99, 110, 155, 0},
			{14, 23, 21, 92, 43, 188, 171, 78, 64, 155, 54, 9, 148, 174, 40, 110, 163, 100, 185, 130},
			{60, 151, 139, 33, 94, 154, 121, 160, 148, 16, 155, 3, 120, 66, 141, 59, 49, 183, 138, 140},
			{60, 77, 26, 184, 101, 122, 39, 23, 17, 5, 102, 140, 74, 195, 15, 56, 133, 137, 92, 70},
			{159, 65, 189, 91, 176, 166, 135, 7, 119, 63, 13, 40, 28, 95, 120, 97, 139, 26, 146, 3},
		},
		22: {
			{4, 18, 2, 8, 3, 15, 14, 7, 10, 6, 17, 1, 16, 0, 12, 11, 21, 20, 9, 13},
			{1, 2, 20, 11, 5, 9, 8, 16, 3, 14, 0, 12, 19, 6, 15, 7, 17, 4, 10, 13},
			{7, 18, 17, 4, 11, 15, 2, 9, 0, 21, 20, 8, 3, 14, 12, 19, 6, 10, 5, 16},
			{7, 9, 3, 12, 15, 4, 2, 1, 0, 6, 8, 16, 13, 19, 5, 17, 14, 20, 18, 10},
			{19, 8, 11, 16, 0, 14, 7, 10, 17, 2, 1, 5, 15, 3, 6, 4, 13, 9, 21, 18},
		},
	} {
		for i, want := range all {
			if got := Draw(i+1, n, DrawSize); !slices.Equal(got, want) {
				t.Errorf("draw %d of %d: %v, want %v", i+1, n, got, want)
			}
		}
	}
}

func TestPrompt(t *testing.T) {
	few := []task.Example{{Input: "1+1", Output: "2"}, {Input: "2+2", Output: "4"}}
	if got, want := Prompt(few, "3+3"), "Q: 1+1\nA: 2\n\nQ: 2+2\nA: 4\n\nQ: 3+3\nA:"; got != want {
		t.Errorf("got %q", got)
	}
}

func TestRead(t *testing.T) {
	dir := fstest.MapFS{
		"b.json": {Data: made(101)}, "a.json": {Data: made(250)}, "README.md": {Data: []byte("x")},
	}
	all, err := Read(dir, nil)
	if err != nil || len(all) != 2 || all[0].Name != "a" || len(all[0].Items) != 250 || all[1].Name != "b" || all[0].Digest == all[1].Digest {
		t.Errorf("read %d tasks, %v", len(all), err)
	}
	if some, err := Read(dir, []string{"b"}); err != nil || len(some) != 1 || some[0].Name != "b" {
		t.Errorf("one task: %d, %v", len(some), err)
	}
	if _, err := Read(dir, []string{"c"}); fault.CodeOf(err) != fault.NotFound || !strings.Contains(err.Error(), "there are a, b") {
		t.Errorf("a task that is not there: %v", err)
	}
	if _, err := Read(fstest.MapFS{}, nil); fault.CodeOf(err) != fault.Invalid {
		t.Errorf("an empty folder: %v", err)
	}
}

func TestBadInput_Tasks(t *testing.T) {
	for name, c := range map[string]struct{ data, part string }{
		"empty":     {"", "not the JSON of a task"},
		"a list":    {"[]", "not the JSON of a task"},
		"no UTF-8":  {"{\"examples\": [\"\xff\"]}", "is not UTF-8"},
		"no items":  {`{"canary": "x"}`, "there are 0"},
		"too few":   {string(made(100)), "between 101 and 100000"},
		"no target": {strings.Replace(string(made(101)), `"target":"7"`, `"answer":"7"`, 1), "number 8 has no input or no target"},
		"blank":     {strings.Replace(string(made(101)), `"target":"7"`, `"target":" "`, 1), "number 8"},
		"a number":  {strings.Replace(string(made(101)), `"target":"7"`, `"target":7`, 1), "not the JSON of a task"},
	} {
		if _, err := Parse("x", []byte(c.data)); fault.CodeOf(err) != fault.Invalid || !strings.Contains(fmt.Sprint(err), c.part) {
			t.Errorf("%s: %v, want %q", name, err, c.part)
		}
	}
}

// The published files, where they are at hand: their sizes are those of the paper.
func TestPublishedFiles(t *testing.T) {
	folder := os.DirFS("../../../shared/bbh")
	if _, err := os.Stat("../../../shared/bbh/snarks.json"); err != nil {
		t.Log("the published files are not at hand; files made here are read in the other tests")
		return
	}
	all, err := Read(folder, nil)
	if err != nil {
		t.Fatal(err)
	}
	short := map[string]int{"causal_judgement": 87, "penguins_in_a_table": 46, "snarks": 78}
	for _, x := range all {
		want, ok := short[x.Name]
		if !ok {
			want = 150
		}
		if few, test := x.Split(); len(test) != want || len(few) != Few {
			t.Errorf("%s: %d asked, want %d", x.Name, len(test), want)
		}
	}
	if len(all) != 27 {
		t.Errorf("there are %d tasks", len(all))
	}
}

func FuzzParse(f *testing.F) {
	f.Add(made(101))
	f.Add([]byte(`{"examples": [{"input": null}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		x, err := Parse("x", data)
		if err != nil {
			return
		}
		if few, test := x.Split(); len(few) != Few || len(test) != len(x.Items)-Pool || len(test) == 0 {
			t.Fatalf("%d items became %d and %d", len(x.Items), len(few), len(test))
		}
	})
}
