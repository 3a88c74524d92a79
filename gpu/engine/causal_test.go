package engine_test

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/gpu/engine"
	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/lora"
	"github.com/medley-lora/medley/shared/peft"
	"github.com/medley-lora/medley/shared/task"
)

// causalNumbers is what Transformers says of a checkpoint.
type causalNumbers struct {
	TargetLogProbs [][]float64    `json:"target_logprobs"`
	FirstLogits    []float64      `json:"first_logits"`
	GreedyIDs      [][]int32      `json:"greedy_ids"`
	Adapter        *causalNumbers `json:"adapter"`
}

// causalExpected is testdata/causal/expected.json, which tools/peers/causal.py writes with the checkpoints beside it.
type causalExpected struct {
	Examples []task.Example
	Encoded  []struct{ Source, Target, Prompt []int32 }
	Models   map[string]*causalNumbers
	Tokens   int `json:"new_tokens"`
}

func loadCausal(t testing.TB) *causalExpected {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "causal", "expected.json"))
	if err != nil {
		t.Fatal(err)
	}
	var expected causalExpected
	if err := json.Unmarshal(data, &expected); err != nil {
		t.Fatal(err)
	}
	if len(expected.Models) < 10 || len(expected.Examples) == 0 {
		t.Fatal("expected.json is not whole")
	}
	return &expected
}

// openCausal opens a checkpoint of testdata with a tokenizer beside it.
func openCausal(t testing.TB, name string, b backend.Backend, o engine.Options) *engine.Engine {
	t.Helper()
	e, err := engine.Open(t.Context(), causalFolder(t, name), b, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

func causalFolder(t testing.TB, name string) string {
	t.Helper()
	dir := t.TempDir()
	for _, from := range []string{filepath.Join("testdata", "causal", name), filepath.Join("..", "tokenizer", "testdata", "bpe", "llama3")} {
		if err := os.CopyFS(dir, os.DirFS(from)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func causalAdapter(t testing.TB, name string) *lora.Adapter {
	t.Helper()
	m, err := peft.Open(filepath.Join("testdata", "causal", name, "adapter"), peft.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	a, err := m.Load()
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// TestGoldenCausal holds every branch of the family to Transformers, and adapters on all seven linear maps to PEFT.
func TestGoldenCausal(t *testing.T) {
	expected := loadCausal(t)
	for backendName, open := range backends {
		t.Run(backendName, func(t *testing.T) {
			b := open(t)
			defer b.Close()
			for name, want := range expected.Models {
				t.Run(name, func(t *testing.T) {
					e := openCausal(t, name, b, engine.Options{})
					examples, warnings := e.Encode(expected.Examples)
					for i, x := range expected.Encoded {
						if !slices.Equal(examples[i].Source, x.Source) || !slices.Equal(examples[i].Target, x.Target) {
							t.Fatalf("example %d is %v, want %v and %v", i, examples[i], x.Source, x.Target)
						}
					}
					if len(warnings) > 0 {
						t.Fatal(warnings)
					}
					checkCausal(t, e, expected, want, &engine.Composition{})
					if want.Adapter == nil {
						return
					}
					number, err := e.AddModule(causalAdapter(t, name))
					if err != nil {
						t.Fatal(err)
					}
					for _, product := range []bool{false, true} { // the same of a single module
						checkCausal(t, e, expected, want.Adapter, &engine.Composition{Terms: []backend.Term{{Module: number, Weight: 1}}, Product: product})
					}
				})
			}
		})
	}
}

func checkCausal(t *testing.T, e *engine.Engine, expected *causalExpected, want *causalNumbers, c *engine.Composition) {
	t.Helper()
	examples, _ := e.Encode(expected.Examples)
	scores, err := e.Score(t.Context(), examples, []engine.Composition{*c})
	if err != nil {
		t.Fatal(err)
	}
	near(t, "log-probabilities", scores[0].LogProbs, slices.Concat(want.TargetLogProbs...))
	requests := make([]engine.Request, len(examples))
	for i, x := range expected.Encoded {
		requests[i] = engine.Request{Source: x.Prompt, Composition: c}
	}
	outputs, err := e.Generate(t.Context(), requests, engine.Sampling{MaxTokens: expected.Tokens}, engine.Listener{})
	if err != nil {
		t.Fatal(err)
	}
	for i, ids := range want.GreedyIDs {
		if n := len(ids); ids[n-1] == 1 {
			ids = ids[:n-1] // the end token
		}
		if !slices.Equal(outputs[i], ids) {
			t.Errorf("greedy ids of example %d: %v, want %v", i, outputs[i], ids)
		}
	}
}

// TestCausalSharing: compositions that agree in the first layers share rows, a batch that is split changes nothing, and neither does what
// else is in it.
func TestCausalSharing(t *testing.T) {
	eachCausal(t, func(t *testing.T, open func(o engine.Options) *engine.Engine) {
		expected := loadCausal(t)
		var all [][]float64
		for _, o := range []engine.Options{{}, {Memory: 1}} {
			e := open(o)
			examples, _ := e.Encode(expected.Examples)
			upper := causalAdapter(t, "qwen2")
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
			f(t, func(o engine.Options) *engine.Engine { return openCausal(t, "qwen2", b, o) })
		})
	}
}

// TestCausalAnswers: sampling under a seed repeats, text streams as it is, and long inputs lose their beginning.
func TestCausalAnswers(t *testing.T) {
	e := openCausal(t, "llama2", backends["cpu"](t), engine.Options{MaxSource: 10, MaxTarget: 4})
	m, err := engine.NewMixer(e, lora.Delta, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	inputs := []string{"", "the", strings.Repeat("one berry ", 30) + "last"}
	s := engine.Sampling{MaxTokens: 6, Temperature: 1, TopK: 50, Seed: 7}
	var texts [2][3]string
	for i := range texts {
		answers, err := m.Answer(t.Context(), inputs, nil, s, engine.AnswerListener{Text: func(j int, text string) { texts[i][j] += text }})
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
		dir := causalFolder(t, "llama2")
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
	expected := loadCausal(t)
	b := backends["cpu"](t)
	defer b.Close()
	for _, name := range []string{"llama2", "biased", "yarn"} {
		t.Run(name, func(t *testing.T) {
			e, err := engine.Open(t.Context(), filepath.Join("testdata", "causal", name+".gguf"), b, engine.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer e.Close()
			checkCausal(t, e, expected, expected.Models[name], &engine.Composition{})
			if name != "llama2" {
				return
			}
			number, err := e.AddModule(causalAdapter(t, name)) // its names are Transformers'
			if err != nil {
				t.Fatal(err)
			}
			checkCausal(t, e, expected, expected.Models[name].Adapter, &engine.Composition{Terms: []backend.Term{{Module: number, Weight: 1}}})
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
