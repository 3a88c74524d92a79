package enginetest

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/gpu/engine"
	"github.com/medley-lora/medley/shared/lora"
	"github.com/medley-lora/medley/shared/peft"
	"github.com/medley-lora/medley/shared/task"
)

// causalDir is where the checkpoints lie, for tests in the folders beside gpu/engine and in it.
var causalDir = filepath.Join("..", "engine", "testdata", "causal")

// Causal runs all checkpoints on b, which the caller closes: every branch of the family is held to Transformers, and adapters on all seven
// linear maps to PEFT.
func Causal(t *testing.T, b backend.Backend, tolerance float64) {
	expected := LoadCausal(t)
	for name, want := range expected.Models {
		t.Run(name, func(t *testing.T) {
			e := OpenCausal(t, name, b, engine.Options{})
			examples, warnings := e.Encode(expected.Examples)
			for i, x := range expected.Encoded {
				if !slices.Equal(examples[i].Source, x.Source) || !slices.Equal(examples[i].Target, x.Target) {
					t.Fatalf("example %d is %v, want %v and %v", i, examples[i], x.Source, x.Target)
				}
			}
			if len(warnings) > 0 {
				t.Fatal(warnings)
			}
			CheckCausal(t, e, expected, want, &engine.Composition{}, tolerance)
			if want.Adapter == nil {
				return
			}
			number, err := e.AddModule(CausalAdapter(t, name))
			if err != nil {
				t.Fatal(err)
			}
			for _, product := range []bool{false, true} { // the same of a single module
				c := engine.Composition{Terms: []backend.Term{{Module: number, Weight: 1}}, Product: product}
				CheckCausal(t, e, expected, want.Adapter, &c, tolerance)
			}
		})
	}
}

// CausalNumbers is what Transformers says of a checkpoint.
type CausalNumbers struct {
	TargetLogProbs [][]float64    `json:"target_logprobs"`
	FirstLogits    []float64      `json:"first_logits"`
	GreedyIDs      [][]int32      `json:"greedy_ids"`
	Adapter        *CausalNumbers `json:"adapter"`
}

// CausalExpected is expected.json of gpu/engine/testdata/causal, which tools/peers/causal.py writes with the checkpoints beside it.
type CausalExpected struct {
	Examples []task.Example
	Encoded  []struct{ Source, Target, Prompt []int32 }
	Models   map[string]*CausalNumbers
	Tokens   int `json:"new_tokens"`
}

// LoadCausal reads it.
func LoadCausal(t testing.TB) *CausalExpected {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(causalDir, "expected.json"))
	if err != nil {
		t.Fatal(err)
	}
	var expected CausalExpected
	if err := json.Unmarshal(data, &expected); err != nil {
		t.Fatal(err)
	}
	if len(expected.Models) < 10 || len(expected.Examples) == 0 {
		t.Fatal("expected.json is not whole")
	}
	return &expected
}

// OpenCausal opens one of the checkpoints; the test closes it.
func OpenCausal(t testing.TB, name string, b backend.Backend, o engine.Options) *engine.Engine {
	t.Helper()
	e, err := engine.Open(t.Context(), CausalFolder(t, name), b, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

// CausalFolder is a checkpoint with a tokenizer beside it.
func CausalFolder(t testing.TB, name string) string {
	t.Helper()
	dir := t.TempDir()
	for _, from := range []string{filepath.Join(causalDir, name), filepath.Join("..", "tokenizer", "testdata", "bpe", "llama3")} {
		if err := os.CopyFS(dir, os.DirFS(from)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// CausalAdapter is the adapter of a checkpoint, on all seven linear maps.
func CausalAdapter(t testing.TB, name string) *lora.Adapter {
	t.Helper()
	m, err := peft.Open(filepath.Join(causalDir, name, "adapter"), peft.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	a, err := m.Load()
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// CheckCausal holds an engine on one of the checkpoints to its numbers under a composition.
func CheckCausal(t *testing.T, e *engine.Engine, expected *CausalExpected, want *CausalNumbers, c *engine.Composition, tolerance float64) {
	t.Helper()
	examples, _ := e.Encode(expected.Examples)
	scores, err := e.Score(t.Context(), examples, []engine.Composition{*c})
	if err != nil {
		t.Fatal(err)
	}
	Near(t, "log-probabilities", scores[0].LogProbs, slices.Concat(want.TargetLogProbs...), tolerance)
	requests := make([]engine.Request, len(examples))
	for i, x := range expected.Encoded {
		requests[i] = engine.Request{Source: x.Prompt, Composition: c}
	}
	outputs, err := e.Generate(t.Context(), requests, engine.Sampling{MaxTokens: expected.Tokens}, engine.Listener{})
	if err != nil {
		t.Fatal(err)
	}
	for i, ids := range want.GreedyIDs {
		if n := len(ids); ids[n-1] == 1 {
			ids = ids[:n-1] // the end token
		}
		if !slices.Equal(outputs[i], ids) {
			t.Errorf("greedy ids of example %d: %v, want %v", i, outputs[i], ids)
		}
	}
}
