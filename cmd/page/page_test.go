//go:build !js

package main

import (
	"compress/gzip"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/medley-lora/medley/shared/peft"
	"github.com/medley-lora/medley/shared/task"
	"github.com/medley-lora/medley/shared/zoo"
	"github.com/medley-lora/medley/shared/zoo/zootest"
)

// tolerance is for numbers of about 1, and relative for larger ones.
const tolerance = 1e-3

// source is a folder of files for harness.js to read.
type source struct {
	Name   string   `json:"name"`
	Folder string   `json:"folder"`
	Files  []string `json:"files"`
}

func (p *page) source(t *testing.T, folder string) source {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(p.files, folder))
	if err != nil {
		t.Fatal(err)
	}
	s := source{Name: filepath.Base(folder), Folder: folder}
	for _, e := range entries {
		s.Files = append(s.Files, e.Name())
	}
	return s
}

// modules are the adapters of the zoo and of zootest. A page takes safetensors only, so the variant that PyTorch pickled is written anew.
func (p *page) modules(t *testing.T) []source {
	t.Helper()
	var all []source
	for _, folder := range []string{"modules", "variants"} {
		entries, err := os.ReadDir(filepath.Join(p.files, folder))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if strings.HasPrefix(e.Name(), "unsupported_") || e.Name() == pickled {
				continue
			}
			all = append(all, p.source(t, folder+"/"+e.Name()))
		}
	}
	m, err := peft.Open(filepath.Join(p.files, "variants", pickled), peft.OpenOptions{AllowPickle: true})
	if err != nil {
		t.Fatal(err)
	}
	a, err := m.Load()
	if err != nil {
		t.Fatal(err)
	}
	written := filepath.Join(p.files, "written", pickled)
	if err := peft.Write(written, a, peft.WriteOptions{Overwrite: true}); err != nil {
		t.Fatal(err)
	}
	return append(all, p.source(t, "written/"+pickled))
}

const pickled = "bin_r8"

// opening is what harness.js says of a model.
type opening struct {
	Backend, Device, Reason string
	Seconds                 float64
	Maps                    map[string]struct{ In, Out int }
	Candidates              []struct{ Name, Error string }
}

// tested is an open model in the page.
type tested struct {
	*page
	backend string
	modules []source
}

func (p *page) model(t *testing.T, backend string) *tested {
	t.Helper()
	m := &tested{page: p, backend: backend, modules: p.modules(t)}
	o := evaluate[opening](t, p, "open", backend, p.source(t, "base"), m.modules)
	t.Logf("%s: %s (%s), open in %.2f s", o.Backend, o.Device, o.Reason, o.Seconds)
	if o.Backend != backend {
		t.Errorf("the backend is %s", o.Backend)
	}
	if q := o.Maps["encoder.block.0.layer.0.SelfAttention.q"]; q.In == 0 || q.Out == 0 {
		t.Errorf("the maps lack the first query projection: %v", o.Maps)
	}
	return m
}

// weights spreads the weights of some modules over all of them.
func (m *tested) weights(t *testing.T, names []string, weights []float64) []float64 {
	t.Helper()
	all := make([]float64, len(m.modules))
	for i, name := range names {
		n := slices.IndexFunc(m.modules, func(s source) bool { return s.Name == name })
		if n < 0 {
			t.Fatalf("there is no module %s", name)
		}
		all[n] = weights[i]
	}
	return all
}

// options are those of score and generate.
type options struct {
	Method    string `json:"method"`
	MaxTokens int    `json:"maxTokens"`
}

type score struct {
	Loss     float64
	Examples []float64
	LogProbs [][]float64
}

func (m *tested) score(t *testing.T, examples []task.Example, weights []float64, method string) score {
	t.Helper()
	scores := evaluate[[]score](t, m.page, "score", m.backend, examples, [][]float64{weights}, options{Method: method})
	if len(scores) != 1 {
		t.Fatalf("%d scores for one weight vector", len(scores))
	}
	return scores[0]
}

func (m *tested) checkForward(t *testing.T, f zootest.Forward, weights []float64, method string) {
	t.Helper()
	examples, inputs := make([]task.Example, len(f.Examples)), make([]string, len(f.Examples))
	for i, x := range f.Examples {
		examples[i], inputs[i] = task.Example(x), x.Input
	}
	s := m.score(t, examples, weights, method)
	near(t, "loss", []float64{s.Loss}, []float64{f.LossMeanToken})
	for i, want := range f.TargetLogProbs {
		near(t, fmt.Sprintf("log-probabilities of example %d", i), s.LogProbs[i], want)
	}
	if f.GreedyIDs == nil {
		return
	}
	type answer struct {
		IDs  []int32
		Text string
	}
	longest := len(f.GreedyIDs[0]) - 1
	got := evaluate[struct{ Answers, Heard []answer }](t, m.page, "generate", m.backend, inputs, weights, options{method, longest})
	for i, want := range f.GreedyIDs {
		if a := got.Answers[i]; !slices.Equal(framed(a.IDs, longest), want) || a.Text != f.Greedy[i] {
			t.Errorf("example %d: %v %q, want %v %q", i, a.IDs, a.Text, want, f.Greedy[i])
		} else if !slices.Equal(got.Heard[i].IDs, a.IDs) || got.Heard[i].Text != a.Text {
			t.Errorf("example %d: onToken heard %v, the answer is %v", i, got.Heard[i], a)
		}
	}
}

// framed adds the start token, the end token if there is room, and padding, as Transformers returns them.
func framed(ids []int32, longest int) []int32 {
	row := append([]int32{0}, ids...)
	if len(row) <= longest {
		row = append(row, 1)
	}
	for len(row) <= longest {
		row = append(row, 0)
	}
	return row
}

func near(t *testing.T, what string, got, want []float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %d numbers, want %d", what, len(got), len(want))
		return
	}
	for i, w := range want {
		if !(math.Abs(got[i]-w) <= tolerance*max(1, math.Abs(w))) {
			t.Errorf("%s: number %d is %.6f, want %.6f", what, i, got[i], w)
		}
	}
}

// TestPage is one test because starting the browser and compiling the engine take longer than most of what follows.
func TestPage(t *testing.T) {
	p := openPage(t)
	t.Run("size", p.size)
	t.Run("auto", p.auto)
	t.Run("dying", p.dying)
	t.Run("golden", p.golden)
	t.Run("suites", func(t *testing.T) { suites(t, p) })
}

func (p *page) golden(t *testing.T) {
	golden, variants := zootest.LoadGolden(t), zootest.LoadVariants(t)
	for _, backend := range []string{"simd", "webgpu"} {
		t.Run(backend, func(t *testing.T) {
			m := p.model(t, backend)
			for i, f := range golden.Forward {
				t.Run(fmt.Sprintf("%d %s of %d", i, f.Method, len(f.Modules)), func(t *testing.T) {
					method := "product" // the goldens' "single" scales both factors, as product does
					if f.Method == "delta" {
						method = "delta"
					}
					m.checkForward(t, f, m.weights(t, f.Modules, f.Weights), method)
				})
			}
			for _, f := range variants {
				t.Run(f.Adapter, func(t *testing.T) {
					m.checkForward(t, f, m.weights(t, []string{f.Adapter}, []float64{1}), "")
				})
			}
			t.Run("objectives", func(t *testing.T) { m.checkObjectives(t, golden.Objective) })
			t.Run("rate", m.rate)
			t.Run("mistakes", m.mistakes)
			t.Run("closing", m.closing) // the last: the model is gone then
		})
	}
}

func (m *tested) checkObjectives(t *testing.T, objectives []zootest.Objective) {
	for i, o := range objectives {
		for method, want := range map[string]struct{ LoraHub, Mean float64 }{"product": o.Product, "delta": o.Delta} {
			s := m.score(t, fewExamples(t, o.Task), m.weights(t, o.Modules, o.Weights), method)
			tokens := make([]int, len(s.LogProbs))
			for j := range tokens {
				tokens[j] = len(s.LogProbs[j])
			}
			for name, value := range map[string]float64{task.LoraHub: want.LoraHub, task.Mean: want.Mean} {
				objective, err := task.ParseObjective(name)
				if err != nil {
					t.Fatal(err)
				}
				near(t, fmt.Sprintf("%d %s %s", i, method, name), []float64{objective.Value(s.Examples, tokens, o.Weights)}, []float64{value})
			}
		}
	}
}

func fewExamples(t *testing.T, name string) []task.Example {
	t.Helper()
	f, err := zoo.Files().Open("tasks/" + name + ".few.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	examples, err := task.ReadExamples(f, task.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return examples
}

// rate shows how fast a search's batch is, 20 weight vectors of 20 modules on 5 examples.
func (m *tested) rate(t *testing.T) {
	weights := make([][]float64, 20)
	for i := range weights {
		weights[i] = make([]float64, len(m.modules))
		for j := range 20 {
			weights[i][j] = float64((i*7+j*3)%11)/5 - 1
		}
	}
	rate := evaluate[float64](t, m.page, "rate", m.backend, fewExamples(t, zoo.Tasks()[0]), weights)
	t.Logf("%s: %.1f evaluations/s", m.backend, rate)
	if !(rate > 0.1) {
		t.Errorf("%g evaluations/s: a search of 40 takes minutes", rate)
	}
}

func (m *tested) mistakes(t *testing.T) {
	type rejection struct{ Kind, Message, Code, Field string }
	got := evaluate[map[string]*rejection](t, m.page, "mistakes", m.backend, []source{m.modules[0], m.source(t, "variants/"+pickled)})
	for name, want := range map[string]rejection{
		"no files":                 {Code: "invalid", Field: "files"},
		"text as a file":           {Code: "invalid", Field: "files"},
		"empty folder":             {Code: "invalid", Field: "config.json"},
		"unknown backend":          {Code: "invalid", Field: "backend"},
		"module twice":             {Code: "invalid", Field: "name"},
		"module without name":      {Code: "invalid", Field: "name"},
		"module without files":     {Code: "not_found", Field: "adapter_config.json"},
		"module cut short":         {Code: "invalid", Field: "adapter_model.safetensors: header"},
		"pickled module":           {Code: "unsupported", Field: "adapter_model.bin"},
		"no examples":              {Code: "invalid", Field: "examples"},
		"examples of another form": {Code: "invalid", Field: "examples"},
		"weights not in a list":    {Code: "invalid", Field: "weights"},
		"too few weights":          {Code: "invalid", Field: "weights"},
		"weight that is no number": {Code: "invalid", Field: "weights"},
		"static merge":             {Code: "unsupported", Field: "method"},
		"temperature":              {Code: "invalid", Field: "temperature"},
	} {
		r := got[name]
		if r == nil {
			t.Errorf("%s: is not rejected", name)
		} else if r.Kind != "MedleyError" || r.Code != want.Code || r.Field != want.Field || r.Message == "" {
			t.Errorf("%s: rejected with %+v, want %+v", name, *r, want)
		}
	}
}

func (m *tested) closing(t *testing.T) {
	codes := evaluate[[]string](t, m.page, "closing", m.backend, fewExamples(t, zoo.Tasks()[0])[0])
	if want := []string{"canceled", "invalid"}; !slices.Equal(codes, want) {
		t.Errorf("codes %v, want %v", codes, want)
	}
}

// auto: an adapter that computes on the processor is as good as none.
func (p *page) auto(t *testing.T) {
	o := evaluate[opening](t, p, "open", "auto", p.source(t, "base"), []source{})
	if o.Backend != "simd" || o.Reason == "" {
		t.Errorf("took %s (%s)", o.Backend, o.Reason)
	}
	for _, c := range o.Candidates {
		if c.Name == "webgpu" && !strings.Contains(c.Error, "swiftshader") {
			t.Errorf("webgpu was refused for %q; expected its adapter's name", c.Error)
		}
	}
	t.Logf("%s (%s), open in %.2f s; %+v", o.Backend, o.Reason, o.Seconds, o.Candidates)
}

// dying: nobody waits for an engine that is gone.
func (p *page) dying(t *testing.T) {
	p.compile(t, "dies/page.wasm", "build", "./testdata/dies")
	r := evaluate[struct{ Message, Code string }](t, p, "dying", "/dies/medley.js")
	if r.Code != "internal" || !strings.Contains(r.Message, "the engine stopped") {
		t.Errorf("rejected with %+v", r)
	}
}

// size: the download is what a visitor waits for first.
func (p *page) size(t *testing.T) {
	program, err := os.ReadFile(filepath.Join(p.built, "page.wasm"))
	if err != nil {
		t.Fatal(err)
	}
	var packed counter
	w, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(program); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes, %d with gzip", len(program), packed)
	const most, mostPacked = 9_000_000, 2_450_000
	if len(program) > most || packed > mostPacked {
		t.Errorf("%d bytes, %d with gzip; the limits are %d and %d", len(program), packed, most, mostPacked)
	}
}

type counter int

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}
