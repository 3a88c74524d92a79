package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/medley-lora/medley/shared/peft"
)

// TestCausalBase: what the commands do with T5 they do with a decoder-only model, here in a GGUF file.
func TestCausalBase(t *testing.T) {
	p := newPlace(t)
	causal := filepath.Join("..", "..", "gpu", "engine", "testdata", "causal")
	base, adapter := filepath.Join(causal, "llama2.gguf"), filepath.Join(causal, "llama2", "adapter")
	few := p.write(t, "few.jsonl", `{"input": "one berry , several", "output": "berries"}`+"\n"+`{"input": "the", "output": "cat"}`+"\n")
	on := []string{"--base", base, "--backend", "cpu"}

	o := decode[inspectOutput](t, succeed(t, "inspect", "--json", "--base", base, base, adapter))
	if len(o.Folders) != 2 || !o.Folders[0].Accepted || o.Folders[0].Base.Family != "llama" || !*o.Folders[1].Adapter.Fits || len(o.Folders[0].Digest) != 64 {
		t.Errorf("%+v", o.Folders)
	}
	succeed(t, append([]string{"score", "--modules", adapter, "--weights", "0.5", "--examples", few}, on...)...)
	generated := succeed(t, append([]string{"generate", "--adapter", adapter, "--prompt", "one", "--max-tokens", "5"}, on...)...)
	if strings.TrimSpace(generated.stdout) == "" {
		t.Error("nothing was generated")
	}
	quantised := succeed(t, "score", "--base", p.base(), "--backend", "cpu", "--quantize", "q8", "--modules", p.module("add"), "--weights", "0", "--examples", few)
	if n := strings.Count(quantised.stderr, "off by: "); n < 6 || !strings.Contains(quantised.stderr, "quantised decoder.block.2, off by: layer.0.SelfAttention.q 0.") {
		t.Errorf("%d layers are said to be off: %.300s", n, quantised.stderr)
	}
	if o := succeed(t, append([]string{"score", "--quantize", "q4", "--modules", adapter, "--weights", "0", "--examples", few}, on...)...); !strings.Contains(o.stderr, "changed nothing") {
		t.Errorf("rows of 16 were quantised: %s", o.stderr)
	}
	for args, want := range map[string]string{"--quantize=q3": "q4", "--quantize=q4 --backend=reference": "cpu"} {
		o := medley(t, append([]string{"score", "--base", p.base(), "--modules", p.module("add"), "--weights", "0", "--examples", few, "--backend", "cpu"}, strings.Fields(args)...)...)
		if o.code == 0 || !strings.Contains(o.stderr, want) {
			t.Errorf("%s: exit code %d, %s", args, o.code, o.stderr)
		}
	}
	succeed(t, append([]string{"merge", "--method", "delta", "--modules", adapter, "--weights", "0.5", "--out", p.to("half")}, "--base", base)...)
	succeed(t, append([]string{"compose", "--modules", adapter, "--modules", p.to("half"), "--examples", few, "--out", p.to("out"), "--budget", "20"}, on...)...)
	m, err := peft.Open(p.to("out"), peft.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if m.Config.TaskType != "CAUSAL_LM" || len(m.Layers) != 21 {
		t.Errorf("an adapter of %d layers for %q", len(m.Layers), m.Config.TaskType)
	}
	refused := medley(t, "merge", "--method", "delta", "--modules", adapter, "--weights", "1", "--base", base, "--into-base", "--out", p.to("whole"))
	if refused.code == 0 || !strings.Contains(refused.stderr, "GGUF") {
		t.Errorf("merged into a GGUF file: %+v", refused)
	}
}
