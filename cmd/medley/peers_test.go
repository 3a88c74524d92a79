//go:build peers

package main

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
)

// peerAnswer is what Transformers and PEFT say of one folder (tools/peers/check_adapter.py).
type peerAnswer struct {
	Examples []struct {
		TargetLogProbs []float64 `json:"target_logprobs"`
		Greedy         string
	}
}

// askPeers lets Transformers and PEFT run adapters on base, or base alone.
func askPeers(t *testing.T, base, examples string, adapters ...string) []peerAnswer {
	t.Helper()
	python := os.Getenv("MEDLEY_PEERS_PYTHON")
	if python == "" {
		t.Fatal("set MEDLEY_PEERS_PYTHON to a Python with tools/peers/requirements.txt installed, or run: task test:peers")
	}
	args := append([]string{filepath.Join("..", "..", "tools", "peers", "check_adapter.py"), base, examples}, adapters...)
	program := exec.CommandContext(t.Context(), python, args...)
	program.Stderr = os.Stderr
	out, err := program.Output()
	if err != nil {
		t.Fatal(err)
	}
	var answers []peerAnswer
	for d := json.NewDecoder(bytes.NewReader(out)); d.More(); {
		var a peerAnswer
		if err := d.Decode(&a); err != nil {
			t.Fatal(err)
		}
		answers = append(answers, a)
	}
	return answers
}

// agree compares what medley says of a model with what the peers said.
func agree(t *testing.T, what string, want peerAnswer, base, examples string, model ...string) {
	t.Helper()
	var weights []string
	if len(model) > 0 {
		weights = []string{"--weights", "1"}
	} else { // the base alone: any module at weight 0
		model = []string{"--modules", newPlace(t).module("add")}
		weights = []string{"--weights", "0"}
	}
	scored := score(t, slices.Concat([]string{"--base", base, "--examples", examples, "--backend", "cpu", "--json"}, model, weights)...)
	var got []float64
	for _, x := range scored.Scores[0].Examples {
		got = append(got, x.LogProbs...)
	}
	var expected []float64
	for _, x := range want.Examples {
		expected = append(expected, x.TargetLogProbs...)
	}
	if len(got) != len(expected) {
		t.Fatalf("%s: %d log-probabilities, the peers give %d", what, len(got), len(expected))
	}
	for i := range got {
		if d := math.Abs(got[i] - expected[i]); !(d <= 1e-4*max(1, math.Abs(expected[i]))) {
			t.Errorf("%s: log-probability %d is %.6f, the peers give %.6f", what, i, got[i], expected[i])
		}
	}
	generate := []string{"generate", "--base", base, "--input", examples, "--max-tokens", "16", "--backend", "cpu", "--json"}
	if len(weights) == 2 && weights[1] == "1" {
		generate = append(generate, "--adapter", model[1])
	}
	answers := decode[struct {
		Answers []answerOf
		Backend string
	}](t, succeed(t, generate...))
	for i, x := range want.Examples {
		if answers.Answers[i].Output != x.Greedy {
			t.Errorf("%s: answer %d is %q, the peers give %q", what, i, answers.Answers[i].Output, x.Greedy)
		}
	}
}

// TestPeersLoadWhatWeWrite: PEFT and Transformers load composed and merged adapters and merged bases, and get our numbers.
func TestPeersLoadWhatWeWrite(t *testing.T) {
	p := newPlace(t)
	examples := p.few("which_shelf")
	all := []string{"--base", p.base(), "--modules", filepath.Join(p.zoo, "modules", "*"), "--backend", "cpu"}
	pair := append(p.modules("category", "smaller", "french"), "--weights=1,-0.6,0.25")
	adapters := map[string][]string{
		"delta":           append([]string{"compose", "--examples", examples}, all...),
		"product":         append([]string{"compose", "--examples", examples, "--method", "product", "--optimizer", "cobyla"}, all...),
		"truncated":       append([]string{"compose", "--examples", examples, "--rank", "6"}, all...),
		"ties_svd":        append([]string{"merge", "--method", "ties_svd", "--density", "0.5", "--rank", "8"}, pair...),
		"magnitude_prune": append([]string{"merge", "--method", "magnitude_prune", "--density", "0.7"}, pair...),
		"mixed":           append([]string{"merge", "--method", "delta", "--weights=1,0.5,-0.3", "--modules", p.variant("all_linear_r16")}, "--modules", p.variant("rank_pattern"), "--modules", p.variant("rslora_r4")),
	}
	var names, folders []string
	for name, args := range adapters {
		succeed(t, append(args, "--out", p.to(name))...)
		names, folders = append(names, name), append(folders, p.to(name))
	}
	for i, want := range askPeers(t, p.base(), examples, folders...) {
		agree(t, names[i], want, p.base(), examples, "--modules", folders[i])
	}
	merged := p.to("merged")
	succeed(t, append([]string{"merge", "--method", "delta", "--base", p.base(), "--into-base", "--out", merged}, pair...)...)
	agree(t, "merged base", askPeers(t, merged, examples)[0], merged, examples)
}
