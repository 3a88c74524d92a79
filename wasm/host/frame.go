package host

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"math"

	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/search"
)

// What the two processes of an isolated guest say to each other: a frame is its length in bytes, u32, and one JSON object. Each request
// has one response; the first request is opOpen.
const (
	opOpen = "open"
	opAsk  = "ask"
	opTell = "tell"
	opBest = "best"
)

type request struct {
	Op string `json:"op"`

	Wasm        []byte            `json:"wasm,omitempty"` // open, with the four that follow
	Limits      Limits            `json:"limits,omitzero"`
	Interpreter bool              `json:"interpreter,omitempty"`
	Problem     search.Problem    `json:"problem,omitzero"`
	Options     map[string]string `json:"options,omitempty"`

	N int      `json:"n,omitempty"` // ask
	X []vector `json:"x,omitempty"` // tell
	S []told   `json:"s,omitempty"` // tell
}

// told is the part of a search.Score that guests see.
type told struct {
	Objective vector `json:"f"` // one number
	LogProbs  vector `json:"aux,omitempty"`
}

type response struct {
	Error *failure `json:"error,omitempty"`
	Info  *Info    `json:"info,omitempty"` // open
	X     []vector `json:"x,omitempty"`    // ask; best: one or none
}

// failure is a fault.Error on its way.
type failure struct {
	Code    fault.Code `json:"code"`
	Field   string     `json:"field,omitempty"`
	Message string     `json:"message"`
	Dead    bool       `json:"dead,omitempty"` // nothing more can be asked of the guest
}

func newFailure(err error, dead bool) *failure {
	f := &failure{Code: fault.CodeOf(err), Message: err.Error(), Dead: dead}
	if e := new(fault.Error); errors.As(err, &e) {
		f.Field, f.Message = e.Field, e.Message
	}
	return f
}

// err is what newFailure was made of, trusting the other side with nothing.
func (f *failure) err() error {
	switch f.Code {
	case fault.Invalid, fault.Unsupported, fault.NotFound, fault.TooLarge, fault.Canceled:
		return fault.New(f.Code, plain(f.Field), "%s", printable(f.Message))
	}
	return fault.New(fault.Internal, plain(f.Field), "%s", printable(f.Message))
}

// vector is numbers as base64 of their bits: JSON has no NaN.
type vector []float64

func (v vector) MarshalJSON() ([]byte, error) { return json.Marshal(appendFloats(nil, v)) }

func (v *vector) UnmarshalJSON(text []byte) error {
	var b []byte
	if err := json.Unmarshal(text, &b); err != nil {
		return err
	}
	if len(b)%8 != 0 {
		return errors.New("a vector with a part of a number")
	}
	*v = make(vector, len(b)/8)
	for i := range *v {
		(*v)[i] = math.Float64frombits(binary.LittleEndian.Uint64(b[8*i:]))
	}
	return nil
}

func vectors(x [][]float64) []vector {
	out := make([]vector, len(x))
	for i := range x {
		out[i] = x[i]
	}
	return out
}

func slicesOf(x []vector) [][]float64 {
	out := make([][]float64, len(x))
	for i := range x {
		out[i] = x[i]
	}
	return out
}

// writeFrame sends one message.
func writeFrame(w io.Writer, message any) error {
	text, err := json.Marshal(message)
	if err != nil {
		return err
	}
	_, err = w.Write(append(binary.LittleEndian.AppendUint32(nil, uint32(len(text))), text...))
	return err
}

// readFrame receives one message of at most limit bytes.
func readFrame(r *bufio.Reader, limit int, message any) error {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return err
	}
	n := binary.LittleEndian.Uint32(size[:])
	if uint64(n) > uint64(limit) {
		return errors.New("a message over the limit")
	}
	text := make([]byte, n)
	if _, err := io.ReadFull(r, text); err != nil {
		return err
	}
	return json.Unmarshal(text, message)
}
