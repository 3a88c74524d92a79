//go:build peers

package chat

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestPeers holds the frames to what Transformers renders.
func TestPeers(t *testing.T) {
	python := os.Getenv("MEDLEY_PEERS_PYTHON")
	if python == "" {
		t.Fatal("set MEDLEY_PEERS_PYTHON to a Python with tools/peers/requirements.txt installed, or run: task test:peers")
	}
	var cases []map[string]string
	for _, c := range templates {
		for _, message := range []string{"", "hi", " a\n b ", "<x> & 'y' \"z\" ü {{ 1 }}"} {
			cases = append(cases, map[string]string{"template": c.text, "bos": "<s>", "eos": "</s>", "message": message})
		}
	}
	in, err := json.Marshal(cases)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(python, filepath.Join("..", "..", "tools", "peers", "chat.py"))
	cmd.Stdin, cmd.Stderr = bytes.NewReader(in), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	if err := json.Unmarshal(out, &want); err != nil || len(want) != len(cases) {
		t.Fatalf("%d answers, %v", len(want), err)
	}
	for i, c := range cases {
		f, err := NewFrame(c["template"], c["bos"], c["eos"])
		if err != nil {
			t.Fatal(err)
		}
		if got := f.Around(c["message"]); got != want[i] {
			t.Errorf("%q with %q is %q, want %q", c["template"], c["message"], got, want[i])
		}
	}
}
