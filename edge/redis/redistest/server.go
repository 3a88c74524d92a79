// Package redistest gives tests a real redis-server of their own, a way to run them on it and on the embedded one, and a proxy that
// makes the network bad.
package redistest

import (
	"context"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/medley-lora/medley/edge/redis"
)

// Each runs test twice: on the embedded Redis and on a real server, empty both.
func Each(t *testing.T, test func(t *testing.T, c *redis.Client)) {
	t.Helper()
	t.Run("embedded", func(t *testing.T) { test(t, Open(t, "embedded:")) })
	t.Run("server", func(t *testing.T) { test(t, Open(t, Start(t).URL())) })
}

// Open connects to url until the test ends.
func Open(t testing.TB, url string) *redis.Client {
	t.Helper()
	c, err := redis.Open(context.Background(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// Server is a redis-server that keeps nothing on disk. It ends with the test.
type Server struct {
	t       testing.TB
	address string
	args    []string
	process *exec.Cmd
	alive   io.Closer // closing it kills the process, as the end of the test's process does
}

// Start starts a server on a free port of this machine, with further arguments as on its command line ("--requirepass", "secret").
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	s := &Server{t: t, address: address, args: args}
	s.Restart()
	t.Cleanup(s.Kill)
	return s
}

// Address is host and port.
func (s *Server) Address() string { return s.address }

// URL is where redis.Open finds the server.
func (s *Server) URL() string { return "redis://" + s.address }

// Kill ends the server at once, as kill -9 does. It forgets everything.
func (s *Server) Kill() {
	if s.process != nil {
		_ = s.alive.Close()
		_ = s.process.Wait()
		s.process = nil
	}
}

// Restart kills the server if it runs, and starts it on its old port, empty.
func (s *Server) Restart() {
	s.t.Helper()
	s.Kill()
	program, err := exec.LookPath("redis-server")
	if err != nil {
		s.t.Fatal("redis-server is missing: run `go tool -modfile=tools/go.mod task setup`")
	}
	_, port, _ := net.SplitHostPort(s.address)
	args := append([]string{"--bind", "127.0.0.1", "--port", port, "--save", "", "--appendonly", "no"}, s.args...)
	// The shell outlives the server and notices the end of this process, so that a test that is killed leaves no server behind.
	s.process = exec.Command("sh", append([]string{"-c", `"$@" & read _; kill -9 $!; wait`, "sh", program}, args...)...)
	s.process.Dir = s.t.TempDir()
	if s.alive, err = s.process.StdinPipe(); err != nil {
		s.t.Fatal(err)
	}
	var output strings.Builder
	s.process.Stdout, s.process.Stderr = &output, &output
	if err := s.process.Start(); err != nil {
		s.t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if s.answers() {
			return
		}
	}
	s.Kill() // before its output is read
	s.t.Fatalf("redis-server did not start:\n%s", output.String())
}

func (s *Server) answers() bool {
	conn, err := net.DialTimeout("tcp", s.address, time.Second)
	if err != nil {
		return false
	}
	defer func() { _ = conn.Close() }()
	reply := make([]byte, 16)
	_ = conn.SetDeadline(time.Now().Add(time.Second))
	if _, err := fmt.Fprint(conn, "PING\r\n"); err != nil {
		return false
	}
	n, _ := conn.Read(reply)
	answer := string(reply[:n])
	return strings.HasPrefix(answer, "+PONG") || strings.HasPrefix(answer, "-NOAUTH")
}
