package gateway

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/medley-lora/medley/shared/search"
	"github.com/medley-lora/medley/shared/wire"
)

// scoresAnswer is api.ScoreCandidates200JSONResponse, which it is held to in tests, without what encoding/json costs: a score that is
// remembered is asked for thousands of times a second.
type scoresAnswer []search.Score

// VisitScoreCandidatesResponse writes the scores.
func (a scoresAnswer) VisitScoreCandidatesResponse(w http.ResponseWriter) error {
	w.Header().Set(echo.HeaderContentType, jsonType)
	w.WriteHeader(http.StatusOK)
	_, err := w.Write(a.json())
	return err
}

func (a scoresAnswer) json() []byte {
	const digits = 20 // of most numbers
	size := 32
	for _, s := range a {
		size += 64 + digits*(1+len(s.Examples)+len(s.LogProbs))
	}
	text := append(make([]byte, 0, size), `{"scores":[`...)
	for i, s := range a {
		if i > 0 {
			text = append(text, ',')
		}
		text = append(text, `{"examples":`...)
		text = appendNumbers(text, s.Examples)
		text = append(text, `,"log_probs":`...)
		text = appendNumbers(text, s.LogProbs)
		text = append(text, `,"loss":`...)
		text = append(wire.Number(s.Loss).Append(text), '}')
	}
	return append(text, "]}\n"...)
}

func appendNumbers(text []byte, all []float64) []byte {
	text = append(text, '[')
	for i, v := range all {
		if i > 0 {
			text = append(text, ',')
		}
		text = wire.Number(v).Append(text)
	}
	return append(text, ']')
}
