package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/medley-lora/medley/shared/fault"
)

// readyLine is what an evaluator prints once it listens.
const readyLine = "ready"

// Serve answers requests on a fresh unix socket until ctx or the lifeline ends: a supervisor holds the other end of that pipe, which
// closes with it however it dies. It prints a line to ready once it listens. Requests under way are then canceled and not waited for.
// At the end the socket is removed, and its folder if nothing else is in it: the supervisor that made it may be gone.
func Serve(ctx context.Context, h http.Handler, socket string, lifeline io.Reader, ready io.Writer) error {
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return fault.Wrap(err, fault.Invalid, "socket", "cannot be made: %v", cause(err))
	}
	defer os.Remove(filepath.Dir(socket)) // closing the listener has removed the socket
	defer listener.Close()
	if err := os.Chmod(socket, 0o600); err != nil && runtime.GOOS != "windows" { // there it follows the folder's rights
		return fault.Wrap(err, fault.Internal, "socket", "cannot be made private: %v", cause(err))
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		io.Copy(io.Discard, lifeline) //nolint:errcheck // that it ends is all that matters
		cancel()
	}()
	server := &http.Server{Handler: dying(h), ReadHeaderTimeout: 10 * time.Second, MaxHeaderBytes: 64 << 10}
	defer context.AfterFunc(ctx, func() { server.Close() })()
	if _, err := fmt.Fprintln(ready, readyLine); err != nil {
		return fault.Wrap(err, fault.Internal, "", "nobody listens for the evaluator to be ready: %v", cause(err))
	}
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fault.Wrap(err, fault.Internal, "", "the evaluator cannot answer: %v", cause(err))
	}
	return nil
}

// dying ends the process when a handler panics, as a panic elsewhere does: it may have left locks held, or the backend may be lost, and
// another process takes over. What it panicked with comes last, where a supervisor looks.
func dying(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			switch v := recover().(type) {
			case nil:
				return
			case lost:
				fmt.Fprintln(os.Stderr, v)
			default:
				fmt.Fprintf(os.Stderr, "%s\n\npanic: %v\n", debug.Stack(), v)
			}
			os.Exit(2)
		}()
		h.ServeHTTP(w, r)
	})
}

// cause is the innermost error, which names no path.
func cause(err error) error {
	for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(err) {
		err = inner
	}
	return err
}
