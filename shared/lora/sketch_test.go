package lora

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// sketched makes an adapter of three layers of odd shapes.
func sketched(random *rand.Rand, targets ...string) *Adapter {
	a := &Adapter{}
	for i, target := range targets {
		l := Layer{Target: target, In: 37 + i, Out: 65 - i, Rank: 3 + i, Scale: 0.5 + float64(i)}
		for range l.Rank * l.In {
			l.A = append(l.A, float32(random.NormFloat64()))
		}
		for range l.Out * l.Rank {
			l.B = append(l.B, float32(random.NormFloat64()))
		}
		a.Layers = append(a.Layers, l)
	}
	return a
}

func cosine(a, b []float64) float64 {
	var ab, aa, bb float64
	for i := range a {
		ab, aa, bb = ab+a[i]*b[i], aa+a[i]*a[i], bb+b[i]*b[i]
	}
	return ab / math.Sqrt(aa*bb)
}

// blend is near, with share of other mixed in.
func blend(t *testing.T, near, other *Adapter, share float64) *Adapter {
	t.Helper()
	a, err := Compose(Delta, []*Adapter{near, other}, []float64{1 - share, share}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func denseCosine(a, b *Adapter) float64 {
	var x, y []float64
	for i := range a.Layers {
		x, y = append(x, widened(a.Layers[i].Update())...), append(y, widened(b.Layer(a.Layers[i].Target).Update())...)
	}
	return cosine(x, y)
}

func TestSketchKeepsAngles(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 0))
	names := []string{"a.q", "a.v", "b.q"}
	x, other := sketched(random, names...), sketched(random, names...)
	for _, share := range []float64{0, 0.02, 0.1, 0.3, 0.5, 0.8, 1} {
		t.Run(fmt.Sprint(share), func(t *testing.T) {
			y := blend(t, x, other, share)
			want := denseCosine(x, y)
			for _, size := range []int{128, 2048} {
				// The standard error of an estimated cosine c is about (1-c²)/√size for Gaussian projections; products of two sign
				// vectors have heavier tails, for which five such errors are room enough.
				tolerance := 5*(1-want*want)/math.Sqrt(float64(size)) + 1e-6
				if got := cosine(Sketch(x, size), Sketch(y, size)); math.Abs(got-want) > tolerance {
					t.Errorf("size %d: cosine %.4f, of the updates %.4f, tolerance %.4f", size, got, want, tolerance)
				}
			}
		})
	}
}

// The factors are not the update: the same update by other factors has the same sketch.
func TestSketchIsOfTheUpdate(t *testing.T) {
	random := rand.New(rand.NewPCG(8, 0))
	x := sketched(random, "a.q", "a.v")
	y := &Adapter{Layers: slices.Clone(x.Layers)}
	for i := range y.Layers {
		l := &y.Layers[i]
		l.A, l.B, l.Scale = slices.Clone(l.A), slices.Clone(l.B), l.Scale/2
		for j := range l.A {
			l.A[j] *= -4
		}
		for j := range l.B {
			l.B[j] /= -2
		}
	}
	a, b := Sketch(x, 64), Sketch(y, 64)
	for k := range a {
		if math.Abs(a[k]-b[k]) > 1e-5*math.Abs(a[k])+1e-4 {
			t.Fatalf("number %d: %v, by other factors %v", k, a[k], b[k])
		}
	}
}

func TestSketchDependsOnTargetsNotOnOrder(t *testing.T) {
	random := rand.New(rand.NewPCG(9, 0))
	x := sketched(random, "a.q", "a.v")
	reversed := &Adapter{Layers: []Layer{x.Layers[1], x.Layers[0]}}
	a, b := Sketch(x, 32), Sketch(reversed, 32)
	for k := range a {
		if math.Abs(a[k]-b[k]) > 1e-9*math.Abs(a[k]) {
			t.Fatalf("number %d depends on the order of layers: %v and %v", k, a[k], b[k])
		}
	}
	moved := &Adapter{Layers: slices.Clone(x.Layers)}
	moved.Layers[0].Target, moved.Layers[1].Target = "c.q", "c.v"
	if c := cosine(Sketch(x, 2048), Sketch(moved, 2048)); math.Abs(c) > 0.15 {
		t.Errorf("the same numbers at other maps look alike: cosine %v", c)
	}
	if !slices.Equal(Sketch(x, 32), Sketch(x, 32)) {
		t.Error("two sketches of one adapter differ")
	}
	if s := Sketch(&Adapter{}, 4); !slices.Equal(s, make([]float64, 4)) {
		t.Errorf("no layers: %v", s)
	}
}

// BenchmarkSketch takes eight layers of a FLAN-T5-large module of rank 16.
func BenchmarkSketch(b *testing.B) {
	a := &Adapter{}
	for i := range 8 {
		l := Layer{Target: fmt.Sprint(i), In: 1024, Out: 1024, Rank: 16, Scale: 1}
		l.A, l.B = make([]float32, 16*1024), make([]float32, 16*1024)
		a.Layers = append(a.Layers, l)
	}
	for b.Loop() {
		Sketch(a, 128)
	}
}
