package wire

import (
	"encoding/json"
	"errors"
	"math"
	"testing"

	"github.com/medley-lora/medley/shared/fault"
)

func TestNumberComesBack(t *testing.T) {
	values := []float64{
		0, math.Copysign(0, -1), 1, -1.5, 0.1, 1e21, 1e-7, 1.0 / 3, math.Pi * 1e300, math.MaxFloat64, math.SmallestNonzeroFloat64, math.Inf(1), math.Inf(-1), math.NaN(),
	}
	data, err := json.Marshal(Numbers(values))
	if err != nil {
		t.Fatal(err)
	}
	var back []Number
	if err := json.Unmarshal(data, &back); err != nil {
		t.Fatal(err)
	}
	got := Floats(back)
	if len(got) != len(values) {
		t.Fatalf("%d numbers came back of %d", len(got), len(values))
	}
	for i, v := range values {
		if math.Float64bits(got[i]) != math.Float64bits(v) && !(math.IsNaN(v) && math.IsNaN(got[i])) {
			t.Errorf("%v came back as %v", v, got[i])
		}
	}
}

func TestNumberAsText(t *testing.T) {
	data, err := json.Marshal(Numbers([]float64{math.NaN(), math.Inf(1), math.Inf(-1), 0.1, 2}))
	if want := `[null,"inf","-inf",0.1,2]`; err != nil || string(data) != want {
		t.Errorf("%s, error %v, want %s", data, err, want)
	}
}

func TestNumberRefuses(t *testing.T) {
	for _, text := range []string{`"nan"`, `"Infinity"`, `"1"`, `true`, `[]`, `{}`, `1e999`} {
		var n Number
		var f *fault.Error
		if err := json.Unmarshal([]byte(text), &n); !errors.As(err, &f) || f.Code != fault.Invalid {
			t.Errorf("%s: %v, error %v", text, n, err)
		}
	}
}

func TestNoNumbers(t *testing.T) {
	if Numbers(nil) != nil || Floats(nil) != nil || Numbers([]float64{}) == nil {
		t.Error("nil and empty are not told apart")
	}
}
