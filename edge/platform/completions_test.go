package platform_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/medley-lora/medley/edge/compute"
	"github.com/medley-lora/medley/edge/record"
	"github.com/medley-lora/medley/edge/store"
)

// opened is what was asked of the evaluators.
type opened struct {
	mu      sync.Mutex
	specs   []string
	salts   []string
	weights []float64
}

// composed makes a composition that has ended.
func (w *world) composed(who string, modules []string) (id string) {
	w.t.Helper()
	w.work()
	id = w.call(who, 202, "POST", "/v1/compositions", taskOf(modules)).field("id")
	w.sse("/v1/compositions/"+id+"/events", "", nil)
	return id
}

func TestModels(t *testing.T) {
	w := newWorld(t, "embedded:", nil)
	mine := w.modules("ann", 2)
	done := w.composed("ann", mine)
	shared := w.call("bob", 201, "POST", "/v1/modules?name=zoo/plural&visibility=shared", archiveOf(t, 9), "Content-Type", "application/zip").field("id")
	w.upload("bob", 3)
	var list struct {
		Data []struct {
			ID, Name, Base string
			OwnedBy        string `json:"owned_by"`
		}
	}
	if err := json.Unmarshal(w.call("ann", 200, "GET", "/v1/models", nil).body, &list); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("[{tiny   medley} {%s  tiny you} {%s zoo/plural tiny another} {%s m2 tiny you} {%s m1 tiny you}]", done, shared, mine[1], mine[0])
	if got := fmt.Sprint(list.Data); got != want {
		t.Errorf("models %s, want %s", got, want)
	}
	for _, name := range []string{"tiny", done, mine[0], "m1", shared, "zoo/plural", "tiny:zoo/plural", "tiny:" + done} {
		if a := w.call("ann", 200, "GET", "/v1/models/"+name, nil); a.field("id") != name {
			t.Errorf("%s: %s", name, a.body)
		}
	}
	for _, name := range []string{"tinier", "m3", "tiny:", ":m1", "none:m1", "tiny:tiny", "tiny:m1:m2", done[:29] + "a", strings.Repeat("m", 300), "%ff", "a%20b"} {
		if a := w.call("ann", 404, "GET", "/v1/models/"+name, nil); a.field("code") != "model_not_found" {
			t.Errorf("%s: %s", name, a.body)
		}
	}
	w.call("bob", 404, "GET", "/v1/models/"+done, nil)
	w.call("bob", 404, "GET", "/v1/models/m1", nil)
	w.call("bob", 200, "GET", "/v1/models/zoo/plural", nil)
}

// What is composed of the model's name and the request's adapters, and that only what one sees can be.
func TestCompletions(t *testing.T) {
	w := newWorld(t, "embedded:", nil)
	var o opened
	w.models.Asking = func(spec compute.Spec, prompts []compute.Prompt, weights []float64) {
		o.mu.Lock()
		defer o.mu.Unlock()
		for _, p := range prompts {
			o.salts = append(o.salts, p.Salt)
		}
		var names []string
		for _, m := range spec.Modules {
			names = append(names, m.Name)
		}
		o.specs, o.weights = append(o.specs, spec.Base+" "+strings.Join(names, " ")), weights
	}
	mine := w.modules("ann", 2)
	done := w.composed("ann", mine)
	ask := func(who string, status int, model string, lora ...any) answer {
		body := map[string]any{"model": model, "prompt": []string{"ab", "c"}, "n": 2, "temperature": 0}
		if lora != nil {
			body["lora"] = lora
		}
		return w.call(who, status, "POST", "/v1/completions", body)
	}
	on := func(id string, scale float64) map[string]any { return map[string]any{"id": id, "scale": scale} }
	for _, c := range []struct {
		model   string
		lora    []any
		spec    string
		weights string
	}{
		{"tiny", nil, "tiny ", "[]"},
		{"m1", nil, "tiny m1", "[1]"},
		{"tiny:" + mine[1], nil, "tiny " + mine[1], "[1]"},
		{done, []any{on("m1", 0.5), on(mine[1], -2)}, "tiny " + done + " m1 " + mine[1], "[1 0.5 -2]"},
		{"tiny", []any{on(done, 0.25)}, "tiny " + done, "[0.25]"},
	} {
		a := ask("ann", 200, c.model, c.lora...)
		var got struct {
			Choices []struct{ Text string }
			Usage   json.RawMessage
		}
		if err := json.Unmarshal(a.body, &got); err != nil {
			t.Fatal(err)
		}
		if last := o.specs[len(o.specs)-1]; last != c.spec || fmt.Sprint(o.weights) != c.weights {
			t.Errorf("%s with %v: asked for %q under %v, want %q under %s", c.model, c.lora, last, o.weights, c.spec, c.weights)
		}
		if fmt.Sprint(got.Choices) != "[{ab} {ab} {c} {c}]" || string(got.Usage) != `{"completion_tokens":6,"prompt_tokens":3,"total_tokens":9}` {
			t.Errorf("%s: %s", c.model, a.body)
		}
	}
	for field, lora := range map[string][]any{"lora": {on("none", 1)}, "lora/0/id": {on("", 1)}} {
		if a := ask("ann", 400, "tiny", lora...); a.field("field") != field || field == "lora" && !strings.Contains(a.field("detail"), `no adapter "none"`) {
			t.Errorf("%s", a.body)
		}
	}
	ask("ann", 400, "m1", on("m1", 1))
	ask("ann", 400, "tiny", on("m1", 1), on("m1", 2))
	ask("bob", 404, done)
	ask("bob", 404, "tiny:m1")
	ask("bob", 400, "tiny", on("m1", 1))
	ask("bob", 400, "tiny", on(done, 1))
	chat := w.call("ann", 200, "POST", "/v1/chat/completions", map[string]any{
		"model": "m2", "messages": []map[string]string{{"role": "system", "content": "s"}, {"role": "user", "content": "hello"}},
	})
	if !strings.Contains(string(chat.body), `"content":"hello"`) {
		t.Errorf("%s", chat.body)
	}
	o.salts = nil
	ask("ann", 200, "tiny")
	ask("bob", 200, "tiny")
	generation := map[string]any{"base": "tiny", "inputs": []string{"a"}}
	w.call("ann", 200, "POST", "/v1/generations", generation)
	w.call("bob", 200, "POST", "/v1/generations", generation)
	// Two prompts twice, and one.
	a, b := o.salts[0], o.salts[4]
	if a == "" || b == "" || a == b || !slices.Equal(o.salts, []string{a, a, a, a, b, b, b, b, a, b}) {
		t.Errorf("prompts are computed for %q, want a salt for each of two people", o.salts)
	}
}

// A composition that has no adapter yet is no model, and says why.
func TestUnfinishedCompositionIsNoModel(t *testing.T) {
	w := newWorld(t, "embedded:", nil)
	id := w.call("ann", 202, "POST", "/v1/compositions", taskOf(w.modules("ann", 1))).field("id")
	if a := w.call("ann", 404, "POST", "/v1/completions", map[string]any{"model": id, "prompt": "x"}); !strings.Contains(a.field("detail"), "queued") {
		t.Errorf("%s", a.body)
	}
	if a := w.call("ann", 200, "GET", "/v1/models", nil); strings.Contains(string(a.body), id) {
		t.Errorf("%s", a.body)
	}
}

// With several bases an adapter is on the one that it names, or the request says.
func TestBaseOfAnAdapter(t *testing.T) {
	w := newWorld(t, "embedded:", nil)
	for _, name := range []string{"org/other", "third"} {
		_, err := w.Store.CreateBase(t.Context(), record.Base{Object: record.Object{Owner: "medley"}, Name: name, Digest: strings.Repeat("0", 64)}, store.Once{})
		if err != nil {
			t.Fatal(err)
		}
	}
	for named, want := range map[string]string{"tiny": "tiny", "hub/third": "third", "other": "org/other", "unheard/of": ""} {
		m, err := w.Store.CreateModule(t.Context(), record.Module{
			Object: record.Object{Owner: "medley"}, Name: "m", Visibility: record.Shared, Digest: strings.Repeat("0", 64), Base: named, Targets: []string{},
		}, store.Once{})
		if err != nil {
			t.Fatal(err)
		}
		status := 200
		if want == "" {
			status = 400
		}
		var spec string
		w.models.Asking = func(s compute.Spec, _ []compute.Prompt, _ []float64) { spec = s.Base }
		if want != "" && want != "tiny" {
			status = 404 // computetest has one base alone, and says so of the others
		}
		a := w.call("ann", status, "POST", "/v1/completions", map[string]any{"model": m.ID, "prompt": "x"})
		switch {
		case want == "" && !strings.Contains(a.field("detail"), "BASE:"+m.ID):
			t.Errorf("%s", a.body)
		case want != "" && want != "tiny" && !strings.Contains(a.field("detail"), want):
			t.Errorf("%s is on %s", named, a.body)
		case want == "tiny" && spec != want:
			t.Errorf("%s is on %s", named, spec)
		}
		w.call("ann", 200, "POST", "/v1/completions", map[string]any{"model": "tiny:" + m.ID, "prompt": "x"})
	}
}
