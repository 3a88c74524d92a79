package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/medley-lora/medley/edge/api"
	"github.com/medley-lora/medley/edge/archive"
)

// served is a medley serve of a test's own.
type served struct {
	t          *testing.T
	url, token string
}

// serve starts one; its evaluator runs on the processor.
func serve(t *testing.T, args ...string) *served {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	data, log := t.TempDir(), &bytes.Buffer{}
	c := exec.Command(self, append([]string{"serve", "--data", data, "--listen", "127.0.0.1:0", "--backend", "cpu", "--stop", "1s"}, args...)...)
	c.Env, c.Stderr = append(os.Environ(), asProgram+"=1"), log
	out, err := c.StdoutPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Signal(os.Interrupt)
		if err := c.Wait(); err != nil || t.Failed() {
			t.Logf("medley serve: %v\n%.3000s", err, log)
		}
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "Listening on ") {
		t.Fatalf("medley serve does not start: %v", err)
	}
	token := strings.TrimSpace(succeed(t, "token", "create", "--data", data, "--ttl", "1h").stdout)
	return &served{t, strings.Fields(line)[2], token}
}

// call makes a request and wants a status; a body that is bytes is an archive.
func (s *served) call(want int, method, path string, body any) []byte {
	s.t.Helper()
	data, media := []byte(nil), "application/json"
	switch b := body.(type) {
	case nil:
	case []byte:
		data, media = b, "application/zip"
	default:
		var err error
		if data, err = json.Marshal(body); err != nil {
			s.t.Fatal(err)
		}
	}
	r, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, bytes.NewReader(data))
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+s.token)
	if data != nil {
		r.Header.Set("Content-Type", media)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != want {
		s.t.Fatalf("%s %s: status %d, want %d, %v: %.500s", method, path, res.StatusCode, want, err, answer)
	}
	return answer
}

// upload keeps an adapter's folder under a name.
func (s *served) upload(name, folder string) (id string) {
	s.t.Helper()
	var packed bytes.Buffer
	if err := archive.Pack(&packed, folder); err != nil {
		s.t.Fatal(err)
	}
	var m api.Module
	if err := json.Unmarshal(s.call(201, "POST", "/v1/modules?name="+name, packed.Bytes()), &m); err != nil {
		s.t.Fatal(err)
	}
	return m.ID
}

// compose composes on the server for a task of the zoo, as the command line does, and returns the composition's id.
func (s *served) compose(p place, out string, modules ...string) (id string) {
	s.t.Helper()
	args := []string{"compose", "--server", s.url, "--token", s.token, "--base", "zoo", "--examples", p.few("several"), "--out", out, "--budget", "12"}
	succeed(s.t, append(args, p.modules(modules...)...)...)
	var page api.CompositionPage
	if err := json.Unmarshal(s.call(200, "GET", "/v1/compositions?limit=1", nil), &page); err != nil || len(page.Items) != 1 {
		s.t.Fatalf("%v: %+v", err, page)
	}
	return page.Items[0].ID
}

// chatBase is a small decoder-only model of random weights with a chat template.
func chatBase(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, from := range []string{filepath.Join("engine", "testdata", "causal", "llama2"), filepath.Join("tokenizer", "testdata", "bpe", "llama3")} {
		if err := os.CopyFS(dir, os.DirFS(filepath.Join("..", "..", "gpu", from))); err != nil {
			t.Fatal(err)
		}
	}
	const template = `{{ bos_token }}{% for m in messages %}{{ '[' + m.role + '] ' + m.content + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '[assistant]' }}{% endif %}`
	if err := os.WriteFile(filepath.Join(dir, "chat_template.jinja"), []byte(template), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// completion is an answer of either form.
type completion struct {
	Choices []struct {
		Text         string
		Message      struct{ Content string }
		FinishReason string `json:"finish_reason"`
	}
	Usage struct {
		Prompt     int `json:"prompt_tokens"`
		Completion int `json:"completion_tokens"`
		Total      int `json:"total_tokens"`
	}
}

func (s *served) complete(path string, body map[string]any) (c completion) {
	s.t.Helper()
	if err := json.Unmarshal(s.call(200, "POST", path, body), &c); err != nil || len(c.Choices) == 0 {
		s.t.Fatalf("%v: %+v", err, c)
	}
	return c
}

// TestOpenAI: what OpenAI's clients get from a server is what the command line gives for the same base, adapters and weights.
func TestOpenAI(t *testing.T) {
	p, chat := newPlace(t), chatBase(t)
	adapter := filepath.Join("..", "..", "gpu", "engine", "testdata", "causal", "llama2", "adapter")
	s := serve(t, "--base", "chat="+chat, "--base", "zoo="+p.base())
	id := s.upload("mine/style", adapter)
	local := func(prompt string, args ...string) string {
		t.Helper()
		return strings.TrimSuffix(succeed(t, append([]string{"generate", "--prompt", prompt, "--max-tokens", "9", "--backend", "cpu"}, args...)...).stdout, "\n")
	}
	ask := func(model, prompt string, lora ...map[string]any) completion {
		t.Helper()
		body := map[string]any{"model": model, "prompt": prompt, "max_tokens": 9, "temperature": 0}
		if lora != nil {
			body["lora"] = lora
		}
		return s.complete("/v1/completions", body)
	}
	half := map[string]any{"id": "mine/style", "scale": 0.5}
	for name, c := range map[string]struct {
		got  completion
		want string
	}{
		"the base":                {ask("chat", "the"), local("the", "--base", chat)},
		"a module":                {ask("chat:"+id, "the"), local("the", "--base", chat, "--adapter", adapter)},
		"a module by its name":    {ask("chat:mine/style", "the"), local("the", "--base", chat, "--adapter", adapter)},
		"modules by their scales": {ask("chat", "the", half), local("the", "--base", chat, "--modules", adapter, "--weights", "0.5")},
	} {
		u := c.got.Usage
		if got := strings.TrimPrefix(c.got.Choices[0].Text, " "); got != c.want || u.Prompt == 0 || u.Completion == 0 || u.Total != u.Prompt+u.Completion {
			t.Errorf("%s: %q (%+v), want %q", name, got, u, c.want)
		}
	}
	turn := func(role, content string) map[string]string {
		return map[string]string{"role": role, "content": content}
	}
	body := map[string]any{"model": "chat", "messages": []any{turn("user", "the")}, "max_tokens": 9, "temperature": 0}
	if got, want := s.complete("/v1/chat/completions", body), local("the", "--base", chat, "--chat"); got.Choices[0].Message.Content != want {
		t.Errorf("chat: %+v, want %q", got, want)
	}
	body["messages"] = []any{turn("system", "one"), turn("user", "the"), turn("assistant", "cat"), turn("user", "x")}
	plain := ask("chat", "[system] one\n[user] the\n[assistant] cat\n[user] x\n[assistant]")
	if got := s.complete("/v1/chat/completions", body); got.Choices[0].Message.Content != strings.TrimPrefix(plain.Choices[0].Text, " ") || got.Usage != plain.Usage {
		t.Errorf("a conversation: %+v, its text %+v", got, plain)
	}
	composed := s.compose(p, p.to("composed"), "plural", "add")
	if got, want := ask(composed, "one berry , several"), local("one berry , several", "--base", p.base(), "--adapter", p.to("composed")); got.Choices[0].Text != want {
		t.Errorf("a composition: %+v, want %q", got, want)
	}
	refusals(s, composed)
}

func refusals(s *served, composed string) {
	s.t.Helper()
	messages := []any{map[string]string{"role": "user", "content": "x"}}
	long := strings.Repeat("one berry ", 400)
	for _, c := range []struct {
		status     int
		path       string
		body       map[string]any
		param, say string
	}{
		{400, "chat/completions", map[string]any{"model": "zoo", "messages": messages}, "messages", "no chat template"},
		{400, "chat/completions", map[string]any{"model": composed, "messages": messages}, "messages", "no chat template"},
		{400, "completions", map[string]any{"model": "chat", "prompt": long}, "prompt", "context_length_exceeded"},
		{400, "chat/completions", map[string]any{"model": "chat", "messages": []any{map[string]string{"role": "user", "content": long}}}, "messages", "context_length_exceeded"},
		{400, "completions", map[string]any{"model": "mine/style", "prompt": "x"}, "model", "BASE:mine/style"},
		{400, "completions", map[string]any{"model": "zoo:mine/style", "prompt": "x"}, "", "no such linear map"},
		{404, "completions", map[string]any{"model": "none", "prompt": "x"}, "model", "model_not_found"},
	} {
		body := string(s.call(c.status, "POST", "/v1/"+c.path, c.body))
		if c.param != "" && !strings.Contains(body, fmt.Sprintf(`"param":%q`, c.param)) || !strings.Contains(body, c.say) {
			s.t.Errorf("%s: %s", c.param, body)
		}
	}
}

// TestOpenAIStream: a stream says what the whole answer does, in pieces, and ends before a stop.
func TestOpenAIStream(t *testing.T) {
	s := serve(t, "--base", "chat="+chatBase(t))
	body := map[string]any{"model": "chat", "prompt": []string{"the", "one berry"}, "max_tokens": 20, "temperature": 1, "seed": 4, "n": 2}
	whole := s.complete("/v1/completions", body)
	texts := make([]string, 4)
	read := func() (pieces int) {
		clear(texts)
		body["stream"] = true
		events := strings.Split(string(s.call(200, "POST", "/v1/completions", body)), "\n\n")
		if events[len(events)-2] != "data: [DONE]" {
			t.Fatalf("the stream ends with %q", events[len(events)-2])
		}
		for _, event := range events[:len(events)-2] {
			var c struct {
				Choices []struct {
					Index int
					Text  string
				}
			}
			if err := json.Unmarshal([]byte(strings.TrimPrefix(event, "data: ")), &c); err != nil {
				t.Fatal(err)
			}
			texts[c.Choices[0].Index] += c.Choices[0].Text
		}
		return len(events) - 2
	}
	if n := read(); n < 12 {
		t.Errorf("%d pieces", n)
	}
	for i, c := range whole.Choices {
		if texts[i] != c.Text || c.Text == "" {
			t.Errorf("answer %d is %q in a stream, %q whole", i, texts[i], c.Text)
		}
	}
	if whole.Choices[0].Text == whole.Choices[1].Text {
		t.Error("two answers to a prompt are the same")
	}
	runes := []rune(whole.Choices[0].Text)
	stop := string(runes[len(runes)/2 : len(runes)/2+3])
	body["stop"] = stop
	read()
	if before, _, _ := strings.Cut(whole.Choices[0].Text, stop); texts[0] != before {
		t.Errorf("%q was stopped at %q as %q", whole.Choices[0].Text, stop, texts[0])
	}
}
