package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestClientsThatGoAreNoErrors: a client that leaves in the middle of an answer is no failure of the server, as a connection of ours that breaks is.
func TestClientsThatGoAreNoErrors(t *testing.T) {
	told := make(chan string, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var log bytes.Buffer
		g := &gateway{Options: Options{Log: slog.New(slog.NewTextHandler(&log, nil))}}
		var err error
		for end := time.Now().Add(10 * time.Second); err == nil && time.Now().Before(end); {
			_, err = io.WriteString(w, strings.Repeat("x", 1<<16))
		}
		g.problem(r.Context(), fmt.Errorf("writing: %w", err))
		told <- log.String()
	}))
	defer server.Close()
	c, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	c.Close()
	if line := <-told; !strings.Contains(line, "level=INFO") || !strings.Contains(line, "code=canceled") {
		t.Errorf("%s", line)
	}
	ours := &net.OpError{Op: "write", Net: "tcp", Source: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}, Err: syscall.EPIPE}
	at := context.WithValue(t.Context(), http.LocalAddrContextKey, net.Addr(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 2}))
	if ofClient(at, ours) || ofClient(t.Context(), ours) || ofClient(at, errors.New("x")) {
		t.Error("an error of another connection counts as the client's")
	}
}
