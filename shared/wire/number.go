// Package wire holds what traces and messages between processes have in common: how JSON carries what it has no words for.
package wire

import (
	"math"
	"strconv"

	"github.com/medley-lora/medley/shared/fault"
)

// Number is a float64 that JSON can hold whatever its value: the digits that bring the same float64 back, null for NaN, and the
// strings "inf" and "-inf".
type Number float64

// MarshalJSON never fails.
func (n Number) MarshalJSON() ([]byte, error) { return n.Append(nil), nil }

// Append appends what MarshalJSON returns.
func (n Number) Append(text []byte) []byte {
	switch v := float64(n); {
	case math.IsNaN(v):
		return append(text, "null"...)
	case math.IsInf(v, 1):
		return append(text, `"inf"`...)
	case math.IsInf(v, -1):
		return append(text, `"-inf"`...)
	default:
		return strconv.AppendFloat(text, v, 'g', -1, 64)
	}
}

// UnmarshalJSON is Invalid for anything else, and for what is beyond a float64.
func (n *Number) UnmarshalJSON(data []byte) error {
	switch s := string(data); s {
	case "null":
		*n = Number(math.NaN())
	case `"inf"`:
		*n = Number(math.Inf(1))
	case `"-inf"`:
		*n = Number(math.Inf(-1))
	default:
		v, err := strconv.ParseFloat(s, 64)
		if err != nil {
			return fault.New(fault.Invalid, "", "%.40s is not a number", s)
		}
		*n = Number(v)
	}
	return nil
}

// Numbers is v as JSON can hold it; nil stays nil.
func Numbers(v []float64) []Number { return convert[Number](v) }

// Floats undoes Numbers.
func Floats(v []Number) []float64 { return convert[float64](v) }

func convert[To, From Number | float64](v []From) []To {
	if v == nil {
		return nil
	}
	all := make([]To, len(v))
	for i, x := range v {
		all[i] = To(x)
	}
	return all
}
