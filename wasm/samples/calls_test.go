package samples

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"

	"github.com/medley-lora/medley/shared/search"
	"github.com/medley-lora/medley/wasm/guest"
)

// A host checks most calls before a plugin sees them, so these tests make them without one.

// engine compiles a plugin for calls past the host.
func engine(t testing.TB, wasm []byte) func(testing.TB) *plugin {
	t.Helper()
	ctx := context.Background()
	config := wazero.NewRuntimeConfig()
	if len(wasm) > 1<<20 {
		config = wazero.NewRuntimeConfigInterpreter() // Go's runtime would be compiled for longer than the tests run
	}
	r := wazero.NewRuntimeWithConfig(ctx, config.WithMemoryLimitPages(256))
	wasi_snapshot_preview1.MustInstantiate(ctx, r)
	compiled, err := r.CompileModule(ctx, wasm)
	if err != nil {
		t.Fatal(err)
	}
	return func(t testing.TB) *plugin {
		t.Helper()
		m, err := r.InstantiateModule(ctx, compiled, wazero.NewModuleConfig().WithName("").WithStartFunctions("_initialize"))
		if err != nil {
			t.Fatal(err)
		}
		return &plugin{m, t}
	}
}

type plugin struct {
	api.Module
	t testing.TB
}

// call returns the result of an exported function; 0 if it has none.
func (p *plugin) call(name string, args ...uint64) uint64 {
	p.t.Helper()
	results, err := p.ExportedFunction(name).Call(context.Background(), args...)
	if err != nil {
		p.t.Fatalf("%s: %v", name, err)
	}
	if len(results) == 0 {
		return 0
	}
	return results[0]
}

func (p *plugin) code(name string, args ...uint64) int32 {
	p.t.Helper()
	return int32(p.call(name, args...))
}

// lend copies bytes into memory that the plugin has given.
func (p *plugin) lend(b []byte) uint64 {
	p.t.Helper()
	at := p.call("opt_alloc", uint64(len(b)))
	if at == 0 || at%8 != 0 || !p.Memory().Write(uint32(at), b) {
		p.t.Fatalf("%d bytes at %d", len(b), at)
	}
	return at
}

func (p *plugin) create(json string) int32 {
	p.t.Helper()
	at := p.lend([]byte(json))
	defer p.call("opt_free", at, uint64(len(json)))
	return p.code("opt_create", at, uint64(len(json)))
}

func (p *plugin) numbers(v ...float64) uint64 {
	p.t.Helper()
	var b []byte
	for _, f := range v {
		b = binary.LittleEndian.AppendUint64(b, math.Float64bits(f))
	}
	return p.lend(b)
}

func (p *plugin) read(at uint64, n int) []float64 {
	p.t.Helper()
	v := make([]float64, n)
	for i := range v {
		f, ok := p.Memory().ReadFloat64Le(uint32(at) + uint32(8*i))
		if !ok {
			p.t.Fatalf("%d numbers at %d are outside the memory", n, at)
		}
		v[i] = f
	}
	return v
}

func (p *plugin) lastError() string {
	p.t.Helper()
	at := p.call("opt_last_error")
	b, ok := p.Memory().Read(uint32(at>>32), uint32(at))
	if !ok {
		p.t.Fatalf("the text at %x is outside the memory", at)
	}
	return string(b)
}

// kind is a plugin to call: a sample, or the built-in guest, which has to be told the algorithm.
type kind struct {
	name, options string
	start         func(testing.TB) *plugin
}

var compiledKinds []kind

// kinds returns the samples and the built-in guest, compiled once for all tests.
func kinds(t testing.TB) []kind {
	t.Helper()
	if compiledKinds == nil {
		var list []kind
		for _, language := range Languages() {
			list = append(list, kind{language, `{}`, engine(t, module(t, language))})
		}
		list = append(list, kind{"built-in", `{"optimizer":"es"}`, engine(t, guest.Wasm())})
		compiledKinds = list
	}
	return compiledKinds
}

// small returns the samples whose own code does what Go's library and runtime do for the others.
func small(t testing.TB) []kind {
	t.Helper()
	return slices.DeleteFunc(slices.Clone(kinds(t)), func(k kind) bool { return k.name == "go" || k.name == "built-in" })
}

const plane = `{"dim":2,"budget":9,"batch":3,"seed":"18446744073709551615","lower":[-1,-1.5e0],"upper":[1,10E-1],"init":[0,-0.0],"l1":0.05,"aux":3,"groups":[1,2],"options":OPTIONS}`

// TestCreate: a problem is read whatever its members' order and what else there is, and a wrong one refused with the code that the built-in
// guest has; after that the right one is taken.
func TestCreate(t *testing.T) {
	swap := func(old, new string) string { return strings.Replace(plane, old, new, 1) }
	const unsupported, wrong = -2, -1
	cases := map[string]struct {
		json string
		code int32
	}{
		"as it is":                {plane, 0},
		"white space":             {strings.NewReplacer(",", " ,\n", ":", "\t: ", "[", "[ ", "}", "\r\n}").Replace(plane) + "\n", 0},
		"members to skip":         {swap(`{`, `{"a":[1,{"b":[]},"]"],"c":{"dim":7,"\"":null},"d":"\\","e":true,"f":false,"g":-1.5e-300,`), 0},
		"no groups":               {swap(`"groups":[1,2]`, `"groups":[]`), 0},
		"no start":                {swap(`[0,-0.0]`, `[]`), 0},
		"nothing":                 {``, wrong},
		"no object":               {`[]`, wrong},
		"half":                    {plane[:60], wrong},
		"more":                    {plane + `,`, wrong},
		"no members":              {`{}`, wrong},
		"no comma":                {swap(`,"budget"`, ` "budget"`), wrong},
		"no colon":                {swap(`"dim":2`, `"dim" 2`), wrong},
		"an endless string":       {`{"dim`, wrong},
		"no weights":              {swap(`"dim":2`, `"dim":0`), wrong},
		"weights below 0":         {swap(`"dim":2`, `"dim":-2`), wrong},
		"half a weight":           {swap(`"dim":2`, `"dim":2.5`), wrong},
		"too many weights":        {swap(`"dim":2`, `"dim":10001`), wrong},
		"no number of weights":    {swap(`"dim":2`, `"dim":"2"`), wrong},
		"weights beyond 32 bits":  {swap(`"dim":2`, `"dim":4294967298`), wrong},
		"weights beyond 64 bits":  {swap(`"dim":2`, `"dim":18446744073709551618`), wrong},
		"no budget":               {swap(`"budget":9`, `"budget":0`), wrong},
		"too large a budget":      {swap(`"budget":9`, `"budget":100001`), wrong},
		"no batch":                {swap(`"batch":3`, `"batch":0`), wrong},
		"a seed of 65 bits":       {swap(`615"`, `616"`), wrong},
		"a seed of letters":       {swap(`"18446744073709551615"`, `"seven"`), wrong},
		"a seed below 0":          {swap(`"18446744073709551615"`, `"-7"`), wrong},
		"an empty seed":           {swap(`"18446744073709551615"`, `""`), wrong},
		"a seed that is a number": {swap(`"18446744073709551615"`, `7`), wrong},
		"a lower bound too few":   {swap(`[-1,-1.5e0]`, `[-1]`), wrong},
		"an upper one too many":   {swap(`[1,10E-1]`, `[1,1,1]`), wrong},
		"bounds crossed":          {swap(`[1,10E-1]`, `[1,-2]`), wrong},
		"a bound of text":         {swap(`[1,10E-1]`, `[1,"1"]`), wrong},
		"a bound of nothing":      {swap(`[1,10E-1]`, `[1,]`), wrong},
		"a penalty below 0":       {swap(`0.05`, `-0.05`), wrong},
		"a dot alone":             {swap(`0.05`, `0.`), wrong},
		"an exponent alone":       {swap(`0.05`, `1e`), wrong},
		"a short start":           {swap(`[0,-0.0]`, `[0]`), wrong},
		"another start":           {swap(`[0,-0.0]`, `[0,0.5]`), unsupported},
		"groups against aux":      {swap(`[1,2]`, `[1,1]`), wrong},
		"a group below 0":         {swap(`[1,2]`, `[4,-1]`), wrong},
		"aux below 0":             {swap(`"aux":3`, `"aux":-3`), wrong},
		"an unknown option":       {strings.Replace(plane, "OPTIONS", `{"speed":"9"}`, 1), unsupported},
		"too deep":                {swap(`{`, `{"a":`+strings.Repeat("[", 100_000)+`,`), wrong},
		"not JSON, after all":     {`{"a":nul}`, wrong},
	}
	for _, k := range kinds(t) {
		p := k.start(t)
		for name, c := range cases {
			t.Run(k.name+" "+name, func(t *testing.T) {
				if code := p.create(strings.Replace(c.json, "OPTIONS", k.options, 1)); code != c.code {
					t.Fatalf("%d (%q), want %d", code, p.lastError(), c.code)
				}
				if c.code == 0 {
					p = k.start(t)
				} else if p.lastError() == "" {
					t.Error("refused without a reason")
				}
			})
		}
		if code := p.create(strings.Replace(plane, "OPTIONS", k.options, 1)); code != 0 {
			t.Errorf("%s after all refusals: %d (%q)", k.name, code, p.lastError())
		}
	}
}

// TestNumbers: bounds are read to the last bit, or refused with the code for what a plugin cannot do; C and AssemblyScript read only what
// takes one rounding.
func TestNumbers(t *testing.T) {
	const exact, long = true, false
	for text, short := range map[string]bool{
		"0": exact, "-0": exact, "1": exact, "1.5": exact, "0.1": exact, "0.05": exact, "123456789012345": exact, "9007199254740992": exact,
		"1.23456789012345": exact, "0.000001": exact, "1e-7": exact, "2.5E+7": exact, "1e22": exact, "123456789.012345e-13": exact, "0e400": exact,
		"0.30000000000000004": long, "1e23": long, "1e-23": long, "9007199254740993": long, "5e-324": long, "1.7976931348623157e308": long,
		"0.3333333333333333": exact, "99999999999999999999999999999999": long, "1e-400": long, "0.10000000000000000000000": long,
	} {
		want, err := strconv.ParseFloat(text, 64)
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range small(t) {
			p := k.start(t)
			code := p.create(`{"dim":1,"budget":9,"batch":1,"seed":"1","lower":[` + text + `],"upper":[` + text + `],"options":` + k.options + `}`)
			if !short && k.name != "rust" {
				if code != -2 || !strings.Contains(p.lastError(), "15 digits") {
					t.Errorf("%s, %s: %d (%q)", k.name, text, code, p.lastError())
				}
				continue
			}
			x := p.numbers(math.NaN())
			if code != 0 || p.code("opt_ask", x, 1) != 1 {
				t.Errorf("%s, %s: %q", k.name, text, p.lastError())
			} else if got := p.read(x, 1)[0]; math.Float64bits(got) != math.Float64bits(want+0) { // never -0
				t.Errorf("%s reads %s as %v", k.name, text, got)
			}
		}
	}
}

// TestRandomNumbers reads numbers of up to 15 digits, with and without an exponent, which a host may write in any of these ways.
func TestRandomNumbers(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	const n = 4000
	texts, want := make([]string, n), make([]float64, n)
	for i := range texts {
		digits := strconv.FormatInt(1e14+r.Int64N(9e14), 10)[:1+r.IntN(15)]
		fraction, power := r.IntN(len(digits)), r.IntN(45)-22
		texts[i] = digits
		if fraction > 0 {
			texts[i] = digits[:len(digits)-fraction] + "." + digits[len(digits)-fraction:]
		}
		if power += fraction; power != 0 || r.IntN(2) == 0 {
			texts[i] += fmt.Sprintf([]string{"e%d", "E%+d"}[r.IntN(2)], power)
		}
		if r.IntN(2) == 0 {
			texts[i] = "-" + texts[i]
		}
		want[i], _ = strconv.ParseFloat(texts[i], 64)
	}
	bounds := "[" + strings.Join(texts, ",") + "]"
	for _, k := range small(t) {
		p := k.start(t)
		if p.create(fmt.Sprintf(`{"dim":%d,"budget":9,"batch":1,"seed":"1","lower":%s,"upper":%s,"options":%s}`, n, bounds, bounds, k.options)) != 0 {
			t.Errorf("%s: %s", k.name, p.lastError())
			continue
		}
		x := p.numbers(make([]float64, n)...)
		if p.code("opt_ask", x, 1) != 1 {
			t.Fatalf("%s: %s", k.name, p.lastError())
		}
		for i, got := range p.read(x, n) {
			if math.Float64bits(got) != math.Float64bits(want[i]+0) {
				t.Fatalf("%s reads %s as %v", k.name, texts[i], got)
			}
		}
	}
}

// TestCalls makes the same calls, right and wrong, to all and expects the same results, codes and bits.
func TestCalls(t *testing.T) {
	const ok, wrong, early = 0, -1, -3
	nan, zero := math.NaN(), math.Copysign(0, -1)
	for _, k := range kinds(t) {
		t.Run(k.name, func(t *testing.T) {
			p := k.start(t)
			x, f := p.numbers(make([]float64, 20)...), p.numbers(3, nan, 2, math.Inf(-1), 1)
			expect := func(what string, got, want int32) {
				t.Helper()
				if got != want {
					t.Fatalf("%s: %d (%q), want %d", what, got, p.lastError(), want)
				}
				if want < 0 && p.lastError() == "" {
					t.Errorf("%s: refused without a reason", what)
				}
			}
			ask := func(n int32) int32 { return p.code("opt_ask", x, uint64(uint32(n))) }
			tell := func(n int32, v ...float64) int32 {
				return p.code("opt_tell", p.numbers(v...), f, uint64(uint32(n)), 0, 0)
			}
			if at := p.call("opt_last_error"); uint32(at) != 0 {
				t.Error("there is an error before the first call")
			}
			if version := p.code("opt_abi_version"); version != 1<<16 {
				t.Errorf("version %x", version)
			}
			expect("ask early", ask(1), early)
			expect("tell early", tell(1, 0, 0), early)
			expect("best early", p.code("opt_best", x, f), early)
			expect("create", p.create(strings.Replace(plane, "OPTIONS", k.options, 1)), ok)
			expect("create again", p.create(strings.Replace(plane, "OPTIONS", k.options, 1)), early)
			expect("no best", p.code("opt_best", x, f), 0)
			expect("ask for none", ask(0), wrong)
			expect("ask for -1", ask(-1), wrong)
			expect("tell none", tell(0), ok)
			expect("tell -1", tell(-1, 0, 0), wrong)
			expect("tell outside", tell(1, 1.5, 0), wrong)
			expect("tell NaN", tell(1, nan, 0), wrong)
			expect("tell a right one and a wrong one", tell(2, 0.25, 0.25, 0, -1.75), wrong)
			expect("no best, as nothing was told", p.code("opt_best", x, f), 0)
			expect("tell -0", tell(1, zero, zero), ok)
			expect("best", p.code("opt_best", x, f), 1)
			if best := p.read(x, 2); !math.Signbit(best[0]) || !math.Signbit(best[1]) || p.read(f, 1)[0] != 3 {
				t.Errorf("best is %v with %v", best, p.read(f, 1))
			}
			expect("ask", ask(3), 3)
			first := p.read(x, 6)
			expect("ask again", ask(3), early)
			expect("ask again for none", ask(0), wrong)
			expect("answer one of three", p.code("opt_tell", x, f, 1, 0, 0), ok)
			expect("ask with two to come", ask(1), early)
			expect("answer all three", p.code("opt_tell", x, f, 3, 0, 0), ok)
			expect("ask for more than there is", ask(9), 6)
			expect("answer", p.code("opt_tell", x, f, 5, 0, 0), ok)
			expect("answer the last", p.code("opt_tell", x+5*16, f, 1, 0, 0), ok)
			expect("the budget is spent", ask(1), 0)
			expect("tell after the end", tell(1, 1, 1), ok)
			expect("best in the end", p.code("opt_best", x, f), 1)

			native := native(t, search.Problem{Dim: 2, Lower: []float64{-1, -1.5}, Upper: []float64{1, 1}, Budget: 9, Batch: 3, Seed: math.MaxUint64})
			if err := native.Tell([][]float64{{zero, zero}}, []search.Score{{Objective: 3}}); err != nil {
				t.Fatal(err)
			}
			want, err := native.Ask(3)
			if err != nil {
				t.Fatal(err)
			}
			if got := [][]float64{first[:2], first[2:4], first[4:]}; !sameBits(got, want) || math.Signbit(first[0]) {
				t.Errorf("candidates %v, want %v", got, want)
			}
		})
	}
}
