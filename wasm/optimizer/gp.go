package optimizer

import "math"

// kernel is the covariance of a Gaussian process between points x and y, both relative to the centre: a linear, a quadratic
// and a local part, and a constant.
//
//	linear·x·y + quadratic·(x·y)² + local·exp(-|x-y|²/2l²) + 1
type kernel struct{ linear, quadratic, local, length float64 }

// The hyperparameters that the marginal likelihood chooses from. Only ratios matter, as the scale of the signal is fitted;
// noise is relative to the mean variance of the points.
var (
	kernels = []kernel{
		{1, 0.02, 0.05, 1}, {1, 0.02, 0.5, 1}, {1, 0.02, 2, 1},
		{1, 0.2, 0.05, 1}, {1, 0.2, 0.5, 1}, {1, 0.2, 2, 1},
		{1, 0.02, 2, 2}, {1, 0.2, 2, 2}, {0.1, 0.02, 2, 1},
	}
	noises = []float64{1e-6, 1e-4, 1e-2, 1e-1}
)

func (k kernel) at(product, squaredDistance float64) float64 {
	local := float64(k.local * exp(-squaredDistance/(2*k.length*k.length)))
	return 1 + float64(k.linear*product) + float64(k.quadratic*product*product) + local
}

// gp is Gaussian-process regression (Rasmussen and Williams, 2006, chapter 2) with many outputs over the same points, which
// share the kernel, so that one Cholesky factor serves all of them.
type gp struct {
	points [][]float64 // [n][d] relative to the centre
	gram   [][]float64 // [n][n] points[i]·points[j]
	kernel kernel
	noise  float64
	alpha  [][]float64 // [n][outputs] the covariance's inverse times the targets
}

// newGP returns the process over points; choose or use the hyperparameters next.
func newGP(points [][]float64) *gp {
	g := &gp{points: points, gram: newMatrix(len(points), len(points))}
	for i := range points {
		for j := range i + 1 {
			g.gram[i][j] = dot(points[i], points[j])
			g.gram[j][i] = g.gram[i][j]
		}
	}
	return g
}

// factor returns the Cholesky factor of the covariance of the points with noise.
func (g *gp) factor(k kernel, noise float64) ([][]float64, bool) {
	n := len(g.points)
	c := newMatrix(n, n)
	trace := 0.0
	for i := range n {
		for j := range i + 1 {
			c[i][j] = k.at(g.gram[i][j], max(0, g.gram[i][i]+g.gram[j][j]-2*g.gram[i][j]))
		}
		trace += c[i][i]
	}
	for i := range n {
		c[i][i] += float64(noise * trace / float64(n))
	}
	return c, cholesky(c)
}

// choose takes the hyperparameters with the highest marginal likelihood of targets [outputs][n], the scale of the signal
// being at its own best value.
func (g *gp) choose(targets [][]float64) {
	n := float64(len(g.points))
	best := math.Inf(-1)
	g.kernel, g.noise = kernels[0], noises[len(noises)-1]
	column := make([]float64, len(g.points))
	for _, k := range kernels {
		for _, noise := range noises {
			l, ok := g.factor(k, noise)
			if !ok {
				continue
			}
			determinant, misfit := 0.0, 1e-12
			for i := range l {
				determinant += log(l[i][i])
			}
			for _, y := range targets {
				copy(column, y)
				solveLower(l, column)
				misfit += dot(column, column)
			}
			outputs := float64(len(targets))
			if likelihood := -outputs * (float64(0.5*n*log(misfit/(n*outputs))) + determinant); likelihood > best {
				best, g.kernel, g.noise = likelihood, k, noise
			}
		}
	}
}

// fit conditions the process on targets [outputs][n]; false if the covariance is not positive definite.
func (g *gp) fit(targets [][]float64) bool {
	l, ok := g.factor(g.kernel, g.noise)
	if !ok {
		return false
	}
	g.alpha = newMatrix(len(g.points), len(targets))
	column := make([]float64, len(g.points))
	for t, y := range targets {
		copy(column, y)
		solveLower(l, column)
		solveUpper(l, column)
		for i, a := range column {
			g.alpha[i][t] = a
		}
	}
	return true
}

// mean fills out with the expected outputs at x.
func (g *gp) mean(x, out []float64) {
	clear(out)
	for i, p := range g.points {
		covariance := g.kernel.at(dot(x, p), squaredDistance(x, p))
		axpy(covariance, g.alpha[i], out)
	}
}

// gradient fills grad with that at x of the sum of outputs weighted by slopes.
func (g *gp) gradient(x, slopes, grad []float64) {
	clear(grad)
	k := g.kernel
	for i, p := range g.points {
		b := dot(slopes, g.alpha[i])
		local := float64(k.local*exp(-squaredDistance(x, p)/(2*k.length*k.length))) / (k.length * k.length)
		radial := float64(b * local)
		along := float64(b*(k.linear+float64(2*k.quadratic*dot(x, p)))) + radial
		for j := range grad {
			grad[j] += float64(along*p[j]) - float64(radial*x[j])
		}
	}
}
