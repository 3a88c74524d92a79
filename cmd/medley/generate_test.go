package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/medley-lora/medley/shared/zoo/zootest"
)

type generated struct {
	Answers []struct {
		Input, Output string
		Tokens        int
	}
	Backend string
}

// The answers of Hugging Face Transformers for one module alone.
func TestGenerate(t *testing.T) {
	p := newPlace(t)
	forwards := zootest.LoadGolden(t).Forward
	i := slices.IndexFunc(forwards, func(f zootest.Forward) bool {
		return len(f.Modules) == 1 && len(f.Weights) == 1 && f.Weights[0] == 1 && (f.Method == "delta" || f.Method == "single")
	})
	if i < 0 {
		t.Fatal("the goldens hold no single module at weight 1")
	}
	want := forwards[i]
	var prompts []string
	for _, x := range want.Examples {
		prompts = append(prompts, x.Input)
	}
	input := p.write(t, "prompts.txt", strings.Join(prompts, "\n")+"\n")
	common := []string{"generate", "--base", p.base(), "--backend", "reference"}
	lines := strings.Join(want.Greedy, "\n") + "\n"
	for name, args := range map[string][]string{
		"adapter": {"--adapter", p.module(want.Modules[0]), "--input", input},
		"modules": {"--modules", p.module(want.Modules[0]), "--weights", "1", "--input", input},
	} {
		if got := succeed(t, append(slices.Clone(common), args...)...).stdout; got != lines {
			t.Errorf("%s: %q; Transformers answers %q", name, got, lines)
		}
	}
	adapter := append(slices.Clone(common), "--adapter", p.module(want.Modules[0]))
	piped := medleyWith(t.Context(), strings.Join(prompts, "\n"), adapter...)
	if piped.code != 0 || piped.stdout != lines {
		t.Errorf("prompts on standard input: exit code %d, %q", piped.code, piped.stdout)
	}
	got := decode[generated](t, succeed(t, append(adapter, "--json", "--prompt", prompts[0])...))
	if len(got.Answers) != 1 || got.Answers[0].Input != prompts[0] || got.Answers[0].Output != want.Greedy[0] || got.Answers[0].Tokens < 1 {
		t.Errorf("--json: %+v; Transformers answers %q", got.Answers, want.Greedy[0])
	}
}

func TestGenerateSamples(t *testing.T) {
	p := newPlace(t)
	draw := func(seed string) string {
		args := []string{"generate", "--base", p.base(), "--backend", "reference", "--prompt", "plural: cat", "--temperature", "30", "--max-tokens", "8"}
		return succeed(t, append(args, "--seed", seed)...).stdout
	}
	if first := draw("1"); first != draw("1") || first == draw("2") {
		t.Error("a seed does not decide the draw")
	}
}
