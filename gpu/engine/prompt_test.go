package engine_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/medley-lora/medley/gpu/chat"
	"github.com/medley-lora/medley/gpu/engine"
	"github.com/medley-lora/medley/gpu/engine/enginetest"
	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/lora"
)

const turns = `{{ bos_token }}{% for m in messages %}{% if m.role == 'assistant' and loop.first %}{{ raise_exception('The user speaks first') }}{% endif %}` +
	`{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}`

// openChat is a small decoder-only model of random weights with a chat template.
func openChat(t *testing.T, template string) (*engine.Engine, *engine.Mixer) {
	t.Helper()
	dir := enginetest.CausalFolder(t, "llama2")
	if template != "" {
		if err := os.WriteFile(filepath.Join(dir, "chat_template.jinja"), []byte(template), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b := backends["cpu"](t)
	e, err := engine.Open(t.Context(), dir, b, engine.Options{})
	if err != nil {
		t.Fatal(err)
	}
	m, err := engine.NewMixer(e, lora.Delta, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close(); e.Close(); b.Close() })
	return e, m
}

// TestConversations: messages become what the base's template makes of them, with the engine opened for texts.
func TestConversations(t *testing.T) {
	e, m := openChat(t, turns)
	talk := []chat.Message{{Role: "system", Content: "Be kind."}, {Role: "user", Content: "the"}, {Role: "assistant", Content: "cat"}, {Role: "user", Content: "one "}}
	ids, warning, err := e.EncodePrompt(engine.Prompt{Messages: talk})
	want := e.Tokenizer.EncodeBare("<|begin|><|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nthe<|im_end|>\n<|im_start|>assistant\ncat<|im_end|>\n" +
		"<|im_start|>user\none <|im_end|>\n<|im_start|>assistant\n")
	if err != nil || warning != "" || !slices.Equal(ids, want) {
		t.Errorf("%v (%s, %v), want %v", ids, warning, err, want)
	}
	// A conversation and a text answer each other's tokens in no way.
	s := engine.Sampling{MaxTokens: 7, Temperature: 1, Seed: 5}
	both, err := m.Answer(t.Context(), []engine.Prompt{{Messages: talk}, {Text: "the", Whole: true}}, nil, s, engine.AnswerListener{})
	if err != nil {
		t.Fatal(err)
	}
	alone, err := m.Answer(t.Context(), []engine.Prompt{{Messages: talk}}, nil, s, engine.AnswerListener{})
	if err != nil || alone[0] != both[0] || both[0].Prompt != len(want) || both[0].Tokens == 0 {
		t.Errorf("alone %+v, beside another %+v, %v", alone, both, err)
	}
	for name, c := range map[string]struct {
		messages []chat.Message
		code     fault.Code
		want     string
	}{
		"the template's refusal": {[]chat.Message{{Role: "assistant", Content: "x"}}, fault.Invalid, "The user speaks first"},
		"too long":               {[]chat.Message{{Role: "user", Content: strings.Repeat("one berry ", 400)}}, fault.TooLarge, "at most 511"},
	} {
		_, err := m.Answer(t.Context(), []engine.Prompt{{Messages: c.messages}}, nil, engine.Sampling{}, engine.AnswerListener{})
		if fault.CodeOf(err) != c.code || !strings.HasPrefix(err.Error(), "messages: ") || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, bare := openChat(t, ""); true {
		_, err := bare.Answer(t.Context(), []engine.Prompt{{Messages: talk}}, nil, engine.Sampling{}, engine.AnswerListener{})
		if fault.CodeOf(err) != fault.Unsupported || !strings.Contains(err.Error(), "messages: ") || !strings.Contains(err.Error(), "no chat template") {
			t.Errorf("without a template: %v", err)
		}
	}
}

// TestWholePrompts: a text taken as it is keeps the answer's first space, is refused where it would be cut, and its answer ends where the
// model's positions do.
func TestWholePrompts(t *testing.T) {
	e, m := openChat(t, "")
	if _, _, err := e.EncodePrompt(engine.Prompt{Text: strings.Repeat("one berry ", 400), Whole: true}); fault.CodeOf(err) != fault.TooLarge || !strings.Contains(err.Error(), "prompt: ") {
		t.Errorf("%v", err)
	}
	long := strings.Repeat("one berry ", 45)
	s := engine.Sampling{MaxTokens: 600, Temperature: 1, Seed: 11}
	answers, err := m.Answer(t.Context(), []engine.Prompt{{Text: long, Whole: true}, {Text: "the", Whole: true}}, nil, s, engine.AnswerListener{})
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range answers {
		if room := 512 - a.Prompt; a.Tokens > room || a.Limited != (a.Tokens == room) {
			t.Errorf("%d tokens of an answer to %d, limited %v", a.Tokens, a.Prompt, a.Limited)
		}
	}
	spaced := false
	for seed := range uint64(60) {
		s := engine.Sampling{MaxTokens: 3, Temperature: 1.5, Seed: seed}
		pair, err := m.Answer(t.Context(), []engine.Prompt{{Text: "the", Whole: true}}, nil, s, engine.AnswerListener{})
		if err != nil {
			t.Fatal(err)
		}
		cut, err := m.Answer(t.Context(), engine.Texts([]string{"the"}), nil, s, engine.AnswerListener{})
		if err != nil {
			t.Fatal(err)
		}
		if strings.TrimPrefix(pair[0].Text, " ") != cut[0].Text {
			t.Errorf("%q and %q", pair[0].Text, cut[0].Text)
		}
		spaced = spaced || pair[0].Text != cut[0].Text
	}
	if !spaced {
		t.Error("no answer began with a space")
	}
}

// TestStops: an answer ends before the stop, tells nothing of it, and draws no more tokens; the others go on.
func TestStops(t *testing.T) {
	_, m := openChat(t, "")
	s := engine.Sampling{MaxTokens: 24, Temperature: 1, Seed: 3}
	prompts := []engine.Prompt{{Text: "the", Whole: true}, {Text: "one berry", Whole: true}}
	free, err := m.Answer(t.Context(), prompts, nil, s, engine.AnswerListener{})
	if err != nil {
		t.Fatal(err)
	}
	runes := []rune(free[0].Text)
	if len(runes) < 12 {
		t.Fatalf("the answer %q is too short to try on", free[0].Text)
	}
	tried := 0
	for at := 2; at+3 < len(runes); at++ { // across whatever borders of tokens
		stop := string(runes[at : at+3])
		if strings.Contains(free[1].Text, stop) || strings.Index(free[0].Text, stop) != len(string(runes[:at])) {
			continue
		}
		tried++
		s.Stop = []string{"never said", stop}
		heard := make([]string, 2)
		got, err := m.Answer(t.Context(), prompts, nil, s, engine.AnswerListener{Text: func(i int, text string) { heard[i] += text }})
		if err != nil {
			t.Fatal(err)
		}
		if want := string(runes[:at]); got[0].Text != want || heard[0] != want || got[0].Limited || got[0].Tokens > free[0].Tokens {
			t.Errorf("stop %q: %+v, heard %q, want %q", stop, got[0], heard[0], want)
		}
		if got[1] != free[1] || heard[1] != free[1].Text {
			t.Errorf("stop %q: another answer became %+v", stop, got[1])
		}
	}
	if tried < 5 {
		t.Errorf("%d stops were tried", tried)
	}
	for name, stops := range map[string][]string{"empty": {""}, "many": make([]string, 17), "long": {strings.Repeat("x", 1025)}} {
		s.Stop = stops
		if _, err := m.Answer(t.Context(), prompts, nil, s, engine.AnswerListener{}); fault.CodeOf(err) != fault.Invalid || !strings.Contains(err.Error(), "stop") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
