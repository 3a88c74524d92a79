package gateway

import (
	"bytes"
	"encoding/json"
	"math"
	"testing"

	"github.com/medley-lora/medley/edge/api"
	"github.com/medley-lora/medley/shared/search"
	"github.com/medley-lora/medley/shared/wire"
)

func TestScoresAreWrittenAsTheSpecificationHasThem(t *testing.T) {
	for name, scores := range map[string][]search.Score{
		"none":           {},
		"one":            {{Loss: 0.5, Examples: []float64{0.25, 1e-300}, LogProbs: []float64{-0.1, -1e21, -1.0 / 3}}},
		"no tokens":      {{Loss: 1, Examples: []float64{}, LogProbs: []float64{}}, {}},
		"beyond numbers": {{Loss: math.NaN(), Examples: []float64{math.Inf(1)}, LogProbs: []float64{math.Inf(-1), math.NaN(), math.Copysign(0, -1)}}},
	} {
		want := api.ScoreCandidates200JSONResponse{Scores: []api.Score{}}
		for _, s := range scores {
			numbers := func(v []float64) []wire.Number { return append([]wire.Number{}, wire.Numbers(v)...) }
			want.Scores = append(want.Scores, api.Score{Loss: wire.Number(s.Loss), Examples: numbers(s.Examples), LogProbs: numbers(s.LogProbs)})
		}
		text, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		if got := scoresAnswer(scores).json(); !bytes.Equal(bytes.TrimSpace(got), text) {
			t.Errorf("%s: %s, not %s", name, got, text)
		}
	}
}
