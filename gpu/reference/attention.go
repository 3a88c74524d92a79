package reference

import (
	"math"

	"github.com/medley-lora/medley/gpu/backend"
)

func (p *pass) Attend(q, k, v backend.Tensor, a backend.Attention) backend.Tensor {
	query, key, value := p.input("attention", q), p.input("attention", k), p.input("attention", v)
	y := newTensor(query.rows, query.cols)
	if !p.ok(backend.CheckAttention(query, key, value, a)) {
		return y
	}
	d := query.cols / a.Heads
	for _, s := range a.Spans {
		row := func(j int) int {
			if s.Pages == nil {
				return s.K0 + j
			}
			return int(s.Pages[j/backend.PageRows])*backend.PageRows + j%backend.PageRows
		}
		for i := s.Q0; i < s.Q1; i++ {
			for h := range a.Heads {
				head := func(t *tensor, row, h int) []float32 { return t.row(row)[h*d : (h+1)*d] }
				shared := h / a.Groups()
				weights := attentionWeights(head(query, i, h), func(j int) []float32 { return head(key, row(j), shared) }, s, i, h, a)
				mix(head(y, i, h), weights, func(j int) []float32 { return head(value, row(j), shared) })
			}
		}
	}
	return y
}

// attentionWeights is the softmax over the keys that query row i sees; masked keys get 0.
func attentionWeights(q []float32, key func(int) []float32, s backend.Span, i, head int, a backend.Attention) []float64 {
	position := s.QPos + i - s.Q0
	scores := make([]float64, s.K1-s.K0)
	for j := range scores {
		scores[j] = float64(a.Scale) * dot(q, key(j))
		if a.Causal && (j > position || j < a.First(position)) {
			scores[j] = math.Inf(-1)
		} else if a.Bias != nil {
			scores[j] += float64(a.Bias[(j-position+a.BiasZero)*a.Heads+head])
		}
	}
	total := logSumExp(scores)
	for j := range scores {
		scores[j] = math.Exp(scores[j] - total)
	}
	return scores
}

// mix sets y to Σ weights_j value_j.
func mix(y []float32, weights []float64, value func(int) []float32) {
	for c := range y {
		sum := 0.0
		for j, w := range weights {
			sum += w * float64(value(j)[c])
		}
		y[c] = float32(sum)
	}
}
