package engine_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/gpu/engine"
	"github.com/medley-lora/medley/gpu/engine/enginetest"
	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/lora"
	"github.com/medley-lora/medley/shared/task"
)

func TestGoldenCausal(t *testing.T) {
	for name, open := range backends {
		t.Run(name, func(t *testing.T) {
			b := open(t)
			defer b.Close()
			enginetest.Causal(t, b, tolerance)
		})
	}
}

// TestCausalSharing: compositions that agree in the first layers share rows, a batch that is split changes nothing, and neither does what
// else is in it.
func TestCausalSharing(t *testing.T) {
	eachCausal(t, func(t *testing.T, open func(o engine.Options) *engine.Engine) {
		expected := enginetest.LoadCausal(t)
		var all [][]float64
		for _, o := range []engine.Options{{}, {Memory: 1}} {
			e := open(o)
			examples, _ := e.Encode(expected.Examples)
			upper := enginetest.CausalAdapter(t, "qwen2")
			upper.Layers = slices.DeleteFunc(upper.Layers, func(l lora.Layer) bool { return strings.HasPrefix(l.Target, "model.layers.0.") })
			number, err := e.AddModule(upper)
			if err != nil {
				t.Fatal(err)
			}
			compositions := []engine.Composition{{}, {Terms: []backend.Term{{Module: number, Weight: 0.5}}}, {Terms: []backend.Term{{Module: number, Weight: 1}}}}
			scores, err := e.Score(t.Context(), examples, compositions)
			if err != nil {
				t.Fatal(err)
			}
			one, err := e.Score(t.Context(), examples[1:2], compositions[2:])
			if err != nil {
				t.Fatal(err)
			}
			n := len(examples[0].Target)
			if got := scores[2].LogProbs[n : n+len(examples[1].Target)]; !slices.Equal(got, one[0].LogProbs) {
				t.Errorf("in a batch %v, alone %v", got, one[0].LogProbs)
			}
			if slices.Equal(scores[0].LogProbs, scores[1].LogProbs) || slices.Equal(scores[1].LogProbs, scores[2].LogProbs) {
				t.Error("the module does nothing")
			}
			all = append(all, logProbs(scores))
		}
		if !slices.Equal(all[0], all[1]) {
			t.Error("a batch that is split has other numbers")
		}
	})
}

func eachCausal(t *testing.T, f func(t *testing.T, open func(o engine.Options) *engine.Engine)) {
	for name, open := range backends {
		t.Run(name, func(t *testing.T) {
			b := open(t)
			defer b.Close()
			f(t, func(o engine.Options) *engine.Engine { return enginetest.OpenCausal(t, "qwen2", b, o) })
		})
	}
}

// TestCausalAnswers: sampling under a seed repeats, text streams as it is, and long inputs lose their beginning.
func TestCausalAnswers(t *testing.T) {
	e := enginetest.OpenCausal(t, "llama2", backends["cpu"](t), engine.Options{MaxSource: 10, MaxTarget: 4})
	m, err := engine.NewMixer(e, lora.Delta, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	inputs := []string{"", "the", strings.Repeat("one berry ", 30) + "last"}
	s := engine.Sampling{MaxTokens: 6, Temperature: 1, TopK: 50, Seed: 7}
	var texts [2][3]string
	for i := range texts {
		answers, err := m.Answer(t.Context(), engine.Texts(inputs), nil, s, engine.AnswerListener{Text: func(j int, text string) { texts[i][j] += text }})
		if err != nil {
			t.Fatal(err)
		}
		for j, a := range answers {
			if a.Text != texts[i][j] || a.Tokens == 0 || (a.Warning != "") != (j == 2) {
				t.Errorf("answer %d is %+v, streamed %q", j, a, texts[i][j])
			}
		}
	}
	if texts[0] != texts[1] {
		t.Errorf("under one seed %q and %q", texts[0], texts[1])
	}
	long, warning := e.EncodeInput(inputs[2])
	end := e.Tokenizer.EncodeBare(" last")
	if len(long) != 10 || warning == "" || long[0] != e.Tokenizer.BOS() || !slices.Equal(long[10-len(end):], end) {
		t.Errorf("%v (%s): want 10 tokens, the first the one that begins texts, the end that of the input", long, warning)
	}
	examples, warnings := e.Encode([]task.Example{{Input: "x", Output: "a much longer output than fits"}})
	if x := examples[0].Target; len(x) != 4 || x[3] != e.Tokenizer.EOS() || len(warnings) != 1 {
		t.Errorf("the target is %v, warnings %q", x, warnings)
	}
}

// TestCausalRefused: what does not fit is named.
func TestCausalRefused(t *testing.T) {
	b := backends["cpu"](t)
	defer b.Close()
	for _, c := range []struct{ file, old, new, want string }{
		{"config.json", `"silu"`, `"gelu"`, "hidden_act"},
		{"config.json", `"hidden_size": 16`, `"hidden_size": 24`, "has shape"},
		{"config.json", `"vocab_size": 652`, `"vocab_size": 640`, "tokenizer"},
		{"config.json", `"llama"`, `"phi3"`, "model_type"},
		{"tokenizer_config.json", `"eos_token"`, `"end"`, ""},
	} {
		dir := enginetest.CausalFolder(t, "llama2")
		data, err := fs.ReadFile(os.DirFS(dir), c.file)
		if err != nil {
			t.Fatal(err)
		}
		edited := strings.Replace(string(data), c.old, c.new, 1)
		if edited == string(data) {
			t.Fatalf("%s does not hold %s", c.file, c.old)
		}
		if err := os.WriteFile(filepath.Join(dir, c.file), []byte(edited), 0o600); err != nil {
			t.Fatal(err)
		}
		e, err := engine.Open(t.Context(), dir, b, engine.Options{})
		switch {
		case err == nil && c.want == "": // config.json names the end too
			e.Close()
		case err == nil || fault.CodeOf(err) == "" || !strings.Contains(err.Error(), c.want):
			t.Errorf("%s for %s: %v, want an error that names %q", c.new, c.old, err, c.want)
		}
	}
}

// TestGoldenGGUF: the same checkpoints in GGUF files, written by tools/peers/gguf_tiny.py, give the same numbers.
func TestGoldenGGUF(t *testing.T) {
	expected := enginetest.LoadCausal(t)
	b := backends["cpu"](t)
	defer b.Close()
	for _, name := range []string{"llama2", "biased", "yarn"} {
		t.Run(name, func(t *testing.T) {
			e, err := engine.Open(t.Context(), filepath.Join("testdata", "causal", name+".gguf"), b, engine.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer e.Close()
			enginetest.CheckCausal(t, e, expected, expected.Models[name], &engine.Composition{}, tolerance)
			if name != "llama2" {
				return
			}
			number, err := e.AddModule(enginetest.CausalAdapter(t, name)) // its names are Transformers'
			if err != nil {
				t.Fatal(err)
			}
			enginetest.CheckCausal(t, e, expected, expected.Models[name].Adapter, &engine.Composition{Terms: []backend.Term{{Module: number, Weight: 1}}}, tolerance)
		})
	}
}

// TestGGUFRefused changes a text of the same length in a file.
func TestGGUFRefused(t *testing.T) {
	whole, err := os.ReadFile(filepath.Join("testdata", "causal", "llama2.gguf"))
	if err != nil {
		t.Fatal(err)
	}
	b := backends["cpu"](t)
	defer b.Close()
	for _, c := range []struct{ old, new, want string }{
		{"general.architecture\x08\x00\x00\x00\x05\x00\x00\x00\x00\x00\x00\x00llama", "general.architecture\x08\x00\x00\x00\x05\x00\x00\x00\x00\x00\x00\x00gemma", "general.architecture"},
		{"gpt2", "bert", "tokenizer.ggml.model"},
		{"llama-bpe", "unknown!!", "tokenizer.ggml.pre"},
		{"tokenizer.ggml.token_type", "tokenizer.ggml.token_tipe", "token_type"},
		{"llama.embedding_length", "llama.embedding_lenkth", "shape"},
		{"llama.block_count", "llama.block_kount", "no such tensor"},
		{"blk.1.attn_q.weight", "blk.1.attn_x.weight", "not known"},
		{"blk.1.ffn_norm.weight", "blk.9.ffn_norm.weight", "no such tensor"},
	} {
		changed := strings.Replace(string(whole), c.old, c.new, 1)
		if changed == string(whole) {
			t.Fatalf("the file does not hold %q", c.old)
		}
		path := filepath.Join(t.TempDir(), "x.gguf")
		if err := os.WriteFile(path, []byte(changed), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := engine.Open(t.Context(), path, b, engine.Options{})
		if fault.CodeOf(err) == "" || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), path) {
			t.Errorf("%q for %q: %v, want an error that names %q", c.new, c.old, err, c.want)
		}
	}
}

// TestChat: a message stands in the model's frame, whose tokens are no part of the target; a folder keeps it in one of two files.
func TestChat(t *testing.T) {
	b := backends["cpu"](t)
	defer b.Close()
	const template = `{{ bos_token }}{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>' }}{% endfor %}`
	open := func(file, content string) (*engine.Engine, error) {
		dir := enginetest.CausalFolder(t, "llama2")
		if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return engine.Open(t.Context(), dir, b, engine.Options{Chat: true})
	}
	quoted := strings.NewReplacer(`\`, `\\`).Replace(template)
	for file, content := range map[string]string{
		"chat_template.jinja":   template,
		"tokenizer_config.json": `{"bos_token": "<|begin|>", "eos_token": "<|end|>", "chat_template": [{"name": "tools", "template": "x"}, {"name": "default", "template": "` + quoted + `"}]}`,
	} {
		e, err := open(file, content)
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		examples, _ := e.Encode([]task.Example{{Input: "the", Output: "cat"}})
		want := e.Tokenizer.EncodeBare("<|begin|><|im_start|>user\nthe<|im_end|>")
		if x := examples[0]; !slices.Equal(x.Source, want) || !slices.Equal(x.Target, append(e.Tokenizer.EncodeBare("cat"), e.Tokenizer.EOS())) {
			t.Errorf("%s: %v, want the source %v", file, x, want)
		}
		if prompt, _ := e.EncodeInput("the"); !slices.Equal(prompt, want) {
			t.Errorf("%s: the prompt is %v, want %v", file, prompt, want)
		}
		e.Close()
	}
	bare, err := open("chat_template.jinja", "{{ messages[0].content }}")
	if err != nil {
		t.Fatal(err)
	}
	defer bare.Close()
	if prompt, _ := bare.EncodeInput(""); len(prompt) != 1 {
		t.Errorf("nothing in no frame is %v", prompt)
	}
	for file, content := range map[string]string{"chat_template.jinja": "{% broken", "tokenizer_config.json": `{"eos_token": "<|end|>"}`} {
		if _, err := open(file, content); err == nil || !strings.Contains(err.Error(), "chat") {
			t.Errorf("%s of %q: %v", file, content, err)
		}
	}
}
