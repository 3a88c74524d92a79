//go:build peers

package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestPeersOpenAI: OpenAI's own client lists, completes, chats and streams at a server, with a composition and modules as models, and raises
// its own errors; its answers are those that the command line gives.
func TestPeersOpenAI(t *testing.T) {
	python := os.Getenv("MEDLEY_PEERS_PYTHON")
	if python == "" {
		t.Fatal("set MEDLEY_PEERS_PYTHON to a Python with tools/peers/requirements.txt installed, or run: task test:peers")
	}
	p, chat := newPlace(t), chatBase(t)
	s := serve(t, "--base", "org/chat="+chat, "--base", "zoo="+p.base())
	const prompt = "one berry , several"
	composed := s.compose(p, p.to("composed"), "plural", "add")
	in, err := json.Marshal(map[string]string{
		"token": s.token, "chat": "org/chat", "text": "zoo", "composition": composed, "module": "zoo:" + s.upload("mine", p.module("plural")), "prompt": prompt,
	})
	if err != nil {
		t.Fatal(err)
	}
	program := exec.CommandContext(t.Context(), python, filepath.Join("..", "..", "tools", "peers", "openai_client.py"), s.url)
	program.Stdin, program.Stderr = bytes.NewReader(in), os.Stderr
	out, err := program.Output()
	if err != nil {
		t.Fatal(err)
	}
	var said struct {
		Text, Composition, Module, LoRA, Chat string
		Refused                               map[string]struct{ Message, Type, Code string }
	}
	if err := json.Unmarshal(out, &said); err != nil || len(said.Refused) != 7 {
		t.Fatalf("%v: %s", err, out)
	}
	for what, c := range map[string]struct {
		got  string
		args []string
	}{
		"the base":      {said.Text, nil},
		"a composition": {said.Composition, []string{"--adapter", p.to("composed")}},
		"a module":      {said.Module, []string{"--adapter", p.module("plural")}},
		"lora":          {said.LoRA, []string{"--modules", p.module("plural"), "--weights", "0.5"}},
	} {
		args := []string{"generate", "--base", p.base(), "--prompt", prompt, "--max-tokens", "12", "--backend", "cpu"}
		if want := strings.TrimSuffix(succeed(t, append(args, c.args...)...).stdout, "\n"); c.got != want {
			t.Errorf("%s says %q, want %q", what, c.got, want)
		}
	}
	if r := said.Refused; r["model"].Code != "model_not_found" || r["long"].Code != "context_length_exceeded" || r["token"].Type != "authentication_error" || said.Chat == "" {
		t.Errorf("%+v", said)
	}
}
