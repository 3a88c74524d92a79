package gateway_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/medley-lora/medley/edge/gateway"
	"github.com/medley-lora/medley/shared/search"
)

const shortGrace = 700 * time.Millisecond

// dial opens a connection that ends with the test.
func (s *server) dial() (net.Conn, *bufio.Reader) {
	s.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		s.t.Fatal(err)
	}
	return conn, bufio.NewReader(conn)
}

// exchange writes a request by hand and reads its answer.
func (s *server) exchange(conn net.Conn, r *bufio.Reader, text string) (status int, body string) {
	s.t.Helper()
	if _, err := io.WriteString(conn, text); err != nil {
		s.t.Fatal(err)
	}
	res, err := http.ReadResponse(r, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return res.StatusCode, string(data)
}

func TestBadInput_53_SlowBody(t *testing.T) {
	s := newServer(t, func(o *gateway.Options) { o.Grace = shortGrace })
	for path, contentType := range map[string]string{
		"/v1/compositions": "application/json", "/v1/modules?name=m": "application/zip", "/v1/plugins/validate": "application/wasm",
	} {
		conn, r := s.dial()
		start := time.Now()
		status, body := s.exchange(conn, r, "POST "+path+" HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer alice\r\nContent-Type: "+contentType+"\r\nContent-Length: 1000\r\n\r\n{")
		if took := time.Since(start); status != http.StatusRequestTimeout || !strings.Contains(body, `"code":"timeout"`) || took < shortGrace || took > 10*shortGrace {
			t.Errorf("%s: status %d after %v: %s", path, status, took, body)
		}
	}
}

// A body that is refused before anybody reads it may not hold its connection, and the connection may not be used with it in between.
func TestBadInput_53_BodyNobodyReads(t *testing.T) {
	s := newServer(t, func(o *gateway.Options) { o.Grace = shortGrace })
	for _, path := range []string{"/v1/compositions", "/nowhere"} {
		conn, r := s.dial()
		start := time.Now()
		if status, body := s.exchange(conn, r, "POST "+path+" HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"); status != 401 && status != 404 {
			t.Errorf("%s: status %d: %s", path, status, body)
		}
		if n, err := r.Read(make([]byte, 1)); err != io.EOF || time.Since(start) > 10*shortGrace {
			t.Errorf("%s: %d bytes, error %v after %v", path, n, err, time.Since(start))
		}
	}
}

// The deadlines of one request are not those of the next on its connection.
func TestConnectionsOutliveDeadlines(t *testing.T) {
	s := newServer(t, func(o *gateway.Options) { o.Grace = shortGrace })
	conn, r := s.dial()
	for range 2 {
		if status, body := s.exchange(conn, r, "DELETE /v1/tokens/MFRGGZDFMZTWQ2LKNNWG23TP HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer alice\r\n\r\n"); status != 204 {
			t.Errorf("status %d: %s", status, body)
		}
		status, body := s.exchange(conn, r, fmt.Sprintf("POST /v1/tokens/exchange HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", 18, `{"key":"mdl_good"}`))
		if status != 200 {
			t.Errorf("status %d: %s", status, body)
		}
		time.Sleep(2 * shortGrace)
	}
}

// thinking is an evaluator that takes its time.
type thinking struct {
	*memory
	time time.Duration
}

func (e thinking) Score(ctx context.Context, _, _ string, _ [][]float64) ([]search.Score, error) {
	select {
	case <-time.After(e.time):
		return []search.Score{{Loss: 1}}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Deadlines are for the connection; what a service does may take longer, and ends when the client goes.
func TestSlowServices(t *testing.T) {
	s := newServer(t, func(o *gateway.Options) { o.Grace, o.Evaluations = shortGrace, thinking{time: 3 * shortGrace} })
	s.want(http.StatusOK, "POST", "/v1/evaluations/evl_aaaaaaaaaaaaaaaaaaaaaaaaaa/scores", `{"weights":[[1]]}`)
}

func TestServer(t *testing.T) {
	s := newServer(t, nil)
	h := gateway.Server(nil)
	if h.ReadHeaderTimeout <= 0 || h.ReadHeaderTimeout > time.Minute || h.IdleTimeout <= 0 || h.MaxHeaderBytes <= 0 {
		t.Errorf("%+v", h)
	}
	conn, r := s.dial()
	if status, _ := s.exchange(conn, r, "GET /healthz HTTP/1.1\r\nHost: x\r\nX: "+strings.Repeat("x", 40<<10)+"\r\n\r\n"); status != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("status %d", status)
	}
}
