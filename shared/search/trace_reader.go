//go:build !wasip1

package search

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"strconv"

	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/wire"
)

// maxTraceLine bounds what ReadTrace holds at once: a trace may come from anyone. Bytes.
const maxTraceLine = 16 << 20

// Trace is what a run left behind.
type Trace struct {
	TraceHeader
	Evaluations []Evaluation // whole rounds only
	Size        int64        // bytes up to the end of the last whole round: cut the file there before ContinueTrace
}

// ReadTrace reads a trace. A torn last line and an unfinished last round are what a killed process leaves, and are dropped;
// anything else that does not fit is a fault.Invalid error whose field is the line ("line 3: weights").
func ReadTrace(r io.Reader) (Trace, error) {
	lines := traceLines{r: bufio.NewReaderSize(r, 64<<10)}
	var trace Trace
	data, err := lines.next()
	if err != nil {
		return Trace{}, err
	}
	if data == nil {
		return Trace{}, fault.New(fault.Invalid, lines.place(), "a trace begins with a whole header line")
	}
	if trace.TraceHeader, err = readHeader(data); err != nil {
		return Trace{}, fault.In(lines.place(), err)
	}
	trace.Size = lines.size
	var round []Evaluation
	best := math.NaN()
	for {
		data, err := lines.next()
		if err != nil {
			return Trace{}, err
		}
		if data == nil {
			return trace, nil
		}
		if len(trace.Evaluations)+len(round) == trace.Problem.Budget {
			return Trace{}, fault.New(fault.Invalid, lines.place(), "more evaluations than the budget of %d", trace.Problem.Budget)
		}
		e, err := UnmarshalEvaluation(data)
		if err == nil {
			err = trace.follows(e, round)
		}
		if err != nil {
			return Trace{}, fault.In(lines.place(), err)
		}
		if f := e.Score.Objective; finite(f) && !(best <= f) {
			best = f
		}
		e.Best = best
		round = append(round, e)
		if len(round) == e.RoundSize {
			trace.Evaluations = append(trace.Evaluations, round...)
			trace.Size = lines.size
			round = nil
		}
	}
}

// follows checks e as the next evaluation after the whole rounds of t and the begun round.
func (t *Trace) follows(e Evaluation, begun []Evaluation) error {
	number, round, size := len(t.Evaluations)+len(begun)+1, 1, e.RoundSize
	if n := len(t.Evaluations); n > 0 {
		round = t.Evaluations[n-1].Round + 1
	}
	if len(begun) > 0 {
		size = begun[0].RoundSize
	}
	switch {
	case e.Number != number:
		return fault.New(fault.Invalid, "evaluation", "expected %d, got %d", number, e.Number)
	case e.Round != round:
		return fault.New(fault.Invalid, "round", "expected %d, got %d", round, e.Round)
	case e.RoundSize != size || size < 1 || size > t.Problem.Batch:
		return fault.New(fault.Invalid, "round_size", "%d does not fit the round or the batch of %d", e.RoundSize, t.Problem.Batch)
	case len(e.Candidate) != t.Problem.Dim:
		return fault.New(fault.Invalid, "weights", "expected %d, got %d", t.Problem.Dim, len(e.Candidate))
	}
	for i, w := range e.Candidate {
		if !(w >= t.Problem.Lower[i] && w <= t.Problem.Upper[i]) {
			return fault.New(fault.Invalid, "weights", "weight %d is outside the bounds", i+1)
		}
	}
	return nil
}

func readHeader(data []byte) (TraceHeader, error) {
	var h headerLine
	var version struct {
		Version *int `json:"medley_trace"`
	}
	if err := json.Unmarshal(data, &version); err != nil || version.Version == nil {
		return TraceHeader{}, fault.New(fault.Invalid, "medley_trace", "missing: this is not a trace")
	}
	if *version.Version != TraceVersion {
		return TraceHeader{}, fault.New(fault.Unsupported, "medley_trace",
			"the trace has format version %d, this program reads version %d", *version.Version, TraceVersion)
	}
	if err := decodeStrict(data, &h); err != nil {
		return TraceHeader{}, err
	}
	seed, err := strconv.ParseUint(h.Problem.Seed, 10, 64)
	if err != nil {
		return TraceHeader{}, fault.New(fault.Invalid, "seed", "is not a 64-bit number as text")
	}
	p := Problem{
		Dim: h.Problem.Dim, Lower: wire.Floats(h.Problem.Lower), Upper: wire.Floats(h.Problem.Upper), Budget: h.Problem.Budget,
		Batch: h.Problem.Batch, Seed: seed, L1: float64(h.Problem.L1), Groups: h.Problem.Groups,
	}
	return TraceHeader{Problem: p, Optimizer: h.Optimizer, Labels: h.Labels}, p.Check()
}

// UnmarshalEvaluation reads what MarshalEvaluation wrote.
func UnmarshalEvaluation(data []byte) (Evaluation, error) {
	// A missing number must not become 0, which is a perfect loss.
	l := evaluationLine{Objective: wire.Number(math.NaN()), Loss: wire.Number(math.NaN())}
	if err := decodeStrict(data, &l); err != nil {
		return Evaluation{}, err
	}
	return Evaluation{
		Number: l.Number, Round: l.Round, RoundSize: l.RoundSize, Candidate: wire.Floats(l.Weights),
		Score: Score{
			Objective: float64(l.Objective), Loss: float64(l.Loss), Examples: wire.Floats(l.Examples), LogProbs: wire.Floats(l.LogProbs),
		},
	}, nil
}

func decodeStrict(data []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return fault.Wrap(err, fault.Invalid, "", "is not a line of a trace: %v", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return fault.New(fault.Invalid, "", "has something after the closing brace")
	}
	return nil
}

// traceLines splits a stream into lines of bounded length.
type traceLines struct {
	r    *bufio.Reader
	line int   // number of the last one returned
	size int64 // bytes up to its end
}

func (t *traceLines) place() string { return "line " + strconv.Itoa(t.line) }

// next returns the next whole line without its newline, or nil at the end: a last line without a newline was torn.
func (t *traceLines) next() ([]byte, error) {
	t.line++
	var data []byte
	for {
		part, err := t.r.ReadSlice('\n')
		data = append(data, part...)
		switch {
		case len(data) > maxTraceLine:
			return nil, fault.New(fault.TooLarge, t.place(), "is longer than %d bytes", maxTraceLine)
		case err == nil:
			t.size += int64(len(data))
			return data[:len(data)-1], nil
		case errors.Is(err, io.EOF):
			return nil, nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, fault.Wrap(err, fault.Internal, t.place(), "cannot be read")
		}
	}
}
