package lora

import (
	"github.com/medley-lora/medley/shared/fault"
	"gonum.org/v1/gonum/blas/blas64"
	"gonum.org/v1/gonum/lapack/lapack64"
	"gonum.org/v1/gonum/mat"
)

// truncateSum gives the update of the given rank closest to Σ w_i s_i B_i A_i in the Frobenius norm. With the parts'
// factors concatenated to B and A, and D the diagonal of their w_i s_i, thin QR decompositions of B and Aᵀ leave the
// singular values of the small R_B D R_Aᵀ; the dense update is never made, unless the factors are wider than it.
func truncateSum(s site, rank int) (lowRank, error) {
	f := concatenate(s)
	if s.rank() >= min(s.in, s.out) {
		var dense mat.Dense
		dense.Mul(f.b, f.a)
		return truncateDense(&dense, rank)
	}
	qb, rb := thinQR(f.b)
	qa, ra := thinQR(mat.DenseCopyOf(f.a.T()))
	var core mat.Dense
	core.Mul(rb, ra.T())
	small, err := truncateDense(&core, rank)
	if err != nil {
		return lowRank{}, err
	}
	var b, a mat.Dense
	b.Mul(qb, small.b)
	a.Mul(small.a, qa.T())
	return lowRank{&b, &a, 1}, nil
}

// truncateDense gives the update of the given rank, or of the largest possible, closest to x: b = U·S and a = Vᵀ.
func truncateDense(x *mat.Dense, rank int) (lowRank, error) {
	if !finite(x.RawMatrix().Data) {
		return lowRank{}, fault.New(fault.Invalid, "", "the update is too large or not numbers; is a weight or a module wrong?")
	}
	out, in := x.Dims()
	rank = min(rank, in, out)
	var svd mat.SVD
	if !svd.Factorize(x, mat.SVDThin) {
		return lowRank{}, fault.New(fault.Internal, "", "the singular value decomposition did not converge")
	}
	var u, v, b mat.Dense
	svd.UTo(&u)
	svd.VTo(&v)
	values := svd.Values(nil)
	b.Mul(u.Slice(0, out, 0, rank), mat.NewDiagDense(rank, values[:rank]))
	return lowRank{&b, mat.DenseCopyOf(v.Slice(0, in, 0, rank).T()), 1}, nil
}

// thinQR decomposes x [m, n], m ≥ n, into q [m, n] with orthonormal columns and upper triangular r [n, n]. mat.QR would
// make the square q. It overwrites x with q.
func thinQR(x *mat.Dense) (q, r *mat.Dense) {
	_, n := x.Dims()
	raw := x.RawMatrix()
	tau := make([]float64, n)
	query := make([]float64, 1)
	lapack64.Geqrf(raw, tau, query, -1)
	work := make([]float64, int(query[0]))
	lapack64.Geqrf(raw, tau, work, len(work))

	r = mat.NewDense(n, n, nil)
	for i := range n {
		copy(r.RawRowView(i)[i:], x.RawRowView(i)[i:])
	}
	orgqr(raw, tau)
	return x, r
}

func orgqr(raw blas64.General, tau []float64) {
	query := make([]float64, 1)
	lapack64.Orgqr(raw, tau, query, -1)
	work := make([]float64, int(query[0]))
	lapack64.Orgqr(raw, tau, work, len(work))
}
