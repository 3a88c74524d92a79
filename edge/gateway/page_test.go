package gateway_test

import (
	"net/http"
	"testing"

	"github.com/medley-lora/medley/edge/gateway"
)

// A page has everything that is none of the API's, and the API's paths have the methods that they have without one.
func TestPage(t *testing.T) {
	with := newServer(t, func(o *gateway.Options) {
		o.Page = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Security-Policy", "default-src 'self'")
		})
	})
	without := newServer(t, nil)
	operations, err := gateway.Operations()
	if err != nil {
		t.Fatal(err)
	}
	for _, op := range operations {
		for _, method := range []string{"GET", "HEAD"} {
			want := without.call(method, op.Path, "").status
			if got := with.call(method, op.Path, "").status; got != want {
				t.Errorf("%s %s: status %d with a page, %d without", method, op.Path, got, want)
			}
		}
	}
	for _, path := range []string{"/", "/search", "/assets/x.js"} {
		with.want(http.StatusOK, "GET", path, "")
		with.want(http.StatusOK, "HEAD", path, "")
		without.want(http.StatusNotFound, "GET", path, "")
	}
	with.want(http.StatusNotFound, "GET", "/v1/nothing", "")
	with.want(http.StatusNotFound, "HEAD", "/.well-known/nothing", "")
}
