package lora_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/lora"
)

// module makes a module with a layer for every target, "name:rank" or "name:rank:out×in" written as out, in; 12 by 10 unless
// said. Its numbers come from seed.
func module(name string, seed uint64, targets ...string) *lora.Adapter {
	r := rand.New(rand.NewPCG(seed, 1))
	a := &lora.Adapter{Name: name, Base: "base of " + name}
	for _, t := range targets {
		l := lora.Layer{Out: 12, In: 10, Scale: 0.5 + r.Float64()}
		if n, err := fmt.Sscanf(strings.ReplaceAll(t, ":", " "), "%s %d %d %d", &l.Target, &l.Rank, &l.Out, &l.In); n < 2 {
			panic(err)
		}
		l.A, l.B = make([]float32, l.Rank*l.In), make([]float32, l.Out*l.Rank)
		for _, x := range [][]float32{l.A, l.B} {
			for i := range x {
				x[i] = float32(r.NormFloat64())
			}
		}
		a.Layers = append(a.Layers, l)
	}
	return a
}

// equalised gives all layers the scale s.
func equalised(s float64, modules ...*lora.Adapter) []*lora.Adapter {
	for _, m := range modules {
		for i := range m.Layers {
			m.Layers[i].Scale = s
		}
	}
	return modules
}

func compose(t *testing.T, m lora.Method, modules []*lora.Adapter, w []float64, o lora.Options) *lora.Adapter {
	t.Helper()
	a, err := lora.Compose(m, modules, w, o)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// bySum is Σ w_i s_i B_i A_i at target in plain loops; nil where no module has it.
func bySum(target string, modules []*lora.Adapter, w []float64) []float64 {
	var sum []float64
	for i, m := range modules {
		l := m.Layer(target)
		if l == nil {
			continue
		}
		if sum == nil {
			sum = make([]float64, l.Out*l.In)
		}
		for o := range l.Out {
			for c := range l.In {
				for k := range l.Rank {
					sum[o*l.In+c] += w[i] * l.Scale * float64(l.B[o*l.Rank+k]) * float64(l.A[k*l.In+c])
				}
			}
		}
	}
	return sum
}

func farthest(got []float32, want []float64) float64 {
	if len(got) != len(want) {
		return math.Inf(1)
	}
	worst := 0.0
	for i := range want {
		worst = math.Max(worst, math.Abs(float64(got[i])-want[i]))
	}
	return worst
}

func ranks(a *lora.Adapter) map[string]int {
	r := map[string]int{}
	for _, l := range a.Layers {
		r[l.Target] = l.Rank
	}
	return r
}

// Ranks and targets differ; "k" is not square, so that rows and columns cannot be mixed up.
func raggedModules() []*lora.Adapter {
	return []*lora.Adapter{
		module("one", 1, "k:2:7:11", "q:3"),
		module("two", 2, "q:1", "v:2"),
		module("three", 3, "k:4:7:11", "q:2", "v:1"),
	}
}

func TestConcatenationIsTheDenseSum(t *testing.T) {
	modules := raggedModules()
	for _, c := range []struct {
		name    string
		weights []float64
		ranks   map[string]int
	}{
		{"all modules", []float64{0.5, -1.5, 0.25}, map[string]int{"k": 6, "q": 6, "v": 3}},
		{"zero weight takes no rank", []float64{0.5, 0, 0.25}, map[string]int{"k": 6, "q": 5, "v": 1}},
		{"target of zero weights only", []float64{0.5, 0, 0}, map[string]int{"k": 2, "q": 3}},
		{"negative zero", []float64{math.Copysign(0, -1), 1, 0}, map[string]int{"q": 1, "v": 2}},
		{"all zero", []float64{0, 0, 0}, map[string]int{"k": 1, "q": 1, "v": 1}},
	} {
		for _, m := range []lora.Method{lora.Delta, lora.Cat} {
			t.Run(c.name+"/"+string(m), func(t *testing.T) {
				a := compose(t, m, modules, c.weights, lora.Options{})
				if got := ranks(a); !reflect.DeepEqual(got, c.ranks) {
					t.Errorf("ranks are %v, want %v", got, c.ranks)
				}
				for _, l := range a.Layers {
					if d := farthest(l.Update(), bySum(l.Target, modules, c.weights)); d > 1e-5 {
						t.Errorf("%s: off by %v", l.Target, d)
					}
				}
				if a.Base != "base of one" {
					t.Errorf("base is %q", a.Base)
				}
			})
		}
	}
}

func TestSignOfTheWeights(t *testing.T) {
	modules := equalised(2, module("one", 1, "q:3", "v:3"), module("two", 2, "q:3", "v:3"))
	w, minus := []float64{0.7, -1.3}, []float64{-0.7, 1.3}
	for _, c := range []struct {
		method lora.Method
		o      lora.Options
		sign   float32
	}{
		{lora.Product, lora.Options{}, 1},
		{lora.Delta, lora.Options{}, -1},
		{lora.Linear, lora.Options{}, -1},
	} {
		there, back := compose(t, c.method, modules, w, c.o), compose(t, c.method, modules, minus, c.o)
		for i := range there.Layers {
			x, y := there.Layers[i].Update(), back.Layers[i].Update()
			for e := range x {
				if x[e] != c.sign*y[e] {
					t.Fatalf("%s: entry %d is %v for w and %v for -w", c.method, e, x[e], y[e])
				}
			}
		}
	}
}

func TestProductIsOfTheSums(t *testing.T) {
	modules := equalised(2, module("one", 1, "q:3"), module("two", 2, "q:3"))
	w := []float64{0.7, -1.3}
	got := compose(t, lora.Product, modules, w, lora.Options{}).Layers[0]
	want := make([]float64, got.Out*got.In)
	for i, x := range modules {
		for j, y := range modules {
			cross := x.Layers[0]
			cross.A = y.Layers[0].A
			for e, v := range bySum("q", []*lora.Adapter{{Layers: []lora.Layer{cross}}}, []float64{w[i] * w[j]}) {
				want[e] += v
			}
		}
	}
	if got.Rank != 3 || got.Scale != 2 {
		t.Errorf("rank %d, scale %v", got.Rank, got.Scale)
	}
	if d := farthest(got.Update(), want); d > 1e-5 {
		t.Errorf("off by %v", d)
	}
}

// A single module is composed by Linear whatever PEFT is asked.
func TestSingleModuleIsLinear(t *testing.T) {
	modules := raggedModules()[:1]
	want := compose(t, lora.Linear, modules, []float64{-0.5}, lora.Options{})
	for m, o := range map[lora.Method]lora.Options{
		lora.SVD: {Rank: 1}, lora.Cat: {}, lora.TIES: {Density: 0.1}, lora.DARELinearSVD: {Density: 0.5},
	} {
		if got := compose(t, m, modules, []float64{-0.5}, o); !reflect.DeepEqual(got, want) {
			t.Errorf("%s differs from linear", m)
		}
	}
	if d := farthest(want.Layer("q").Update(), bySum("q", modules, []float64{-0.5})); d > 1e-5 {
		t.Errorf("linear of one module is off by %v", d)
	}
}

func TestRefusals(t *testing.T) {
	q := func(name string, rank int) *lora.Adapter {
		return equalised(1, module(name, 1, fmt.Sprintf("q:%d", rank)))[0]
	}
	pair := []*lora.Adapter{q("one", 2), q("two", 2)}
	one := []float64{1, 1}
	for _, c := range []struct {
		name    string
		method  lora.Method
		modules []*lora.Adapter
		weights []float64
		o       lora.Options
		want    string // the start of the error
	}{
		{"no method", "", pair, one, lora.Options{}, `method: "" is none of cat, dare_linear, `},
		{"no modules", lora.Delta, nil, nil, lora.Options{}, "modules: there is nothing"},
		{"no layers", lora.Delta, []*lora.Adapter{{Name: "one"}}, one[:1], lora.Options{}, "modules: none of them has a layer"},
		{"fewer weights", lora.Delta, pair, one[:1], lora.Options{}, "weights: 1 for 2 modules"},
		{"NaN", lora.Delta, pair, []float64{1, math.NaN()}, lora.Options{}, "weights: the weight of two is NaN"},
		{"infinite", lora.Delta, pair, []float64{math.Inf(-1), 1}, lora.Options{}, "weights: the weight of one is -Inf"},
		{"too large for float32", lora.Delta, pair, []float64{1e300, 1}, lora.Options{}, "q: the composed numbers are too large"},
		{"too large for an SVD", lora.SVD, pair, []float64{1e308, 1e308}, lora.Options{}, "q: the update is too large"},
		{"negative rank", lora.Delta, pair, one, lora.Options{Rank: -1}, "rank: -1 is negative"},
		{"rank above the matrix", lora.SVD, pair, one, lora.Options{Rank: 11}, "rank: 11 is more than the 10 that the largest layer"},
		{"rank for cat", lora.Cat, pair, one, lora.Options{Rank: 2}, "rank: the method cat does not"},
		{"rank for product", lora.Product, pair, one, lora.Options{Rank: 2}, "rank: the method product does not"},
		{"density for delta", lora.Delta, pair, one, lora.Options{Density: 0.5}, "density: the method delta does not"},
		{"no density", lora.TIES, pair, one, lora.Options{}, "density: the method ties needs"},
		{"density above 1", lora.DARELinear, pair, one, lora.Options{Density: 1.5}, "density: the method dare_linear needs"},
		{"density below 0", lora.DARETIESSVD, pair, one, lora.Options{Density: -0.5}, "density: the method dare_ties_svd needs"},
		{"density NaN", lora.TIES, pair, one, lora.Options{Density: math.NaN()}, "density: the method ties needs"},
		{"unknown election", lora.TIES, pair, one, lora.Options{Density: 1, MajoritySign: "most"}, `majority sign: "most" is neither`},
		{"election for linear", lora.Linear, pair, one, lora.Options{MajoritySign: "total"}, "majority sign: the method linear does not"},
		{"ranks for product", lora.Product, []*lora.Adapter{q("one", 2), q("two", 3)}, one, lora.Options{},
			"module two: the method product needs equal ranks, but at q the rank is 3, in module one 2"},
		{"ranks for ties", lora.TIES, []*lora.Adapter{q("one", 2), q("two", 3)}, one, lora.Options{Density: 1},
			"module two: the method ties needs equal ranks"},
		{"scales for product", lora.Product, append(equalised(3, q("three", 2)), q("one", 2)), one, lora.Options{},
			"module one: the method product needs equal scales, but at q the scale is 1, in module three 3"},
		{"target missing from the first", lora.Product, []*lora.Adapter{q("one", 2), module("two", 2, "q:2", "v:2")}, one,
			lora.Options{}, "module one: the method product needs equal targets, but v is missing, which module two has"},
		{"target missing from the last", lora.Product, []*lora.Adapter{module("two", 2, "a:2", "q:2"), q("one", 2)}, one,
			lora.Options{}, "module one: the method product needs equal targets, but a is missing, which module two has"},
		{"another base", lora.Delta, []*lora.Adapter{q("one", 2), module("two", 2, "q:2:8:8")}, one, lora.Options{},
			"module two: q maps 8 to 8 numbers, in module one 10 to 12"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := lora.Compose(c.method, c.modules, c.weights, c.o)
			if fault.CodeOf(err) != fault.Invalid || !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("error is %v, want one that starts with %q", err, c.want)
			}
			if _, _, err := lora.Difference(&lora.Adapter{}, c.method, c.modules, c.weights, c.o); err == nil &&
				!strings.Contains(c.name, "too large") {
				t.Error("Difference takes it")
			}
		})
	}
}

func TestParseMethod(t *testing.T) {
	if n := len(lora.Methods()); n != 13 {
		t.Errorf("%d methods", n)
	}
	for _, m := range lora.Methods() {
		if got, err := lora.ParseMethod(string(m)); got != m || err != nil {
			t.Errorf("%q is read as %q, %v", m, got, err)
		}
	}
	if _, err := lora.ParseMethod("Delta"); fault.CodeOf(err) != fault.Invalid {
		t.Errorf("error is %v", err)
	}
}

// Modules are shared between compositions and must stay as they are; results must not depend on scheduling.
func TestComposeLeavesModulesAloneAndRepeats(t *testing.T) {
	for _, m := range lora.Methods() {
		modules := equalised(2, module("one", 1, "a:2", "b:2", "c:2"), module("two", 2, "a:2", "b:2", "c:2"))
		o := lora.Options{Seed: 7}
		if slices.Contains([]lora.Method{lora.TIES, lora.TIESSVD, lora.MagnitudePrune, lora.MagnitudePruneSVD, lora.DARELinear,
			lora.DARELinearSVD, lora.DARETIES, lora.DARETIESSVD}, m) {
			o.Density = 0.5
		}
		first := compose(t, m, modules, []float64{1, -0.5}, o)
		if again := compose(t, m, modules, []float64{1, -0.5}, o); !reflect.DeepEqual(first, again) {
			t.Errorf("%s: the second result differs", m)
		}
		fresh := equalised(2, module("one", 1, "a:2", "b:2", "c:2"), module("two", 2, "a:2", "b:2", "c:2"))
		if !reflect.DeepEqual(modules, fresh) {
			t.Errorf("%s: a module changed", m)
		}
	}
}
