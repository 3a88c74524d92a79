//go:build peers

package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestPeersReadTheCard: huggingface_hub reads the header of a card that push makes.
func TestPeersReadTheCard(t *testing.T) {
	python := os.Getenv("MEDLEY_PEERS_PYTHON")
	if python == "" {
		t.Fatal("set MEDLEY_PEERS_PYTHON to a Python with tools/peers/requirements.txt installed, or run: task test:peers")
	}
	p := newPlace(t)
	succeed(t, append([]string{"compose", "--base", p.base(), "--examples", p.few("several"), "--out", p.to("mine"), "--backend", "cpu"}, p.modules("plural", "add")...)...)
	card := succeed(t, "push", p.to("mine"), "--to", "me/mine", "--base", "zoo/base", "--license", "mit", "--dry-run").stdout
	program := exec.CommandContext(t.Context(), python, filepath.Join("..", "..", "tools", "peers", "hub_cache.py"), "card", p.write(t, "card.md", card))
	program.Stderr = os.Stderr
	out, err := program.Output()
	if err != nil {
		t.Fatal(err)
	}
	var found struct {
		Card struct {
			Base    string `json:"base_model"`
			Library string `json:"library_name"`
			License string
			Tags    []string
		}
	}
	if err := json.Unmarshal(out, &found); err != nil || found.Card.Base != "zoo/base" || found.Card.Library != "peft" || found.Card.License != "mit" || len(found.Card.Tags) != 2 {
		t.Errorf("%s, %v", out, err)
	}
}
