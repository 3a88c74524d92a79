// Package bbh is the protocol by which LoraHub was measured on BIG-Bench Hard (Huang et al., arXiv 2307.13269): what of a task is searched
// with and what is asked, which modules are drawn, how answers are counted. It reads the task files as they were published
// (Suzgun et al., arXiv 2210.09261) and holds none of them.
package bbh

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/medley-lora/medley/shared/checkpoint"
	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/pyrandom"
	"github.com/medley-lora/medley/shared/task"
)

// The protocol's numbers.
const (
	Few         = 5   // examples of a task to search with
	Pool        = 100 // items that examples may come from; none of them is asked
	Draws       = 5   // draws of modules for each task
	DrawSize    = 20  // modules in a draw
	Evaluations = 40  // of each search
	MaxTokens   = 256 // of an answer
	shuffleSeed = 42
)

// Published are the averages over the 27 tasks that the paper reports for FLAN-T5-large: of its own method the mean over the draws and the
// best of them, and the base alone.
var Published = struct{ ZeroShot, Mean, Best float64 }{27.0, 34.7, 41.2}

// Bounds on a task file.
const (
	maxFile  = 64 << 20 // bytes
	maxItems = 100_000
)

// Task is one file.
type Task struct {
	Name   string // of the file, without its suffix
	Items  []task.Example
	Digest string // SHA-256 of the file
}

// Read reads every task of a folder, or those called names, in the order of the names.
func Read(dir fs.FS, names []string) ([]Task, error) {
	found, err := fs.Glob(dir, "*.json") // sorted
	if err != nil || len(found) == 0 {
		return nil, fault.Wrap(err, fault.Invalid, "", "holds no task; expected the .json files of BIG-Bench Hard")
	}
	for i := range found {
		found[i] = strings.TrimSuffix(found[i], ".json")
	}
	for _, name := range names {
		if !slices.Contains(found, name) {
			return nil, fault.New(fault.NotFound, name, "there is no such task; there are %s", strings.Join(found, ", "))
		}
	}
	var tasks []Task
	for _, name := range found {
		if len(names) > 0 && !slices.Contains(names, name) {
			continue
		}
		data, err := checkpoint.ReadFile(dir, path.Join(".", name+".json"), maxFile)
		if err != nil {
			return nil, fault.In(name, err)
		}
		t, err := Parse(name, data)
		if err != nil {
			return nil, fault.In(name, err)
		}
		tasks = append(tasks, *t)
	}
	return tasks, nil
}

// Parse reads a task: {"canary": …, "examples": [{"input": …, "target": …}, …]}.
func Parse(name string, data []byte) (*Task, error) {
	if !utf8.Valid(data) {
		return nil, fault.New(fault.Invalid, "", "is not UTF-8")
	}
	var file struct {
		Examples []struct {
			Input  *string `json:"input"`
			Target *string `json:"target"`
		} `json:"examples"`
	}
	if err := json.Unmarshal(data, &file); err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "", `is not the JSON of a task, {"examples": [{"input": "…", "target": "…"}]}`)
	}
	if n := len(file.Examples); n <= Pool || n > maxItems {
		return nil, fault.New(fault.Invalid, "examples", "there are %d; between %d and %d are expected, of which %d are not asked", n, Pool+1, maxItems, Pool)
	}
	sum := sha256.Sum256(data)
	t := &Task{Name: name, Digest: hex.EncodeToString(sum[:])}
	for i, e := range file.Examples {
		if e.Input == nil || e.Target == nil || strings.TrimSpace(*e.Target) == "" {
			return nil, fault.New(fault.Invalid, "examples", "number %d has no input or no target", i+1)
		}
		t.Items = append(t.Items, task.Example{Input: *e.Input, Output: *e.Target})
	}
	return t, nil
}

// Split shuffles the items as Python's random.seed(42); random.shuffle(items) does. The first Pool of them are the pool, of which the first
// Few are the examples to search with; the others are the test.
func (t *Task) Split() (few, test []task.Example) {
	items := t.shuffled()
	return items[:Few:Few], items[Pool:]
}

func (t *Task) shuffled() []task.Example {
	items := slices.Clone(t.Items)
	pyrandom.New(shuffleSeed).Shuffle(len(items), func(i, j int) { items[i], items[j] = items[j], items[i] })
	return items
}

// Draw picks modules of n as Python's random.seed(draw); random.sample(modules, size) does, draws being numbered from 1.
func Draw(draw, n, size int) []int { return pyrandom.New(int64(draw)).Sample(n, size) }

// Prompt puts examples before an input, in the form of BIG-Bench Hard's own prompts without reasoning.
func Prompt(few []task.Example, input string) string {
	var b strings.Builder
	for _, e := range few {
		b.WriteString("Q: " + e.Input + "\nA: " + e.Output + "\n\n")
	}
	b.WriteString("Q: " + input + "\nA:")
	return b.String()
}
