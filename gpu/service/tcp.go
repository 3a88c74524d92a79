package service

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/medley-lora/medley/shared/fault"
)

// Times of a server that other machines reach.
const (
	idleTime  = 2 * time.Minute  // of a connection between requests
	graceTime = 10 * time.Second // for requests under way when the server is told to end
)

var errNoSecret = fault.New(fault.Invalid, "secret", "there is none; evaluators answer those who know theirs")

// ServeTCP answers those who send the secret ("Authorization: Bearer SECRET") until ctx ends. Requests under way then have ten seconds;
// later they are canceled. It closes the listener, which may be TLS's: without, the network must be one's own.
func ServeTCP(ctx context.Context, h http.Handler, l net.Listener, secret string) error {
	if secret == "" {
		l.Close()
		return errNoSecret
	}
	server := &http.Server{Handler: guarded(h, secret), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: idleTime, MaxHeaderBytes: 64 << 10}
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), graceTime)
		defer cancel()
		if server.Shutdown(limited) != nil {
			server.Close()
		}
	})
	err := server.Serve(l)
	if !stop() {
		<-ended
	}
	if !errors.Is(err, http.ErrServerClosed) {
		return fault.Wrap(err, fault.Internal, "", "the evaluator cannot answer: %v", cause(err))
	}
	return nil
}

// guarded refuses requests without the secret. How long that takes does not depend on what was sent instead.
func guarded(h http.Handler, secret string) http.Handler {
	want := sha256.Sum256([]byte(secret))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		scheme, given, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		got := sha256.Sum256([]byte(given))
		if subtle.ConstantTimeCompare(got[:], want[:]) == 1 && strings.EqualFold(scheme, "Bearer") {
			h.ServeHTTP(w, r)
			return
		}
		w.Header().Set("WWW-Authenticate", "Bearer")
		(&problem{
			Title: http.StatusText(http.StatusUnauthorized), Status: http.StatusUnauthorized,
			Detail: "is not the evaluator's secret", Code: fault.Invalid, Field: "Authorization",
		}).write(w)
	})
}
