package abi

import (
	"bytes"
	"encoding/json"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/search"
	"github.com/medley-lora/medley/wasm/optimizer"
)

const whole = `{"dim":2,"budget":9,"batch":3,"seed":"18446744073709551615","lower":[-1.5,0],"upper":[1.5,1e-3],"init":[0,0],
	"l1":0.05,"aux":3,"groups":[1,2],"options":{"optimizer":"random"},"later":{"a":[null,true,{"b":"\ud83d\ude00"}],"c":-1.5E+3}}`

func TestReadConfig(t *testing.T) {
	c, err := readConfig([]byte(whole))
	if err != nil {
		t.Fatal(err)
	}
	want := config{
		problem: search.Problem{
			Dim: 2, Budget: 9, Batch: 3, Seed: math.MaxUint64, Lower: []float64{-1.5, 0}, Upper: []float64{1.5, 1e-3}, L1: 0.05, Groups: []int{1, 2},
		},
		init: []float64{0, 0}, aux: 3, optimizer: "random",
	}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("%+v, want %+v", c, want)
	}
	if c, err = readConfig([]byte(" {} ")); err != nil || !reflect.DeepEqual(c, config{optimizer: optimizer.Default}) {
		t.Errorf("an empty configuration is %+v, %v", c, err)
	}
}

func TestReadConfigRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want string // of the message
	}{
		"nothing":             {``, "not JSON, from byte 0"},
		"no object":           {`[]`, "not JSON, from byte 0"},
		"cut off":             {`{"dim":2`, "not JSON, from byte 8"},
		"more after it":       {`{}{}`, "not JSON, from byte 2"},
		"comma at the end":    {`{"dim":2,}`, "not JSON, from byte 9"},
		"comma in an array":   {`{"lower":[1,]}`, "lower: is not a number"},
		"no colon":            {`{"dim" 2}`, "not JSON, from byte 7"},
		"name without quotes": {`{dim:2}`, "not JSON, from byte 1"},
		"not UTF-8":           {"{\"\xff\":1}", "not UTF-8"},
		"control character":   {"{\"a\n\":1}", "not JSON, from byte 4"},
		"unknown escape":      {`{"\x":1}`, "not JSON"},
		"short escape":        {`{"\u12`, "not JSON"},
		"escape with a sign":  {`{"\u+123":1}`, "not JSON"},
		"given twice":         {`{"dim":2,"dim":3}`, "dim: is given twice"},
		"twice by escape":     {`{"dim":2,"d\u0069m":3}`, "dim: is given twice"},
		"dim is a fraction":   {`{"dim":2.0}`, "dim: is not an integer"},
		"dim has an exponent": {`{"dim":2e0}`, "dim: is not an integer"},
		"dim is text":         {`{"dim":"2"}`, "dim: is not an integer"},
		"dim is null":         {`{"dim":null}`, "dim: is not an integer"},
		"dim is huge":         {`{"dim":2147483648}`, "dim: has a number that is out of range"},
		"dim is endless":      {`{"dim":99999999999999999999}`, "dim: has a number that is out of range"},
		"leading zero":        {`{"dim":02}`, "not JSON, from byte 8"},
		"plus sign":           {`{"l1":+2}`, "l1: is not a number"},
		"hexadecimal":         {`{"l1":0x2}`, "not JSON, from byte 7"},
		"no digit after it":   {`{"l1":2.}`, "l1: is not a number"},
		"no digit before it":  {`{"l1":.2}`, "l1: is not a number"},
		"no exponent":         {`{"l1":2e+}`, "l1: is not a number"},
		"infinite":            {`{"l1":1e999}`, "l1: has a number that is out of range"},
		"NaN":                 {`{"l1":NaN}`, "l1: is not a number"},
		"seed is a number":    {`{"seed":7}`, "seed: is not text"},
		"seed is below zero":  {`{"seed":"-1"}`, "seed: is not a 64-bit number as text"},
		"seed is empty":       {`{"seed":""}`, "seed: is not a 64-bit number as text"},
		"bounds are a number": {`{"lower":1}`, "lower: is not an array"},
		"bounds hold null":    {`{"lower":[null]}`, "lower: is not a number"},
		"bounds hold bounds":  {`{"lower":[[1]]}`, "lower: is not a number"},
		"groups of fractions": {`{"groups":[1.5]}`, "groups: is not an integer"},
		"options are a list":  {`{"options":[]}`, "not JSON, from byte 11"},
		"unknown option":      {`{"options":{"speed":"9"}}`, `options: "speed" is not an option`},
		"optimizer's type":    {`{"options":{"optimizer":1}}`, "optimizer: is not text"},
		"unknown is no JSON":  {`{"later":tru}`, "not JSON, from byte 9"},
		"unknown is too deep": {`{"later":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`, "more than 64 deep"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := readConfig([]byte(c.text))
			if err == nil || !strings.Contains(err.Error(), c.want) || fault.CodeOf(err) == fault.Internal {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}

// FuzzReadConfig holds the reader to encoding/json: what it takes is JSON of the same meaning, and it never fails in another way than
// with an error.
func FuzzReadConfig(f *testing.F) {
	f.Add([]byte(whole))
	f.Add([]byte(`{"dim":2}`))
	f.Add([]byte(`{"seed":"0","d\u0069m":3,"lower":[],"l1":-0.0e-5,"x":"\ud800\u0041\ud83d\ude00\"\\\/\b\f\n\r\t"}`))
	f.Add([]byte(`{"options":{"optimizer":"\ud800\u0041\udfff"}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := readConfig(text)
		if err != nil {
			if fault.CodeOf(err) == fault.Internal {
				t.Fatalf("input at fault is reported as a defect: %v", err)
			}
			return
		}
		var members map[string]json.RawMessage // whose names are taken as they are, unlike a struct's
		if err := json.Unmarshal(text, &members); err != nil {
			t.Fatalf("takes what is not JSON: %v", err)
		}
		read := func(name string, v any) {
			if member, ok := members[name]; ok {
				if err := json.NewDecoder(bytes.NewReader(member)).Decode(v); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
			}
		}
		options := map[string]string{"optimizer": optimizer.Default}
		want := config{}
		read("dim", &want.problem.Dim)
		read("budget", &want.problem.Budget)
		read("batch", &want.problem.Batch)
		read("lower", &want.problem.Lower)
		read("upper", &want.problem.Upper)
		read("init", &want.init)
		read("l1", &want.problem.L1)
		read("aux", &want.aux)
		read("groups", &want.problem.Groups)
		read("options", &options)
		if want.optimizer = options["optimizer"]; c.optimizer != want.optimizer {
			t.Fatalf("optimizer %q, want %q", c.optimizer, want.optimizer)
		}
		want.problem.Seed = c.problem.Seed // text: there is nothing to compare with but itself
		for _, v := range []*[]float64{&want.problem.Lower, &want.problem.Upper, &want.init} {
			if len(*v) == 0 {
				*v = nil
			}
		}
		if len(want.problem.Groups) == 0 {
			want.problem.Groups = nil
		}
		if !reflect.DeepEqual(c, want) {
			t.Fatalf("%+v, want %+v", c, want)
		}
	})
}
