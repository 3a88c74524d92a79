//go:build !wasip1

package search

import (
	"bytes"
	"encoding/json"
	"io"
	"strconv"

	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/wire"
)

// TraceVersion is the version of the format that TraceWriter writes and ReadTrace reads.
//
// A trace is JSON lines. The first is the header; each further line is one evaluation, in order, with everything that a
// replay needs. Numbers are written with the digits that bring back the same float64; NaN is null, and the infinities are
// the strings "inf" and "-inf".
const TraceVersion = 1

// TraceHeader says which search a trace belongs to.
type TraceHeader struct {
	Problem   Problem
	Optimizer string            // its name
	Labels    map[string]string // anything else that the result depends on: digests of the base, the modules, the examples
}

// TraceWriter writes a trace, one Write per round, so that a killed process leaves whole rounds behind.
type TraceWriter struct {
	w       io.Writer
	round   bytes.Buffer // lines not yet written
	pending int          // evaluations among them
	err     error
}

// NewTraceWriter writes the header to w.
func NewTraceWriter(w io.Writer, h TraceHeader) (*TraceWriter, error) {
	t := ContinueTrace(w)
	t.line(headerLine{
		Version: TraceVersion, Optimizer: h.Optimizer, Labels: h.Labels,
		Problem: problemLine{
			Dim: h.Problem.Dim, Lower: wire.Numbers(h.Problem.Lower), Upper: wire.Numbers(h.Problem.Upper), Budget: h.Problem.Budget,
			Batch: h.Problem.Batch, Seed: strconv.FormatUint(h.Problem.Seed, 10), L1: wire.Number(h.Problem.L1), Groups: h.Problem.Groups,
		},
	})
	t.flush()
	return t, t.err
}

// ContinueTrace appends to a trace that was cut to Trace.Size bytes.
func ContinueTrace(w io.Writer) *TraceWriter { return &TraceWriter{w: w} }

// Observe adds one evaluation; it fits RunOptions.Observe. A failure is kept for Err, and nothing is written after it.
func (t *TraceWriter) Observe(e Evaluation) {
	t.line(newEvaluationLine(e))
	t.pending++
	if t.pending >= e.RoundSize {
		t.flush()
	}
}

// Err returns the first failure to encode or to write.
func (t *TraceWriter) Err() error { return t.err }

func (t *TraceWriter) line(v any) {
	if t.err != nil {
		return
	}
	if err := json.NewEncoder(&t.round).Encode(v); err != nil {
		t.err = fault.Wrap(err, fault.Internal, "trace", "cannot be encoded")
	}
}

func (t *TraceWriter) flush() {
	t.pending = 0
	if t.err == nil {
		_, t.err = t.w.Write(t.round.Bytes())
	}
	t.round.Reset()
}

// MarshalEvaluation is an evaluation as a line of a trace has it, without the line's end.
func MarshalEvaluation(e Evaluation) ([]byte, error) { return json.Marshal(newEvaluationLine(e)) }

func newEvaluationLine(e Evaluation) evaluationLine {
	return evaluationLine{
		Number: e.Number, Round: e.Round, RoundSize: e.RoundSize,
		Objective: wire.Number(e.Score.Objective), Loss: wire.Number(e.Score.Loss), Best: wire.Number(e.Best), Weights: wire.Numbers(e.Candidate),
		Examples: wire.Numbers(e.Score.Examples), LogProbs: wire.Numbers(e.Score.LogProbs),
	}
}

type headerLine struct {
	Version   int               `json:"medley_trace"`
	Optimizer string            `json:"optimizer"`
	Problem   problemLine       `json:"problem"`
	Labels    map[string]string `json:"labels,omitempty"`
}

type problemLine struct {
	Dim    int           `json:"dim"`
	Lower  []wire.Number `json:"lower"`
	Upper  []wire.Number `json:"upper"`
	Budget int           `json:"budget"`
	Batch  int           `json:"batch"`
	Seed   string        `json:"seed"` // text, because JSON numbers of other languages hold 53 bits
	L1     wire.Number   `json:"l1"`
	Groups []int         `json:"groups,omitempty"`
}

type evaluationLine struct {
	Number    int           `json:"evaluation"`
	Round     int           `json:"round"`
	RoundSize int           `json:"round_size"`
	Objective wire.Number   `json:"objective"`
	Loss      wire.Number   `json:"loss"`
	Best      wire.Number   `json:"best"`
	Weights   []wire.Number `json:"weights"`
	Examples  []wire.Number `json:"examples,omitempty"`
	LogProbs  []wire.Number `json:"log_probs,omitempty"`
}
