package engine_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/medley-lora/medley/gpu/engine"
	"github.com/medley-lora/medley/gpu/engine/enginetest"
	"github.com/medley-lora/medley/shared/task"
	"github.com/medley-lora/medley/shared/zoo/zootest"
)

// TestGoldenFamilies runs checkpoints with random weights of both branches of the family. testdata is written by
// tools/peers/families.py.
func TestGoldenFamilies(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("testdata", "expected.json"))
	if err != nil {
		t.Fatal(err)
	}
	var expected struct {
		Examples []task.Example
		Models   map[string]struct {
			TargetLogProbs [][]float64 `json:"target_logprobs"`
			GreedyIDs      [][]int32   `json:"greedy_ids"`
		}
	}
	if err := json.Unmarshal(data, &expected); err != nil {
		t.Fatal(err)
	}
	if len(expected.Models) == 0 {
		t.Fatal("expected.json is empty")
	}
	for name, want := range expected.Models {
		for backend, open := range backends {
			t.Run(name+" "+backend, func(t *testing.T) {
				b := open(t)
				defer b.Close()
				e, err := engine.Open(t.Context(), withTokenizer(t, name), b, engine.Options{})
				if err != nil {
					t.Fatal(err)
				}
				defer e.Close()
				examples, _ := e.Encode(expected.Examples)
				scores, err := e.Score(t.Context(), examples, []engine.Composition{{}})
				if err != nil {
					t.Fatal(err)
				}
				near(t, "log-probabilities", scores[0].LogProbs, slices.Concat(want.TargetLogProbs...))
				requests := make([]engine.Request, len(examples))
				for i, x := range examples {
					requests[i].Source = x.Source
				}
				longest := len(want.GreedyIDs[0]) - 1
				outputs, err := e.Generate(t.Context(), requests, engine.Sampling{MaxTokens: longest}, engine.Listener{})
				if err != nil {
					t.Fatal(err)
				}
				for i, ids := range want.GreedyIDs {
					if got := enginetest.Framed(outputs[i], longest); !slices.Equal(got, ids) {
						t.Errorf("greedy ids of example %d: %v, want %v", i, got, ids)
					}
				}
			})
		}
	}
}

// withTokenizer is a checkpoint of testdata with the zoo's tokenizer beside it.
func withTokenizer(t *testing.T, name string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(filepath.Join("testdata", name))); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(zootest.Dir(t), "base", "tokenizer.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "tokenizer.json"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}
