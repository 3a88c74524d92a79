package optimizer

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestInverse(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{1, 2, 7, 40} {
		a := gaussians(r, n, n, 1)
		a[0][0] = 0 // needs a pivot
		if n == 1 {
			a[0][0] = -0.25
		}
		inv, ok := inverse(a)
		if !ok {
			t.Fatalf("%d: not invertible", n)
		}
		for i := range n {
			for j := range n {
				sum := 0.0
				for k := range n {
					sum += a[i][k] * inv[k][j]
				}
				if want := map[bool]float64{true: 1}[i == j]; math.Abs(sum-want) > 1e-9 {
					t.Errorf("%d: entry %d, %d of the product is %v", n, i, j, sum)
				}
			}
		}
	}
	if _, ok := inverse([][]float64{{1, 2}, {2, 4}}); ok {
		t.Error("a singular matrix has an inverse")
	}
}

func TestCholesky(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 3))
	for _, n := range []int{1, 3, 30} {
		root := gaussians(r, n, n, 1)
		a, want := newMatrix(n, n), gaussians(r, 1, n, 1)[0]
		for i := range n {
			for j := range n {
				a[i][j] = dot(root[i], root[j])
			}
			a[i][i] += 0.1
		}
		b := make([]float64, n)
		for i := range n {
			b[i] = dot(a[i], want)
		}
		if !cholesky(a) {
			t.Fatalf("%d: not positive definite", n)
		}
		solveLower(a, b)
		solveUpper(a, b)
		if d := maxDistance(b, want); d > 1e-8 {
			t.Errorf("%d: the solution is %v off", n, d)
		}
	}
	if cholesky([][]float64{{1, 2}, {2, 1}}) {
		t.Error("an indefinite matrix has a factor")
	}
}

// min (x-2)² + (y-0.1)² + (z+3)² + 0.5(|x|+|y|+|z|) in the box: 1.75, 0 by the penalty, -1 by the box.
func TestMinimise(t *testing.T) {
	f := func(x, grad []float64) float64 {
		value := 0.0
		for i, target := range []float64{2, 0.1, -3} {
			d := x[i] - target
			value += d * d
			if grad != nil {
				grad[i] = 2 * d
			}
		}
		return value
	}
	x, value := minimise(f, []float64{0.5, 0.5, 0.5}, []float64{-1, -1, -1}, []float64{2, 2, 2}, []float64{-1, 1, 1}, 60)
	if want := []float64{1.75, 0, -1}; maxDistance(x, want) > 1e-4 || x[1] != 0 {
		t.Errorf("minimum at %v, expected %v", x, want)
	}
	if want := 0.0625 + 0.01 + 4 + 0.5*2.75; math.Abs(value-want) > 1e-6 {
		t.Errorf("value %v, expected %v", value, want)
	}
}

// The sums of the unrolled loops are, bit for bit, those of plain ones.
func TestPlainOrder(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 4))
	for n := range 35 {
		rows := gaussians(r, 3, n, 1)
		a, b, y := rows[0], rows[1], rows[2]
		product, distance, farthest, sum := 0.0, 0.0, 0.0, make([]float64, n)
		for i := range n {
			d := a[i] - b[i]
			product += float64(a[i] * b[i])
			distance += float64(d * d)
			farthest = max(farthest, math.Abs(d))
			sum[i] = y[i] + float64(0.3*a[i])
		}
		axpy(0.3, a, y)
		if dot(a, b) != product || squaredDistance(a, b) != distance || maxDistance(a, b) != farthest || !slices.Equal(y, sum) {
			t.Errorf("%d: the sums differ", n)
		}
	}
}
