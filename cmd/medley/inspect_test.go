package main

import (
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/medley-lora/medley/shared/adapters"
	"github.com/medley-lora/medley/shared/lora"
	"github.com/medley-lora/medley/shared/peft"
)

func TestInspect(t *testing.T) {
	p := newPlace(t)
	broken := p.to("broken")
	if err := os.CopyFS(broken, os.DirFS(p.module("plural"))); err != nil {
		t.Fatal(err)
	}
	breakLastNumber(t, filepath.Join(broken, "adapter_model.safetensors"))
	wide := &lora.Adapter{Layers: []lora.Layer{{Target: "encoder.block.0.layer.0.SelfAttention.q", In: 3, Out: 2, Rank: 1, Scale: 1, A: make([]float32, 3), B: make([]float32, 2)}}}
	writeFolder(t, p.to("wide"), wide)
	weights := filepath.Join(p.base(), "model.safetensors")
	for _, c := range []struct {
		path, kind, reason string // reason: empty if accepted
		says               string // in the table for people
		parameters         int64
	}{
		{p.base(), kindBase, "", "t5 of 3 + 3 layers, width 128, 4 heads, vocabulary 704, F32; tokenizer of 695 tokens", 1272192},
		{p.module("plural"), kindAdapter, "", "rank 8, scale 2, q, v in 18 places, for medley/tiny-t5", 36864},
		{p.variant("rank_pattern"), kindAdapter, "", "rank 2 to 8, scale 2 to 8, q, v, wo in 24 places", 44544},
		{p.variant("bin_r8"), kindAdapter, "", "rank 8, scale 2", 36864},
		{weights, kindWeights, "", "74 tensors, F32", 1272192},
		{p.variant("unsupported_dora"), kindAdapter, "use_dora", "use_dora", 0},
		{p.variant("unsupported_bias"), kindAdapter, "bias", "bias", 0},
		{p.variant("unsupported_saved_head"), kindAdapter, "modules_to_save", "modules_to_save", 0},
		{broken, kindAdapter, "finite", "finite", 36864},
		{p.to("wide"), kindAdapter, "3 to 2; the base model's is 128 to 128", "the base model's", 5},
		{p.zoo, kindUnknown, "neither", "neither", 0},
		{p.to("nothing"), kindUnknown, "no such file", "no such file", 0},
		{filepath.Join(p.base(), "config.json"), kindWeights, "header", "header", 0},
		{filepath.Dir(p.module("plural")), kindUnknown, "neither", "neither", 0},
	} {
		t.Run(filepath.Base(c.path), func(t *testing.T) {
			o := medley(t, "inspect", "--json", "--base", p.base(), c.path)
			got := decode[inspectOutput](t, o)
			if len(got.Folders) != 1 {
				t.Fatalf("%d folders", len(got.Folders))
			}
			x := got.Folders[0]
			accepted := c.reason == ""
			if x.Path != c.path || x.Kind != c.kind || x.Accepted != accepted || !strings.Contains(x.Reason, c.reason) || x.Parameters != c.parameters {
				t.Errorf("%+v", x)
			}
			if accepted && (len(x.Digest) != 64 || x.Bytes < 10000) {
				t.Errorf("digest %q, %d bytes", x.Digest, x.Bytes)
			}
			if wantCode := map[bool]int{true: 0, false: exitFailed}[accepted]; o.code != wantCode {
				t.Errorf("exit code %d, expected %d: %s", o.code, wantCode, o.stderr)
			}
			if people := medley(t, "inspect", "--base", p.base(), c.path); !strings.Contains(people.stdout, c.says) || people.code != o.code {
				t.Errorf("exit code %d; does not say %q:\n%s", people.code, c.says, people.stdout)
			}
		})
	}
}

func writeFolder(t *testing.T, dir string, a *lora.Adapter) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := peft.Write(dir, a, peft.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
}

// breakLastNumber makes the last float32 of a file NaN.
func breakLastNumber(t *testing.T, path string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	binary.LittleEndian.PutUint32(data[len(data)-4:], math.Float32bits(float32(math.NaN())))
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// One bad folder does not keep others from being reported.
func TestInspectGoesOn(t *testing.T) {
	p := newPlace(t)
	o := medley(t, "inspect", "--json", p.to("nothing"), p.module("pick_*"), p.variant("unsupported_dora"), p.base())
	got := decode[inspectOutput](t, o)
	var kinds []string
	for _, x := range got.Folders {
		kinds = append(kinds, x.Kind)
	}
	want := []string{kindUnknown, kindAdapter, kindAdapter, kindAdapter, kindAdapter, kindAdapter, kindAdapter, kindAdapter, kindBase}
	if !slices.Equal(kinds, want) || o.code != exitFailed || !strings.Contains(o.stderr, "2 of 9") {
		t.Errorf("exit code %d, %v: %s", o.code, kinds, o.stderr)
	}
	if fits := got.Folders[1].Adapter.Fits; fits != nil {
		t.Error("says whether an adapter fits without --base")
	}
}

// What strangers wrote never reaches a terminal as control characters.
func TestInspectIsSafeToPrint(t *testing.T) {
	p := newPlace(t)
	a, err := adapters.Load(p.module("plural"))
	if err != nil {
		t.Fatal(err)
	}
	for name, base := range map[string]string{"escape": "\x1b]0;owned\x07", "bidirectional": "a\u202eb", "\x1b[31mred": "plain"} {
		if err := peft.Write(p.to(name), a, peft.WriteOptions{BaseModel: base}); err != nil {
			t.Fatal(err)
		}
		o := succeed(t, "inspect", p.to(name))
		if strings.ContainsAny(o.stdout+o.stderr, "\x1b\x07\u202e") {
			t.Errorf("%q reached the terminal: %q", base, o.stdout)
		}
	}
}
