package redis_test

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/medley-lora/medley/edge/redis"
	"github.com/medley-lora/medley/edge/redis/redistest"
	"github.com/medley-lora/medley/shared/fault"
)

func TestOpen(t *testing.T) {
	secret := "open-sesame"
	server := redistest.Start(t, "--requirepass", secret)
	socket := filepath.Join(t.TempDir(), "redis.sock")
	redistest.Start(t, "--unixsocket", socket)
	for _, c := range []struct {
		url  string
		code fault.Code
	}{
		{"embedded:", ""},
		{"redis://:" + secret + "@" + server.Address(), ""},
		{"redis://:" + secret + "@" + server.Address() + "/3", ""},
		{"unix://" + socket, ""},
		{server.URL(), fault.Internal},
		{"redis://:wrong-" + secret + "@" + server.Address(), fault.Internal},
		{"redis://:" + secret + "@127.0.0.1:1", fault.Internal},
		{"", fault.Invalid},
		{"embedded", fault.Invalid},
		{"localhost:6379", fault.Invalid},
		{"http://" + secret + "@localhost", fault.Invalid},
		{"redis://:" + secret + "@localhost:port", fault.Invalid},
		{"redis://:" + secret + "%zz@localhost", fault.Invalid},
		{"redis://:" + secret + "@localhost/database", fault.Invalid},
		{"redis://:" + secret + "@localhost/0?pool_size=many", fault.Invalid},
		{"redis://:" + secret + "\x7f@localhost", fault.Invalid},
	} {
		client, err := redis.Open(t.Context(), c.url)
		if fault.CodeOf(err) != c.code {
			t.Errorf("%q: %v", c.url, err)
		}
		for e := err; e != nil; e = errors.Unwrap(e) { // causes too: they are logged
			if strings.Contains(e.Error(), "sesame") {
				t.Errorf("%q: the error tells the password: %v", c.url, e)
			}
		}
		if err == nil {
			if err := client.Ping(t.Context()); err != nil {
				t.Errorf("%q: %v", c.url, err)
			}
			if err := client.Close(); err != nil {
				t.Errorf("%q: closing: %v", c.url, err)
			}
			if client.Ping(t.Context()) == nil {
				t.Errorf("%q answers after it was closed", c.url)
			}
		}
	}
}

// A server that takes connections and never answers is given up in bounded time.
func TestBadInput_56_OpenSilentServer(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	begun := time.Now()
	if _, err := redis.Open(context.Background(), "redis://"+listener.Addr().String()); fault.CodeOf(err) != fault.Internal {
		t.Errorf("opened with %v", err)
	}
	if d := time.Since(begun); d > 6*time.Second {
		t.Errorf("given up after %v", d)
	}
}

// Two embedded ones have nothing in common, and keys expire in them as time passes.
func TestEmbedded(t *testing.T) {
	ctx := t.Context()
	a, b := redistest.Open(t, "embedded:").Pool(), redistest.Open(t, "embedded:").Pool()
	if err := a.Set(ctx, "k", "v", 1500*time.Millisecond).Err(); err != nil {
		t.Fatal(err)
	}
	if a.Exists(ctx, "k").Val() != 1 || b.Exists(ctx, "k").Val() != 0 {
		t.Error("a key is missing, or in both")
	}
	for deadline := time.Now().Add(5 * time.Second); a.Exists(ctx, "k").Val() == 1; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("a key does not expire")
		}
	}
}
