//go:build peers

package web_test

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/medley-lora/medley/shared/zoo/zootest"
)

// PEFT loads what the page has composed, and Transformers answer with it.
func init() {
	peersRead = func(t *testing.T, folder string) {
		t.Helper()
		python := os.Getenv("MEDLEY_PEERS_PYTHON")
		if python == "" {
			t.Fatal("set MEDLEY_PEERS_PYTHON to a Python with tools/peers/requirements.txt installed, or run: task test:peers")
		}
		files := zootest.Dir(t)
		script := filepath.Join("..", "tools", "peers", "check_adapter.py")
		command := exec.CommandContext(t.Context(), python, script, filepath.Join(files, "base"), filepath.Join(files, "tasks", "several.few.jsonl"), folder)
		command.Stderr = os.Stderr
		out, err := command.Output()
		if err != nil {
			t.Fatal(err)
		}
		right := 0
		for d := json.NewDecoder(bytes.NewReader(out)); d.More(); {
			var answer struct {
				Examples []struct {
					TargetLogProbs []float64 `json:"target_logprobs"`
				}
			}
			if err := d.Decode(&answer); err != nil {
				t.Fatal(err)
			}
			for _, e := range answer.Examples {
				sum := 0.0
				for _, p := range e.TargetLogProbs {
					sum += p
				}
				if math.Exp(sum) > 0.5 {
					right++
				}
			}
		}
		if right < 4 { // the base alone is right about one of them
			t.Errorf("with the adapter in PEFT only %d of the examples are likely", right)
		}
		t.Logf("PEFT loads the adapter; %d of the examples are likely with it", right)
	}
}
