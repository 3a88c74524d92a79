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

// conversation is a case for tools/peers/chat.py.
type conversation struct {
	Template string    `json:"template"`
	BOS      string    `json:"bos"`
	EOS      string    `json:"eos"`
	Messages []Message `json:"messages"`
}

// TestPeers holds frames and conversations to what Transformers renders.
func TestPeers(t *testing.T) {
	python := os.Getenv("MEDLEY_PEERS_PYTHON")
	if python == "" {
		t.Fatal("set MEDLEY_PEERS_PYTHON to a Python with tools/peers/requirements.txt installed, or run: task test:peers")
	}
	var cases []conversation
	for _, c := range templates {
		for _, message := range []string{"", "hi", " a\n b ", "<x> & 'y' \"z\" ü {{ 1 }}"} {
			turns := []Message{{"user", message}}
			cases = append(cases, conversation{c.text, "<s>", "</s>", turns})
			turns = append(turns, Message{"assistant", "\n" + message}, Message{"user", "more "})
			cases = append(cases, conversation{c.text, "<s>", "</s>", turns})
			if c.name != "exceptions" { // which wants a user first
				cases = append(cases, conversation{c.text, "<s>", "</s>", append([]Message{{"system", "Be kind."}}, turns...)})
			}
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
		got, err := Template{c.Template, c.BOS, c.EOS}.Render(c.Messages)
		if err != nil || got != want[i] {
			t.Errorf("%q with %q is %q, want %q, %v", c.Template, c.Messages, got, want[i], err)
		}
		if len(c.Messages) > 1 {
			continue
		}
		f, err := NewFrame(Template{c.Template, c.BOS, c.EOS})
		if err != nil {
			t.Fatal(err)
		}
		if got := f.Around(c.Messages[0].Content); got != want[i] {
			t.Errorf("%q with %q is %q, want %q", c.Template, c.Messages, got, want[i])
		}
	}
}
