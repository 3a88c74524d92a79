package platform_test

import (
	"bytes"
	"io"
	"net/http"
	"testing"

	"github.com/medley-lora/medley/edge/auth"
	"github.com/medley-lora/medley/edge/redis/redistest"
)

// BenchmarkRememberedScore asks a gateway for a score that is remembered in a real Redis, as clients do: with a token, over a connection
// that stays open.
func BenchmarkRememberedScore(b *testing.B) {
	w := newWorld(b, redistest.Start(b).URL(), nil)
	w.Authority = w.own
	granted, err := w.own.Issue("ann", auth.Request{Scopes: []string{string(auth.Admin)}})
	if err != nil {
		b.Fatal(err)
	}
	w.tokens = map[string]string{"ann": granted.Text}
	evaluation := w.evaluation(w.modules("ann", 2))
	w.scores(evaluation, [][]float64{{0.5, -0.25}})
	body, token := []byte(`{"weights":[[0.5,-0.25]]}`), w.token("ann")
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		client := &http.Client{Transport: &http.Transport{}}
		defer client.CloseIdleConnections()
		for pb.Next() {
			r, err := http.NewRequest("POST", w.url+"/v1/evaluations/"+evaluation+"/scores", bytes.NewReader(body))
			if err != nil {
				b.Error(err)
				return
			}
			r.Header.Set("Authorization", "Bearer "+token)
			r.Header.Set("Content-Type", "application/json")
			res, err := client.Do(r)
			if err != nil {
				b.Error(err)
				return
			}
			_, err = io.Copy(io.Discard, res.Body)
			res.Body.Close()
			if err != nil || res.StatusCode != http.StatusOK {
				b.Errorf("%v, %s", err, res.Status)
				return
			}
		}
	})
}
