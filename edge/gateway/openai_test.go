package gateway_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/medley-lora/medley/edge/compute"
	"github.com/medley-lora/medley/edge/gateway"
	"github.com/medley-lora/medley/shared/fault"
)

const (
	completionText = `{"model":"google/flan-t5-base","prompt":"one berry"}`
	chatText       = `{"model":"google/flan-t5-base","messages":[{"role":"user","content":"one berry"}]}`
)

func (m *memory) ListModels(context.Context, string) ([]gateway.Model, error) {
	return []gateway.Model{
		{ID: "google/flan-t5-base", Owner: "medley", Created: time.Unix(7, 0)},
		{ID: "mod_aaaaaaaaaaaaaaaaaaaaaaaaaa", Owner: "you", Name: "plural", Base: "google/flan-t5-base", Created: time.Unix(8, 0)},
	}, nil
}

func (m *memory) Model(ctx context.Context, owner, name string) (gateway.Model, error) {
	all, err := m.ListModels(ctx, owner)
	for _, model := range all {
		if model.ID == name {
			return model, err
		}
	}
	return gateway.Model{}, fault.New(fault.NotFound, "model", "there is no model %s", name)
}

// Complete says "one " and "two" to everything, and counts 5 tokens in each prompt.
func (m *memory) Complete(ctx context.Context, owner string, asked gateway.Completion, l compute.Listener) ([]compute.Answer, error) {
	if _, err := m.Model(ctx, owner, asked.Model); err != nil {
		return nil, err
	}
	m.mu.Lock()
	m.asked = asked
	m.mu.Unlock()
	answers := make([]compute.Answer, len(asked.Prompts)*asked.N)
	for i := range answers {
		l.Text(i, "one ")
	}
	if m.generated != nil {
		return nil, m.generated
	}
	for i := range answers {
		l.Text(i, "two")
		answers[i] = compute.Answer{Prompt: 5, Tokens: 2, Limited: i%2 == 1}
		l.Done(i, answers[i])
	}
	return answers, nil
}

func TestModels(t *testing.T) {
	s := newServer(t, nil)
	list := s.want(http.StatusOK, "GET", "/v1/models", "")
	want := `{"data":[{"created":7,"id":"google/flan-t5-base","object":"model","owned_by":"medley"},` +
		`{"base":"google/flan-t5-base","created":8,"id":"mod_aaaaaaaaaaaaaaaaaaaaaaaaaa","name":"plural","object":"model","owned_by":"you"}],"object":"list"}`
	if strings.TrimSpace(list.body) != want {
		t.Errorf("models %s", list.body)
	}
	for _, path := range []string{"google/flan-t5-base", "google%2Fflan-t5-base", "google%2fflan-t5-base"} {
		if a := s.want(http.StatusOK, "GET", "/v1/models/"+path, ""); a.field("id") != "google/flan-t5-base" {
			t.Errorf("%s: %s", path, a.body)
		}
	}
	a := s.want(http.StatusNotFound, "GET", "/v1/models/google/other", "")
	if want := `{"error":{"code":"model_not_found","message":"model: there is no model google/other","param":"model","type":"invalid_request_error"}}`; strings.TrimSpace(a.body) != want {
		t.Errorf("%s", a.body)
	}
}

// What fields mean to those who compute.
func TestCompletionFields(t *testing.T) {
	s := newServer(t, nil)
	ask := func(path, body string) gateway.Completion {
		t.Helper()
		s.want(http.StatusOK, "POST", path, body)
		return s.m.asked
	}
	c := ask("/v1/completions", completionText)
	if len(c.Prompts) != 1 || c.Prompts[0].Text != "one berry" || !c.Prompts[0].Whole || c.N != 1 || len(c.LoRA) > 0 {
		t.Errorf("%+v", c)
	}
	if q := c.Sampling; q.MaxTokens != 16 || q.Temperature != 1 || q.TopP != 1 || q.TopK != 0 || q.Stop != nil {
		t.Errorf("defaults %+v", q)
	}
	if again := ask("/v1/completions", completionText); again.Sampling.Seed == c.Sampling.Seed {
		t.Error("two requests without a seed have the same")
	}
	c = ask("/v1/completions", `{"model":"google/flan-t5-base","prompt":["a","b"],"n":3,"max_tokens":7,"temperature":0,"top_p":0,"top_k":4,"seed":-2,
		"stop":"x","lora":[{"id":"m","scale":-0.5},{"id":"k","scale":2}],"user":"u","frequency_penalty":0,"presence_penalty":0.0,"suffix":null}`)
	q := c.Sampling
	if len(c.Prompts) != 2 || c.N != 3 || q.MaxTokens != 7 || q.Temperature != 0 || q.TopP != math.SmallestNonzeroFloat64 || q.TopK != 4 || q.Seed != math.MaxUint64-1 ||
		!slices.Equal(q.Stop, []string{"x"}) || !slices.Equal(c.LoRA, []gateway.Weighed{{ID: "m", Scale: -0.5}, {ID: "k", Scale: 2}}) {
		t.Errorf("%+v", c)
	}
	c = ask("/v1/chat/completions", `{"model":"google/flan-t5-base","messages":[{"role":"developer","content":"s"},
		{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]},{"role":"assistant","content":"","tool_calls":null}],"stop":["x","y"],"logprobs":false}`)
	want := []compute.Message{{Role: "system", Content: "s"}, {Role: "user", Content: "ab"}, {Role: "assistant", Content: ""}}
	if len(c.Prompts) != 1 || !slices.Equal(c.Prompts[0].Messages, want) || c.Sampling.MaxTokens != 512 || !slices.Equal(c.Sampling.Stop, []string{"x", "y"}) {
		t.Errorf("%+v", c)
	}
	for _, field := range []string{"max_tokens", "max_completion_tokens"} {
		if c = ask("/v1/chat/completions", strings.Replace(chatText, "{", `{"`+field+`":3,`, 1)); c.Sampling.MaxTokens != 3 {
			t.Errorf("%s: %+v", field, c)
		}
	}
}

func TestCompletionRefusals(t *testing.T) {
	s := newServer(t, nil)
	with := func(body, fields string) string { return strings.Replace(body, "{", "{"+fields+",", 1) }
	messages := func(text string) string { return `{"model":"google/flan-t5-base","messages":` + text + `}` }
	for name, c := range map[string]struct {
		path, body string
		status     int
		field      string
	}{
		"another model":      {"completions", `{"model":"none","prompt":"x"}`, 404, "model"},
		"no model":           {"completions", `{"prompt":"x"}`, 400, "model"},
		"no prompt":          {"completions", `{"model":"m","prompt":null}`, 400, "prompt"},
		"no prompts":         {"completions", `{"model":"m","prompt":[]}`, 400, "prompt"},
		"tokens":             {"completions", `{"model":"m","prompt":[1,2]}`, 400, "prompt"},
		"too many":           {"completions", `{"model":"m","prompt":[` + strings.Repeat(`"a",`, 64) + `"a"]}`, 400, "prompt"},
		"too many answers":   {"completions", `{"model":"google/flan-t5-base","prompt":["a","b","c","d","e"],"n":16}`, 400, "n"},
		"long":               {"completions", `{"model":"m","prompt":"` + strings.Repeat("x", 1<<18+1) + `"}`, 400, "prompt"},
		"huge":               {"completions", `{"model":"m","prompt":"` + strings.Repeat("x", 3<<20) + `"}`, 413, ""},
		"suffix":             {"completions", with(completionText, `"suffix":"x"`), 400, "suffix"},
		"logprobs":           {"completions", with(completionText, `"logprobs":1`), 400, "logprobs"},
		"best of":            {"completions", with(completionText, `"best_of":2`), 400, "best_of"},
		"bias":               {"completions", with(completionText, `"logit_bias":{"1":2}`), 400, "logit_bias"},
		"penalty":            {"completions", with(completionText, `"presence_penalty":0.5`), 400, "presence_penalty"},
		"many tokens":        {"completions", with(completionText, `"max_tokens":2049`), 400, "max_tokens"},
		"empty stop":         {"completions", with(completionText, `"stop":""`), 400, "stop"},
		"many stops":         {"completions", with(completionText, `"stop":["a"`+strings.Repeat(`,"b"`, 16)+`]`), 400, "stop"},
		"options":            {"completions", with(completionText, `"stream_options":{"x":1}`), 400, "stream_options/x"},
		"lora of llama.cpp":  {"completions", with(completionText, `"lora":[{"id":0,"scale":1}]`), 400, "lora/0/id"},
		"lora without scale": {"completions", with(completionText, `"lora":[{"id":"m"}]`), 400, "lora/0/scale"},
		"tools":              {"chat/completions", with(chatText, `"tools":[]`), 400, "tools"},
		"true logprobs":      {"chat/completions", with(chatText, `"logprobs":true`), 400, "logprobs"},
		"two limits":         {"chat/completions", with(chatText, `"max_tokens":1,"max_completion_tokens":2`), 400, "max_tokens"},
		"no messages":        {"chat/completions", messages("[]"), 400, "messages"},
		"null as message":    {"chat/completions", messages("[null]"), 400, "messages/0"},
		"a tool's message":   {"chat/completions", messages(`[{"role":"tool","content":"x"}]`), 400, "messages/0/role"},
		"an image":           {"chat/completions", messages(`[{"role":"user","content":[{"type":"image_url","image_url":{}}]}]`), 400, "messages/0/content"},
		"no content":         {"chat/completions", messages(`[{"role":"user","content":null}]`), 400, "messages/0/content"},
		"not JSON":           {"chat/completions", "{", 400, "body"},
	} {
		t.Run(name, func(t *testing.T) {
			s.t = t
			a := s.want(c.status, "POST", "/v1/"+c.path, c.body)
			if a.field("field") != c.field || a.field("detail") == "" || !strings.Contains(a.body, `"type":"invalid_request_error"`) {
				t.Errorf("field %q, want %q: %s", a.field("field"), c.field, a.body)
			}
		})
	}
}

// Errors have OpenAI's shape, with its statuses and types.
func TestOpenAIErrors(t *testing.T) {
	s := newServer(t, nil)
	for _, c := range []struct {
		err              error
		status           int
		kind, code, want string
	}{
		{fault.New(fault.Unsupported, "messages", "no template"), 400, "invalid_request_error", "unsupported", "messages: no template"},
		{fault.New(fault.TooLarge, "prompt", "has 9 tokens"), 400, "invalid_request_error", "context_length_exceeded", "prompt: has 9 tokens"},
		{fault.New(fault.TooLarge, "", "no room"), 413, "invalid_request_error", "too_large", "no room"},
		{fault.New(gateway.RateLimited, "", "slower"), 429, "rate_limit_error", "rate_limited", "slower"},
		{fault.New(gateway.Unavailable, "", "away"), 503, "server_error", "unavailable", "away"},
		{fault.New(fault.Internal, "x", "secret"), 500, "server_error", "internal", "Internal Server Error (request r-1)"},
	} {
		s.m.generated = c.err
		a := s.want(c.status, "POST", "/v1/completions", completionText, "X-Request-Id", "r-1")
		var e struct {
			Error struct{ Message, Type, Code string }
		}
		if err := json.Unmarshal([]byte(a.body), &e); err != nil {
			t.Fatal(err)
		}
		if e.Error.Type != c.kind || e.Error.Code != c.code || e.Error.Message != c.want || strings.Contains(a.body, "secret") {
			t.Errorf("%v: %s", c.err, a.body)
		}
	}
	if a := s.want(401, "GET", "/v1/models", "", "Authorization", "Bearer bad"); !strings.Contains(a.body, `"type":"authentication_error"`) {
		t.Errorf("%s", a.body)
	}
	if a := s.want(403, "GET", "/v1/models", "", "Authorization", "Bearer alice=compose:run"); !strings.Contains(a.body, `"type":"permission_error"`) {
		t.Errorf("%s", a.body)
	}
}

func TestCompletions(t *testing.T) {
	s := newServer(t, nil)
	var whole struct {
		ID, Object, Model string
		Created           int64
		Choices           []struct {
			Index        int
			Text         string
			Message      struct{ Role, Content string }
			FinishReason string `json:"finish_reason"`
		}
		Usage map[string]int
	}
	read := func(a answer) {
		t.Helper()
		whole.Choices = nil
		if err := json.Unmarshal([]byte(a.body), &whole); err != nil {
			t.Fatal(err)
		}
	}
	read(s.want(200, "POST", "/v1/completions", `{"model":"google/flan-t5-base","prompt":["a","b"],"n":2,"echo":true}`))
	want := `[{0 aone two { } stop} {1 aone two { } length} {2 bone two { } stop} {3 bone two { } length}]`
	if got := fmt.Sprint(whole.Choices); got != want || whole.Object != "text_completion" || !strings.HasPrefix(whole.ID, "cmpl_") {
		t.Errorf("%s, %+v", got, whole)
	}
	if fmt.Sprint(whole.Usage) != "map[completion_tokens:8 prompt_tokens:10 total_tokens:18]" { // a prompt with two answers counts once
		t.Errorf("usage %v", whole.Usage)
	}
	read(s.want(200, "POST", "/v1/chat/completions", chatText))
	if fmt.Sprint(whole.Choices) != "[{0  {assistant one two} stop}]" || whole.Object != "chat.completion" || time.Since(time.Unix(whole.Created, 0)) > time.Minute {
		t.Errorf("%+v", whole)
	}
}

// data is the events of a stream, without what differs between two requests.
func data(t *testing.T, a answer) (events []string) {
	t.Helper()
	if a.header.Get("Content-Type") != "text/event-stream" {
		t.Errorf("content of type %q", a.header.Get("Content-Type"))
	}
	for event := range strings.SplitSeq(strings.TrimSuffix(a.body, "\n\n"), "\n\n") {
		line, ok := strings.CutPrefix(event, "data: ")
		if !ok || strings.Contains(line, "\n") {
			t.Errorf("event %q", event)
		}
		if from, to := strings.Index(line, `"id":`), strings.Index(line, `"model":`); from >= 0 {
			line = line[:from] + line[to:]
		}
		events = append(events, line)
	}
	return events
}

func TestCompletionStreams(t *testing.T) {
	s := newServer(t, nil)
	head := `{"model":"google/flan-t5-base","choices":[`
	for name, c := range map[string]struct {
		path, body string
		fails      error
		want       []string
	}{
		"texts": {"completions", `{"model":"google/flan-t5-base","prompt":["a","b"],"stream":true,"echo":true}`, nil, []string{
			head + `{"index":0,"text":"aone ","finish_reason":null}]}`, head + `{"index":1,"text":"bone ","finish_reason":null}]}`,
			head + `{"index":0,"text":"two","finish_reason":null}]}`, head + `{"index":0,"text":"","finish_reason":"stop"}]}`,
			head + `{"index":1,"text":"two","finish_reason":null}]}`, head + `{"index":1,"text":"","finish_reason":"length"}]}`, "[DONE]",
		}},
		"chat with usage": {"chat/completions", strings.Replace(chatText, "{", `{"stream":true,"stream_options":{"include_usage":true},`, 1), nil, []string{
			head + `{"index":0,"delta":{"role":"assistant","content":"one "},"finish_reason":null}],"usage":null}`,
			head + `{"index":0,"delta":{"content":"two"},"finish_reason":null}],"usage":null}`,
			head + `{"index":0,"delta":{},"finish_reason":"stop"}],"usage":null}`,
			head + `],"usage":{"completion_tokens":2,"prompt_tokens":5,"total_tokens":7}}`, "[DONE]",
		}},
		"cut off": {"completions", strings.Replace(completionText, "{", `{"stream":true,`, 1), fault.New(fault.Internal, "", "secret"), []string{
			head + `{"index":0,"text":"one ","finish_reason":null}]}`,
			`{"error":{"code":"internal","message":"Internal Server Error (request r-1)","param":null,"type":"server_error"}}`,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s.t, s.m.generated = t, c.fails
			a := s.want(200, "POST", "/v1/"+c.path, c.body, "X-Request-Id", "r-1")
			if got := data(t, a); !slices.Equal(got, c.want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(c.want, "\n"))
			}
		})
	}
	s.t, s.m.generated = t, nil
	s.want(404, "POST", "/v1/completions", `{"model":"none","prompt":"x","stream":true}`) // before anything is sent an error is an answer of its own
}

// talking is a completion that goes on until its client has gone.
type talking struct {
	*memory
	ended chan error
}

func (c talking) Complete(ctx context.Context, _ string, _ gateway.Completion, l compute.Listener) ([]compute.Answer, error) {
	for ctx.Err() == nil {
		l.Text(0, strings.Repeat("x", 1000))
	}
	c.ended <- ctx.Err()
	return nil, ctx.Err()
}

func TestBadInput_55_CompletionWhoseClientIsGone(t *testing.T) {
	for _, stream := range []string{"true", "false"} {
		ended := make(chan error, 1)
		s := newServer(t, func(o *gateway.Options) { o.Completions = talking{ended: ended} })
		ctx, leave := context.WithCancel(t.Context())
		defer leave()
		r, err := http.NewRequestWithContext(ctx, "POST", s.url+"/v1/completions", strings.NewReader(`{"model":"m","prompt":"x","stream":`+stream+`}`))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer alice")
		r.Header.Set("Content-Type", "application/json")
		if stream == "false" {
			time.AfterFunc(100*time.Millisecond, leave)
		}
		res, err := http.DefaultClient.Do(r)
		if stream == "true" {
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(res.Body, make([]byte, 10)); err != nil {
				t.Fatal(err)
			}
			_ = res.Body.Close()
		}
		select {
		case err := <-ended:
			t.Log("the completion ended:", err)
		case <-time.After(5 * time.Second):
			t.Errorf("stream %s: the completion goes on", stream)
		}
	}
}
