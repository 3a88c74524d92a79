package service_test

import (
	"errors"
	"math"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/medley-lora/medley/gpu/engine"
	"github.com/medley-lora/medley/gpu/service"
	"github.com/medley-lora/medley/shared/compose"
	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/lora"
	"github.com/medley-lora/medley/shared/search"
	"github.com/medley-lora/medley/shared/task"
)

var examples = []task.Example{
	{Input: "one berry , several", Output: "berries"},
	{Input: "bytes that are no text: \xff\xfe\x80 and \x00 \u2028 <&> 日本", Output: "caf\xe9 \"quoted\""},
	{Input: strings.Repeat("far too long ", 40), Output: strings.Repeat("word ", 30)},
	{Input: "", Output: "x"},
}

var limits = service.Limits{MaxSource: 48, MaxTarget: 16}

// sameScores compares bit for bit, with NaN equal to NaN.
func sameScores(a, b []search.Score) bool {
	same := func(x, y float64) bool { return x == y && math.Signbit(x) == math.Signbit(y) || x != x && y != y }
	return slices.EqualFunc(a, b, func(x, y search.Score) bool {
		return same(x.Loss, y.Loss) && x.Objective == y.Objective && slices.EqualFunc(x.Examples, y.Examples, same) && slices.EqualFunc(x.LogProbs, y.LogProbs, same)
	})
}

// A session gives what a mixer in this process gives.
func TestSessionIsAMixer(t *testing.T) {
	z := newZoo(t)
	server := newServer()
	defer server.Close()
	c, _ := clientOf(t, server)
	weights := [][]float64{{0, 0}, {1, 0}, {0.1, -1.0 / 3}, {1.5, 1.5}, {math.NaN(), 0}, {math.Inf(1), 0}, {math.Copysign(0, -1), 5e-324}}
	for _, method := range []lora.Method{lora.Delta, lora.Product} {
		t.Run(string(method), func(t *testing.T) {
			q := z.request(method, "plural", "french")
			q.Limits = limits
			e, m := z.mixer(t, q)
			s := openSession(t, c, q)
			defer s.Close()
			if b := s.Backend(); b.Name != "reference" || b.Reason != "it is the only one" || b.Device == "" {
				t.Errorf("backend %+v", b)
			}
			want, err := m.Score(t.Context(), examples, weights)
			if err != nil {
				t.Fatal(err)
			}
			got, err := s.Score(t.Context(), examples, weights)
			if err != nil || !sameScores(got, want) {
				t.Errorf("scores %v, want %v, error %v", got, want, err)
			}
			if !math.IsNaN(want[4].Loss) {
				t.Error("no score is NaN: the case tests nothing")
			}
			wantCounts, err := m.Count(t.Context(), examples)
			if err != nil || len(wantCounts.Warnings) == 0 {
				t.Fatalf("counts %+v, error %v", wantCounts, err)
			}
			if counts, err := s.Count(t.Context(), examples); err != nil || !reflect.DeepEqual(counts, wantCounts) {
				t.Errorf("counts %+v, want %+v; error %v", counts, wantCounts, err)
			}
			sameAnswers(t, s, e, m)
		})
	}
}

func sameAnswers(t *testing.T, s *service.Session, e *engine.Engine, m *engine.Mixer) {
	t.Helper()
	var inputs []string
	for _, x := range examples {
		inputs = append(inputs, x.Input)
	}
	weights := []float64{0.5, 0.75}
	want, err := m.Generate(t.Context(), inputs, weights, func(int) {})
	if err != nil {
		t.Fatal(err)
	}
	var progress []int
	got, err := s.Generate(t.Context(), inputs, weights, func(done int) { progress = append(progress, done) })
	if err != nil || !slices.Equal(got, want) || !slices.Equal(progress, []int{1, 2, 3, 4}) {
		t.Errorf("answers %q, want %q; progress %v; error %v", got, want, progress, err)
	}
	composition, err := m.Composition(weights)
	if err != nil {
		t.Fatal(err)
	}
	sampling := engine.Sampling{MaxTokens: 9, Temperature: 1.5, TopK: 50, TopP: 0.9, Seed: math.MaxUint64}
	var requests []engine.Request
	for _, input := range inputs {
		source, _ := e.EncodeInput(input)
		requests = append(requests, engine.Request{Source: source, Composition: &composition})
	}
	drawn, err := e.Generate(t.Context(), requests, sampling, engine.Listener{})
	if err != nil {
		t.Fatal(err)
	}
	texts := make([]string, len(inputs))
	answers, err := s.Answer(t.Context(), inputs, weights, sampling, engine.AnswerListener{Text: func(i int, text string) { texts[i] += text }})
	if err != nil {
		t.Fatal(err)
	}
	for i, ids := range drawn {
		_, warning := e.EncodeInput(inputs[i])
		if want := (engine.Answer{Text: e.Tokenizer.Decode(ids), Tokens: len(ids), Warning: warning}); answers[i] != want || texts[i] != want.Text {
			t.Errorf("drawn %+v, heard %q, want %+v", answers[i], texts[i], want)
		}
	}
}

// faultOf is what a program and a person see of an error.
func faultOf(err error) fault.Error {
	var f *fault.Error
	if !errors.As(err, &f) {
		return fault.Error{}
	}
	return fault.Error{Code: f.Code, Field: f.Field, Message: f.Message}
}

// Errors come back with the code, the field and the sentence that they have in this process.
func TestSameErrors(t *testing.T) {
	z := newZoo(t)
	server := newServer()
	defer server.Close()
	c, _ := clientOf(t, server)
	for name, call := range map[string]func(*testing.T, compose.Model) error{
		"no examples": func(t *testing.T, m compose.Model) error {
			_, err := m.Score(t.Context(), nil, [][]float64{{1, 1}})
			return err
		},
		"few weights": func(t *testing.T, m compose.Model) error {
			_, err := m.Score(t.Context(), examples, [][]float64{{1}})
			return err
		},
		"other ranks": func(t *testing.T, m compose.Model) error {
			_, err := m.Score(t.Context(), examples, [][]float64{{1, 1}})
			return err
		},
		"few to answer": func(t *testing.T, m compose.Model) error {
			_, err := m.Generate(t.Context(), []string{"a"}, nil, func(int) {})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			q := z.request(lora.Product, "plural", "variants/rslora_r4")
			_, m := z.mixer(t, q)
			s := openSession(t, c, q)
			defer s.Close()
			want, got := call(t, m), call(t, s)
			if want == nil || got == nil || faultOf(want) != faultOf(got) {
				t.Errorf("got %+v, want %+v", faultOf(got), faultOf(want))
			}
		})
	}
	t.Run("sampling", func(t *testing.T) {
		s := openSession(t, c, z.request(lora.Delta))
		defer s.Close()
		_, err := s.Answer(t.Context(), []string{"a"}, nil, engine.Sampling{TopP: math.NaN()}, engine.AnswerListener{})
		if want := (fault.Error{Code: fault.Invalid, Field: "top-p", Message: "NaN is outside [0, 1]"}); faultOf(err) != want {
			t.Errorf("got %+v, want %+v", faultOf(err), want)
		}
	})
	for name, c := range map[string]struct {
		change func(*service.OpenRequest)
		score  bool
		code   fault.Code
		field  string
	}{
		"no base":       {change: func(q *service.OpenRequest) { q.Base.Path = filepath.Join(z.dir, "nowhere") }, code: fault.Invalid, field: "--base: config.json"},
		"static merge":  {change: func(q *service.OpenRequest) { q.Method = string(lora.TIES) }, code: fault.Unsupported, field: "method"},
		"module absent": {change: func(q *service.OpenRequest) { q.Modules[0].Path = z.dir }, score: true, code: fault.NotFound, field: "module plural: adapter_config.json"},
	} {
		t.Run(name, func(t *testing.T) {
			client, _ := clientOf(t, server)
			q := z.request(lora.Delta, "plural")
			c.change(&q)
			s, err := client.Open(t.Context(), q)
			if c.score && err == nil {
				defer s.Close()
				_, err = s.Score(t.Context(), examples, [][]float64{{1}})
			}
			if f := faultOf(err); f.Code != c.code || f.Field != c.field || f.Message == "" || strings.Contains(f.Message, z.dir) {
				t.Errorf("%+v, want %s in %s", f, c.code, c.field)
			}
		})
	}
}
