package optimizer

import "math"

// Dense linear algebra for matrices of at most a few hundred rows, as slices of rows.

func newMatrix(rows, columns int) [][]float64 {
	cells := make([]float64, rows*columns)
	m := make([][]float64, rows)
	for i := range m {
		m[i] = cells[i*columns : (i+1)*columns : (i+1)*columns]
	}
	return m
}

// The loops over weights take eight at a time, in the order of a plain loop, so that their sums are its bits: in a sandbox that can be
// stopped, each turn of a loop costs more than several products.

func dot(a, b []float64) float64 {
	sum := 0.0
	for len(a) >= 8 {
		x, y := (*[8]float64)(a), (*[8]float64)(b)
		sum += float64(x[0] * y[0])
		sum += float64(x[1] * y[1])
		sum += float64(x[2] * y[2])
		sum += float64(x[3] * y[3])
		sum += float64(x[4] * y[4])
		sum += float64(x[5] * y[5])
		sum += float64(x[6] * y[6])
		sum += float64(x[7] * y[7])
		a, b = a[8:], b[8:]
	}
	for i, v := range a {
		sum += float64(v * b[i])
	}
	return sum
}

// axpy adds s·x to y.
func axpy(s float64, x, y []float64) {
	for len(x) >= 8 {
		from, to := (*[8]float64)(x), (*[8]float64)(y)
		to[0] += float64(s * from[0])
		to[1] += float64(s * from[1])
		to[2] += float64(s * from[2])
		to[3] += float64(s * from[3])
		to[4] += float64(s * from[4])
		to[5] += float64(s * from[5])
		to[6] += float64(s * from[6])
		to[7] += float64(s * from[7])
		x, y = x[8:], y[8:]
	}
	for i, v := range x {
		y[i] += float64(s * v)
	}
}

func norm(a []float64) float64 { return math.Sqrt(dot(a, a)) }

// squaredDistance returns |a − b|².
func squaredDistance(a, b []float64) float64 {
	sum := 0.0
	for len(a) >= 8 {
		x, y := (*[8]float64)(a), (*[8]float64)(b)
		d0, d1, d2, d3 := x[0]-y[0], x[1]-y[1], x[2]-y[2], x[3]-y[3]
		d4, d5, d6, d7 := x[4]-y[4], x[5]-y[5], x[6]-y[6], x[7]-y[7]
		sum += float64(d0 * d0)
		sum += float64(d1 * d1)
		sum += float64(d2 * d2)
		sum += float64(d3 * d3)
		sum += float64(d4 * d4)
		sum += float64(d5 * d5)
		sum += float64(d6 * d6)
		sum += float64(d7 * d7)
		a, b = a[8:], b[8:]
	}
	for i, v := range a {
		d := v - b[i]
		sum += float64(d * d)
	}
	return sum
}

// maxDistance returns the largest |a_i − b_i| of finite numbers. The max of the language would be a call in WebAssembly.
func maxDistance(a, b []float64) float64 {
	largest := 0.0
	for len(a) >= 4 {
		x, y := (*[4]float64)(a), (*[4]float64)(b)
		if d := math.Abs(x[0] - y[0]); d > largest {
			largest = d
		}
		if d := math.Abs(x[1] - y[1]); d > largest {
			largest = d
		}
		if d := math.Abs(x[2] - y[2]); d > largest {
			largest = d
		}
		if d := math.Abs(x[3] - y[3]); d > largest {
			largest = d
		}
		a, b = a[4:], b[4:]
	}
	for i, v := range a {
		if d := math.Abs(v - b[i]); d > largest {
			largest = d
		}
	}
	return largest
}

// inverse returns the inverse of the square matrix a, which it leaves alone, by Gauss-Jordan elimination with row pivots;
// ok is false if a is singular to working precision.
func inverse(a [][]float64) (inv [][]float64, ok bool) {
	n := len(a)
	m, inv := newMatrix(n, n), newMatrix(n, n)
	for i := range a {
		copy(m[i], a[i])
		inv[i][i] = 1
	}
	for c := range n {
		pivot := c
		for r := c + 1; r < n; r++ {
			if math.Abs(m[r][c]) > math.Abs(m[pivot][c]) {
				pivot = r
			}
		}
		if !(math.Abs(m[pivot][c]) > 0) {
			return nil, false
		}
		m[c], m[pivot], inv[c], inv[pivot] = m[pivot], m[c], inv[pivot], inv[c]
		scale := 1 / m[c][c]
		for j := range n {
			m[c][j] *= scale
			inv[c][j] *= scale
		}
		for r := range n {
			if f := m[r][c]; r != c && f != 0 {
				axpy(-f, m[c], m[r])
				axpy(-f, inv[c], inv[r])
			}
		}
	}
	return inv, true
}

// cholesky replaces the lower triangle of the symmetric matrix a by L with L·Lᵀ = a; false if a is not positive definite.
func cholesky(a [][]float64) bool {
	for i := range a {
		for j := range i + 1 {
			sum := a[i][j] - dot(a[i][:j], a[j][:j])
			if i > j {
				a[i][j] = sum / a[j][j]
				continue
			}
			if !(sum > 0) {
				return false
			}
			a[i][i] = math.Sqrt(sum)
		}
	}
	return true
}

// solveLower replaces b by L⁻¹·b for the lower triangle l.
func solveLower(l [][]float64, b []float64) {
	for i := range b {
		b[i] = (b[i] - dot(l[i][:i], b[:i])) / l[i][i]
	}
}

// solveUpper replaces b by L⁻ᵀ·b for the lower triangle l.
func solveUpper(l [][]float64, b []float64) {
	for i := len(b) - 1; i >= 0; i-- {
		b[i] /= l[i][i]
		axpy(-b[i], l[i][:i], b[:i])
	}
}
