//go:build !wasip1

package search

import (
	"bytes"
	"errors"
	"io"
	"math"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/medley-lora/medley/shared/fault"
)

// sample is a trace of two rounds with every kind of number in it.
func sample() (TraceHeader, []Evaluation) {
	p := plane(9, 2)
	p.Seed, p.L1, p.Groups = math.MaxUint64, 0.05, []int{1, 2}
	h := TraceHeader{Problem: p, Optimizer: "gntr", Labels: map[string]string{"base": "sha256:00"}}
	return h, []Evaluation{
		{Number: 1, Round: 1, RoundSize: 2, Candidate: []float64{0.1, -1.0 / 3}, Best: 0.7,
			Score: Score{Objective: 0.7, Loss: 0.6, Examples: []float64{0.5, 5e-324}, LogProbs: []float64{-1e-300, math.Inf(-1), -0.25}}},
		{Number: 2, Round: 1, RoundSize: 2, Candidate: []float64{math.Copysign(0, -1), 1}, Best: 0.7,
			Score: Score{Objective: math.NaN(), Loss: math.Inf(1)}},
		{Number: 3, Round: 2, RoundSize: 1, Candidate: []float64{1, 1}, Best: -1e21, Score: Score{Objective: -1e21, Loss: 1e-7}},
	}
}

func write(t testing.TB, h TraceHeader, evaluations []Evaluation) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := NewTraceWriter(&b, h)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range evaluations {
		w.Observe(e)
	}
	if err := w.Err(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// sameTrace compares through bits, as NaN equals nothing.
func sameTrace(t *testing.T, got Trace, h TraceHeader, want []Evaluation) {
	t.Helper()
	if !reflect.DeepEqual(got.TraceHeader, h) {
		t.Errorf("header %+v, want %+v", got.TraceHeader, h)
	}
	if len(got.Evaluations) != len(want) {
		t.Fatalf("%d evaluations, want %d", len(got.Evaluations), len(want))
	}
	for i, w := range want {
		g := got.Evaluations[i]
		numbers := func(e Evaluation) []float64 { return []float64{e.Score.Objective, e.Score.Loss, e.Best} }
		if g.Number != w.Number || g.Round != w.Round || g.RoundSize != w.RoundSize || !sameBits(g.Candidate, w.Candidate) ||
			!sameBits(numbers(g), numbers(w)) || !sameBits(g.Score.Examples, w.Score.Examples) || !sameBits(g.Score.LogProbs, w.Score.LogProbs) {
			t.Errorf("evaluation %d is %+v, want %+v", i+1, g, w)
		}
	}
}

func TestTraceReturnsEveryBit(t *testing.T) {
	h, want := sample()
	data := write(t, h, want)
	got, err := ReadTrace(iotest.OneByteReader(bytes.NewReader(data)))
	if err != nil {
		t.Fatal(err)
	}
	sameTrace(t, got, h, want)
	if got.Size != int64(len(data)) {
		t.Errorf("size %d, want %d", got.Size, len(data))
	}
}

// A process may be killed at any byte: what is left must read as the whole rounds before it, and be continued to the same
// file.
func TestTraceCutAnywhere(t *testing.T) {
	h, want := sample()
	data := write(t, h, want)
	header := bytes.IndexByte(data, '\n') + 1
	for cut := range data {
		got, err := ReadTrace(bytes.NewReader(data[:cut]))
		if cut < header {
			if fault.CodeOf(err) != fault.Invalid {
				t.Fatalf("cut at %d in the header: %v", cut, err)
			}
			continue
		}
		if err != nil {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		whole := len(got.Evaluations)
		if whole != 0 && whole != 2 {
			t.Fatalf("cut at %d: %d evaluations", cut, whole)
		}
		sameTrace(t, got, h, want[:whole])
		rest := bytes.NewBuffer(bytes.Clone(data[:got.Size]))
		w := ContinueTrace(rest)
		for _, e := range want[whole:] {
			w.Observe(e)
		}
		if !bytes.Equal(rest.Bytes(), data) {
			t.Fatalf("cut at %d and continued, the trace is\n%s", cut, rest)
		}
	}
}

func TestTraceWritesWholeRounds(t *testing.T) {
	h, evaluations := sample()
	var b bytes.Buffer
	w, err := NewTraceWriter(&b, h)
	if err != nil {
		t.Fatal(err)
	}
	lines := []int{1, 3, 4}
	for i, e := range evaluations {
		w.Observe(e)
		if got := bytes.Count(b.Bytes(), []byte("\n")); got != lines[i] {
			t.Errorf("%d lines after evaluation %d, want %d", got, i+1, lines[i])
		}
	}
}

func TestTraceWriterKeepsTheFirstError(t *testing.T) {
	h, evaluations := sample()
	full := errors.New("disk full")
	if _, err := NewTraceWriter(failingWriter{full}, h); !errors.Is(err, full) {
		t.Errorf("header: %v", err)
	}
	w := ContinueTrace(failingWriter{full})
	for _, e := range evaluations {
		w.Observe(e)
	}
	if !errors.Is(w.Err(), full) {
		t.Errorf("evaluations: %v", w.Err())
	}
}

type failingWriter struct{ err error }

func (w failingWriter) Write([]byte) (int, error) { return 0, w.err }

func TestReadTraceRefuses(t *testing.T) {
	h, evaluations := sample()
	lines := strings.SplitAfter(string(write(t, h, evaluations)), "\n")
	replace := func(line int, old, with string) string {
		changed := append([]string(nil), lines...)
		if !strings.Contains(changed[line], old) {
			t.Fatalf("line %d has no %q: %s", line+1, old, changed[line])
		}
		changed[line] = strings.Replace(changed[line], old, with, 1)
		return strings.Join(changed, "")
	}
	for name, c := range map[string]struct {
		text string
		code fault.Code
		want string // in the message
	}{
		"empty":                {"", fault.Invalid, "line 1: "},
		"not JSON":             {"hello\n", fault.Invalid, "line 1: medley_trace"},
		"other JSON":           {"{}\n", fault.Invalid, "line 1: medley_trace"},
		"newer version":        {replace(0, `"medley_trace":1`, `"medley_trace":2`), fault.Unsupported, "version 2"},
		"bad problem":          {replace(0, `"dim":2`, `"dim":3`), fault.Invalid, "line 1: lower"},
		"bad seed":             {replace(0, `"seed":"18446744073709551615"`, `"seed":"-1"`), fault.Invalid, "line 1: seed"},
		"unknown field":        {replace(1, `"loss"`, `"lost"`), fault.Invalid, "line 2: "},
		"two objects":          {replace(1, "}\n", "}{}\n"), fault.Invalid, "line 2: has something after"},
		"weight too few":       {replace(1, `"weights":[0.1,`, `"weights":[`), fault.Invalid, "line 2: weights: expected 2"},
		"weight outside":       {replace(1, `"weights":[0.1,`, `"weights":[1.1,`), fault.Invalid, "line 2: weights: weight 1"},
		"weight NaN":           {replace(1, `"weights":[0.1,`, `"weights":[null,`), fault.Invalid, "line 2: weights: weight 1"},
		"number as text":       {replace(1, `"objective":0.7`, `"objective":"0.7"`), fault.Invalid, "line 2: "},
		"number too large":     {replace(1, `"objective":0.7`, `"objective":1e999`), fault.Invalid, "line 2: "},
		"evaluation left out":  {lines[0] + lines[2], fault.Invalid, "line 2: evaluation: expected 1"},
		"round left out":       {replace(3, `"round":2`, `"round":3`), fault.Invalid, "line 4: round: expected 2"},
		"round sizes differ":   {replace(2, `"round_size":2`, `"round_size":1`), fault.Invalid, "line 3: round_size"},
		"round above batch":    {replace(3, `"round_size":1`, `"round_size":3`), fault.Invalid, "line 4: round_size"},
		"more than the budget": {replace(0, `"budget":9`, `"budget":2`), fault.Invalid, "line 4: more evaluations than the budget"},
		"line too long":        {lines[0] + strings.Repeat(" ", maxTraceLine+1) + "\n", fault.TooLarge, "line 2: "},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ReadTrace(strings.NewReader(c.text))
			if fault.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %q (%s), expected %q (%s)", err, fault.CodeOf(err), c.want, c.code)
			}
		})
	}
	if _, err := ReadTrace(io.MultiReader(strings.NewReader(lines[0]), iotest.ErrReader(io.ErrNoProgress))); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("a failing reader: %v", err)
	}
}

// A score that says nothing of the objective must not read as a perfect one.
func TestMissingObjectiveIsNaN(t *testing.T) {
	h, _ := sample()
	data := append(write(t, h, nil), `{"evaluation":1,"round":1,"round_size":1,"weights":[0,0]}`+"\n"...)
	trace, err := ReadTrace(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	if s := trace.Evaluations[0].Score; !math.IsNaN(s.Objective) || !math.IsNaN(s.Loss) {
		t.Errorf("%+v", s)
	}
}

func FuzzReadTrace(f *testing.F) {
	h, evaluations := sample()
	data := write(f, h, evaluations)
	f.Add(data)
	f.Add(data[:len(data)-9])
	f.Add([]byte("{\"medley_trace\":1}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		trace, err := ReadTrace(bytes.NewReader(data))
		if err != nil {
			if fault.CodeOf(err) == fault.Internal {
				t.Fatalf("input at fault is reported as a defect: %v", err)
			}
			return
		}
		if trace.Size > int64(len(data)) {
			t.Fatalf("size %d of %d bytes", trace.Size, len(data))
		}
		written := write(t, trace.TraceHeader, trace.Evaluations)
		again, err := ReadTrace(bytes.NewReader(written))
		if err != nil {
			t.Fatalf("what was read cannot be written and read: %v", err)
		}
		if twice := write(t, again.TraceHeader, again.Evaluations); !bytes.Equal(written, twice) {
			t.Fatalf("written twice:\n%s%s", written, twice)
		}
	})
}
