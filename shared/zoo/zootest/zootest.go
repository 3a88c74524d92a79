// Package zootest serves tests: the zoo on disk, adapters of other shapes, and the golden numbers that Hugging Face Transformers,
// PEFT and the original LoraHub objective gave for them (versions in Golden.MadeWith).
package zootest

import (
	"embed"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/medley-lora/medley/shared/zoo"
)

//go:embed golden.json variants.json peer.json variants
var files embed.FS

// Example is one input and its expected output.
type Example struct{ Input, Output string }

// Forward is what the model says of a few examples under one adapter or composition.
type Forward struct {
	Method         string
	Adapter        string // set in variants.json only
	Modules        []string
	Weights        []float64
	Examples       []Example
	LossMeanToken  float64     `json:"loss_mean_token"`
	TargetLogProbs [][]float64 `json:"target_logprobs"`
	FirstLogits    []float64   `json:"first_logits"` // of the first example's first step
	GreedyIDs      [][]int32   `json:"greedy_ids"`   // starts with the decoder's start id, padded with 0
	Greedy         []string
}

// Objective is the value of both objectives for one weight vector on the five examples of a task.
type Objective struct {
	Task           string
	Modules        []string
	Weights        []float64
	Product, Delta struct{ LoraHub, Mean float64 }
}

// Merge is a corner and the Frobenius norm of the update that PEFT's add_weighted_adapter stands for, at one layer.
type Merge struct {
	Method  string
	Modules []string
	Weights []float64
	Options struct {
		Density float64
		SVDRank int `json:"svd_rank"`
	}
	Layer  string
	Shape  [2]int
	Norm   float64
	Corner [][]float64
}

// Token is one line of text as Hugging Face's tokenizer encodes and decodes it.
type Token struct {
	Text    string
	IDs     []int32
	Decoded string
}

// Golden is golden.json.
type Golden struct {
	Tokenizer []Token
	Forward   []Forward
	Objective []Objective
	PEFTMerge []Merge           `json:"peft_merge"`
	MadeWith  map[string]string `json:"made_with"`
}

// PeerRun is one search by the original code.
type PeerRun struct {
	Task          string
	Draw          int
	Modules       []string
	Weights       []float64
	Trace         []PeerEvaluation
	Accuracy      float64
	ObjectiveZero float64 `json:"objective_zero"`
	ObjectiveBest float64 `json:"objective_best"`
}

// PeerEvaluation is one proposal of the original code with its objective (rounded to 6 digits).
type PeerEvaluation struct {
	Objective float64
	Weights   []float64
}

// UnmarshalJSON reads the pair [objective, weights].
func (p *PeerEvaluation) UnmarshalJSON(data []byte) error {
	return json.Unmarshal(data, &[]any{&p.Objective, &p.Weights})
}

func load[T any](t testing.TB, name string) T {
	t.Helper()
	data, err := files.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var v T
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return v
}

// LoadGolden returns golden.json.
func LoadGolden(t testing.TB) Golden {
	t.Helper()
	g := load[Golden](t, "golden.json")
	if len(g.Tokenizer) == 0 || len(g.Forward) == 0 || len(g.Objective) == 0 || len(g.PEFTMerge) == 0 {
		t.Fatal("golden.json: a section is empty")
	}
	return g
}

// LoadVariants returns variants.json.
func LoadVariants(t testing.TB) []Forward {
	t.Helper()
	v := load[[]Forward](t, "variants.json")
	if len(v) == 0 {
		t.Fatal("variants.json is empty")
	}
	return v
}

// LoadPeer returns peer.json.
func LoadPeer(t testing.TB) []PeerRun {
	t.Helper()
	p := load[struct{ Runs []PeerRun }](t, "peer.json")
	if len(p.Runs) == 0 {
		t.Fatal("peer.json is empty")
	}
	return p.Runs
}

// Dir extracts the zoo (base, modules, tasks) and variants/ into a folder of the test's own.
func Dir(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	if err := zoo.Extract(dir); err != nil {
		t.Fatal(err)
	}
	variants, err := fs.Sub(files, "variants")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(dir, "variants"), variants); err != nil {
		t.Fatal(err)
	}
	return dir
}
