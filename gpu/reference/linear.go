package reference

import (
	"math"

	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/shared/fault"
)

func (p *pass) Linear(x backend.Tensor, w backend.Resident, opt backend.Linear) backend.Tensor {
	in, m := p.input("linear", x), p.resident("linear", w)
	y := newTensor(in.rows, m.rows)
	var residual *tensor
	if opt.Residual != nil {
		residual = p.input("linear", opt.Residual)
	}
	var bias *matrix
	if opt.Bias != nil {
		bias = p.resident("linear", opt.Bias)
		p.ok(backend.CheckBias(m.rows, len(bias.data)))
	}
	if !p.ok(backend.CheckLinear(in, m.rows, m.cols, opt.Residual)) ||
		!p.ok(backend.CheckUpdate(opt.Update, in.rows, m.rows, m.cols, shapeOf)) {
		return y
	}
	sums := make([]float64, m.rows) // one row of the result, in float64 until everything is added
	for i := range in.rows {
		product(sums, in.row(i), m.data)
		if bias != nil {
			for j, v := range bias.data {
				sums[j] += float64(v)
			}
		}
		if residual != nil {
			for j, v := range residual.row(i) {
				sums[j] += float64(v)
			}
		}
		if opt.Update != nil {
			addUpdate(sums, in.row(i), opt.Update, i)
		}
		for j, v := range sums {
			y.row(i)[j] = float32(v)
		}
	}
	return y
}

// product sets sums to W x, with W [len(sums), len(x)].
func product(sums []float64, x, w []float32) {
	for j := range sums {
		sums[j] = dot(x, w[j*len(x):])
	}
}

// dot is Σ x_k y_k over the length of x.
func dot(x, y []float32) float64 {
	sum := 0.0
	for k, v := range x {
		sum += float64(v) * float64(y[k])
	}
	return sum
}

func shapeOf(r backend.Resident) (backend.FactorShape, bool) {
	f, ok := r.(*factor)
	if !ok || f == nil {
		return backend.FactorShape{}, false
	}
	return f.shape, true
}

// addUpdate adds the low-rank terms of row i, x, to sums.
func addUpdate(sums []float64, x []float32, u *backend.Update, i int) {
	for _, s := range u.Segments {
		if i < s.Row0 || i >= s.Row1 {
			continue
		}
		if s.Product {
			addProduct(sums, x, u.Factors, s.Terms)
		} else {
			addDelta(sums, x, u.Factors, s.Terms)
		}
	}
}

// addDelta adds Σ weight·scale·B (A x).
func addDelta(sums []float64, x []float32, factors []backend.Resident, terms []backend.Term) {
	for _, t := range terms {
		f, ok := factors[t.Module].(*factor)
		if !ok {
			continue // the module leaves this map alone
		}
		for r := range f.shape.Rank {
			h := dot(x, f.a[r*f.shape.In:]) * float64(t.Weight) * float64(f.shape.Scale)
			for j := range sums {
				sums[j] += h * float64(f.b[j*f.shape.Rank+r])
			}
		}
	}
}

// addProduct adds scale·(Σ weight B)((Σ weight A) x).
func addProduct(sums []float64, x []float32, factors []backend.Resident, terms []backend.Term) {
	var hidden []float64 // [rank]
	for _, t := range terms {
		if f, ok := factors[t.Module].(*factor); ok {
			if hidden == nil {
				hidden = make([]float64, f.shape.Rank)
			}
			for r := range hidden {
				hidden[r] += float64(t.Weight) * dot(x, f.a[r*f.shape.In:])
			}
		}
	}
	for _, t := range terms {
		if f, ok := factors[t.Module].(*factor); ok {
			for j := range sums {
				for r, h := range hidden {
					sums[j] += float64(f.shape.Scale) * float64(t.Weight) * h * float64(f.b[j*len(hidden)+r])
				}
			}
		}
	}
}

func (p *pass) LogProbs(x backend.Tensor, head backend.Resident, targets []int32) backend.Tensor {
	in, m := p.input("log-probabilities", x), p.resident("log-probabilities", head)
	y := newTensor(in.rows, 1)
	var err error
	if len(targets) != in.rows {
		err = fault.New(fault.Internal, "log-probabilities", "%d targets for %d rows", len(targets), in.rows)
	}
	if !p.ok(err) || !p.ok(backend.CheckLinear(in, m.rows, m.cols, nil)) || !p.ok(backend.CheckIDs("log-probabilities", targets, m.rows)) {
		return y
	}
	logits := make([]float64, m.rows)
	for i, target := range targets {
		product(logits, in.row(i), m.data)
		y.data[i] = float32(logits[target] - logSumExp(logits))
	}
	return y
}

// logSumExp is log Σ exp(v), without overflow.
func logSumExp(v []float64) float64 {
	highest := math.Inf(-1)
	for _, x := range v {
		highest = max(highest, x)
	}
	sum := 0.0
	for _, x := range v {
		sum += math.Exp(x - highest)
	}
	return highest + math.Log(sum)
}
