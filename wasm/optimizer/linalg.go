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

func dot(a, b []float64) float64 {
	sum := 0.0
	for i, v := range a {
		sum += float64(v * b[i])
	}
	return sum
}

// axpy adds s·x to y.
func axpy(s float64, x, y []float64) {
	for i, v := range x {
		y[i] += float64(s * v)
	}
}

func norm(a []float64) float64 { return math.Sqrt(dot(a, a)) }

// squaredDistance returns |a − b|².
func squaredDistance(a, b []float64) float64 {
	sum := 0.0
	for i, v := range a {
		d := v - b[i]
		sum += float64(d * d)
	}
	return sum
}

// maxDistance returns the largest |a_i − b_i|.
func maxDistance(a, b []float64) float64 {
	largest := 0.0
	for i, v := range a {
		largest = max(largest, math.Abs(v-b[i]))
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
